import errno
import os
import pickle
from pathlib import Path

import pytest
import torch

from kdtrain.errors import InputError, StorageError
from kdtrain.runtime import atomic_files
from kdtrain.runtime.atomic_files import check_writable, write_atomically
from kdtrain.runtime.checkpoints import load_checkpoint, save_checkpoint


def state(epoch: int) -> dict[str, object]:
    values = torch.arange(5000.0) + epoch
    return {"student": {"w": values}, "reports": [{"epoch": epoch, "metrics": {"miou": 0.5}}]}


def full_disk(_descriptor: int) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def files(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_the_newest_of_the_last_two_is_loaded(tmp_path):
    assert load_checkpoint(tmp_path / "none") is None
    for epoch in (1, 2, 3, 12):
        save_checkpoint(tmp_path, epoch, state(epoch))
    assert files(tmp_path) == ["epoch-00003.pt", "epoch-00012.pt"]
    loaded = load_checkpoint(tmp_path)
    assert torch.equal(loaded["student"]["w"], state(12)["student"]["w"])
    assert loaded["reports"] == state(12)["reports"]


def test_the_middle_of_an_epoch_is_newer_than_its_start_and_older_than_its_end(tmp_path):
    saved = [(3, 0), (3, 9), (3, 100_000), (4, 0), (4, 2)]
    names = []
    for number, (epoch, step) in enumerate(saved):
        save_checkpoint(tmp_path, epoch, state(number), step)
        assert load_checkpoint(tmp_path)["reports"] == state(number)["reports"]
        names += [name for name in files(tmp_path) if name not in names]
        assert files(tmp_path) == sorted(names[-2:])
    assert names == [
        "epoch-00003.pt",
        "epoch-00003-step-00009.pt",
        "epoch-00003-step-100000.pt",
        "epoch-00004.pt",
        "epoch-00004-step-00002.pt",
    ]


def test_what_a_crash_left_half_written_is_not_loaded_and_goes(tmp_path):
    save_checkpoint(tmp_path, 1, state(1))
    (tmp_path / ".epoch-00002.pt.4711.tmp").write_bytes((tmp_path / "epoch-00001.pt").read_bytes()[:100])
    assert load_checkpoint(tmp_path)["reports"] == state(1)["reports"]
    assert files(tmp_path) == ["epoch-00001.pt"]


def test_a_full_disk_leaves_the_old_content_and_no_litter(tmp_path, monkeypatch):
    save_checkpoint(tmp_path, 1, state(1))
    write_atomically(tmp_path / "result.json", b"old")
    monkeypatch.setattr(atomic_files.os, "fsync", full_disk)
    message = r"cannot write .*result\.json: No space left on device; make room and run the same command again"
    with pytest.raises(StorageError, match=message):
        write_atomically(tmp_path / "result.json", b"new")
    with pytest.raises(StorageError, match=r"cannot write .*epoch-00002\.pt: No space"):
        save_checkpoint(tmp_path, 2, state(2))
    assert (tmp_path / "result.json").read_bytes() == b"old"
    assert files(tmp_path) == ["epoch-00001.pt", "result.json"]
    assert load_checkpoint(tmp_path)["reports"] == state(1)["reports"]


def test_a_folder_that_takes_no_file_is_refused_at_once(tmp_path, monkeypatch):
    check_writable(tmp_path / "new" / "folder")
    assert files(tmp_path / "new" / "folder") == []
    (tmp_path / "file").write_text("")
    with pytest.raises(
        StorageError, match=r"cannot write to .*file: .*; move the file away .* or choose another folder"
    ):
        check_writable(tmp_path / "file")
    monkeypatch.setattr(atomic_files.os, "fsync", full_disk)
    with pytest.raises(StorageError, match=r"cannot write to .*: No space left on device"):
        check_writable(tmp_path)


def test_a_read_only_folder_is_refused(tmp_path, monkeypatch):
    def read_only(*_arguments: object) -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    monkeypatch.setattr(Path, "open", read_only)
    with pytest.raises(StorageError, match="Read-only file system"):
        check_writable(tmp_path)


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_one_wrong_byte_is_noticed_and_an_older_checkpoint_taken(tmp_path, share, caplog):
    for epoch in (1, 2):
        save_checkpoint(tmp_path, epoch, state(epoch))
    damage(tmp_path / "epoch-00002.pt", share)
    assert load_checkpoint(tmp_path)["reports"] == state(1)["reports"]
    assert "epoch-00002.pt is damaged (BadZipFile); resuming from epoch-00001.pt" in caplog.text
    assert files(tmp_path) == ["epoch-00001.pt", "epoch-00002.pt.damaged"]
    caplog.clear()
    assert load_checkpoint(tmp_path)["reports"] == state(1)["reports"]
    assert not caplog.text, "warned once"
    save_checkpoint(tmp_path, 1, state(5), 3)
    assert load_checkpoint(tmp_path)["reports"] == state(5)["reports"]


def test_where_none_is_whole_nothing_is_touched(tmp_path):
    for epoch in (1, 2):
        save_checkpoint(tmp_path, epoch, state(epoch))
        damage(tmp_path / f"epoch-0000{epoch}.pt", 0.5)
    for _ in range(2):
        with pytest.raises(InputError, match=r"epoch-00002\.pt is damaged .*; delete this and the older one"):
            load_checkpoint(tmp_path)
    assert files(tmp_path) == ["epoch-00001.pt", "epoch-00002.pt"]


def damage(path: Path, share: float) -> None:
    content = bytearray(path.read_bytes())
    content[int(share * len(content))] ^= 0x10
    path.write_bytes(content)


@pytest.mark.parametrize("content", [b"", b"no checkpoint", b"PK\x03\x04" + bytes(100)])
def test_what_is_no_checkpoint_is_refused(tmp_path, content):
    (tmp_path / "epoch-00001.pt").write_bytes(content)
    with pytest.raises(InputError, match=r"damaged .*; delete it to start this run again"):
        load_checkpoint(tmp_path)


class Evil:
    def __reduce__(self) -> tuple[object, ...]:
        return (os.mkdir, (os.environ["KDSWEEP_TEST_EVIL"],))


def test_no_code_of_a_checkpoint_is_run(tmp_path, monkeypatch):
    monkeypatch.setenv("KDSWEEP_TEST_EVIL", str(tmp_path / "evil"))
    torch.save({"student": Evil()}, tmp_path / "epoch-00001.pt", pickle_module=pickle)
    with pytest.raises(InputError, match="damaged"):
        load_checkpoint(tmp_path)
    assert not (tmp_path / "evil").exists()
