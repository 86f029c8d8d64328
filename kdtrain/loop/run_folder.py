"""The folder of one run: its config, its checkpoints, its result, its student."""

import errno
import math
import os
import shutil
from pathlib import Path

from torch import nn

from kdtrain.config import TrainConfig
from kdtrain.errors import DamagedError, StorageError, is_away, refused
from kdtrain.explain import first_line
from kdtrain.loop.reports import TrainResult
from kdtrain.loop.run_files import CHECKPOINTS, CONFIG, RESULT, STUDENT
from kdtrain.runtime import sealed_json
from kdtrain.runtime.atomic_files import check_writable, write_atomically
from kdtrain.runtime.checkpoints import StateDict, load_checkpoint, save_checkpoint
from kdtrain.teacher import save_model

_REPORTS_SUM = "reports_sha256"
"""The key in a checkpoint of the checksum of the reports in it; weights have checksums of their own there."""


class RunFolder:
    """The files of one run; without a path, nothing is saved.

    Args:
        path: The folder.
        config: The config of the run.

    Raises:
        DamagedError: If the folder belongs to another run.
        StorageError: If no file can be written there.
    """

    def __init__(self, path: Path | None, config: TrainConfig) -> None:
        self.path, self.config = path, config
        self._has_checksums = False
        """Whether a version that writes checksums has trained here."""
        if path is not None:
            check_writable(path)
            self._check_owner(path)

    def result(self) -> TrainResult | None:
        """The result of a finished run; None if there is none."""
        if self.path is None or not (file := self.path / RESULT).is_file():
            return None
        try:
            content, _ = sealed_json.parse(file.read_bytes(), required=self._has_checksums)
            result = TrainResult.from_dict(content)
        except sealed_json.AlteredError as error:
            raise _altered(file, error, "delete it") from error
        except Exception as error:
            if is_away(error):  # the file may be whole
                raise StorageError(f"cannot read {file}: {first_line(error)}; run the same command again") from error
            raise DamagedError(
                f"{file} is damaged ({type(error).__name__}); delete it to train from the start"
            ) from error
        self._drop_checkpoints(self.path)
        return result

    def claim(self) -> None:
        """Write the config, so that the folder is refused to other runs."""
        if self.path is not None:
            claimed = {
                "config_id": self.config.config_id,
                "seed": self.config.seed,
                "config": self.config.model_dump(mode="json"),
            }
            write_atomically(self.path / CONFIG, sealed_json.to_bytes(claimed, indent=1))

    def load_checkpoint(self) -> StateDict | None:
        """The newest undamaged state; None if there is none.

        Raises:
            DamagedError: If there are checkpoints, but all of them are damaged, or the reports in it were edited.
        """
        state = load_checkpoint(self.path / CHECKPOINTS) if self.path is not None else None
        if state is not None and state.pop(_REPORTS_SUM, None) not in (
            None,
            sealed_json.checksum(state.get("reports")),
        ):
            raise DamagedError(
                f"the reports in the last checkpoint in {self.path} were edited: their checksum does not match; put it "
                "back from a copy, or delete the folder to train from the start"
            )
        return state

    def save_checkpoint(self, epoch: int, state: StateDict, step: int = 0) -> None:
        """Save the state after `epoch` whole epochs and `step` steps of the next."""
        if self.path is not None:
            reports_sum = sealed_json.checksum(state.get("reports"))
            save_checkpoint(self.path / CHECKPOINTS, epoch, state | {_REPORTS_SUM: reports_sum}, step)

    def save_student(self, net: nn.Module, classes: tuple[str, ...], result: TrainResult) -> None:
        """Save the trained network as a teacher folder."""
        if self.path is None or result.evaluation is None:
            return
        if not self.path.is_dir():  # it was moved or deleted, and is not made again
            raise refused(self.path, FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT)))
        facts: dict[str, object] = {
            "network": self.config.student.model_copy(update={"weights": "none"}),
            "classes": classes,
            "trained_on": self.config.data.name_with_roles,
            "macs": result.student["macs"],
            "miou": result.evaluation.miou,
            "role": result.evaluation.role,
            "iou": [None if math.isnan(value) else float(value) for value in result.evaluation.iou],
            "epochs": self.config.epochs,
            "seconds": result.seconds,
        }
        save_model(self.path / STUDENT, net, facts)

    def conclude(self, result: TrainResult) -> TrainResult:
        """Write the result of a finished run and remove the checkpoints."""
        if self.path is not None:
            write_atomically(self.path / RESULT, sealed_json.to_bytes(result.to_dict()))
            self._drop_checkpoints(self.path)
        return result

    def _check_owner(self, folder: Path) -> None:
        path = folder / CONFIG
        if not path.is_file():
            return
        try:
            content, self._has_checksums = sealed_json.parse(path.read_bytes())
            owner = (content["config_id"], content["seed"])
        except sealed_json.AlteredError as error:
            raise _altered(path, error, "delete the folder") from None
        except (ValueError, KeyError, TypeError):
            raise DamagedError(f"{path} is damaged; delete the folder to train from the start") from None
        this_run = (self.config.config_id, self.config.seed)
        if owner != this_run:
            raise DamagedError(
                f"{folder} holds the run {owner[0]} with seed {owner[1]}, not {this_run[0]} with seed {this_run[1]}; "
                "choose another folder"
            )

    def _drop_checkpoints(self, folder: Path) -> None:
        shutil.rmtree(folder / CHECKPOINTS, ignore_errors=True)


def _altered(file: Path, error: Exception, otherwise: str) -> DamagedError:
    return DamagedError(
        f"{file} was edited or is damaged: {error}; put it back from a copy, or {otherwise} to train from the start"
    )
