"""Policies of the product: its own driver decides, and nothing is trained or written.

A policy is what a spec says: `sampler`, `scheduler`, `space`, ... The driver's ledger is kept in memory. The pulls at
weight 1 are those of the published configs of the table: so the search begins there, and all others go by pulls.
"""

import contextlib
from collections.abc import Hashable, Iterator, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from unittest.mock import patch

import kdtrain.space
from kdtrain.loop.calibration import Calibration
from kdtrain.loop.reports import EpochReport, TrainResult
from kdtrain.space import Range
from search.clock import Training
from search.confirmation import ONE_SE, choice
from search.plan import Plan
from search.tables import Domain, Params, Space
from sweeps.driver import attempts
from sweeps.driver import driver as driver_module
from sweeps.driver.allocation import candidates, race
from sweeps.driver.driver import Driver, Idle
from sweeps.driver.fresh_scores import counted_score
from sweeps.ledger.environment import TrainContext
from sweeps.ledger.events import Event
from sweeps.ledger.record import Record
from sweeps.ledger.sweep_events import TeacherKnown
from sweeps.ledger.trial_state import Phase
from sweeps.spec.overrides import overridden
from sweeps.spec.spec import SweepSpec, parse_spec
from sweeps.spec.strict_yaml import parse_yaml

_FACTS = {"name": "streets", "classes": ["a"], "palette": ["#000000"], "images": {}, "digests": {}}
_TEACHER = TeacherKnown("feedfacefeedface", "none", "FPN", None, 0, None, None, None, None, None, "given")
_REMEMBERED = "tpe"
"""The sampler whose proposals follow from the trials of one study alone; equal ones are computed once."""
Memory = dict[Hashable, Any]
"""Proposals by all that they depend on: a search with a smaller budget begins like that with a larger one."""


def sweep_spec(
    spec: Mapping[str, Any],
    studies: Sequence[str],
    plan: Plan,
    policy: Mapping[str, Any],
    seed: int,
) -> SweepSpec:
    """The spec of a search and confirmation of some studies.

    Args:
        spec: The spec that the table was made with.
        studies: The names of the studies.
        plan: The budget of each.
        policy: Fields of the spec that the policy has for itself.
        seed: The seed of the sweep.

    Raises:
        ValueError: If the spec has no such study.
    """
    there = {each["name"]: each for each in map(_as_mapping, spec["studies"])}
    if lacking := [study for study in studies if study not in there]:
        raise ValueError(f"the spec {spec['name']} must have the study {lacking[0]}, got {spec['studies']}")
    chosen = [there[study] for study in studies]
    parsed = parse_spec({**spec, "studies": chosen, "budget": {"trials": 1}})
    return parse_spec(
        {
            **spec,
            "studies": chosen,
            "budget": {"epochs": plan.search * next(iter(parsed.epochs.values()))},
            "confirm": {"top": plan.top, "seeds": plan.seeds},
            "seed": seed,
            **policy,
        }
    )


def _as_mapping(study: str | Mapping[str, Any]) -> Mapping[str, Any]:
    return {"name": study, "method": study} if isinstance(study, str) else study


def begin_at(spec: Mapping[str, Any], config: Params) -> dict[str, Any]:
    """The spec whose published recipe is that of a config; its terms are left as they are."""
    changes = {f"train.{path}": value for path, value in config.items() if not path.startswith("terms.")}
    return overridden(spec, changes)


def space_of(spec: SweepSpec, study: str) -> Space:
    """The space of a study."""
    return {path: _domain(domain) for path, domain in spec.space_of(spec.study(study)).items()}


def _domain(domain: kdtrain.space.Domain) -> Domain:
    if isinstance(domain, Range):
        return Domain(domain.low, domain.high, domain.log, domain.integer)
    return Domain(choices=domain.choices)


class Ours:
    """A policy of the product; implements `search.clock.Policy`.

    Args:
        spec: From `sweep_spec`.
        defaults: By study, the published config, as the table has it.
        pulls: By study, then by the name of a term, its pull at weight 1 in the published config; 1 where that is not
            known.
        rule: How the config is chosen of the finalists, see `search.confirmation.choice`.
        memory: Keeps proposals of models for other budgets of the same repetition.
    """

    def __init__(
        self,
        spec: SweepSpec,
        defaults: Mapping[str, Params | None],
        pulls: Mapping[str, Mapping[str, float]],
        rule: str = ONE_SE,
        memory: Memory | None = None,
    ) -> None:
        self._spec, self._defaults, self._rule = spec, defaults, rule
        with TemporaryDirectory(prefix="kdsweep-") as folder, _in_memory():
            self._driver = Driver(spec, folder, TrainContext(_FACTS, {"environment_id": "replay"}, _TEACHER))
        for measurement in self._driver.pulls_to_measure():
            of_terms = {name: pull for of_study in pulls.values() for name, pull in of_study.items()}
            lengths = {key: (of_terms.get(term.name, 1.0),) for key, term in measurement.terms.items()}
            self._driver.measured(measurement, Calibration((1,), (1.0,), lengths))
        if memory is not None and spec.sampler.name == _REMEMBERED:
            new_trials = self._driver._new_trials
            new_trials.sampler = _Remembering(new_trials.sampler, memory)

    def next(self) -> Training | None:
        """See `search.clock.Policy`."""
        trial = self._driver.next()
        if isinstance(trial, Idle):
            return None
        with patch.object(attempts, "code_here", lambda trial: None):  # nothing is executed
            self._driver.started(trial.id)
        trials, fresh = self._driver.state.trials, self._spec.confirm_seeds
        seed = 1 + fresh.index(trial.seed) if trial.seed in fresh else 0
        begin = max(trial.reports, default=0)
        if seed == 0 and trial.candidate_of is not None:  # an audit goes on from the checkpoint of a stopped trial
            for epoch, report in sorted(trials[trial.candidate_of].reports.items()):
                self._driver.report(trial.id, report)
                begin = max(begin, epoch)
        return Training(trial.study, trial.id, dict(trial.params), seed, begin, trial.epochs)

    def report(self, key: str, epoch: int, score: float) -> bool:
        """See `search.clock.Policy`."""
        epochs = self._driver.state.trials[key].epochs
        return self._driver.report(key, _report(epoch, epochs, score)) == "continue"

    def ended(self, key: str) -> None:
        """See `search.clock.Policy`."""
        trial = self._driver.state.trials[key]
        reports = tuple(report for _, report in sorted(trial.reports.items()))
        state = "complete" if len(reports) == trial.epochs else "interrupted"
        self._driver.ended(key, TrainResult(state, len(reports), reports))

    def chosen(self, study: str) -> Params | None:
        """See `search.clock.Policy`."""
        spec, state = self._driver.spec, self._driver.state
        if rounds := race(spec, state, spec.study(study)):
            fresh = state.of_study(study, Phase.CONFIRM)
            finalists = [
                (
                    dict(trial.params),
                    {run.seed: counted_score(spec, state, run) or 0.0 for run in fresh if run.candidate_of == trial.id},
                )
                for trial in rounds[-1]
                if trial is not None
            ]
            return choice(finalists, space_of(spec, study), self._defaults[study], self._rule)
        one = spec.model_copy(update={"confirm": spec.confirm.model_copy(update={"top": 1})})
        best = candidates(one, state, spec.study(study))
        return dict(best[0].params) if best else None


class _Remembering:
    """A sampler that computes equal proposals once; a proposal depends on what it is called with alone."""

    def __init__(self, sampler: Any, memory: Memory) -> None:
        self._sampler, self._memory = sampler, memory

    def propose(self, study: str, space: Any, trials: Sequence[Any], seed: int) -> Params | None:
        """See `sweeps.driver.sampler.ConfigSampler`."""
        told = tuple((*trial.params.values(), trial.state, tuple(trial.curve.values())) for trial in trials)
        key = (study, seed, hash(told))
        if key not in self._memory:
            self._memory[key] = self._sampler.propose(study, space, trials, seed)
        return self._memory[key]  # type: ignore[no-any-return]


class _Ledger:
    """A ledger that keeps nothing: the state of the driver has all that is asked for."""

    records: tuple[Record, ...] = ()

    def __init__(self, *unused: object) -> None:
        self._number = 0

    def append(self, event: Event) -> Record:
        """The record of an event."""
        self._number += 1
        return Record(self._number, _NOON, event.kind, event.to_json())

    def close(self) -> None:
        """Nothing is open."""


_NOON = datetime(2026, 1, 1, 12).isoformat() + "+00:00"


@contextlib.contextmanager
def _in_memory() -> Iterator[None]:
    with patch.object(driver_module, "Ledger", _Ledger), patch("os.fsync", lambda handle: None):
        yield


def _report(epoch: int, epochs: int, score: float) -> EpochReport:
    return EpochReport(epoch, epochs, {"miou": score / 100}, {}, 0.1, {"total": 1.0}, 8)


def read_spec(path: Path) -> dict[str, Any]:
    """The fields of the spec that a task of the table was made with."""
    return dict(parse_yaml(path.read_text(), str(path)))
