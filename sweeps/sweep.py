"""A sweep as one object of Python: plan it, run it, look at it, take its tables, its best config and its student."""

import html
import io
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console, RenderableType

from kdtrain.config import Machine, TrainConfig
from kdtrain.errors import InputError
from sweeps.driver.growth import load_continued
from sweeps.outcome.loaded import load_state
from sweeps.spec.spec import SweepSpec, load_spec
from sweeps.store.generations import LEDGER
from sweeps.store.store import Store, open_store

if TYPE_CHECKING:
    import pandas as pd

    from kdtrain.models import TappedNetwork
    from sweeps.outcome.results import Results
    from sweeps.plan import Plan

_WIDTH = 120
_PRE = '<pre style="line-height:1.2;white-space:pre;overflow-x:auto">{code}</pre>'


@dataclass(frozen=True)
class Shown:
    """What a command prints, as text and, in a notebook, as HTML."""

    content: RenderableType

    def __str__(self) -> str:
        return self._console().export_text().rstrip("\n")

    __repr__ = __str__

    def _repr_html_(self) -> str:
        return self._console().export_html(inline_styles=True, code_format=_PRE)

    def _console(self) -> Console:
        console = Console(record=True, file=io.StringIO(), width=_WIDTH, markup=False, highlight=False, emoji=False)
        console.print(self.content)
        return console


class Sweep:
    """A sweep: its spec, and the folder in which it runs or ran.

    Each method does what the command of the same name does, on the same files: a sweep that Python began is resumed by
    `kdsweep run`, and the other way round.

    Args:
        spec: What is compared, and what it may spend.
        folder: The folder of the sweep, or a URI such as `s3://bucket/runs/a`; by default `runs/<name>`.
        machine: Device, data folder, cache and so on; by default from the environment variables.
    """

    def __init__(self, spec: SweepSpec, folder: Path | str | None = None, machine: Machine | None = None) -> None:
        self.spec = spec
        self.store: Store = open_store(folder if folder is not None else f"runs/{spec.name}")
        self.machine = machine or Machine()

    @classmethod
    def from_yaml(
        cls,
        path: Path | str,
        folder: Path | str | None = None,
        changes: Mapping[str, Any] | None = None,
        machine: Machine | None = None,
    ) -> "Sweep":
        """A sweep as a YAML file describes it.

        Args:
            path: The file.
            folder: As for the class.
            changes: Values that replace those of the file, by dotted path, as in `{"budget.trials": 4}`.
            machine: As for the class.

        Raises:
            InputError: In one sentence, with file and field named.
        """
        given = changes or {}
        if folder is None:
            folder = f"runs/{load_spec(path, {field: given[field] for field in given if '.space.' not in field}).name}"
        return cls(load_continued(path, given, open_store(folder)), folder, machine)

    @classmethod
    def open(cls, folder: Path | str, machine: Machine | None = None) -> "Sweep":
        """A sweep that was begun, from its folder.

        Raises:
            InputError: If there is no sweep in the folder, or its ledger is damaged.
        """
        return cls(load_state(open_store(folder))[0], folder, machine)

    def plan(self) -> "Plan":
        """What would run, and every mistake that can be found without a training step; `str(plan)` is its text.

        Raises:
            InputError: If the spec, the data or a network is wrong.
        """
        from sweeps.plan import plan

        return plan(self.spec, self.machine)

    def run(self, *, inline: bool = False, address: str | None = None, rehearsal: bool = True) -> "Results":
        """Run the sweep to its end, or resume it.

        Args:
            inline: Run one trial after the other in this process, without Ray.
            address: A running Ray cluster, as `auto` or `host:port`; without it Ray is started on this machine.
            rehearsal: Take one step of every distinct network and method before the first training.

        Returns:
            The paths of the report and `best.yaml`, and the chosen config with its evidence.

        Raises:
            InputError: If the spec, the data or the teacher is wrong; before any training where possible.
            SweepAborted: If all trials fail in the same way.
            StorageError: If a file cannot be written.
            Interrupted: If it was stopped, as by the stop button of a notebook; the same call resumes it.
        """
        from sweeps.run import run_sweep

        return run_sweep(self.spec, self.store, self.machine, inline=inline, address=address, rehearsal=rehearsal)

    @property
    def status(self) -> Shown:
        """Progress and health, from the files of the sweep, while it runs or after.

        Raises:
            InputError: If the sweep was not begun, or its ledger is damaged.
        """
        from sweeps.show.status import show_status

        return Shown(show_status(self.store))

    @property
    def tables(self) -> "dict[str, pd.DataFrame]":
        """All tables by name, made from the ledger now; `trials` has a row for each training.

        Raises:
            InputError: If the sweep was not begun, or its ledger is damaged.
        """
        from sweeps.outcome.results import tables_now

        return tables_now(self.store)

    def best(self, limit: float | None = None) -> TrainConfig:
        """The chosen config, as it was trained; of a sweep that still runs, the best so far.

        Args:
            limit: One of several limits of its target, below which the config is the best; none for the largest.

        Raises:
            InputError: If no trial is complete, or there is no such limit.
        """
        from sweeps.outcome.best_file import best_config

        return best_config(self.store, limit)

    def student(self, limit: float | None = None) -> "TappedNetwork":
        """The trained student of the chosen config, of its fresh seeds the one with the highest score, on the CPU.

        Its method `logits` takes images `(N, 3, H, W)` of RGB in [0, 1] and returns logits `(N, classes, h, w)`.

        Args:
            limit: As of `best`.

        Raises:
            InputError: If the sweep holds no student of the chosen config, or there is no such limit.
        """
        from kdtrain.runtime.scratch import scratch_folder
        from kdtrain.teacher import load_model
        from sweeps.outcome.limit import require_limit
        from sweeps.outcome.student import chosen_students, local_copy

        tables = self.tables
        if limit is not None:
            require_limit(limit, tables, self.store)
        if not (students := chosen_students(self.store, tables, limit)):
            raise InputError(f"{self.store}: there is no student of the chosen config; run the sweep to its end first")
        with scratch_folder() as scratch:
            network = load_model(local_copy(students[0].folder, scratch / "student"))[1]
        return network

    def report(self) -> str | None:
        """Write tables, `best.yaml` and the report again, and return where the report is.

        None where the packages that draw a report are not installed (`pip install 'kdsweep[report]'`).

        Raises:
            InputError: If the sweep was not begun.
        """
        from sweeps.attempt.teacher_place import teacher_store
        from sweeps.outcome.results import write_again

        load_state(self.store)
        return write_again(self.store, teacher_store(self.spec, self.store))

    def __repr__(self) -> str:
        return f"Sweep({self.spec.name!r}, {str(self.store)!r})"

    def _repr_html_(self) -> str:
        """What a notebook shows: the status of a begun sweep, else what would be compared."""
        if self.store.names(LEDGER):
            return self.status._repr_html_()
        spec = self.spec
        teacher = "none" if spec.teacher is None else spec.teacher.path or "fitted by the sweep"
        spent = ", ".join(f"{value} {unit}" for unit, value in spec.budget.model_dump(exclude_none=True).items())
        rows = {
            "data": spec.data.name_with_roles,
            "student": spec.student.title,
            "teacher": teacher,
            "studies": ", ".join(study.name for study in spec.studies),
            "budget of each study": spent,
            "folder": f"{self.store} (not begun)",
        }
        cells = "".join(f"<tr><th>{name}</th><td>{html.escape(str(value))}</td></tr>" for name, value in rows.items())
        return f"<b>{html.escape(spec.name)}</b><table>{cells}</table>"
