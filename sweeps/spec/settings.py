"""The parts of a sweep's spec that are plain settings: budget, sampler, resources and so on."""

import difflib
import math
from collections.abc import Mapping
from typing import Annotated, ClassVar, Literal

from pydantic import AfterValidator, BeforeValidator, Field, field_validator, model_validator

from analysis.selection.halving import Round, all_seeds, schedule
from analysis.stats.looks import planned_looks
from kdtrain.config_base import Strict, plain_values, renamed
from kdtrain.names import check_name
from kdtrain.space import Confidence, Scalar

Name = Annotated[str, AfterValidator(check_name)]
"""What may be a folder, see `kdtrain.names`."""
PlainOptions = Annotated[Mapping[str, object], BeforeValidator(plain_values)]
"""Options of third-party code."""
Count = Annotated[int, Field(le=10**9)]
"""A whole number of trials, epochs or seeds: the product of two of them is a number that tables can hold."""


def _seeds(value: object) -> object:
    """One number of seeds or two."""
    both = list(value) if isinstance(value, list | tuple) else [value]
    if not all(isinstance(each, int) and not isinstance(each, bool) and 0 <= each <= 10**9 for each in both) or (
        isinstance(value, list | tuple) and len(both) != 2
    ):
        raise ValueError(f"must be a whole number from 0 to 10^9, or two of them with until: decided, got {value!r}")
    return tuple(both) if len(both) == 2 else value


class Budget(Strict):
    """What every study may spend on its searches; whichever is reached first ends them."""

    trials: Count | None = Field(default=None, gt=0)
    """Configs tried per study."""
    epochs: Count | None = Field(default=None, gt=0)
    """Epochs trained per study, pruned trials included; hit to within half a trial, since trials are not cut short."""

    @model_validator(mode="after")
    def _limited(self) -> "Budget":
        if self.trials is None and self.epochs is None:
            raise ValueError("give trials, epochs or both, per study")
        return self

    def share(self, searches: int) -> "Budget":
        """What each of several searches may spend."""
        trials, epochs = (None if given is None else given // searches for given in (self.trials, self.epochs))
        return Budget(trials=trials, epochs=epochs)


class Sampler(Strict):
    """How configs are proposed."""

    name: str = "gp"
    """`gp`, `tpe`, `random`, `cmaes`, `grid`, `sobol`, `prior`, `package.module:name`, or the name under which
    an installed package offers a sampler."""
    startup: Count = Field(default=4, ge=1)
    """Trials of a study before `gp`, `tpe` or `prior` learns from them; `gp` spreads them evenly, `tpe` draws them."""
    options: PlainOptions = Field(default_factory=dict)
    """Options of the sampler, such as `points` of `grid`."""


class TakenOver(Strict):
    """Where good values of a parameter are expected, because of earlier sweeps."""

    value: Scalar
    """The value."""
    confidence: Confidence
    """How sure it is."""


class WarmStart(Strict):
    """Earlier sweeps whose good values are the priors of this one, see `sweeps.driver.warm_start`."""

    sweeps: tuple[str, ...] = Field(min_length=1)
    """Their folders or URIs."""
    priors: dict[str, dict[str, TakenOver]] | None = None
    """By study and dotted path; `null` until the earlier sweeps are read. A begun sweep keeps these numbers and
    reads the earlier ones again only for what it did not search before."""
    left_out: tuple[str, ...] = ()
    """Which parameters nothing is taken over for, and why."""

    @model_validator(mode="before")
    @classmethod
    def _sweeps_alone(cls, value: object) -> object:
        value = [value] if isinstance(value, str) else value
        return {"sweeps": value} if isinstance(value, list | tuple) else value


class _Named(Strict):
    """Something by its name, with options; `name`, or `{name: {option: ...}}`, are short forms."""

    name: str
    options: PlainOptions = Field(default_factory=dict)

    @model_validator(mode="before")
    @classmethod
    def _short_forms(cls, value: object) -> object:
        return written_out(value)


def written_out(value: object) -> object:
    """The long form of `name` or `{name: {option: ...}}`; other values stay."""
    if isinstance(value, str):
        return {"name": value}
    if isinstance(value, Mapping) and len(value) == 1 and "name" not in value:
        ((name, options),) = value.items()
        return {"name": name, "options": {} if options is None else options}
    return value


class WatcherSource(_Named):
    """A watcher: a function that is called with every event of the sweep and the state after it.

    Its name is `live_page`, `package.module:make`, or that under which an installed package offers a watcher; the
    options are those of the function that makes it.
    """


class TrackerSource(_Named):
    """A tracker, which shows the sweep while it runs, see `sweeps.trackers`.

    Its name is one of `sweeps.trackers.find.OURS`, `package.module:make`, or that under which an installed package
    offers a tracker; the options are those of the class or function that makes it.
    """


class Score(Strict):
    """What a trial is worth: its mIoU on role `select`, see `analysis.tables.scores`."""

    last: Count = Field(default=1, ge=1)
    """The evaluations at the end of a training whose mean is its score. At a rung before there are so many, all of them
    count, as for every trial in the rung."""


class Confirm(Strict):
    """Re-training of the best configs of every study on seeds that the search never saw, in rounds that halve them."""

    OFF: ClassVar[str] = "{top: 0, seeds: 0} to train nothing on fresh seeds"
    top: Count = Field(default=2, ge=0)
    """Configs per study that enter the first round."""
    seeds: Annotated[int | tuple[int, int], BeforeValidator(_seeds)] = 3
    """Fresh seeds per config on average, the same ones for all: the sweep's seed + 1, + 2, ... A study may spend
    top x seeds trainings: the better half of a round continues with more seeds, see `analysis.selection.halving`.
    With `until: decided` two numbers: so many in the race, and the most for the config that comes first in it."""
    until: Literal["seeds", "decided"] = "seeds"
    """`decided`: after the race the best config of every study is trained on more seeds until the comparison with the
    baseline is decided, see `analysis.selection.decided`."""
    final_seeds: Count = Field(default=8, ge=0)
    """Seeds on which the chosen config and the baseline are trained once the selection is frozen; no other trial has
    them. Eight detect a gain of 1.2 standard deviations of the difference in 80 of 100 repetitions, five of 1.7, three
    of 3.3; each costs two trainings."""
    failures: Literal["reached", "worst"] = "reached"
    """The score of a fresh seed that diverged or whose training code failed: `reached`, that of its last evaluation, or
    `worst`, the worst score of any training of the sweep; see `analysis.selection.failures`."""

    @model_validator(mode="before")
    @classmethod
    def _former_names(cls, content: object) -> object:
        return renamed(content, {"report_seeds": "final_seeds"})

    @model_validator(mode="after")
    def _planned(self) -> "Confirm":
        if (self.until == "decided") != isinstance(self.seeds, tuple):
            raise ValueError(
                f"seeds: must be two numbers with until: decided, such as [3, 12] (the first look, the most), and one "
                f"number without it, got {list(self.seeds) if isinstance(self.seeds, tuple) else self.seeds}"
            )
        if self.until == "decided" and (self.top < 1 or self.first < 2 or self.most <= all_seeds(self._race)):
            least = all_seeds(schedule(max(1, self.top), max(2, self.first))) + 1
            raise ValueError(
                f"seeds: with until: decided and top: {self.top} the first number must be at least 2, the second at "
                f"least {least} (the race takes {least - 1} seeds) and top at least 1, got [{self.first}, {self.most}]"
            )
        return self

    @property
    def first(self) -> int:
        """Fresh seeds per config in the race, on average."""
        return self.seeds[0] if isinstance(self.seeds, tuple) else self.seeds

    @property
    def most(self) -> int:
        """The most seeds of a config with `until: decided`; 0 without."""
        return self.seeds[1] if isinstance(self.seeds, tuple) else 0

    @property
    def rounds(self) -> tuple[Round, ...]:
        """The rounds; none where nothing is confirmed."""
        return schedule(self.top, self.first, self.most)

    @property
    def looks(self) -> tuple[int, ...]:
        """The seeds at which it is decided whether to go on; none without `until: decided`."""
        return planned_looks(all_seeds(self._race), self.most) if self.most else ()

    @property
    def _race(self) -> tuple[Round, ...]:
        return schedule(self.top, self.first)


class Resources(Strict):
    """What one trial takes of the machine or cluster; several trials may share a GPU."""

    cpu: float = Field(default=1, gt=0)
    """Cores of a CPU."""
    gpu: Literal["auto"] | float = 0.0
    """A fraction lets several trials share a GPU; their memory is not separated. `auto`: the first trial has a GPU
    alone, and by what it measures as many of the next ones share a GPU as its memory holds and as keep it busy."""
    concurrent: Count | None = Field(default=None, gt=0)
    """The most trials at once; none for as many as fit."""

    @field_validator("gpu", mode="before")
    @classmethod
    def _auto_fraction_or_whole(cls, value: object) -> object:
        if value == "auto":
            return value
        number = float(value) if isinstance(value, int | float) and not isinstance(value, bool) else math.nan
        if 0 <= number <= 1 or (number > 1 and number.is_integer()):
            return value
        raise ValueError(f"must be a fraction below 1 or a whole number, or auto, got {value!r}")

    @property
    def is_measured(self) -> bool:
        """Whether the share of a GPU follows from what trials measure."""
        return self.gpu == "auto"

    @property
    def gpus_alone(self) -> float:
        """The GPUs of a trial that has measured nothing, of the teacher's training, rehearsals and calibrations."""
        return 1.0 if self.gpu == "auto" else self.gpu

    @property
    def processes(self) -> int:
        """Processes of one training: one for each GPU of several, which lie on one node."""
        return max(1, int(self.gpus_alone))


class ReplaySettings(Strict):
    """The store of samples and teacher outputs that are recorded once and replayed in every trial."""

    OFF: ClassVar[str] = "{gigabytes: 0} to record nothing"
    gigabytes: float = Field(default=20.0, ge=0)
    """Its size on a node at most, in the node's cache; 0 records nothing."""


class TeacherSource(Strict):
    """Where the teacher comes from: trained by the sweep, or a teacher folder."""

    fit: Mapping[str, object] | None = None
    """`network` and what differs from the recipe under `train`."""
    path: str | None = None
    """A teacher folder; a relative path is taken from the folder in which the command is started."""

    @model_validator(mode="after")
    def _path_or_fit(self) -> "TeacherSource":
        if (self.fit is None) == (self.path is None):
            raise ValueError("give either fit (a network and its training) or path (a teacher folder)")
        if self.fit is not None and "network" not in self.fit:
            similar = difflib.get_close_matches("network", map(str, self.fit), n=1)
            if similar:
                raise ValueError(f"fit.{similar[0]}: unknown key; did you mean network?")
            raise ValueError("fit.network: is required, with arch and encoder of the teacher")
        return self


class Cell(Strict):
    """The part of a study in the design of an ablation."""

    study: str
    """The name of the study."""
    role: Literal["reference", "cell", "control"] = "cell"
    """What it is compared as."""
    design: str | None = None
    """The design that the cell belongs to, where a sweep has several; each has its own reference."""
    factor: str | None = None
    """What differs from the reference."""
    level: str | None = None
    """How it differs."""
    family: str = "all"
    """The comparisons among which errors are counted together, declared before anything runs."""
    levels: dict[str, str] | None = None
    """The levels of all factors of the design."""
    retuned: str | None = None
    """The parameters that are searched again in this cell, in words."""
    published: float | None = Field(default=None, ge=0, le=1)
    """The published score, a fraction."""
    source: str | None = None
    """Who published it, and where."""
