"""The replay store: shared, exact, bounded, and safe against kills and damage."""

import errno
import logging
import multiprocessing
import os
import random
import shutil
import signal
import threading
import time
from collections import Counter
from multiprocessing import forkserver
from pathlib import Path

import pytest
import torch
from replay_recorder import (
    BATCH,
    CHUNKS,
    FACTS,
    LIMIT,
    ROWS,
    SPECS,
    content,
    killed_in_make,
    killed_in_write,
    record,
    record_again_and_again,
    record_with_others,
    stream,
    wrong_chunks,
)

from kdtrain.replay import Layout, ReplayStore, Stream, TensorSpec, array_file, bytes_of, ensure, stream_key

torch.set_num_threads(1)
PROCESSES = multiprocessing.get_context("forkserver")


@pytest.fixture(scope="module", autouse=True)
def _imports_once():
    """A server that has imported what the processes need; they are its forks."""
    PROCESSES.set_forkserver_preload(["replay_recorder"])
    with pytest.MonkeyPatch.context() as patch:
        folders = (str(Path(__file__).parent), str(Path(__file__).parents[2]))
        patch.setenv("PYTHONPATH", os.pathsep.join(folders))
        forkserver.ensure_running()


def start(target, *args):
    process = PROCESSES.Process(target=target, args=args, daemon=True)
    process.start()
    return process


def finish(*processes):
    for process in processes:
        process.join(60)
        assert process.exitcode == 0


def made(log):
    """How often each chunk was made."""
    lines = log.read_text().splitlines() if log.exists() else []
    assert not [line for line in lines if line.startswith("wrong")]
    return Counter(int(line.split()[0]) for line in lines)


@pytest.fixture
def log(tmp_path):
    return tmp_path / "log"


@pytest.fixture
def root(tmp_path):
    return tmp_path / "store"


def recorded(root, view=0, store=None, facts=FACTS):
    """Record a view in this process."""
    its = Stream(store or ReplayStore(root, LIMIT), facts, Layout(batch=BATCH))
    with its.view(view) as opened:
        arrays = opened.arrays(ROWS, SPECS)
        assert arrays is not None
        assert ensure(opened, arrays, range(CHUNKS), content) == CHUNKS
    return its


def one_file(root, pattern):
    (path,) = root.glob(f"*/view-*/{pattern}")
    return path


@pytest.mark.parametrize("dtype", [torch.uint8, torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_rows_come_back_as_they_were_written(root, dtype):
    rows = torch.randn(10, 3, 5, 7).mul(50).to(dtype)
    with Stream(ReplayStore(root, LIMIT), FACTS, Layout(batch=3, extra=1)).view(2) as view:
        arrays = view.arrays(10, {"logits": TensorSpec((3, 5, 7), dtype)})
        array = arrays["logits"]
        assert array.chunks == 3
        assert not any(array.has(chunk) for chunk in range(3))
        for chunk in (2, 0, 1):
            assert array.write(chunk, rows[4 * chunk : 4 * chunk + 4])
    with Stream(ReplayStore(root, LIMIT), FACTS, Layout(batch=3, extra=1)).view(2) as view:
        array = view.arrays(10, {"logits": TensorSpec((3, 5, 7), dtype)})["logits"]
        assert all(array.has(chunk) for chunk in range(3))
        for numbers in (slice(None), slice(2, 9), [3, 4, 5], [9], [7, 0, 7, 2], range(8, 2, -2), []):
            index = torch.tensor(list(numbers), dtype=torch.long) if not isinstance(numbers, slice) else numbers
            got = array.read(numbers)
            assert got.dtype == dtype
            assert torch.equal(got, rows[index])
        kept = array.read([1, 2])
    assert torch.equal(kept, rows[1:3]), "what has been read stays when the view is closed"


def test_any_memory_format_is_stored_and_wrong_rows_are_refused(root):
    with Stream(ReplayStore(root, LIMIT), FACTS, Layout(batch=2)).view(0) as view:
        array = view.arrays(2, {"logits": TensorSpec((3, 4, 5), torch.float32)})["logits"]
        rows = torch.randn(2, 3, 4, 5).contiguous(memory_format=torch.channels_last).requires_grad_()
        array.write(0, rows)
        assert torch.equal(array.read(slice(2)), rows)
        with pytest.raises(ValueError, match=r"chunk 0 .* is \(2, 3, 4, 5\) of torch.float32, got \(1, 3, 4, 5\)"):
            array.write(0, torch.zeros(1, 3, 4, 5))
        with pytest.raises(ValueError, match="float16"):
            array.write(0, torch.zeros(2, 3, 4, 5, dtype=torch.float16))
        with pytest.raises(IndexError, match="rows 0 to 1"):
            array.read([2])
        with pytest.raises(ValueError, match="the name of an array"):
            view.arrays(2, {"../logits": TensorSpec((3, 4, 5), torch.float32)})


def test_a_chunk_that_is_not_there_is_not_read(root):
    with stream(root).view(0) as view:
        arrays = view.arrays(ROWS, SPECS)
        ensure(view, arrays, [1], content)
        images = arrays["images"]
        assert len(images.read(slice(4, 8))) == 4
        for rows in (slice(4, 9), [3, 4]):
            with pytest.raises(LookupError, match=r"chunk \d of images.* is missing"):
                images.read(rows)
    with stream(root).view(0) as view:
        images = view.arrays(ROWS, SPECS)["images"]
        with pytest.raises(LookupError, match="was not called"):
            images.read([4])


def test_what_is_done_to_a_tensor_stays_in_the_tensor(root):
    its = recorded(root)
    with its.view(0) as view:
        array = view.arrays(ROWS, SPECS)["logits"]
        assert array.has(1)
        array.read(slice(4, 8)).zero_()
        assert torch.equal(array.read(slice(4, 8)), content(1)["logits"])
    with stream(root).view(0) as view:
        assert wrong_chunks(view.arrays(ROWS, SPECS)) == []


def test_who_comes_later_adopts_the_layout_of_the_first(root):
    recorded(root)
    later = Stream(ReplayStore(root, LIMIT), dict(reversed(FACTS.items())), Layout(batch=7, extra=2))
    assert later.layout == Layout(batch=BATCH)
    with later.view(0) as view:
        assert wrong_chunks(view.arrays(ROWS, SPECS)) == []


def test_other_facts_another_stream(root):
    recorded(root)
    other = Stream(ReplayStore(root, LIMIT), {**FACTS, "seed": 4}, Layout(batch=BATCH))
    with other.view(0) as view:
        assert len(wrong_chunks(view.arrays(ROWS, SPECS))) == CHUNKS
    with stream(root).view(1) as view:
        assert len(wrong_chunks(view.arrays(ROWS, SPECS))) == CHUNKS
    assert stream_key({"a": 1, "b": [2.5]}) == stream_key({"b": (2.5,), "a": 1}) != stream_key({"a": 1, "b": 2.5})
    assert len(stream_key({})) == 16


def test_a_track_of_another_precision_is_another_track(root):
    recorded(root)
    with stream(root).view(0) as view:
        half = view.arrays(ROWS, {"logits": TensorSpec(SPECS["logits"].shape, torch.float16)})["logits"]
        assert not half.has(0)
        assert half.write(0, content(0)["logits"].half())
        assert wrong_chunks(view.arrays(ROWS, SPECS)) == []


def test_processes_share_the_chunks(root, log):
    writers = [start(record_with_others, root, log, str(number), 2) for number in range(3)]
    finish(*writers)
    assert made(log) == dict.fromkeys(range(CHUNKS), 1)
    shares = Counter(line.split()[1] for line in log.read_text().splitlines())
    assert len(shares) == 3, shares


def test_threads_share_the_chunks(root, log):
    writers = [threading.Thread(target=record_with_others, args=(root, log, str(number), 2)) for number in range(3)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert made(log) == dict.fromkeys(range(CHUNKS), 1)
    assert len({line.split()[1] for line in log.read_text().splitlines()}) == 3


def test_waiting_pauses_and_ends_as_the_pause_wants(root):
    its = stream(root)
    pauses = []

    def pause():
        pauses.append(1)
        if len(pauses) == 3:
            raise KeyboardInterrupt

    with its.view(0) as view, stream(root).view(0) as other, other.claim(5) as mine:
        assert mine
        arrays = view.arrays(ROWS, SPECS)
        with pytest.raises(KeyboardInterrupt):
            ensure(view, arrays, range(CHUNKS), content, pause)
        assert wrong_chunks(arrays) == [5]


def test_a_chunk_whose_maker_fails_is_free_again(root):
    with stream(root).view(0) as view:
        arrays = view.arrays(ROWS, SPECS)
        with pytest.raises(ZeroDivisionError):
            ensure(view, arrays, [3], lambda chunk: 1 // 0)
        assert ensure(view, arrays, [3], content) == 1


@pytest.mark.parametrize("at", [0, 11, CHUNKS - 1])
def test_a_kill_while_making_costs_that_chunk_alone(root, log, at):
    killed = start(killed_in_make, root, log, at)
    while not log.exists():
        time.sleep(0.01)
    finish(start(record, root, log))
    killed.join(60)
    assert killed.exitcode == -signal.SIGKILL
    counts = made(log)
    assert counts.pop(at) == 2
    assert counts == {chunk: 1 for chunk in range(CHUNKS) if chunk != at}


@pytest.mark.parametrize("at", [1, 3, 4, 7, 8, 9, 40])
def test_a_kill_while_writing_costs_that_chunk_alone(root, log, at):
    # Writes 1 and 2 are the headers, then data and entry of images and logits in turn.
    killed = start(killed_in_write, root, log, at)
    killed.join(60)
    assert killed.exitcode == -signal.SIGKILL
    record(root, log)
    counts = made(log)
    twice = set() if at <= 2 else {(at - 3) // 4}
    assert counts == {chunk: 1 + (chunk in twice) for chunk in range(CHUNKS)}


def test_kills_at_random_moments_never_leave_a_wrong_sample(root, log):
    for _ in range(8):
        writers = [start(record_again_and_again, root, log) for _ in range(2)]
        time.sleep(0.1 + 0.3 * random.random())
        for writer in writers:
            os.kill(writer.pid, signal.SIGKILL)
            writer.join(60)
            assert writer.exitcode == -signal.SIGKILL
        for path in random.sample(sorted(root.glob("*/view-*/*.*")), 2):
            if path.stat().st_size:
                flip(path, random.randrange(path.stat().st_size))
    made(log)
    for number in range(6):
        with stream(root).view(number) as view:
            arrays = view.arrays(ROWS, SPECS)
            ensure(view, arrays, range(CHUNKS), lambda chunk: content(chunk, number))  # noqa: B023
            assert wrong_chunks(arrays, number) == []


DAMAGES = {
    "data cut": ("images.*.bin", lambda path: os.truncate(path, path.stat().st_size // 2), CHUNKS),
    "data empty": ("images.*.bin", lambda path: os.truncate(path, 0), CHUNKS),
    "data longer": ("images.*.bin", lambda path: os.truncate(path, path.stat().st_size + 1), CHUNKS),
    "data gone": ("images.*.bin", lambda path: path.unlink(), CHUNKS),
    "index cut": ("logits.*.idx", lambda path: os.truncate(path, path.stat().st_size - 1), CHUNKS),
    "index empty": ("logits.*.idx", lambda path: os.truncate(path, 0), CHUNKS),
    "index gone": ("logits.*.idx", lambda path: path.unlink(), CHUNKS),
    "index of another format": ("logits.*.idx", lambda path: flip(path, 12), CHUNKS),
    "a data byte": ("images.*.bin", lambda path: flip(path, path.stat().st_size // 2), 1),
    "the last data byte": ("logits.*.bin", lambda path: flip(path, path.stat().st_size - 1), 1),
    "a length": ("images.*.idx", lambda path: flip(path, 1024 + 16 * 7), 1),
    "a checksum": ("images.*.idx", lambda path: flip(path, 1024 + 16 * 7 + 9), 1),
    "an entry's checksum": ("images.*.idx", lambda path: flip(path, 1024 + 16 * 7 + 13), 1),
    "swapped entries": ("images.*.idx", lambda path: swap(path, 1024, 1024 + 16, 16), 2),
    "used": ("used", lambda path: path.unlink(), 0),
}


def flip(path, at):
    content = bytearray(path.read_bytes())
    content[at] ^= 4
    path.write_bytes(content)


def swap(path, one, two, length):
    content = bytearray(path.read_bytes())
    content[one : one + length], content[two : two + length] = content[two : two + length], content[one : one + length]
    path.write_bytes(content)


@pytest.mark.parametrize("same_process", [False, True])
@pytest.mark.parametrize("what", DAMAGES)
def test_what_is_damaged_is_made_again(root, what, same_process):
    its = recorded(root)
    pattern, damage, lost = DAMAGES[what]
    damage(one_file(root, pattern))
    again = its if same_process else stream(root)
    with again.view(0) as view:
        arrays = view.arrays(ROWS, SPECS)
        assert ensure(view, arrays, range(CHUNKS), content) == lost
        assert wrong_chunks(arrays) == []
    with stream(root).view(0) as view:
        assert wrong_chunks(view.arrays(ROWS, SPECS)) == []


def test_a_process_compares_a_chunk_once_for_all_its_streams_until_the_file_changes(root, monkeypatch):
    recorded(root)
    for path in root.glob("*/view-*/*.bin"):
        os.utime(path, (1e9, 1e9))
    compared, crc32 = [], array_file.crc32

    def counting(data, *start):
        compared.append(isinstance(data, memoryview))  # the others are of headers
        return crc32(data, *start)

    monkeypatch.setattr(array_file, "crc32", counting)

    def read():
        compared.clear()
        with stream(root).view(0) as view:
            arrays = view.arrays(ROWS, SPECS)
            return [array.has(chunk) for array in arrays.values() for chunk in range(CHUNKS)], sum(compared)

    whole = [True] * CHUNKS * len(SPECS)
    assert read() == (whole, len(whole))
    assert read() == (whole, 0)
    flip(one_file(root, "images.*.bin"), 3)
    os.utime(one_file(root, "images.*.bin"), (1e9 + 1, 1e9 + 1))
    sound, count = read()
    assert (sound.count(False), count) == (1, CHUNKS), "the array that has changed is compared anew"


def test_a_file_cut_while_it_is_in_use(root):
    its = recorded(root)
    with its.view(0) as view:
        arrays = view.arrays(ROWS, SPECS)
        assert arrays["images"].has(1)
        os.truncate(one_file(root, "images.*.bin"), 100)
        with pytest.raises(ValueError, match="mmap"):
            arrays["images"].read(slice(4, 8))
        assert ensure(view, arrays, range(CHUNKS - 1, -1, -1), content) == CHUNKS
        assert wrong_chunks(arrays) == []


@pytest.mark.parametrize("left", ["no meta", "half a meta", "another's meta", "no claims", "folder only"])
def test_a_stream_folder_half_made(root, left):
    recorded(root)
    meta = next(root.glob("*/meta.json"))
    if left == "no meta":
        meta.unlink()
    elif left == "half a meta":
        meta.write_text(meta.read_text()[:40])
    elif left == "another's meta":
        meta.write_text(meta.read_text().replace('"d1"', '"d2"'))
    elif left == "folder only":
        shutil.rmtree(meta.parent)
        meta.parent.mkdir()
    else:
        shutil.rmtree(meta.parent / "claims")
    with stream(root).view(0) as view:
        arrays = view.arrays(ROWS, SPECS)
        assert ensure(view, arrays, range(CHUNKS), content) == (CHUNKS if left == "folder only" else 0)
        assert wrong_chunks(arrays) == []


def size_of_a_view():
    assert bytes_of(ROWS, SPECS) == ROWS * (24 * 32 * 3 + 2 * 5 * 24 * 32)
    return bytes_of(ROWS, SPECS)


def views_of(root):
    return sorted(int(path.name[-5:]) for path in root.glob("*/view-*") if path.is_dir())


def test_the_view_used_longest_ago_goes_first(root):
    store = ReplayStore(root, 3 * size_of_a_view())
    for number in range(3):
        recorded(root, number, store)
    assert store.size() == 3 * size_of_a_view()
    its = Stream(store, FACTS, Layout(batch=BATCH))
    with its.view(0) as view:
        view.arrays(ROWS, SPECS)
    recorded(root, 7, store, facts={"another": "stream"})
    assert views_of(root) == [0, 2, 7]
    assert store.size() == 3 * size_of_a_view()
    with its.view(1) as view:
        arrays = view.arrays(ROWS, SPECS)
        assert len(wrong_chunks(arrays)) == CHUNKS, "a view that was removed is not remembered"


def test_a_view_in_use_stays(root):
    store = ReplayStore(root, 2 * size_of_a_view())
    its = recorded(root, 0, store)
    recorded(root, 1, store)
    with its.view(0) as view:
        arrays = view.arrays(ROWS, SPECS)
        recorded(root, 2, store)
        assert views_of(root) == [0, 2]
        with its.view(2) as other, its.view(3) as third:
            assert other.arrays(ROWS, SPECS) is not None
            assert third.arrays(ROWS, SPECS) is None, "the two others are in use"
        assert wrong_chunks(arrays) == []
    assert store.room_for(size_of_a_view())
    assert views_of(root) == [2]


def test_nothing_is_removed_in_vain(root):
    store = ReplayStore(root, 2 * size_of_a_view())
    recorded(root, 0, store)
    its = recorded(root, 1, store)
    assert not store.room_for(2 * size_of_a_view() + 1)
    with its.view(1):
        assert not store.room_for(size_of_a_view() + 1)
    assert views_of(root) == [0, 1]
    assert store.room_for(0)
    assert views_of(root) == [0, 1]


def test_a_disk_without_space_takes_no_view(root, monkeypatch):
    store = ReplayStore(root, LIMIT)
    recorded(root, 0, store)
    usage = shutil.disk_usage(root)._replace(free=1000)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage)
    with Stream(store, {"n": 1}, Layout(batch=BATCH)).view(0) as view:
        assert view.arrays(2 * ROWS, SPECS) is None
        assert views_of(root) == [0], "what is there would not have been enough"
        assert view.arrays(ROWS // 2, SPECS) is not None


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EIO])
def test_a_full_disk_loses_nothing_but_the_recording(root, monkeypatch, caplog, number):
    real, written = os.pwrite, []

    def pwrite(file, data, offset):
        if sum(written) > size_of_a_view() // 2:
            raise OSError(number, os.strerror(number))
        data = data[:5000]  # a short write is resumed
        written.append(len(data))
        return real(file, data, offset)

    monkeypatch.setattr(os, "pwrite", pwrite)
    with stream(root).view(0) as view, caplog.at_level(logging.WARNING):
        arrays = view.arrays(ROWS, SPECS)
        made_here = ensure(view, arrays, range(CHUNKS), content)
        assert 8 < made_here < 16
        assert ensure(view, arrays, range(CHUNKS), content) == 0
        assert wrong_chunks(arrays) == list(range(made_here - 1, CHUNKS))
    assert len(caplog.records) == 1
    assert os.strerror(number) in caplog.text
    monkeypatch.undo()
    with stream(root).view(0) as view:
        arrays = view.arrays(ROWS, SPECS)
        assert ensure(view, arrays, range(CHUNKS), content) == CHUNKS - made_here + 1
        assert wrong_chunks(arrays) == []


def read_only(monkeypatch):
    real = os.open

    def refuse(path, flags, mode=0o777, **how):
        if flags & (os.O_RDWR | os.O_WRONLY | os.O_CREAT):
            raise OSError(errno.EROFS, os.strerror(errno.EROFS))
        return real(path, flags, mode, **how)

    monkeypatch.setattr(os, "open", refuse)


def test_a_read_only_disk_is_read(root, monkeypatch, caplog):
    recorded(root)
    read_only(monkeypatch)
    with stream(root).view(0) as view:
        arrays = view.arrays(ROWS, SPECS)
        assert wrong_chunks(arrays) == []
        assert ensure(view, arrays, range(CHUNKS), content) == 0
    assert not caplog.records
    with stream(root).view(1) as view:
        assert view.arrays(ROWS, SPECS) is None
    assert "Read-only file system" in caplog.text


def test_a_store_that_cannot_be_made_is_done_without(tmp_path, monkeypatch, caplog):
    (tmp_path / "file").touch()
    with stream(tmp_path / "file" / "store").view(0) as view:
        assert view.arrays(ROWS, SPECS) is None
    assert len(caplog.records) == 1
    assert "computed live" in caplog.text


def test_readers_read_while_a_writer_writes(root, log):
    writer = start(record_with_others, root, log, "writer", 0)
    seen = set()
    with stream(root).view(0) as view:
        arrays = view.arrays(ROWS, SPECS)
        while len(seen) < CHUNKS and (writer.is_alive() or not seen):
            for chunk in set(range(CHUNKS)) - seen:
                if all(array.has(chunk) for array in arrays.values()):
                    rows = slice(chunk * BATCH, (chunk + 1) * BATCH)
                    assert all(torch.equal(arrays[name].read(rows), it) for name, it in content(chunk).items())
                    seen.add(chunk)
            time.sleep(0.005)
        finish(writer)
        assert wrong_chunks(arrays) == []
