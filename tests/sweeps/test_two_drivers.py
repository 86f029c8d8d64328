"""Two drivers of one sweep at the same time never both write: real processes, stopped and continued by signals."""

import contextlib
import errno
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from kdtrain.errors import InputError
from sweeps.ledger.extent import HEAD
from sweeps.ledger.ledger import Ledger, read
from sweeps.ledger.sweep_events import Note
from sweeps.store import file_lock, generations, holder, lease
from sweeps.store.file_lock import KEY
from sweeps.store.generations import CLAIMS
from sweeps.store.lease import Lease
from sweeps.store.lock import Times, is_driven, take_lock
from sweeps.store.store import Store

QUICK = Times(renew=0.2, stale=1.0, settle=0.05, poll=0.05, verify=0.1)
SUBPROCESS = "import sys; sys.path.insert(0, {folder!r}); from test_two_drivers import drive; drive(*sys.argv[1:])"


def drive(where, kind, stops_in, after):
    """What the first driver does: it appends a record every few milliseconds, and may stop itself in the middle."""
    lock = Lease(Store(where), print, QUICK) if kind == "lease" else take_lock(Store(where))
    ledger = Ledger(Store(where), lock=lock)

    def stopping(function):
        calls = []

        def stopped(*arguments, **options):
            calls.append(1)
            if len(calls) == int(after):
                print("stops", flush=True)
                os.kill(os.getpid(), signal.SIGSTOP)
            return function(*arguments, **options)

        return stopped

    if stops_in == "commit":  # right between the look at the lock and the write
        ledger._store.write = stopping(ledger._store.write)
    elif stops_in == "renewal":  # right between the look at the leases and the write
        lock._write = stopping(lock._write)
    for number in range(10**6):
        ledger.append(Note(f"first {number}"))
        if number == 2:
            print("writes", flush=True)
        time.sleep(0.01)


class First:
    """The first driver, in a process of its own: a fork where that is enough, which spares it the imports."""

    def __init__(self, *words):
        words, (self._out, out), (self._err, err) = list(map(str, words)), os.pipe(), os.pipe()
        self.stdout = os.fdopen(self._out)
        if "://" in words[0]:
            code = SUBPROCESS.format(folder=str(Path(__file__).parent))
            self.pid = subprocess.Popen([sys.executable, "-c", code, *words], stdout=out, stderr=err).pid
        elif (pid := os.fork()) == 0:
            os.dup2(out, 1)
            os.dup2(err, 2)
            sys.stdout, sys.stderr = os.fdopen(1, "w"), os.fdopen(2, "w")
            try:
                drive(*words)
            except BaseException as error:
                os.write(2, f"{error}\n".encode())
            os._exit(1)
        else:
            self.pid = pid
        os.close(out)
        os.close(err)
        self._ended = False

    def stop(self):
        os.kill(self.pid, signal.SIGSTOP)
        self.await_stop()

    def await_stop(self):
        os.waitid(os.P_PID, self.pid, os.WSTOPPED)

    def kill(self):
        if not self._ended:
            self._ended = True
            os.kill(self.pid, signal.SIGKILL)
            os.waitpid(self.pid, 0)

    def ends_with(self):
        """What it says when it is woken and ends."""
        os.kill(self.pid, signal.SIGCONT)
        deadline = time.monotonic() + 60
        while os.waitpid(self.pid, os.WNOHANG) == (0, 0):
            assert time.monotonic() < deadline, "the driver that was woken goes on"
            time.sleep(0.01)
        self._ended = True
        return os.read(self._err, 1 << 16).decode().strip().splitlines()[-1]


@contextlib.contextmanager
def first_driver(where, kind="lock", stops_in="", after=0):
    """The first driver; once it has begun, or once it has stopped itself."""
    first = First(where, kind, stops_in, after)
    try:
        word = "stops\n" if stops_in else "writes\n"
        while (line := first.stdout.readline()) != word:
            assert line, os.read(first._err, 1 << 16)
        if stops_in:
            first.await_stop()
        yield first
    finally:
        first.kill()
        first.stdout.close()
        os.close(first._err)


def texts(sweep, notices=None):
    records = read(sweep, (notices if notices is not None else []).append)
    assert [record.n for record in records] == list(range(1, len(records) + 1))
    return [record.data["text"] for record in records]


def lease_of_the_second(sweep):
    time.sleep(QUICK.stale + 0.1)  # at once, it would be refused: the first one's process is there
    return Lease(Store(sweep), lambda text: None, QUICK)


def append(sweep, count, lock=None):
    ledger = Ledger(sweep, lock=lock)
    seen = [record.data["text"] for record in ledger.records]
    for number in range(count):
        ledger.append(Note(f"second {number}"))
    ledger.close()
    return seen


@pytest.fixture
def elsewhere(monkeypatch):
    """Another machine, which cannot know whether a process of this one lives."""
    monkeypatch.setattr(file_lock, "is_alive", lambda holder: False)


def test_a_deleted_lock_lets_no_driver_of_this_machine_in(tmp_path):
    with first_driver(tmp_path) as first:
        first.stop()
        (tmp_path / KEY).unlink()
        with pytest.raises(InputError, match=rf"another driver \(process {first.pid} on .*wait for it or end it"):
            Ledger(tmp_path)
        assert is_driven(Store(tmp_path))
        first.kill()
        assert not is_driven(Store(tmp_path))
        assert append(tmp_path, 1) == texts(tmp_path)[:-1]


@pytest.mark.parametrize(
    "replaced", ["deleted", "replaced by a copy", "replaced by another file", "folder of drivers deleted"]
)
def test_after_a_deleted_lock_the_first_driver_writes_no_more(tmp_path, elsewhere, replaced):
    with first_driver(tmp_path) as first:
        first.stop()
        lock = tmp_path / KEY
        if replaced == "deleted":
            lock.unlink()
        elif replaced == "replaced by a copy":
            shutil.copy2(lock, tmp_path / "copy")
            (tmp_path / "copy").replace(lock)
        elif replaced == "replaced by another file":
            lock.rename(tmp_path / "old")
            lock.write_bytes(b"")
        else:
            lock.unlink()
            shutil.rmtree(tmp_path / CLAIMS)
        before = append(tmp_path, 3)
        said = first.ends_with()
    assert "another driver has taken over" in said or "was deleted or replaced while this driver ran" in said
    assert texts(tmp_path) == [*before, "second 0", "second 1", "second 2"]


def test_a_replaced_lock_stops_the_driver_even_when_no_other_comes(tmp_path):
    ledger = Ledger(tmp_path)
    ledger.append(Note("one"))
    (tmp_path / KEY).unlink()
    with pytest.raises(InputError, match=r"was deleted or replaced while this driver ran.*run the same command again"):
        ledger.append(Note("two"))
    ledger._lock.close()
    assert texts(tmp_path) == ["one"]
    assert append(tmp_path, 1) == ["one"]


def test_a_driver_without_news_looks_at_its_lock_too(tmp_path, monkeypatch):
    ledger = Ledger(tmp_path)
    ledger.append(Note("one"))
    (tmp_path / KEY).unlink()
    later = time.monotonic() + 5
    monkeypatch.setattr("sweeps.ledger.ledger.time.monotonic", lambda: later)
    with pytest.raises(InputError, match="was deleted or replaced"):
        ledger.tick()
    ledger._lock.close()


@pytest.mark.parametrize("kind", ["lock", "lease"])
def test_a_record_that_a_stopped_driver_writes_too_late_does_not_count(tmp_path, elsewhere, kind):
    with first_driver(tmp_path, kind, stops_in="commit", after=4) as first:
        if kind == "lock":
            (tmp_path / KEY).unlink()
        lock = lease_of_the_second(tmp_path) if kind == "lease" else None
        before = append(tmp_path, 2, lock)
        assert texts(tmp_path) == [*before, "second 0", "second 1"]
        said = first.ends_with()
    assert "another driver has taken over" in said or "was deleted or replaced" in said
    notices = []
    assert texts(tmp_path, notices) == [*before, "second 0", "second 1"]
    assert any("1 record of a driver that another one had followed is left out" in notice for notice in notices)
    if lock is not None:
        lock.close()
    append(tmp_path, 1)
    assert texts(tmp_path)[-3:] == ["second 0", "second 1", "second 0"]


@pytest.mark.parametrize("stops_in", ["", "renewal"])
def test_a_lease_taken_from_a_stopped_driver_stays_taken(tmp_path, stops_in):
    with first_driver(tmp_path, "lease", stops_in, after=3) as first:
        if not stops_in:
            first.stop()
        lock = lease_of_the_second(tmp_path)
        ledger = Ledger(tmp_path, lock=lock)
        before = [record.data["text"] for record in ledger.records]
        ledger.append(Note("second 0"))
        assert "another driver has taken over" in first.ends_with()
        time.sleep(2 * QUICK.renew)
        ledger.append(Note("second 1"))
        ledger.close()
        lock.close()
    assert texts(tmp_path) == [*before, "second 0", "second 1"]


@pytest.mark.slow
@pytest.mark.parametrize("stops_in", ["", "renewal", "commit"])
def test_a_lease_of_an_object_store_taken_from_a_stopped_driver_stays_taken(s3_folder, stops_in):
    store = Store(s3_folder)
    with first_driver(s3_folder, "lease", stops_in, after=3) as first:
        if not stops_in:
            first.stop()
        lock = lease_of_the_second(s3_folder)
        ledger = Ledger(store, lock=lock)
        before = [record.data["text"] for record in ledger.records]
        ledger.append(Note("second 0"))
        assert "another driver has taken over" in first.ends_with()
        time.sleep(2 * QUICK.renew)
        ledger.append(Note("second 1"))
        ledger.close()
        lock.close()
    assert texts(store) == [*before, "second 0", "second 1"]


def test_a_sweep_that_is_copied_while_it_runs_goes_on_in_both_places(tmp_path):
    ledger = Ledger(tmp_path / "a")
    ledger.append(Note("one"))
    shutil.copytree(tmp_path / "a", tmp_path / "b")
    assert append(tmp_path / "b", 1) == ["one"]
    ledger.append(Note("two"))
    ledger.close()
    assert texts(tmp_path / "a") == ["one", "two"]
    assert texts(tmp_path / "b") == ["one", "second 0"]


def test_of_two_drivers_that_open_at_the_same_moment_one_stays(tmp_path, elsewhere, monkeypatch):
    first = Ledger(tmp_path)
    first.append(Note("one"))
    (tmp_path / KEY).unlink()
    monkeypatch.setattr(file_lock, "newest", lambda store: 0)  # as if it had looked before the first one came
    with pytest.raises(InputError, match="another driver is running"):
        Ledger(tmp_path)
    first._lock.close()
    assert texts(tmp_path) == ["one"]


@pytest.mark.parametrize("jump", [3600.0, -3600.0])
def test_a_clock_that_jumps_ends_no_lease(tmp_path, monkeypatch, jump):
    lock = Lease(Store(tmp_path), lambda text: None, QUICK)
    ledger = Ledger(tmp_path, lock=lock)
    ledger.append(Note("one"))
    now = time.time
    monkeypatch.setattr(lease.time, "time", lambda: now() + jump)
    ledger.append(Note("two"))
    with pytest.raises(InputError, match="another driver"):
        Lease(Store(tmp_path), lambda text: None, QUICK)
    ledger.append(Note("three"))
    ledger.close()
    lock.close()
    assert texts(tmp_path) == ["one", "two", "three"]


@pytest.fixture
def without_locks(monkeypatch):
    def refuse(file, operation):
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr("fcntl.flock", refuse)


def test_a_file_system_without_locks_has_leases(tmp_path, without_locks):
    lock = take_lock(Store(tmp_path), times=QUICK)
    assert isinstance(lock, Lease)
    assert is_driven(Store(tmp_path))
    with pytest.raises(InputError, match=f"another driver .process {os.getpid()} on"):
        take_lock(Store(tmp_path), times=QUICK)
    append(tmp_path, 2, lock)
    lock.close()
    assert not is_driven(Store(tmp_path))
    assert texts(tmp_path) == ["second 0", "second 1"]


def claim(sweep, **changes):
    """What a driver that was killed has left."""
    store = Store(sweep)
    (sweep / "ledger").mkdir()
    ours = holder.ourselves("feed", folder=(sweep / "ledger").stat().st_ino)
    store.write(generations.claim_key("0003"), json.dumps({**ours, **changes}).encode())


def test_a_process_that_has_the_number_of_a_dead_driver_is_not_the_driver(tmp_path):
    claim(tmp_path, pid=os.getppid(), started="1")
    assert not is_driven(Store(tmp_path))
    said, began = [], time.monotonic()
    lock = Lease(Store(tmp_path), said.append, QUICK)
    assert time.monotonic() - began < QUICK.stale
    assert "died without giving its lease back" in said[0]
    assert lock.generation == 4
    lock.close()


def test_a_host_of_the_same_name_is_another_host(tmp_path):
    claim(tmp_path, machine="another", pid=2**22 + 1)
    assert not holder.is_dead(holder.parse_holder((tmp_path / CLAIMS / "0003.json").read_bytes()))
    said = []
    lock = Lease(Store(tmp_path), said.append, QUICK)
    assert "waiting up to" in said[0]
    lock.close()


def test_a_driver_of_another_machine_that_has_not_given_the_sweep_back_is_named(tmp_path):
    claim(tmp_path, machine="another", host="elsewhere", pid=7)
    said = []
    ledger = Ledger(tmp_path, said.append)
    assert ledger._lock.generation == 4
    ledger.close()
    assert len(said) == 1
    assert "a driver of another machine (process 7 on elsewhere, since " in said[0]
    Ledger(tmp_path, said.append).close()
    assert len(said) == 1


def test_the_lease_of_an_earlier_version_is_respected(tmp_path):
    theirs = {**holder.ourselves("feed"), "pid": os.getppid(), "started": ""}
    Store(tmp_path).write("ledger/lease.json", json.dumps(theirs).encode())
    with pytest.raises(InputError, match=f"another driver .process {os.getppid()} on"):
        Lease(Store(tmp_path), lambda text: None, QUICK)


def test_a_note_that_a_stopped_driver_writes_too_late_is_no_damage(tmp_path, elsewhere):
    first = Ledger(tmp_path)
    first.append(Note("one"))
    (tmp_path / KEY).unlink()
    second = Ledger(tmp_path)
    second.append(Note("two"))
    second.append(Note("three"))
    first._head.note(first._extent._replace(records=2, seal="0" * 16))
    assert json.loads((tmp_path / HEAD).read_bytes())["generation"] == 1
    assert texts(tmp_path) == ["one", "two", "three"]
    second.close()
    first._lock.close()
