"""What tests of more than one floor share: an object store on this machine, and a browser."""

import logging
import os
import re
import shutil
import sys
import threading
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

os.environ.setdefault("OMP_NUM_THREADS", "1")  # networks are tiny here, and several tests run at once

CREDENTIALS = {
    "AWS_ACCESS_KEY_ID": "test",
    "AWS_SECRET_ACCESS_KEY": "test",
    "AWS_DEFAULT_REGION": "us-east-1",
    "AWS_EC2_METADATA_DISABLED": "true",
}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files with slow tests first: processes share the files in this order, and none waits long at the end."""
    slow = Counter(item.path for item in items if item.get_closest_marker("slow"))
    items.sort(key=lambda item: -slow[item.path])


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skips what needs a newer torch, before its fixtures are made: `@pytest.mark.newer_torch(2, 6)`."""
    for marker in item.iter_markers("newer_torch"):
        from torch_releases import needs_torch  # only here: most tests of analysis load no torch

        needs_torch(*marker.args)


@pytest.fixture(autouse=True)
def modules_of_the_test(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Forgets the modules that a test wrote and imported: another test may write a module of the same name."""
    before = set(sys.modules)
    yield
    folder = str(tmp_path_factory.getbasetemp())
    for name in set(sys.modules) - before:
        if str(getattr(sys.modules[name], "__file__", None)).startswith(folder):
            del sys.modules[name]


@pytest.fixture(scope="session")
def s3() -> Iterator[str]:
    """The URI of an empty bucket, served on loopback; put a path before its `?` for a folder."""
    server_module = pytest.importorskip("moto.server", reason="the object store of the tests needs moto[server]")
    from pyarrow import fs

    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    before = {name: os.environ.get(name) for name in CREDENTIALS}
    os.environ.update(CREDENTIALS)
    server = server_module.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    try:
        host, port = server.get_host_and_port()
        where = f"endpoint_override=http://{host}:{port}"
        bucket = f"sweeps-{uuid.uuid4().hex[:8]}"
        maker, _ = fs.FileSystem.from_uri(f"s3://{bucket}?region=us-east-1&{where}&allow_bucket_creation=true")
        maker.create_dir(bucket)
        yield f"s3://{bucket}?region=us-east-1&{where}"
    finally:
        server.stop()
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


@pytest.fixture
def s3_folder(s3: str) -> str:
    """The URI of a folder of the bucket that no other test uses."""
    return s3.replace("?", f"/{uuid.uuid4().hex[:8]}?", 1)


class Door:
    """A door of the object store that can be told to refuse; `refused` counts how often it did."""

    def __init__(self, s3: str) -> None:
        from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
        from werkzeug.serving import make_server

        self._store = DomainDispatcherApplication(create_backend_app)
        self._server = make_server("127.0.0.1", 0, self, threaded=True)
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        self.uri = re.sub(r":\d+$", f":{self._server.server_port}", s3)
        self.refused = 0
        self.open()

    def refuse(
        self,
        seconds: float = 1e9,
        status: str = "503 Slow Down",
        code: str = "SlowDown",
        methods: tuple[str, ...] = ("PUT", "POST", "DELETE"),
    ) -> None:
        self._until, self._status, self._code, self._methods = time.monotonic() + seconds, status, code, methods

    def open(self) -> None:
        self._until = 0.0

    def close(self) -> None:
        self._server.shutdown()

    def __call__(self, environ: dict[str, Any], start: Callable[..., Any]) -> Any:
        if time.monotonic() >= self._until or environ["REQUEST_METHOD"] not in self._methods:
            return self._store(environ, start)
        self.refused += 1
        if length := environ.get("CONTENT_LENGTH"):
            environ["wsgi.input"].read(int(length))
        elif "chunked" in environ.get("HTTP_TRANSFER_ENCODING", ""):
            environ["wsgi.input"].read()
        start(self._status, [("Content-Type", "application/xml")])
        return [f"<?xml version='1.0'?><Error><Code>{self._code}</Code><Message>not now</Message></Error>".encode()]


@pytest.fixture
def door(s3_folder: str) -> Iterator[Door]:
    """The same bucket behind a door of its own; its `uri` is that of a folder that no other test uses."""
    door = Door(s3_folder)
    yield door
    door.close()


CHROMIUM = ("chromium", "chromium-browser", "google-chrome")


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    """Chromium; a test that needs it is skipped where it is not installed."""
    playwright = pytest.importorskip("playwright.sync_api", reason="the browser test needs playwright")
    executable = next((path for name in CHROMIUM if (path := shutil.which(name))), None)
    if executable is None:
        pytest.skip(f"no Chromium on this machine (looked for {', '.join(CHROMIUM)})")
    with playwright.sync_playwright() as started:
        opened = started.chromium.launch(executable_path=executable, args=["--no-sandbox", "--disable-gpu"])
        yield opened
        opened.close()


class Visit:
    """A page that is open, with all that it complained about or asked the network for."""

    def __init__(self, browser: Any, address: Path | str, **options: Any) -> None:
        self.errors: list[str] = []
        self.requests: list[str] = []
        self.page = browser.new_page(**options)
        self.page.on("console", lambda line: self.errors.append(line.text) if line.type == "error" else None)
        self.page.on("pageerror", lambda error: self.errors.append(str(error)))
        self.page.on("request", lambda request: self.requests.append(request.url))
        self.page.goto(address.as_uri() if isinstance(address, Path) else address)

    def column(self, table: str, place: int) -> list[str]:
        """The first lines of the cells of a column, from top to bottom; of rows that are shown."""
        cells = self.page.locator(f"{table} tbody tr:not([hidden]) td:nth-child({place})").all()
        return [cell.inner_text().split("\n")[0] for cell in cells]

    def first_paint_s(self) -> float:
        """Seconds from the request to the first text or picture on the screen."""
        entries = "performance.getEntriesByName('first-contentful-paint').map(entry => entry.startTime)"
        while not (painted := self.page.evaluate(entries)):
            self.page.wait_for_timeout(50)
        return float(painted[0]) / 1000


@pytest.fixture
def visit(browser: Any) -> Iterator[Callable[..., Visit]]:
    """Opens pages, and closes them after the test."""
    opened: list[Visit] = []

    def open_page(address: Path | str, **options: Any) -> Visit:
        opened.append(Visit(browser, address, **options))
        return opened[-1]

    yield open_page
    for visited in opened:
        visited.page.close()
