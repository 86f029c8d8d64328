import pytest

from kdtrain.loop.reports import EpochReport
from kdtrain.space import Choice, Range
from sweeps.driver.sampler import make_sampler, propose
from sweeps.ledger.trial_record import TrialRecord
from sweeps.ledger.trial_state import Phase, TrialState
from sweeps.spec.settings import Sampler

SPACE = {"lr": Range(low=0.001, high=1.0, log=True), "layer": Choice(choices=("logits", "decoder", None))}
TPE = make_sampler(Sampler(name="tpe", startup=3))


def trial(number, params, score=None, state="complete"):
    record = TrialRecord(
        id=f"s-{number}",
        study="s",
        number=number,
        phase=Phase.SEARCH,
        candidate_of=None,
        seed=0,
        params=params,
        config={"epochs": 2},
        config_id=str(number),
        state=TrialState(state),
    )
    if score is not None:
        record.reports = {2: EpochReport(2, 2, {"miou": score}, {}, 0.1, {}, 8)}
    return record


def history(count):
    params = [{"lr": 0.002 * 1.5**n, "layer": "logits" if n % 2 else None} for n in range(count)]
    return [trial(n, one, 0.5 + 0.01 * n) for n, one in enumerate(params)]


def test_a_proposal_depends_on_what_was_told_and_nothing_else():
    told = history(8)
    first = propose("s", SPACE, TPE, 1, told, None)
    assert propose("s", SPACE, TPE, 1, history(8), None) == first
    assert propose("s", SPACE, TPE, 2, told, None) != first
    assert propose("t", SPACE, TPE, 1, told, None) != first
    assert propose("s", SPACE, TPE, 1, history(7), None) != first


def test_the_default_comes_first():
    default = {"lr": 0.02, "layer": "logits"}
    assert propose("s", SPACE, TPE, 1, [], default) == default
    assert propose("s", SPACE, TPE, 1, [], None) != default


@pytest.mark.parametrize("name", ["tpe", "random"])
def test_proposals_stay_inside_of_the_space_and_differ(name):
    told = []
    for number in range(12):
        params = propose("s", SPACE, make_sampler(Sampler(name=name, startup=3)), 5, told, None)
        assert 0.001 <= params["lr"] <= 1.0
        assert params["layer"] in ("logits", "decoder", None)
        told.append(trial(number, params, 0.1 * params["lr"]))
    assert len({params["lr"] for params in (one.params for one in told)}) == 12


def test_tpe_learns_from_good_and_from_diverged_trials():
    space = {"lr": Range(low=0.0, high=1.0)}
    told = [trial(n, {"lr": n / 20}, score=n / 20) for n in range(14)]
    told += [trial(n, {"lr": n / 20}, state="diverged") for n in range(14, 21)]
    drawn = [propose("s", space, TPE, seed, told, None)["lr"] for seed in range(20)]
    assert sum(0.4 < lr < 0.7 for lr in drawn) > 14


def test_running_pruned_and_failed_trials_can_be_told():
    told = history(5)
    told += [
        trial(5, {"lr": 0.5, "layer": None}, 0.4, "pruned"),
        trial(6, {"lr": 0.6, "layer": None}, None, "running"),
    ]
    told += [
        trial(7, {"lr": 0.7, "layer": None}, None, "failed"),
        trial(8, {"lr": 0.8, "layer": None}, None, "pruned"),
    ]
    assert propose("s", SPACE, TPE, 1, told, None) is not None


def test_a_finite_space_ends():
    space = {"layer": Choice(choices=(1, 2, 3, 4))}
    told = []
    while (params := propose("s", space, TPE, 3, told, None)) is not None:
        told.append(trial(len(told), params, 0.5))
    assert sorted(one.params["layer"] for one in told) == [1, 2, 3, 4]
