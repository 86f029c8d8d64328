"""A store on a disk and in an object store: the same behaviour, patience, and what is said when there is no hope."""

import contextlib
import pickle
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from kdtrain.errors import InputError, StorageError
from sweeps.store.store import Store, open_store


@pytest.fixture(params=["disk", "s3"])
def store(request, tmp_path):
    if request.param == "disk":
        return Store(tmp_path / "D")
    return Store(request.getfixturevalue("s3_folder"))


def test_a_file_is_what_was_written_last(store):
    with pytest.raises(FileNotFoundError):
        store.read("a/b.txt")
    assert not store.exists("a/b.txt")
    assert store.written_at("a/b.txt") is None
    store.write("a/b.txt", b"first")
    store.write("a/b.txt", b"second")
    store.write("a/empty", b"")
    assert store.read("a/b.txt") == b"second"
    assert store.read("a/empty") == b""
    assert store.exists("a/b.txt")
    assert not store.exists("a")
    assert abs(store.written_at("a/b.txt") - time.time()) < 5


def test_a_long_file_comes_back_whole(store):
    content = bytes(range(256)) * (12 << 12)
    store.write("big", content)
    assert store.read("big") == content


def test_names_are_sorted_and_of_one_level(store):
    assert store.names("a") == []
    for key in ("a/2", "a/10", "a/1", "a/deep/3", "ab/4"):
        store.write(key, b"x")
    assert store.names("a") == ["1", "10", "2"]
    assert store.names("") == []


def test_deleting_leaves_the_neighbours(store):
    store.write("a/1", b"x")
    store.write("a/2", b"x")
    store.delete("a/1")
    store.delete("a/1")
    assert store.names("a") == ["2"]
    store.delete("a/2")
    assert store.names("a") == []


def test_pull_copies_all_below_a_prefix(store, tmp_path):
    for key in ("a/1", "a/deep/2", "ab/3"):
        store.write(key, key.encode())
    store.pull("a", tmp_path / "here")
    found = {str(path.relative_to(tmp_path / "here")): path.read_bytes() for path in (tmp_path / "here").rglob("?")}
    assert found == {"1": b"a/1", "deep/2": b"a/deep/2"}


def test_move_takes_all_below_a_prefix(store):
    for key in ("a/1", "a/deep/2", "ab/3"):
        store.write(key, key.encode())
    store.move("a", "aside/a")
    assert not store.exists("a/1")
    assert store.read("aside/a/1") == b"a/1"
    assert store.read("aside/a/deep/2") == b"a/deep/2"
    assert store.read("ab/3") == b"ab/3"


def test_below_is_the_same_files(store):
    store.write("a/b/c", b"x")
    below = store.below("a").below("b")
    assert below.read("c") == b"x"
    below.write("d", b"y")
    assert store.read("a/b/d") == b"y"


def test_a_workplace_begins_with_what_is_there_and_saves_what_changed(store):
    store.write("w/kept", b"kept")
    store.write("w/old", b"old")
    with store.workplace("w") as place:
        assert (place.folder / "kept").read_bytes() == b"kept"
        (place.folder / "old").unlink()
        (place.folder / "deep").mkdir()
        (place.folder / "deep" / "new").write_bytes(b"new")
        place.save()
        assert store.read("w/deep/new") == b"new"
        assert store.names("w") == ["kept"]
        (place.folder / "kept").write_bytes(b"changed")
    assert store.read("w/kept") == b"changed"
    with store.workplace("w") as place:
        assert (place.folder / "deep" / "new").read_bytes() == b"new"


def test_a_workplace_may_be_the_whole_store(store):
    with store.workplace("") as place:
        (place.folder / "deep").mkdir(parents=True)
        (place.folder / "deep" / "new").write_bytes(b"new")
    assert store.read("deep/new") == b"new"
    with store.workplace("") as place:
        assert (place.folder / "deep" / "new").read_bytes() == b"new"
        (place.folder / "deep" / "new").unlink()
    assert not store.exists("deep/new")


def test_a_workplace_brings_a_result_after_what_was_made_before_it(s3_folder, monkeypatch):
    store, written = Store(s3_folder), []
    with store.workplace("w") as place:
        for name in ("student", "middle", "a-result"):
            (place.folder / name).write_bytes(b"x")
            time.sleep(0.01)
        write = store.write
        monkeypatch.setattr(store, "write", lambda key, content: (written.append(key), write(key, content)))
    assert written == ["w/student", "w/middle", "w/a-result"]


def test_a_workplace_left_by_an_error_saves_no_more(s3_folder):
    store = Store(s3_folder)
    with contextlib.suppress(RuntimeError), store.workplace("w") as place:
        (place.folder / "half").write_bytes(b"x")
        raise RuntimeError
    assert not store.exists("w/half")


def test_a_store_pickles_as_its_address(store):
    store.write("a", b"x")
    copy = pickle.loads(pickle.dumps(store))
    assert str(copy) == str(store)
    assert copy.read("a") == b"x"
    assert open_store(str(store)).read("a") == b"x"


def test_a_writer_that_is_killed_leaves_the_old_or_the_new(tmp_path):
    code = (
        "import sys\nfrom sweeps.store.store import Store\nstore = Store(sys.argv[1])\n"
        "while True:\n    for letter in (b'a', b'b'):\n        store.write('file', letter * (1 << 20))\n"
    )
    writer = subprocess.Popen([sys.executable, "-c", code, str(tmp_path)])
    while not (tmp_path / "file").exists() and writer.poll() is None:
        time.sleep(0.01)
    time.sleep(0.2)
    writer.kill()
    writer.wait()
    content = Store(tmp_path).read("file")
    assert len(content) == 1 << 20
    assert len(set(content)) == 1
    assert Store(tmp_path).names("") == ["file"]


def test_a_store_that_refuses_for_a_while_is_waited_for_and_told_of_once(door):
    store, said = Store(door.uri), []
    store.notice = said.append
    store.write("a", b"old")
    door.refuse(seconds=4)
    began = time.monotonic()
    store.write("a", b"new")
    assert 4 <= time.monotonic() - began < 9
    assert door.refused > 2
    assert len(said) == 1
    assert "cannot write a to s3://" in said[0]
    assert "trying again for 1" in said[0]
    assert store.read("a") == b"new"


def test_a_refused_write_leaves_the_old_content(door):
    store = Store(door.uri, patience_s=1)
    store.write("a", b"old")
    door.refuse()
    with pytest.raises(StorageError, match=r"cannot write a to s3://.*once it answers again, run the same command"):
        store.write("a", b"new")
    door.open()
    assert store.read("a") == b"old"


def test_who_is_in_a_hurry_does_not_wait(door):
    store = Store(door.uri)
    store.gives_up = lambda: True
    store.write("a", b"old")
    door.refuse()
    began = time.monotonic()
    with pytest.raises(StorageError):
        store.write("a", b"new")
    assert time.monotonic() - began < 5


def test_one_put_is_one_request_and_a_refusal_is_known_within_seconds(door):
    store = Store(door.uri, patience_s=0)
    door.refuse(status="409 Conflict", code="OperationAborted")
    with pytest.raises(StorageError):
        store.write("a", b"x")
    assert door.refused == 1
    door.refuse()
    began = time.monotonic()
    with pytest.raises(StorageError):
        store.write("a", b"x")
    assert time.monotonic() - began < 4


@pytest.mark.parametrize(
    ("status", "code", "said"),
    [
        ("403 Forbidden", "AccessDenied", "credentials are not accepted"),
        ("403 Forbidden", "InvalidAccessKeyId", "credentials are not accepted"),
        ("403 Forbidden", "SignatureDoesNotMatch", "credentials are not accepted"),
        ("400 Bad Request", "ExpiredToken", "credentials are not accepted"),
        ("301 Moved Permanently", "PermanentRedirect", "the bucket is in another region"),
        ("507 Insufficient Storage", "XMinioStorageFull", "it is full; make room"),
    ],
)
def test_what_waiting_does_not_change_is_said_at_once(door, status, code, said):
    store = Store(door.uri)
    store.write("a", b"x")
    door.refuse(status=status, code=code, methods=("GET", "HEAD", "PUT", "POST", "DELETE"))
    began = time.monotonic()
    with pytest.raises(StorageError, match=f"cannot write a to .*{said}"):
        store.write("a", b"x")
    with pytest.raises(StorageError, match="cannot list ledger in"):
        store.names("ledger")
    assert time.monotonic() - began < 3


def test_a_missing_bucket_is_named(s3_folder):
    store = Store(s3_folder.replace("s3://", "s3://not-", 1))
    with pytest.raises(StorageError, match=r"cannot write probe to s3://not-.*there is no such bucket; make it"):
        store.check_writable()


def test_a_store_that_has_never_answered_is_not_waited_for_long(s3, monkeypatch):
    monkeypatch.setattr("sweeps.store.store.FIRST_ANSWER_S", 2.0)
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        address = f"s3://bucket/x?region=us-east-1&endpoint_override=http://127.0.0.1:{nobody.getsockname()[1]}"
        began = time.monotonic()
        with pytest.raises(StorageError, match=r"cannot list ledger in .*onnect"):
            Store(address).names("ledger")
        assert 2 <= time.monotonic() - began < 6


@pytest.mark.parametrize(
    ("address", "said"),
    [
        ("s4://bucket/x", "cannot be opened"),
        ("s3://bucket/x?region=us-east-1&nonsense=1", "nonsense"),
        ("s3://", "names no bucket"),
        ("s3:/bucket/x", "two slashes"),
        ("s3://bucket x/y", "cannot be opened"),
        ("s3://key:secret@bucket/x?region=us-east-1", "AWS_ACCESS_KEY_ID"),
    ],
)
def test_an_address_that_does_not_parse_is_one_sentence(address, said):
    with pytest.raises(InputError, match=said) as error:
        Store(address)
    assert "\n" not in str(error.value)
    assert "secret@" not in str(error.value)


def test_a_disk_that_takes_no_file_is_named(tmp_path):
    (tmp_path / "D").write_bytes(b"")
    with pytest.raises(StorageError, match=f"cannot write {tmp_path}/D/a"):
        Store(tmp_path / "D").write("a", b"x")
    assert Path(tmp_path / "D").read_bytes() == b""
