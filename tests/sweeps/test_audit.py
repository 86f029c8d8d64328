"""Stopped trials that are trained to their end, to see what early stopping has lost."""

from dataclasses import replace

import pandas as pd
import pytest

from analysis.report.findings import read_findings
from analysis.report.sections.budget import section
from analysis.search.audits import losses_by_stopping
from analysis.tables.files import empty_tables
from kdtrain.errors import InputError
from sweeps.driver.audit import drawn
from sweeps.driver.fresh_scores import counted_score
from sweeps.launch.inline import run_inline
from sweeps.ledger.ledger import read
from sweeps.ledger.trial_state import TrialState
from sweeps.outcome.audit_rows import audit_rows
from sweeps.outcome.loaded import load_state
from sweeps.outcome.tabulate import rows, short_frames, write_tables
from sweeps.show.progress import _epochs_left, summarize
from sweeps.study_plan import study_plan


def late(fake):
    """Configs whose first epochs say the reverse of what they are worth in the end."""

    class Train(fake.FakeTrain):
        def __call__(self, config, machine=None, report=None, workdir=None, interrupt=None):
            def turned(each):
                value = fake.draw(config.config_id)
                miou = value if each.epoch > 1 else 1 - value
                return report(type(each)(**{**vars_of(each), "metrics": {"miou": miou, "pixel_accuracy": miou}}))

            return super().__call__(config, machine, turned, workdir, interrupt)

    return Train()


def vars_of(report):
    return {name: getattr(report, name) for name in report.__dataclass_fields__}


def spec_of(fake, audit=1.0, **changes):
    scheduler = {"name": "halving", "factor": 2, **({} if audit is None else {"audit": audit})}
    return fake.make_spec(
        **{
            "studies": ["none"],
            "train": {"epochs": 4},
            "budget": {"trials": 6},
            "scheduler": scheduler,
            "confirm": {"top": 1, "seeds": 1},
            "sampler": {"name": "random"},
            **changes,
        }
    )


def audits_of(state):
    return [trial for trial in state.trials.values() if trial.phase == "audit"]


def test_stopped_trials_are_trained_from_where_they_were_after_the_confirm_phase(fake, tmp_path):
    train = late(fake)
    state = fake.run(spec_of(fake), tmp_path, train)
    stopped = [trial for trial in state.of_study("none", "search") if trial.state == "pruned"]
    assert stopped
    assert [trial.candidate_of for trial in audits_of(state)] == [trial.id for trial in stopped]
    assert [trial.phase for trial in state.trials.values()] == ["search"] * 6 + ["confirm"] + ["audit"] * len(stopped)
    for audit, trial in zip(audits_of(state), stopped, strict=True):
        assert (audit.config_id, audit.seed) == (trial.config_id, trial.seed)
        assert (audit.state, audit.epochs_run) == ("complete", 4)
        assert {epoch: audit.curve[epoch] for epoch in trial.curve} == trial.curve
    ran = sum(trial.epochs_run for trial in state.trials.values()) - sum(trial.epochs_run for trial in stopped)
    assert train.epochs_trained == ran, "no epoch is trained twice"
    assert state.finished


def test_an_audit_changes_neither_the_trials_nor_the_selection(fake, tmp_path):
    def tables(audit):
        folder = tmp_path / str(audit)
        fake.run(spec_of(fake, audit), folder, late(fake))
        spec, state = load_state(folder)
        return state, {
            name: [{**row, "sweep_id": "", "eval_id": ""} for row in table] if isinstance(table, list) else table
            for name, table in rows(state, spec).items()
            if name not in ("sweeps", "decisions")
        }

    without, plain = tables(None)
    audited, told = tables(1.0)
    assert len(told.pop("audits")) == len(audits_of(audited)) > 0
    assert plain.pop("audits") == []
    assert told.keys() == plain.keys()
    for name in ("trials", "studies", "params", "evaluations"):
        assert told[name], name
        assert told[name] == plain[name], name
    for column in ("trial_id", "value"):
        assert told["metrics"][column] == plain["metrics"][column]
    assert audited.tally.of_search("none", 1).epochs == without.tally.of_search("none", 1).epochs


def test_lost_trials_are_those_that_end_above_the_best_found(fake, tmp_path):
    state = fake.run(spec_of(fake), tmp_path, late(fake))
    spec, _ = load_state(tmp_path)
    best = max(trial.score for trial in state.of_study("none", "search") if trial.score is not None)
    worth = {trial.candidate_of: fake.draw(trial.config_id) for trial in audits_of(state)}
    lost = {row["trial_id"]: row["lost"] for row in rows(state, spec)["audits"]}
    assert lost == {trial: value > best for trial, value in worth.items()}
    assert True in lost.values()
    told = losses_by_stopping(short_frames(state, spec)).iloc[0]
    assert (told["study"], told["stopped"], told["audited"]) == ("none", len(worth), len(worth))
    assert told["lost"] == sum(lost.values())
    assert told["low"] < told["lost"] / told["audited"] <= told["high"]
    extra = {row["trial_id"]: (row["epoch"], row["epochs_run"], row["seconds"]) for row in rows(state, spec)["audits"]}
    assert all((epochs, seconds) == (4 - epoch, 4.0 - epoch) for epoch, epochs, seconds in extra.values())


def test_the_report_says_how_often_the_best_was_lost(fake, tmp_path):
    fake.run(spec_of(fake), tmp_path / "audited", late(fake))
    fake.run(spec_of(fake, None), tmp_path / "not", late(fake))
    for folder in ("audited", "not"):
        write_tables(tmp_path / folder)
    said = section(read_findings(tmp_path / "audited"))
    assert "What early stopping lost" in said
    assert "Share lost" in said
    assert "What early stopping lost" not in section(read_findings(tmp_path / "not"))


@pytest.mark.parametrize(
    ("lost", "n", "low", "high"), [(0, 10, 0.0, 0.3085), (10, 10, 0.6915, 1.0), (1, 10, 0.0025, 0.445)]
)
def test_the_interval_is_that_of_clopper_and_pearson(lost, n, low, high):
    tables = empty_tables()
    tables["audits"] = pd.DataFrame({"study": ["kd"] * (n + 1), "lost": [True] * lost + [False] * (n - lost) + [None]})
    row = losses_by_stopping(tables).iloc[0]
    assert (row["audited"], row["lost"]) == (n, lost)
    assert (row["low"], row["high"]) == pytest.approx((low, high), abs=1e-4)
    assert losses_by_stopping(empty_tables()).empty


def test_who_is_drawn_follows_from_the_id_and_a_larger_share_draws_the_same_and_more(fake, tmp_path):
    state = fake.run(spec_of(fake, None, budget={"trials": 40}, train={"epochs": 2}), tmp_path, late(fake))
    stopped = {trial.id for trial in state.of_study("none", "search") if trial.state == "pruned"}
    chosen = {share: {trial.id for trial in drawn(spec_of(fake, share), state)} for share in (0.0, 0.3, 0.6, 1.0)}
    assert chosen[0.0] == set()
    assert chosen[0.3] < chosen[0.6] < chosen[1.0] == stopped
    other = {trial.id for trial in drawn(spec_of(fake, 0.6, seed=8), state)}
    assert other != chosen[0.6]


def told(folder):
    spec, state = load_state(folder)
    tables = rows(state, spec)
    lasting = ("proposed", "promoted", "stopped", "ended")
    decisions = [(row["kind"], row["trial_id"], row["epoch"]) for row in tables["decisions"] if row["kind"] in lasting]
    return decisions, tables["audits"]


@pytest.mark.parametrize("mode", ["stop", "pause"])
def test_a_killed_sweep_has_the_same_audits(fake, tmp_path, mode):
    settings = {"name": "halving", "grace": 2, "factor": 2, "mode": mode, "audit": 0.7}
    spec = spec_of(fake, scheduler=settings, train={"epochs": 3}, budget={"trials": 5})
    fake.run(spec, tmp_path / "whole", late(fake))
    expected = told(tmp_path / "whole")
    assert expected[1]
    records = read(tmp_path / "whole")
    first = next(number for number, each in enumerate(records) if each.data.get("phase") == "confirm")
    for cut in range(first, len(records) + 1):
        folder = tmp_path / f"cut{cut}"
        fake.resumed(folder, cut, lambda folder: fake.run(spec, folder, late(fake)))
        assert told(folder) == expected, f"cut after record {cut}"


def test_the_share_may_grow_in_a_finished_sweep_and_only_audits_are_trained(fake, tmp_path):
    before = fake.run(spec_of(fake, None), tmp_path, late(fake))
    train = late(fake)
    after = fake.run(spec_of(fake, 1.0), tmp_path, train)
    new = set(after.trials) - set(before.trials)
    assert new == {trial.id for trial in audits_of(after)} != set()
    assert all(not started_again(after, trial) for trial in before.trials)


def started_again(state, trial):
    return state.trials[trial].attempts > 1


def test_an_audit_says_nothing_once_its_trial_has_gone_on_itself(fake, tmp_path):
    order = {}

    def worth(config):
        return order.setdefault(config.config_id, (0.9, 0.8, 0.1)[min(len(order), 2)])

    settings = {"name": "halving", "grace": 2, "factor": 2, "mode": "pause", "audit": 1.0}

    def audited(epochs):
        spec = spec_of(fake, scheduler=settings, budget={"epochs": epochs})
        state = fake.run(spec, tmp_path, fake.FakeTrain(worth))
        return [row["trial_id"] for row in rows(state, load_state(tmp_path)[0])["audits"]]

    assert audited(6) == ["none-1"]
    assert audited(9) == ["none-4"], "none-1 has gone on, and the third config was stopped"


def test_an_audit_says_nothing_once_its_trial_has_gone_on_and_was_stopped_again(fake, tmp_path):
    state = fake.run(spec_of(fake), tmp_path, late(fake))
    audit = audits_of(state)[0]
    assert len(list(audit_rows(state))) == len(audits_of(state))
    state.trials[audit.candidate_of].ended_at = "2026-01-02T12:00:00+00:00"
    assert audit.id not in [row["audit_id"] for row in audit_rows(state)]


def test_progress_counts_audits_as_work_that_is_left_but_not_as_trials_of_a_study(fake, tmp_path):
    spec, left = spec_of(fake), []
    with fake.open_driver(spec, tmp_path) as driver:
        while not any(trial.phase == "audit" for trial in driver.state.trials.values()):
            fake.finish(driver, driver.next())
            left.append(_epochs_left(spec, driver.state))
            if sum(trial.phase == "confirm" for trial in driver.state.trials.values()):
                break
        stopped = [trial for trial in driver.state.of_phase("search") if trial.state == "pruned"]
        assert stopped
        assert left[-1] == sum(trial.epochs - trial.epochs_run for trial in stopped)
        run_inline(driver, fake.FakeTrain())
    (study,) = summarize(spec, driver.state).studies
    assert sum(study.states.values()) == 7


def test_the_plan_has_the_cost_of_audits(fake):
    spec = spec_of(fake, 0.5)
    plan = study_plan(spec, spec.studies[0])
    assert (plan.audits, plan.audit_epochs) == (3, 9)
    by_epochs = spec_of(fake, 0.5, budget={"epochs": 40})
    assert study_plan(by_epochs, spec.studies[0]).audits == 20, "a stopped trial has cost one epoch at least"
    assert study_plan(spec_of(fake, None), spec.studies[0]).audits == 0


def test_a_share_that_is_none_is_refused(fake):
    with pytest.raises(InputError, match=r"scheduler.audit: .* less than or equal to 1, got 10"):
        spec_of(fake, 10)
    with pytest.raises(InputError, match=r"scheduler.audit: is a setting of halving and hyperband and median and pat"):
        fake.make_spec(scheduler={"name": "none", "audit": 0.1})


def test_audits_wait_for_the_confirm_phase_and_then_run_side_by_side(fake, tmp_path):
    with fake.open_driver(spec_of(fake), tmp_path) as driver:
        while (trial := driver.next()).phase == "search":
            fake.finish(driver, trial)
        assert trial.phase == "confirm"
        assert driver.next().value == "wait"
        fake.finish(driver, trial)
        audits = [driver.next() for _ in range(2)]
        assert {audit.phase for audit in audits} == {"audit"}
        assert len({audit.id for audit in audits}) == 2


def test_an_audit_does_not_change_the_score_of_a_failed_training(fake, tmp_path):
    state = fake.run(spec_of(fake, confirm={"top": 1, "seeds": 1, "failures": "worst"}), tmp_path, late(fake))
    spec = load_state(tmp_path)[0]
    failed = next(trial for trial in state.trials.values() if trial.phase == "confirm")
    failed.state = TrialState.DIVERGED
    before = counted_score(spec, state, failed)
    for audit in audits_of(state):
        audit.reports = {epoch: replace(report, metrics={"miou": 0.0}) for epoch, report in audit.reports.items()}
    assert counted_score(spec, state, failed) == before
