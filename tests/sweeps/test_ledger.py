from datetime import UTC, datetime

import pytest

from kdtrain.errors import InputError
from kdtrain.loop.reports import EpochReport
from sweeps.ledger import ledger as ledger_module
from sweeps.ledger.extent import HEAD
from sweeps.ledger.ledger import SET_ASIDE, Ledger, Record, Repaired, read, repair
from sweeps.ledger.sweep_events import Note
from sweeps.ledger.trial_events import EpochReported
from sweeps.store.lock import is_driven
from sweeps.store.store import Store


def write(folder, count=5):
    ledger = Ledger(folder)
    for number in range(count):
        ledger.append(Note(f"number {number}"))
    ledger.close()


def report(epoch):
    return EpochReported("none-0", EpochReport(epoch, 6, {}, {}, 0.1, {"total": 1.0}, 8))


def only_file(folder):
    (path,) = (folder / "ledger").glob("*.jsonl")
    return path


def write_one_that_is_cut_off(folder):
    """Five records, of which the last was never committed: as if the driver had died while it wrote it."""
    ledger = Ledger(folder)
    for number in range(5):
        head = (folder / HEAD).read_bytes() if number else b""
        ledger.append(Note(f"number {number}"))
    ledger.close()
    (folder / HEAD).write_bytes(head)
    return only_file(folder)


def test_records_come_back_in_order_with_running_numbers(tmp_path):
    write(tmp_path, 3)
    write(tmp_path, 2)
    records = read(tmp_path)
    assert [record.n for record in records] == [1, 2, 3, 4, 5]
    assert [record.data["text"] for record in records[2:4]] == ["number 2", "number 0"]
    assert len(list((tmp_path / "ledger").glob("*.jsonl"))) == 2


def test_a_record_survives_its_line_exactly():
    record = Record(7, datetime(2026, 1, 1, tzinfo=UTC).isoformat(), "note", {"x": 0.1 + 0.2, "y": None, "z": "ä\n"})
    assert Record.parse(record.line()) == record


def test_numbers_that_are_not_finite_are_missing(tmp_path):
    ledger = Ledger(tmp_path)
    seconds = {"total": float("nan"), "teacher": float("inf"), "student": 1.5}
    ledger.append(EpochReported("none-0", EpochReport(1, 6, {}, {}, 0.1, seconds, 8)))
    ledger.close()
    assert read(tmp_path)[0].data["report"]["seconds"] == {"total": None, "teacher": None, "student": 1.5}


def test_a_torn_last_record_is_left_out_with_a_notice_at_every_cut(tmp_path):
    path = write_one_that_is_cut_off(tmp_path)
    whole = path.read_bytes()
    start = whole.rstrip(b"\n").rfind(b"\n") + 1
    for cut in range(start + 1, len(whole)):
        path.write_bytes(whole[:cut])
        notices = []
        assert len(read(tmp_path, notices.append)) == 4
        assert len(notices) == 1
        assert "record 5" in notices[0]


def test_a_driver_writes_on_after_a_torn_record(tmp_path):
    path = write_one_that_is_cut_off(tmp_path)
    path.write_bytes(path.read_bytes()[:-10])
    write(tmp_path, 2)
    assert [record.n for record in read(tmp_path)] == [1, 2, 3, 4, 5, 6]


def test_damage_in_the_middle_names_record_and_file(tmp_path):
    write(tmp_path)
    path = only_file(tmp_path)
    lines = path.read_bytes().splitlines(keepends=True)
    lines[2] = lines[2].replace(b"number 2", b"number 9")
    path.write_bytes(b"".join(lines))
    with pytest.raises(InputError, match=r"record 3 in .*000000001-0001\.jsonl"):
        read(tmp_path)
    with pytest.raises(InputError, match="record 3"):
        Ledger(tmp_path)
    assert not is_driven(Store(tmp_path))


def test_a_missing_record_is_noticed(tmp_path):
    write(tmp_path)
    path = only_file(tmp_path)
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(lines[:1] + lines[2:]))
    with pytest.raises(InputError, match="record 3 where record 2 belongs"):
        read(tmp_path)


def test_a_torn_record_in_an_older_file_is_damage(tmp_path):
    write(tmp_path, 3)
    path = only_file(tmp_path)
    write(tmp_path, 1)
    path.write_bytes(path.read_bytes()[:-5])
    with pytest.raises(InputError, match=r"record 3 in .*000000001"):
        read(tmp_path)


def test_only_one_driver_at_a_time(tmp_path):
    ledger = Ledger(tmp_path)
    assert is_driven(Store(tmp_path))
    with pytest.raises(InputError, match="another driver"):
        Ledger(tmp_path)
    ledger.append(Note("still mine"))
    assert len(read(tmp_path)) == 1
    ledger.close()
    assert not is_driven(Store(tmp_path))
    Ledger(tmp_path).close()


def test_a_full_disk_leaves_no_part_of_a_line(tmp_path, monkeypatch):
    ledger = Ledger(tmp_path)
    ledger.append(Note("fits"))
    monkeypatch.setattr("os.fsync", _no_space)
    with pytest.raises(InputError, match="No space left"):
        ledger.append(Note("does not"))
    monkeypatch.undo()
    ledger.append(Note("there is room again"))
    ledger.close()
    assert [record.data["text"] for record in read(tmp_path)] == ["fits", "there is room again"]


def _no_space(handle):
    raise OSError(28, "No space left on device")


@pytest.fixture(params=["disk", "s3"])
def sweep(request, tmp_path):
    return Store(tmp_path if request.param == "disk" else request.getfixturevalue("s3_folder"))


def test_a_long_ledger_is_many_files_and_reads_as_one(sweep, monkeypatch):
    monkeypatch.setattr(ledger_module, "SEGMENT_BYTES", 400)
    write(sweep, 20)
    names = sweep.names("ledger")
    files = [name for name in names if name.endswith(".jsonl")]
    assert files == sorted(files)
    assert len(files) > 3
    assert files[0].startswith("000000001-0001")
    assert [record.n for record in read(sweep)] == list(range(1, 21))
    write(sweep, 3)
    assert [record.n for record in read(sweep)] == list(range(1, 24))


def test_a_closed_file_is_not_written_again(tmp_path, monkeypatch):
    monkeypatch.setattr(ledger_module, "SEGMENT_BYTES", 400)
    ledger = Ledger(tmp_path)
    for number in range(8):
        ledger.append(Note(f"number {number}"))
    first = tmp_path / "ledger" / "000000001-0001.jsonl"
    before = first.stat().st_mtime_ns
    ledger.append(Note("one more"))
    ledger.close()
    assert first.stat().st_mtime_ns == before


def test_a_missing_file_of_a_long_ledger_is_damage(sweep, monkeypatch):
    monkeypatch.setattr(ledger_module, "SEGMENT_BYTES", 400)
    write(sweep, 20)
    second = [name for name in sweep.names("ledger") if name.endswith(".jsonl")][1]
    sweep.delete(f"ledger/{second}")
    with pytest.raises(InputError, match=rf"where record {int(second[:9])} belongs.*kdsweep repair"):
        read(sweep)


def test_records_that_may_wait_are_written_together(tmp_path, monkeypatch):
    time = [100.0]
    monkeypatch.setattr(ledger_module.time, "monotonic", lambda: time[0])
    ledger = Ledger(tmp_path)
    ledger.append(Note("at once"))
    for number in range(3):
        ledger.append(report(number))
    ledger.tick()
    assert len(read(tmp_path)) == 1
    time[0] += 1.5
    ledger.tick()
    assert len(read(tmp_path)) == 4
    ledger.append(report(3))
    ledger.append(Note("takes the one that waits along"))
    assert len(read(tmp_path)) == 6
    ledger.append(report(4))
    ledger.close()
    assert [record.n for record in read(tmp_path)] == list(range(1, 8))


def test_a_driver_that_dies_loses_only_records_that_may_wait(tmp_path, monkeypatch):
    monkeypatch.setattr(ledger_module.time, "monotonic", lambda: 100.0)
    ledger = Ledger(tmp_path)
    ledger.append(Note("stays"))
    ledger.append(report(1))
    ledger._lock.close()  # as if it had been killed
    assert [record.kind for record in read(tmp_path)] == ["note"]
    write(tmp_path, 1)
    assert [record.n for record in read(tmp_path)] == [1, 2]


def test_repair_leaves_a_whole_ledger_alone(sweep):
    write(sweep, 3)
    (name,) = [name for name in sweep.names("ledger") if name.endswith(".jsonl")]
    before = sweep.read(f"ledger/{name}")
    assert repair(sweep) == Repaired(3, [])
    assert sweep.read(f"ledger/{name}") == before
    assert sweep.names(SET_ASIDE) == []


def test_repair_keeps_what_is_before_the_damage_and_sets_the_rest_aside(sweep, monkeypatch):
    monkeypatch.setattr(ledger_module, "SEGMENT_BYTES", 400)
    write(sweep, 20)
    files = [name for name in sweep.names("ledger") if name.endswith(".jsonl")]
    first = int(files[1][:9])
    lines = sweep.read(f"ledger/{files[1]}").splitlines(keepends=True)
    damaged = b"".join([lines[0], lines[1].replace(b"number", b"nomber"), *lines[2:]])
    sweep.write(f"ledger/{files[1]}", damaged)
    with pytest.raises(InputError, match=f"records 1 to {first} are intact.*kdsweep repair"):
        Ledger(sweep)
    done = repair(sweep)
    assert (done.records, done.aside) == (first, files[1:])
    assert "does not read" in done.why
    assert sweep.read(f"{SET_ASIDE}/{files[1]}") == damaged
    assert [name for name in sweep.names(SET_ASIDE) if name.endswith(".jsonl")] == files[1:]
    assert len(read(sweep)) == first
    write(sweep, 2)
    assert [record.n for record in read(sweep)] == list(range(1, first + 3))


def test_repair_of_a_torn_end_cuts_it_off(tmp_path):
    path = write_one_that_is_cut_off(tmp_path)
    path.write_bytes(path.read_bytes()[:-10])
    assert repair(tmp_path).records == 4
    notices = []
    assert len(read(tmp_path, notices.append)) == 4
    assert not notices


def test_repair_waits_for_no_driver(tmp_path):
    ledger = Ledger(tmp_path)
    with pytest.raises(InputError, match="another driver"):
        repair(tmp_path)
    ledger.close()


def test_a_store_that_refuses_loses_nothing_that_was_confirmed(door):
    store = Store(door.uri, patience_s=0.5)
    ledger = Ledger(store)
    ledger.append(Note("fits"))
    door.refuse()
    with pytest.raises(InputError, match="once it answers again"):
        ledger.append(Note("does not"))
    door.open()
    ledger.append(Note("answers again"))
    ledger.close()
    assert [record.data["text"] for record in read(store)] == ["fits", "answers again"]
