"""One driver per sweep: the operating system's lock on a disk, a lease in an object store."""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time

import pytest

from kdtrain.errors import InputError, StorageError
from sweeps.ledger.ledger import Ledger, read
from sweeps.ledger.sweep_events import Note
from sweeps.store import lease as lease_module
from sweeps.store.file_lock import KEY
from sweeps.store.generations import CLAIMS
from sweeps.store.holder import machine
from sweeps.store.lock import Times, is_driven, take_lock
from sweeps.store.store import Store

QUICK = Times(renew=0.4, stale=2.4, settle=0.1, poll=0.1)
HOLD = """
import sys, time
from sweeps.store.lock import Times, take_lock
from sweeps.store.store import Store
held = take_lock(Store(sys.argv[1]), times=Times(*map(float, sys.argv[2:])))
print("held", flush=True)
time.sleep(600)
"""


@contextlib.contextmanager
def holder(where):
    """Another process that holds the lock."""
    times = (QUICK.renew, QUICK.stale, QUICK.settle, QUICK.poll)
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(where), *map(str, times)], stdout=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout.readline() == "held\n"
        yield process
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


THEIRS = f"{CLAIMS}/0009-feed.json"


def write_lease(store, key=THEIRS, **changes):
    lease = {"host": "elsewhere", "machine": "another", "pid": 7, "since": "noon", "token": "feed"}
    store.write(key, json.dumps({**lease, **changes}).encode())


def lease_of(lock):
    return f"{CLAIMS}/{lock.mark}.json"


@contextlib.contextmanager
def lease_renewed_elsewhere(store):
    ended = threading.Event()

    def renew():
        while not ended.is_set():
            write_lease(store)
            ended.wait(QUICK.renew)

    write_lease(store)
    thread = threading.Thread(target=renew)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def test_the_lock_of_a_disk(tmp_path):
    store = Store(tmp_path)
    with holder(tmp_path) as process:
        assert is_driven(store)
        with pytest.raises(
            InputError, match=rf"another driver \(process {process.pid} on .*, since .*wait for it or end"
        ):
            take_lock(store)
        process.kill()
        process.wait()
        assert not is_driven(store)
        take_lock(store).close()


def test_looking_at_the_lock_is_no_driving(tmp_path):
    store, ended = Store(tmp_path), threading.Event()
    take_lock(store).close()
    before = (tmp_path / KEY).read_bytes()
    assert not is_driven(store)
    assert (tmp_path / KEY).read_bytes() == before

    def look():
        while not ended.is_set():
            is_driven(store)

    thread = threading.Thread(target=look)
    thread.start()
    try:
        for _ in range(30):
            take_lock(store).close()
    finally:
        ended.set()
        thread.join()


def test_a_folder_that_takes_no_lock_is_named(tmp_path):
    (tmp_path / "ledger").write_bytes(b"")
    with pytest.raises(StorageError, match=f"cannot write to {tmp_path}: .*choose another folder"):
        take_lock(Store(tmp_path))


def test_the_lease_of_a_living_process_of_this_machine_is_refused_at_once(s3_folder):
    store = Store(s3_folder)
    with holder(s3_folder) as process:
        assert is_driven(store)
        began = time.monotonic()
        with pytest.raises(InputError, match=rf"another driver \(process {process.pid} on "):
            take_lock(store, times=QUICK)
        assert time.monotonic() - began < 1
        process.kill()
        process.wait()
        assert not is_driven(store)
        said, began = [], time.monotonic()
        lock = take_lock(store, said.append, QUICK)
        assert time.monotonic() - began < 1
        assert len(said) == 1
        assert f"the driver (process {process.pid} on " in said[0]
        assert "taken over" in said[0]
        lock.check()
        lock.close()
    assert not store.names(CLAIMS)


def test_the_lease_of_a_silent_machine_is_taken_over_after_a_while(s3_folder):
    store, said = Store(s3_folder), []
    write_lease(store)
    assert is_driven(store)
    began = time.monotonic()
    lock = take_lock(store, said.append, QUICK)
    assert QUICK.stale < time.monotonic() - began < QUICK.stale + 2
    assert "waiting up to" in said[0]
    assert "process 7 on elsewhere" in said[1]
    assert "taken over" in said[1]
    lock.close()


def test_the_lease_of_a_living_machine_is_refused_when_it_is_renewed(s3_folder):
    store = Store(s3_folder)
    began = time.monotonic()
    with lease_renewed_elsewhere(store), pytest.raises(InputError, match="process 7 on elsewhere"):
        take_lock(store, times=QUICK)
    assert time.monotonic() - began < 2 + QUICK.renew  # the store's clock has whole seconds
    assert is_driven(store)


def test_a_lease_with_the_number_of_a_process_that_is_another_one_now_is_waited_for(s3_folder, monkeypatch):
    store = Store(s3_folder)
    write_lease(store, machine=machine(), pid=1)
    monkeypatch.setattr(lease_module, "_is_fresh", lambda store, key, times: False)
    take_lock(store, times=QUICK).close()


def test_the_same_number_in_another_container_is_another_process(s3_folder, monkeypatch):
    store = Store(s3_folder)
    write_lease(store, host=socket.gethostname(), pid=2**22 + 1)
    assert is_driven(store)
    write_lease(store, machine=machine(), pid=2**22 + 1)
    assert not is_driven(store)


def test_a_lease_is_renewed_as_long_as_it_is_held(s3_folder):
    store = Store(s3_folder)
    lock = take_lock(store, times=QUICK)
    first = store.written_at(lease_of(lock))
    time.sleep(2.2)
    assert store.written_at(lease_of(lock)) > first
    with pytest.raises(InputError, match=f"process {os.getpid()} on"):
        take_lock(store, times=QUICK)
    lock.close()
    assert not store.names(CLAIMS)


def test_a_driver_whose_lease_was_taken_writes_no_more(s3_folder):
    store = Store(s3_folder)
    lock = take_lock(store, times=QUICK)
    ledger = Ledger(store, lock=lock)
    ledger.append(Note("mine"))
    write_lease(store)
    time.sleep(2 * QUICK.renew)
    with pytest.raises(InputError, match=r"another driver has taken over the sweep in s3://.*, so this one stops"):
        ledger.append(Note("too late"))
    with pytest.raises(InputError, match="taken over"):
        lock.check()
    lock.close()
    assert json.loads(store.read(THEIRS))["token"] == "feed"
    assert [record.data["text"] for record in read(store)] == ["mine"]


def test_a_driver_that_slept_looks_at_the_store_before_it_writes(s3_folder):
    store = Store(s3_folder)
    lock = take_lock(store, times=Times(renew=600, stale=1, settle=0.1, poll=0.1))
    write_lease(store)
    lock.check()
    time.sleep(0.6)
    with pytest.raises(InputError, match="taken over"):
        lock.check()
    lock.close()


@pytest.mark.slow
def test_a_stopped_holder_is_taken_over_and_finds_out(s3_folder):
    store = Store(s3_folder)
    code = HOLD.replace("time.sleep(600)", "time.sleep(3)\nwhile True: held.check(); time.sleep(0.1)")
    times = (QUICK.renew, QUICK.stale, QUICK.settle, QUICK.poll)
    process = subprocess.Popen(
        [sys.executable, "-c", code, s3_folder, *map(str, times)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout.readline() == "held\n"
    process.send_signal(signal.SIGSTOP)
    time.sleep(QUICK.stale + 1)
    lock = take_lock(store, times=QUICK)
    process.send_signal(signal.SIGCONT)
    _, errors = process.communicate(timeout=60)
    assert "another driver has taken over" in errors
    lock.check()
    lock.close()


def test_a_store_that_was_away_is_away_for_the_lease_s_holder_too(door):
    store = Store(door.uri)
    lock = take_lock(store, times=QUICK)
    door.refuse(seconds=QUICK.stale + 1)
    began = time.monotonic()
    time.sleep(QUICK.stale / 2 + 0.2)
    lock.check()  # waits until it could be renewed
    assert time.monotonic() - began > QUICK.stale
    lock.close()
    assert not store.names(CLAIMS)


def test_of_two_drivers_at_once_one_stays(s3_folder):
    taken, refused = [], []

    def take():
        try:
            taken.append(take_lock(Store(s3_folder), times=Times(renew=0.4, stale=2.4, settle=0.5, poll=0.1)))
        except InputError as error:
            refused.append(str(error))

    drivers = [threading.Thread(target=take) for _ in range(3)]
    for driver in drivers:
        driver.start()
    for driver in drivers:
        driver.join()
    assert len(taken) == 1
    assert len(refused) == 2
    taken[0].close()
