"""The score of a trial as the mean of its last evaluations: everything that goes by scores goes by this one."""

import json
from dataclasses import replace

import pytest

from analysis import read_tables
from analysis.report.findings import read_findings
from analysis.report.paper.tables import comparison_sheet
from analysis.report.sweep_report import report_page
from analysis.selection.select import best
from kdtrain.errors import InputError
from kdtrain.loop.reports import EpochReport
from sweeps.driver.growth import check_begun
from sweeps.ledger.ledger import read
from sweeps.ledger.state import SweepState
from sweeps.ledger.trial_state import Phase
from sweeps.outcome.tabulate import write_tables
from sweeps.spec.spec import parse_spec
from sweeps.store.store import open_store

LAST = 3
HALVING = {"name": "halving", "grace": 2, "factor": 2}


def spec_of(fake, last=LAST, **changes):
    given = {"studies": ["none"], "train": {"epochs": 6, "batch_size": 4}, "budget": {"trials": 8}}
    given |= {"confirm": {"top": 2, "seeds": 2}, **changes}
    return fake.make_spec(score={"last": last}, **given)


def swaying(fake):
    """Trainings whose evaluations sway from epoch to epoch, so that the last one ranks configs in another order."""

    class Swaying(fake.FakeTrain):
        def __call__(self, config, machine=None, report=None, workdir=None, interrupt=None):
            def shifted(each: EpochReport) -> EpochReport:
                miou = each.metrics["miou"] + 0.3 * fake.draw(config.config_id, each.epoch)
                return replace(each, metrics={"miou": miou})

            listen = None if report is None else lambda each: report(shifted(each))
            result = super().__call__(config, machine, listen, workdir, interrupt)
            return replace(result, reports=tuple(map(shifted, result.reports)))

    return Swaying()


def raw(trial):
    return [trial.reports[epoch].metrics["miou"] for epoch in sorted(trial.reports)]


def means(trial, last=LAST):
    values = raw(trial)
    return {end: sum(values[max(0, end - last) : end]) / min(end, last) for end in range(1, len(values) + 1)}


def test_search_finalists_and_tables_go_by_the_mean_of_the_last_evaluations(fake, tmp_path):
    state = fake.run(spec_of(fake), tmp_path, swaying(fake))
    searched = state.of_phase(Phase.SEARCH)
    assert {trial.id: trial.score for trial in searched} == pytest.approx({t.id: means(t)[6] for t in searched})
    assert all(trial.curve == pytest.approx(means(trial)) for trial in searched)
    by_mean = sorted(searched, key=lambda trial: -means(trial)[6])
    by_last = sorted(searched, key=lambda trial: -raw(trial)[-1])
    assert [trial.id for trial in by_mean[:2]] != [trial.id for trial in by_last[:2]]
    confirmed = {trial.candidate_of for trial in state.of_phase(Phase.CONFIRM)}
    assert confirmed == {trial.id for trial in by_mean[:2]}
    write_tables(tmp_path)
    tables = read_tables(tmp_path)
    ended = tables["trials"].set_index("trial_id")
    assert all(ended.loc[trial.id, "score"] == pytest.approx(means(trial)[6]) for trial in state.trials.values())
    assert all(ended.loc[trial.id, "reached"] == pytest.approx(means(trial)[6]) for trial in state.trials.values())


def test_rungs_compare_the_same_means_and_a_killed_sweep_decides_alike(fake, tmp_path):
    spec = spec_of(fake, scheduler=HALVING, budget={"epochs": 36})
    state = fake.run(spec, tmp_path / "whole", swaying(fake))
    at_rungs = [each for each in state.decisions if each.rung is not None]
    assert {each.rung for each in at_rungs} == {2, 4}
    for each in at_rungs:
        assert each.value == pytest.approx(means(state.trials[each.trial_id])[each.epoch])
    records = [json.dumps(record.event.to_json()) for record in read(open_store(tmp_path / "whole"))]
    cut = len(records) // 2
    again = fake.resumed(tmp_path / "cut", cut, lambda folder: fake.run(spec, folder, swaying(fake)))
    assert [(t.id, t.params, t.state, t.score) for t in again.trials.values()] == [
        (t.id, t.params, t.state, t.score) for t in state.trials.values()
    ]


def test_report_and_best_config_say_what_a_score_is(fake, tmp_path):
    says = "mIoU on role select, mean of the last 3 evaluated epochs"
    fake.run(spec_of(fake), tmp_path, swaying(fake))
    write_tables(tmp_path)
    findings = read_findings(tmp_path)
    assert report_page(findings).count(says) == 1
    assert f"{says}, in points" in comparison_sheet(findings).caption
    assert best(read_tables(tmp_path))["evidence"]["score"] == f"{says}, fraction 0..1"


def test_a_sweep_of_before_goes_on_with_the_last_evaluation(fake, tmp_path):
    state = fake.run(spec_of(fake, last=1), tmp_path, swaying(fake))
    spec = {name: value for name, value in state.sweep.spec.items() if name != "score"}
    before = SweepState()
    for record in read(open_store(tmp_path)):
        before.apply(record)
        if before.begun is not None and "score" in before.begun.spec:
            before.begun = replace(before.begun, spec=spec)
    assert {each.id: each.score for each in before.trials.values()} == {
        each.id: raw(each)[-1] for each in state.trials.values()
    }


def test_a_begun_sweep_keeps_its_score(fake, tmp_path):
    fake.run(spec_of(fake, last=1), tmp_path)
    with pytest.raises(InputError, match=r"score\.last is 1 and not 3"):
        check_begun(spec_of(fake), open_store(tmp_path))


@pytest.mark.parametrize(
    ("changes", "most"),
    [
        (
            {"train": {"epochs": 6, "batch_size": 4, "evaluate_every": 3}},
            "at most 2, .* none .6 epochs, evaluated every 3",
        ),
        ({"train": {"epochs": 7, "batch_size": 4, "evaluate_every": 6}}, "at most 2"),
        ({"studies": [{"name": "rare", "method": "none", "set": {"evaluate_every": 6}}]}, "at most 1, .* rare "),
        ({"space": {"evaluate_every": [1, 4]}}, "at most 2"),
        ({"space": {"evaluate_every": {"low": 1, "high": 6}}}, "at most 1"),
    ],
)
def test_more_evaluations_than_a_training_has_are_refused(fake, changes, most):
    with pytest.raises(InputError, match=rf"^score\.last: must be {most}.*got 3"):
        spec_of(fake, **changes)


@pytest.mark.parametrize("last", [0, -1, 1.5, "three", None])
def test_a_score_needs_a_whole_number_of_evaluations(fake, last):
    with pytest.raises(InputError, match=r"^score\.last: "):
        spec_of(fake, last=last)
    assert parse_spec({**spec_of(fake).model_dump(), "score": {"last": 6}}).score.last == 6
