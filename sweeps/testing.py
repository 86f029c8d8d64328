"""What every sampler, watcher and tracker must hold, for the tests of whoever writes one; ours pass the same.

    from sweeps.testing import check_sampler, check_tracker, check_watcher

    def test_my_sampler():
        check_sampler("my_package.my_module:MySampler", greed=0.5)

Each function raises AssertionError, which says in one sentence what does not hold.
"""

import copy
from collections.abc import Iterator, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from kdtrain.loop.evaluation import Evaluation
from kdtrain.loop.reports import EpochReport
from kdtrain.space import Choice, Domain, Range, Scalar
from sweeps.driver.sampler import make_sampler, propose
from sweeps.driver.searched import SearchedTrial
from sweeps.driver.watchers import Watcher
from sweeps.ledger import sweep_events, trial_events
from sweeps.ledger.events import Event
from sweeps.ledger.record import Record
from sweeps.ledger.state import SweepState
from sweeps.ledger.trial_events import TrialOutcome
from sweeps.ledger.trial_record import InvalidProposal, TrialRecord
from sweeps.ledger.trial_state import Phase, TrialState
from sweeps.show.watchers import Make, make_watchers
from sweeps.spec.settings import Sampler
from sweeps.spec.spec import SweepSpec, parse_spec
from sweeps.store.store import Store
from sweeps.trackers.feed import deliver
from sweeps.trackers.find import find_trackers
from sweeps.trackers.tracked_run import keys_after, tracked_run
from sweeps.trackers.tracker import TrackedSweep

SPACE: Mapping[str, Domain] = {
    "optimizer.lr": Range(low=0.001, high=0.1, log=True),
    "warmup_epochs": Range(low=0, high=3, integer=True),
    "augment.flip": Choice(choices=(True, False)),
    "terms.pixel_kd.layer": Choice(choices=("logits", "decoder", None)),
}
TRIALS, INVALID = 12, 5


def check_sampler(name: str, space: Mapping[str, Domain] = SPACE, **options: object) -> None:
    """Check a sampler on a search in which trials are pruned, diverge, fail, run, or could not be made.

    The same trials and seed give the same proposal, from a second sampler, too; every proposal lies in the space; a
    study of which nothing is known yet gets a proposal as well; trials and space are not changed; a finite space comes
    to an end.

    Args:
        name: The sampler as a spec names it: `package.module:name`, the name of an entry point, or one of ours.
        space: What is searched.
        options: Options of the sampler, as in a spec.

    Raises:
        AssertionError: What does not hold, in one sentence.
        InputError: If there is no such sampler, it refuses its options, fails, or proposes what the space does not
            hold.
    """
    settings = Sampler(name=name, options=options)
    trials: list[SearchedTrial] = []
    for number in range(TRIALS):
        before = copy.deepcopy((trials, dict(space)))
        params = propose("study", space, make_sampler(settings), 3, trials, None)
        _require((trials, dict(space)) == before, f"{name}: propose must not change the trials or the space")
        again = propose("study", space, make_sampler(settings), 3, trials, None)
        _require(params == again, f"{name}: the same trials and seed must give one proposal, got {params} and {again}")
        if params is None:
            _require(number > 0, f"{name}: a study without trials must get a proposal")
            break
        is_valid = number != INVALID
        trials.append(_trial(number, params) if is_valid else InvalidProposal(params, "not valid with each other"))
    finite = {"terms.pixel_kd.layer": Choice(choices=("logits", "decoder", None))}
    ended: list[SearchedTrial] = []
    while (params := propose("study", finite, make_sampler(settings), 3, ended, None)) is not None:
        _require(len(ended) < 3, f"{name}: a finite space must come to an end")
        ended.append(_trial(len(ended), params))


def check_watcher(watcher: str | Make, **options: object) -> None:
    """Check a watcher on a sweep in which everything happens that can happen.

    It takes every event without an error, also of a sweep without trials; it changes neither the state nor the spec;
    it writes nothing to the ledger.

    Args:
        watcher: The function that makes the watcher, or its name in a spec: `package.module:make`, the name of an entry
            point, or one of ours.
        options: Options of the function, as in a spec.

    Raises:
        AssertionError: What does not hold, in one sentence.
        InputError: If there is no such watcher, or it refuses its options.
    """
    name = watcher if isinstance(watcher, str) else getattr(watcher, "__qualname__", repr(watcher))
    spec = _spec({"watchers": [{"name": watcher, "options": options}]} if isinstance(watcher, str) else {})
    with TemporaryDirectory(prefix="kdsweep-") as folder:
        store = Store(folder)
        made = make_watchers(spec, store)[0] if isinstance(watcher, str) else watcher(spec, store, **options)
        _watch(name, made, spec)
        _require(not Path(folder, "ledger").exists(), f"{name}: a watcher must not write to the ledger")


def check_tracker(name: str, folder: Path | None = None, **options: object) -> None:
    """Check a tracker on a sweep in which everything happens that can happen, whose driver ends in the middle.

    It takes every run without an error; `held` tells the second driver what is there, and in the end each run of a
    search has all epochs and the state that it has in the sweep.

    Args:
        name: The tracker as a spec names it: `package.module:name`, the name of an entry point, or one of ours.
        folder: The sweep's folder; by default a temporary one.
        options: Options of the tracker, as in a spec.

    Raises:
        AssertionError: What does not hold, in one sentence.
        InputError: If there is no such tracker, or it refuses its options.
    """
    spec = _spec({"trackers": [{"name": name, "options": options}]})
    (make,) = find_trackers(spec)
    with TemporaryDirectory(prefix="kdsweep-") as scratch:
        sweep = TrackedSweep("example-1", spec, (folder or Path(scratch)) / "trackers")
        records = [
            Record(number, f"2026-01-01T12:00:{number:02}+00:00", event.kind, event.to_json())
            for number, event in enumerate(example_events(spec), start=1)
        ]
        for first, last in ((0, len(records) // 2), (len(records) // 2, len(records))):
            state, tracker = SweepState.of(records[:first]), make(sweep, **options)
            held = dict(tracker.held())
            for record in records[first:last]:
                event = state.apply(record)
                for run in filter(None, (tracked_run(spec, state, key) for key in keys_after(event, state))):
                    held[run.id] = deliver(tracker, run, held.get(run.id))
            tracker.close()
        there = make(sweep, **options).held()
        shown = {run.id: run for run in filter(None, (tracked_run(spec, state, key) for key in state.trials))}
        searched = {run_id for run_id, run in shown.items() if run.phase == Phase.SEARCH}
        lost = sorted(searched - there.keys())
        _require(not lost, f"{name}: held must name all runs of searches, lacking {', '.join(lost)}")
        for run_id in there.keys() & shown.keys():
            run, of_run = shown[run_id], there[run_id]
            _require(
                (of_run.epoch, of_run.state) == (run.last_epoch, run.state),
                f"{name}: held must say epoch {run.last_epoch} and {run.state} of {run.name}, got epoch {of_run.epoch} "
                f"and {of_run.state}",
            )


def example_events(spec: SweepSpec | None = None) -> Iterator[Event]:
    """Events of a sweep in which everything happens that can happen, in an order in which it can."""
    spec = spec or _spec({})
    environment = {"environment_id": "e1", "node": "node-a", "device": "cpu", "gpu_memory_bytes": None}
    evaluation = _EVALUATION.to_dict()
    config = sweep_events.FrozenConfig("none", "none-0", "c0")
    yield sweep_events.SweepBegun("example-1", "0", spec.model_dump(mode="json"), _DATA)
    yield sweep_events.TeacherKnown("f00d", "big", "FPN", None, 9, 9, "streets", 0.6, "select", 1.0, "given")
    yield sweep_events.SessionBegun(environment)
    yield sweep_events.CodeKnown("c0de", {"loop": {"kdtrain.loop.step": "1"}})
    pulls: Mapping[str, object] = {"options": {"loss": "pixel_kd"}, "lengths": [0.3, 0.2]}
    yield sweep_events.StudentMeasured({"encoder": "resnet18"}, "FPN resnet18", {"params": 9, "macs": 9})
    yield sweep_events.PullsMeasured(_CONFIG, "c0", [1, 2], [1.0, 0.5], [pulls])
    for number in range(4):
        trial, params = f"none-{number}", {"optimizer.lr": 0.01 * (number + 1)}
        yield trial_events.Proposed(trial, "none", number, Phase.SEARCH, None, 0, params, _CONFIG, f"c{number}")
        yield trial_events.Started(trial, "c0de")
        yield trial_events.Located(trial, "e1", "node-a", None)
        yield trial_events.EpochReported(trial, _report(1, 0.3 + 0.1 * number))
    yield trial_events.Infeasible("none", {"optimizer.lr": -1.0}, "optimizer.lr: must be above 0")
    yield trial_events.Promoted("none-0", 1, 1, 0.3, 4, 4)
    yield trial_events.Stopped("none-1", 1, 1, 0.4, 4, 1)
    yield trial_events.Ended("none-1", TrialState.PRUNED, "not among the best 1 of 4", TrialOutcome(1, 1.0, 0.0))
    yield trial_events.Promoted("none-1", 1, 1, 0.4, 7, 3)
    yield trial_events.Started("none-1", "c0de")
    yield trial_events.Ended("none-1", TrialState.COMPLETE, None, TrialOutcome(2, 2.0, 0.0, {"params": 1}, evaluation))
    yield trial_events.Ended(
        "none-2", TrialState.DIVERGED, "ce was not finite in epoch 2", TrialOutcome(1, 1.0, 0.0, {})
    )
    yield trial_events.Retried("none-3", "MemoryError\nTraceback", "out_of_memory", 1.0)
    yield trial_events.Started("none-3", "c0de")
    yield trial_events.Ended("none-3", TrialState.FAILED, "RuntimeError: shape mismatch\nTraceback", failure="error")
    yield trial_events.AttemptInterrupted("none-0")
    yield sweep_events.DriverStopped("stopped by SIGTERM")
    yield sweep_events.SessionBegun(environment)
    yield sweep_events.Grown({**spec.model_dump(mode="json"), "retries": 2}, ["retries: 1 -> 2"])
    yield trial_events.Started("none-0", "c0de")
    yield trial_events.EpochReported("none-0", _report(2, 0.5))
    yield trial_events.Ended("none-0", TrialState.COMPLETE, None, TrialOutcome(2, 2.0, 0.0, {"params": 1}, evaluation))
    yield sweep_events.Exhausted("none", "every config of its space was tried")
    yield trial_events.Proposed("none-4", "none", 4, Phase.CONFIRM, "none-0", 1, {"optimizer.lr": 0.01}, _CONFIG, "c0")
    yield trial_events.Reused("none-4", "none-0")
    yield trial_events.Ended("none-4", TrialState.COMPLETE, None, TrialOutcome(2, 2.0, 0.0, {"params": 1}, evaluation))
    yield sweep_events.Note("an example")
    yield sweep_events.Looked(1, 1, False, "no more seeds are allowed", [])
    yield sweep_events.Finished()
    yield sweep_events.Frozen(config, config, (config,), "nothing is better", (7,), "test", 41)
    yield sweep_events.SessionBegun(environment)
    yield trial_events.Proposed("none-5", "none", 5, Phase.FINAL, "none-0", 7, {"optimizer.lr": 0.01}, _CONFIG, "c0")
    yield trial_events.Started("none-5", "c0de")
    yield trial_events.TestRead("none-5", "d2", 4)
    yield trial_events.Ended("none-5", TrialState.COMPLETE, None, TrialOutcome(2, 2.0, 0.0, {}, evaluation, evaluation))
    yield sweep_events.Aborted("all trials failed")


_CONFIG: Mapping[str, object] = {"epochs": 2, "student": {"encoder": "resnet18"}}
_EVALUATION = Evaluation("select", "d1", ("a",), ("g",), ("road", "car"), np.array([[[8, 1], [2, 9]]]))
_DATA: sweep_events.DataFacts = {
    "name": "streets",
    "classes": ["road", "car"],
    "palette": ["#000000", "#ff0000"],
    "images": {"train": 8, "select": 2},
    "digests": {"train": "t1", "select": "d1"},
}
_STATES = (TrialState.COMPLETE, TrialState.PRUNED, TrialState.DIVERGED, TrialState.FAILED, TrialState.RUNNING)


def _watch(name: str, watcher: Watcher, spec: SweepSpec) -> None:
    state, specified = SweepState(), spec.model_copy(deep=True)
    for number, event in enumerate(example_events(spec), start=1):
        state.apply(Record(number, "2026-01-01T12:00:00+00:00", event.kind, event.to_json()))
        before = copy.deepcopy(state)
        try:
            watcher(event, state)
        except Exception as error:
            problem = f"{type(error).__name__}: {error}"
            raise AssertionError(f"{name}: it must take an event of kind {event.kind}, got {problem}") from error
        _require(state == before, f"{name}: it must not change the state, but did at an event of kind {event.kind}")
    _require(spec == specified, f"{name}: it must not change the spec")


def _spec(changes: Mapping[str, object]) -> SweepSpec:
    return parse_spec(
        {
            "name": "example",
            "data": {"name": "streets"},
            "train": {"epochs": 2},
            "studies": ["none"],
            "space": {"optimizer.lr": {"low": 0.01, "high": 0.1}},
            "budget": {"trials": 4},
            **changes,
        }
    )


def _report(epoch: int, miou: float) -> EpochReport:
    losses = {"ce": {"raw": 1.0, "weighted": 1.0}}
    return EpochReport(epoch, 2, {"miou": miou, "pixel_accuracy": miou}, losses, 0.1, {"total": 1.0}, 8)


def _trial(number: int, params: Mapping[str, Scalar]) -> TrialRecord:
    """An ended or running trial, whose score depends on its number alone."""
    state = _STATES[number % len(_STATES)]
    epochs = 2 if state is TrialState.COMPLETE else 1
    return TrialRecord(
        id=f"study-{number}",
        study="study",
        number=number,
        phase=Phase.SEARCH,
        candidate_of=None,
        seed=0,
        params=params,
        config=_CONFIG,
        config_id=str(number),
        state=state,
        reports={epoch: _report(epoch, 0.1 + 0.05 * number) for epoch in range(1, epochs + 1)},
    )


def _require(holds: bool, sentence: str) -> None:
    if not holds:
        raise AssertionError(sentence)


__all__ = ["check_sampler", "check_tracker", "check_watcher", "example_events"]
