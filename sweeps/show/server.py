"""The server of `kdsweep serve`: on this machine alone, for those who have the token, and for reading alone."""

import base64
import hashlib
import json
import secrets
import threading
from collections.abc import Sequence
from html import escape
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, unquote, urlsplit

from analysis.report import html as page
from analysis.report.html import TableCell
from sweeps.show.served import ServedSweep

HOST = "127.0.0.1"
_SCRIPTS = ("serve.js",)


class Server(ThreadingHTTPServer):
    """Answers requests about some sweeps.

    Attributes:
        token: What the path of a request must begin with.
        url: Where a browser finds the page.
    """

    daemon_threads = True

    def __init__(self, sweeps: Sequence[ServedSweep], port: int = 0) -> None:
        """Listen on the loopback address.

        Args:
            sweeps: The sweeps, in the order in which they are shown.
            port: The port; 0 for any free one.

        Raises:
            OSError: If the port is taken.
        """
        super().__init__((HOST, port), _Handler)
        self.sweeps = list(sweeps)
        self.token = secrets.token_urlsafe(24)
        self.url = f"http://{HOST}:{self.server_port}/{self.token}/"
        self._one_reader = threading.Lock()

    def document(self) -> str:
        """The page, which asks for the rest."""
        articles = "".join(
            f'<article id="sweep-{place}"><details{"" if place else " open"}><summary><h2>{escape(sweep.address)}</h2>'
            '</summary><div class="content"></div></details></article>'
            for place, sweep in enumerate(self.sweeps)
        )
        body = (
            '<p class="eyebrow" id="alive">reading</p><h1>Sweeps</h1><div id="overview"></div>'
            "<noscript><p>This page needs a script; kdsweep report writes a page that needs none.</p></noscript>"
            f"{articles}"
        )
        return page.document("kdsweep", body, _SCRIPTS)

    def state(self) -> dict[str, object]:
        """The table of the sweeps, their names, and the version of each."""
        with self._one_reader:
            glances = [sweep.glance() for sweep in self.sweeps]
        rows = []
        for place, glance in enumerate(glances):
            name = f'<a href="#sweep-{place}">{escape(glance.name)}</a>'
            error = f'<span class="stale">{page.prose(glance.error)}</span>'
            rows.append(
                [
                    TableCell(html=name, small=glance.address),
                    *(glance.cells or (TableCell(html=error), TableCell(), TableCell())),
                ]
            )
        overview = page.table(["Sweep", "State", "Trials", "Best so far"], rows)
        return {
            "overview": overview,
            "names": [glance.name for glance in glances],
            "versions": [glance.version for glance in glances],
        }

    def body(self, place: int, runs: int) -> dict[str, object]:
        """One sweep as HTML, with its version.

        Args:
            place: Its number.
            runs: How many of its runs are shown at most.
        """
        with self._one_reader:
            version, body = self.sweeps[place].body(runs)
        return {"version": version, "body": body}

    def run(self, place: int, trial_id: str) -> dict[str, object] | None:
        """The details of a run of one sweep; none where it has no such run."""
        with self._one_reader:
            return self.sweeps[place].run(trial_id)

    def handle_error(self, request: object, client_address: object) -> None:
        """A browser that went away is no error."""


class _Handler(BaseHTTPRequestHandler):
    server: Server
    server_version, sys_version = "kdsweep", ""

    def do_GET(self) -> None:
        """Answer, if the request comes from who has the token, and from no page of another site."""
        address = urlsplit(self.path)
        _, token, page_name = [*address.path.split("/", 2), "", ""][:3]
        port = self.server.server_port
        if self.headers.get("Host") not in (f"{HOST}:{port}", f"localhost:{port}"):
            self._refuse(HTTPStatus.FORBIDDEN, f"the address must be {HOST}:{port}")
        elif not secrets.compare_digest(token.encode(), self.server.token.encode()):
            self._refuse(HTTPStatus.FORBIDDEN, "the token is wrong: open the address that kdsweep serve has printed")
        elif page_name == "":
            self._answer(HTTPStatus.OK, "text/html", self.server.document())
        elif page_name == "state":
            self._answer(HTTPStatus.OK, "application/json", json.dumps(self.server.state()))
        elif (content := self._of_sweep(page_name, address.query)) is not None:
            self._answer(HTTPStatus.OK, "application/json", json.dumps(content))
        else:
            self._refuse(HTTPStatus.NOT_FOUND, "there is no such page")

    def _of_sweep(self, page_name: str, query: str) -> dict[str, object] | None:
        """What is asked of one sweep: its body at `sweep/0`, a run at `sweep/0/run/TRIAL`; else none."""
        match page_name.split("/", 3):
            case ["sweep", number] if (place := self._place(number)) is not None:
                return self.server.body(place, _number(parse_qs(query).get("runs", [""])[0]) or 0)
            case ["sweep", number, "run", trial_id] if (place := self._place(number)) is not None:
                return self.server.run(place, unquote(trial_id))
        return None

    def _place(self, number: str) -> int | None:
        place = _number(number)
        return place if place is not None and place < len(self.server.sweeps) else None

    def _only_read(self) -> None:
        self._refuse(HTTPStatus.METHOD_NOT_ALLOWED, "this server is for reading alone")

    do_POST = do_PUT = do_PATCH = do_DELETE = do_OPTIONS = do_HEAD = _only_read  # noqa: N815

    def _refuse(self, status: HTTPStatus, sentence: str) -> None:
        self._answer(status, "text/plain", f"{sentence}\n")

    def _answer(self, status: HTTPStatus, kind: str, text: str) -> None:
        content = text.encode()
        self.send_response(status)
        self.send_header("Content-Type", f"{kind}; charset=utf-8")
        self.send_header("Content-Length", str(len(content)))
        for name, value in _HEADERS.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def log_message(self, format: str, *args: object) -> None:
        """Nothing is logged: a line would hold the token."""


def _number(text: str) -> int | None:
    """The number that a part of an address is."""
    return int(text) if text.isascii() and text.isdigit() and len(text) < 6 else None


def _policy() -> str:
    """The page runs its own script alone, and speaks with this server alone."""
    digest = base64.b64encode(hashlib.sha256(page.script(_SCRIPTS).encode()).digest()).decode()
    return (
        f"default-src 'none'; script-src 'sha256-{digest}'; style-src 'unsafe-inline'; img-src data:; "
        "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )


_HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": _policy(),
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}
