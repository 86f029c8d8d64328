from datetime import UTC, datetime

import pytest

from kdtrain.errors import InputError
from sweeps.ledger import Ledger, Record, read
from sweeps.lock import is_driven
from sweeps.store import Store


def write(folder, count=5):
    ledger = Ledger(folder)
    for number in range(count):
        ledger.append("note", {"text": f"number {number}"})
    ledger.close()


def only_file(folder):
    (path,) = (folder / "ledger").glob("*.jsonl")
    return path


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
    ledger.append("note", {"values": [float("nan"), float("inf"), 1.5]})
    ledger.close()
    assert read(tmp_path)[0].data == {"values": [None, None, 1.5]}


def test_a_torn_last_record_is_left_out_with_a_notice_at_every_cut(tmp_path):
    write(tmp_path)
    path = only_file(tmp_path)
    whole = path.read_bytes()
    start = whole.rstrip(b"\n").rfind(b"\n") + 1
    for cut in range(start + 1, len(whole)):
        path.write_bytes(whole[:cut])
        notices = []
        assert len(read(tmp_path, notices.append)) == 4
        assert len(notices) == 1
        assert "record 5" in notices[0]


def test_a_driver_writes_on_after_a_torn_record(tmp_path):
    write(tmp_path)
    path = only_file(tmp_path)
    path.write_bytes(path.read_bytes()[:-10])
    write(tmp_path, 2)
    assert [record.n for record in read(tmp_path)] == [1, 2, 3, 4, 5, 6]


def test_damage_in_the_middle_names_record_and_file(tmp_path):
    write(tmp_path)
    path = only_file(tmp_path)
    lines = path.read_bytes().splitlines(keepends=True)
    lines[2] = lines[2].replace(b"number 2", b"number 9")
    path.write_bytes(b"".join(lines))
    with pytest.raises(InputError, match=r"record 3 in .*000000001\.jsonl"):
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
    ledger.append("note", {"text": "still mine"})
    assert len(read(tmp_path)) == 1
    ledger.close()
    assert not is_driven(Store(tmp_path))
    Ledger(tmp_path).close()


def test_a_full_disk_leaves_no_part_of_a_line(tmp_path, monkeypatch):
    ledger = Ledger(tmp_path)
    ledger.append("note", {"text": "fits"})
    monkeypatch.setattr("os.fsync", _no_space)
    with pytest.raises(InputError, match="No space left"):
        ledger.append("note", {"text": "does not"})
    monkeypatch.undo()
    ledger.append("note", {"text": "there is room again"})
    ledger.close()
    assert [record.data["text"] for record in read(tmp_path)] == ["fits", "there is room again"]


def _no_space(handle):
    raise OSError(28, "No space left on device")
