"""Errors of the operating system: what is said, and whether a file is damaged or only away."""

import errno
import os
from pathlib import Path

import pytest
import torch

from kdtrain.config import TrainConfig
from kdtrain.errors import InputError, MissingError, StorageError, is_away, refused, unreadable
from kdtrain.loop.run_folder import RESULT, RunFolder
from kdtrain.models.weights import published_file
from kdtrain.runtime.atomic_files import write_atomically
from kdtrain.runtime.checkpoints import load_checkpoint, save_checkpoint


def system_error(number: int, file: Path | str = "file") -> OSError:
    return OSError(number, os.strerror(number), str(file))


@pytest.mark.parametrize(
    ("number", "said"),
    [
        (errno.ENOSPC, "make room"),
        (errno.EDQUOT, "make room"),
        (errno.ENAMETOOLONG, "choose a shorter name"),
        (errno.EROFS, "make the file system writable"),
        (errno.EACCES, "give this user the permission"),
        (errno.ENOENT, "put it back or mount its file system"),
        (errno.ESTALE, "mount the file system again"),
        (errno.EIO, "check the disk or the file server"),
        (errno.ETIMEDOUT, "check the file server and the network"),
        (errno.EMFILE, "allow more open files (ulimit -n)"),
        (errno.EFBIG, "allow larger files (ulimit -f)"),
        (errno.ENOTDIR, "move the file away that lies where a folder must be"),
        (errno.EINTR, "correct the cause"),
    ],
)
def test_every_error_of_the_system_has_its_own_remedy(number, said):
    written, read = refused("x", system_error(number)), unreadable("x", system_error(number))
    assert str(written) == f"cannot write x: {os.strerror(number)}; {said} and run the same command again"
    assert str(read) == f"cannot read x: {os.strerror(number)}; {said} and run the same command again"


def chained(cause: Exception) -> Exception:
    try:
        raise cause
    except Exception:
        try:
            raise InputError("does not read") from None
        except InputError as error:
            return error


@pytest.mark.parametrize(
    ("error", "away"),
    [
        (system_error(errno.ENOENT), True),
        (system_error(errno.ESTALE), True),
        (system_error(errno.EIO), True),
        (system_error(errno.EACCES), True),
        (MissingError("the data root is not a folder"), True),
        (chained(system_error(errno.EIO)), True),
        (chained(ValueError("no image")), False),
        (system_error(errno.ENOSPC), False),
        (RuntimeError("shape mismatch"), False),
    ],
)
def test_what_cannot_be_read_may_be_away(error, away):
    assert is_away(error) is away


@pytest.mark.parametrize("number", [errno.EIO, errno.ESTALE, errno.EACCES])
def test_files_that_cannot_be_read_for_a_while_are_not_damaged(tmp_path, monkeypatch, number):
    config = TrainConfig.model_validate({"data": {"name": "streets"}, "terms": [{"loss": "cross_entropy"}]})
    save_checkpoint(tmp_path, 1, {"x": torch.ones(2)})
    (tmp_path / RESULT).write_text("{}")

    def read(self, *_arguments):
        raise system_error(number, self)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "read_bytes", read)
        patch.setattr("kdtrain.runtime.checkpoints._load", read)
        with pytest.raises(StorageError, match=r"cannot read .*epoch-00001\.pt"):
            load_checkpoint(tmp_path)
        with pytest.raises(StorageError, match=r"cannot read .*result\.json"):
            RunFolder(tmp_path, config).result()
    assert torch.equal(load_checkpoint(tmp_path)["x"], torch.ones(2))


def test_a_folder_that_was_moved_is_not_made_again(tmp_path):
    folder = tmp_path / "D" / "run"
    folder.mkdir(parents=True)
    write_atomically(folder / "result.json", b"1")
    (tmp_path / "D").rename(tmp_path / "moved")
    for file in (folder / "result.json", folder / "checkpoints" / "epoch.pt"):
        with pytest.raises(StorageError, match="No such file or directory; put it back"):
            write_atomically(file, b"2")
    assert not (tmp_path / "D").exists()


def test_a_folder_of_weights_that_is_not_there_is_never_replaced_by_the_hub(tmp_path):
    with pytest.raises(MissingError, match=r"there is no folder .*gone"):
        published_file("resnet18", tmp_path / "gone")
