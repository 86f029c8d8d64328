"""The training code of the driver's process, compared with the code of earlier trials."""

from collections.abc import Iterator, Mapping

from kdtrain.code_digest import Parts, code_of, digest_of, digests_of, same_code
from kdtrain.config import TrainConfig
from kdtrain.errors import InputError
from sweeps.ledger.state import SweepState
from sweeps.ledger.trial_code import code_digests
from sweeps.ledger.trial_record import TrialRecord


def code_here(trial: TrialRecord) -> Parts | None:
    """What a training of the trial executes in this process; none if its config cannot be read here."""
    try:
        return code_of(TrainConfig.parse(trial.config))
    except InputError:
        return None


def code_name(parts: Parts) -> str:
    """The digest that names a version of the code in the ledger."""
    return digest_of(digests_of(parts))


def has_same_code(trial: TrialRecord, state: SweepState, parts: Parts | None) -> bool:
    """Whether a trial ran on code that gives what this code gives; not if that is unknown of one of them."""
    before = code_digests(trial, state)
    return before is not None and parts is not None and same_code(before, digests_of(parts))


def changed_code(state: SweepState) -> list[str]:
    """One sentence for every part of the code that has changed since trials of the sweep ran on it."""
    trials = [trial for trial in state.trials.values() if trial.attempts]
    examples = {(trial.study, trial.code or trial.environment_id): trial for trial in trials}
    changes: dict[tuple[str, ...], set[str]] = {}
    for trial in examples.values():
        parts = code_here(trial)
        if parts is not None and not has_same_code(trial, state, parts):
            modules = tuple(_differing(state.codes.get(trial.code or "", {}), parts))
            changes.setdefault(modules, set()).add(trial.study)
    return [
        f"the training code has changed since trials of {', '.join(sorted(studies))} ran "
        f"({', '.join(modules) or 'kdtrain'}): what is trained from now on is not comparable with them where it "
        "executes that code; put the earlier code back, or start a new sweep in another --dir"
        for modules, studies in changes.items()
    ]


def _differing(before: Mapping[str, Mapping[str, str]], now: Parts) -> Iterator[str]:
    old = {name: digest for modules in before.values() for name, digest in modules.items()}
    new = {name: digest for modules in now.values() for name, digest in modules.items()}
    if old:
        yield from sorted(name for name in {**old, **new} if old.get(name) != new.get(name))
