"""Data sets of the hub of Hugging Face, fetched by its library from a server on this machine."""

import hashlib
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import huggingface_hub
import pytest
from data_kinds import CLASSES, as_parquet, put

from kdtrain.data import Shards, open_data
from kdtrain.data.hub import CONVERTED, fetch_from_hub
from kdtrain.errors import InputError

COMMIT = "0123456789abcdef0123456789abcdef01234567"


def use(monkeypatch, port):
    """Let the library take a server on this machine for the hub."""
    endpoint, paths = f"http://127.0.0.1:{port}", "/{repo_id}/resolve/{revision}/{filename}"
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", endpoint)
    monkeypatch.setattr("huggingface_hub.constants.HUGGINGFACE_CO_URL_TEMPLATE", endpoint + paths)


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """A server of files by revision, `{revision: folder}`, as the hub answers."""
    folders = {}

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            self._answer(True)

        def do_HEAD(self):
            self._answer(False)

        def _answer(self, has_body):
            parts = self.path.partition("?")[0].replace("%2F", "/").split("/")
            headers, body = {}, b""
            if self.path.startswith("/api/datasets/me/mine"):
                revision = "/".join(parts[6:]) or "main"
                commit = self._commit(revision)
                if commit is None:
                    self.send_error(404)
                    return
                files = [{"rfilename": name} for name in self._files(commit)]
                body = json.dumps({"id": "me/mine", "sha": commit, "siblings": files}).encode()
                if "/tree/" in self.path:
                    commit = parts[parts.index("tree") + 1]
                    names = self._files(commit).items()
                    rows = [
                        {
                            "type": "file",
                            "path": n,
                            "size": f.stat().st_size,
                            "oid": hashlib.sha1(n.encode()).hexdigest(),
                        }
                        for n, f in names
                    ]
                    body = json.dumps(rows).encode()
            elif self.path.startswith("/datasets/me/mine/resolve/"):
                file = self._files(parts[5]).get("/".join(parts[6:]))
                if file is None:
                    self.send_error(404)
                    return
                body = file.read_bytes()
                headers = {"ETag": f'"{hashlib.sha1(body).hexdigest()}"', "X-Repo-Commit": parts[5]}
            else:
                self.send_error(404)
                return
            self.send_response(200)
            for key, value in {"Content-Length": str(len(body)), **headers}.items():
                self.send_header(key, value)
            self.end_headers()
            if has_body:
                self.wfile.write(body)

        def _commit(self, revision):
            if "tree" in self.path:
                return COMMIT
            revisions = {**dict.fromkeys(folders), COMMIT: None, COMMIT[::-1]: None}
            if revision.startswith("revision/"):
                revision = revision.removeprefix("revision/")
            if revision not in revisions:
                return None
            return {"main": COMMIT, CONVERTED: COMMIT[::-1]}.get(revision, revision)

        def _files(self, commit):
            folder = folders.get({COMMIT: "main", COMMIT[::-1]: CONVERTED}.get(commit, commit))
            files = sorted(folder.rglob("*")) if folder is not None else []
            return {file.relative_to(folder).as_posix(): file for file in files if file.is_file()}

        def log_message(self, *words):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    use(monkeypatch, server.server_port)
    yield folders
    server.shutdown()
    server.server_close()
    thread.join()


def test_a_data_set_is_fetched_and_read(hub, tmp_path):
    hub["main"] = tmp_path / "there"
    where = as_parquet(hub["main"], "train", range(5))
    (hub["main"] / "load.py").write_text("raise SystemExit")
    folder = fetch_from_hub("hf:me/mine", tmp_path / "data")
    assert folder == tmp_path / "data/hf/me/mine"
    assert sorted(file.suffix for file in folder.iterdir() if file.is_file()) == []
    assert json.loads((tmp_path / "data/sources.json").read_text())["hf:me/mine"]["checksum"] == f"commit:{COMMIT}"
    config = Shards(classes=CLASSES, shards={"train": {"files": f"hf:me/mine/{where['files']}"}})
    assert len(open_data(config, tmp_path / "data").ids("train")) == 4
    sentences = []
    assert fetch_from_hub("hf:me/mine", tmp_path / "data", sentences.append) == folder
    assert "already" in sentences[0]


def test_what_the_hub_has_converted_is_fetched_where_there_is_nothing_else(hub, tmp_path):
    hub["main"], hub[CONVERTED] = tmp_path / "script", tmp_path / "converted"
    hub["main"].mkdir()
    (hub["main"] / "README.md").write_text("a script makes it")
    as_parquet(hub[CONVERTED], "train", range(5))
    folder = fetch_from_hub("hf:me/mine", tmp_path / "data")
    assert sorted(file.name for file in (folder / "data").iterdir())[0] == "train-00000-of-00002.parquet"


@pytest.mark.parametrize("revision", ["", f"@{COMMIT}"])
def test_a_broken_download_goes_on_and_leaves_nothing_of_another_state(hub, tmp_path, monkeypatch, revision):
    hub["main"], hub[CONVERTED] = tmp_path / "script", tmp_path / "converted"
    put(hub["main"] / "README.md", b"images")
    if revision:
        as_parquet(hub["main"], "train", range(3))
    as_parquet(hub[CONVERTED], "train", range(9))
    whole = huggingface_hub.snapshot_download

    def broken(*given, **options):
        place = whole(*given, **options)
        if options["revision"] == COMMIT[::-1]:
            (options["local_dir"] / "data/train-00002-of-00003.parquet").unlink()
            raise OSError("the net is gone")
        return place

    monkeypatch.setattr("huggingface_hub.snapshot_download", broken)
    with pytest.raises(InputError, match="the net is gone"):
        fetch_from_hub(f"hf:me/mine@{COMMIT[::-1]}" if revision else "hf:me/mine", tmp_path / "data")
    monkeypatch.setattr("huggingface_hub.snapshot_download", whole)
    folder = fetch_from_hub(f"hf:me/mine{revision}", tmp_path / "data")
    assert len(list((folder / "data").iterdir())) == (1 if revision else 3)


def test_a_data_set_without_images_or_that_is_not_there_is_refused(hub, tmp_path):
    for folder in ("main", CONVERTED):
        hub[folder] = tmp_path / "empty"
    hub["main"].mkdir()
    (hub["main"] / "README.md").write_text("nothing")
    with pytest.raises(InputError, match=r"^hf:me/mine: has no files that end with .parquet, .arrow, .tar"):
        fetch_from_hub("hf:me/mine", tmp_path / "data")
    with pytest.raises(
        InputError, match=r"^hf:me/other: could not be fetched from the hub .*; check the name"
    ) as caught:
        fetch_from_hub("hf:me/other", tmp_path / "data")
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "data/hf/me/mine").exists()


def test_a_hub_that_does_not_answer_is_said(tmp_path, monkeypatch):
    use(monkeypatch, 9)
    with pytest.raises(InputError, match=r"^hf:me/mine: could not be fetched from the hub .*, or put its files into"):
        fetch_from_hub("hf:me/mine", tmp_path)


@pytest.mark.parametrize("name", ["mine", "hf:mine", "hf:../mine", "hf:me/..", "hf:me/mine/more", "hf:me/mine@", "hf:"])
def test_names_that_are_none_are_refused(tmp_path, name):
    with pytest.raises(InputError, match=r"is written hf:owner/name"):
        fetch_from_hub(name, tmp_path)
