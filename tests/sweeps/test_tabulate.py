import json

import pytest

from analysis import read_tables
from analysis.tables.schemas import SCHEMAS
from kdtrain.errors import InputError
from kdtrain.loop.reports import EpochReport
from sweeps.ledger.trial_events import EpochReported
from sweeps.outcome.loaded import load_state
from sweeps.outcome.tabulate import rows, write_tables
from sweeps.store.store import Store


@pytest.fixture
def tables(fake, tmp_path):
    def before(config, epoch):
        return "nan" if config.optimizer.lr > 0.05 and epoch == 2 else None

    spec = fake.make_spec(scheduler={"name": "halving", "factor": 2})
    fake.run(spec, tmp_path, fake.FakeTrain(before=before))
    write_tables(tmp_path)
    return read_tables(tmp_path)


def content(sweep, place=None):
    """The bytes of every table, written anew."""
    return {name: Store(sweep).read(key) for name, key in write_tables(sweep, place).items()}


def test_the_same_ledger_gives_the_same_bytes(fake, tmp_path):
    fake.run(fake.make_spec(studies=["none", "kd"]), tmp_path)
    first = content(tmp_path)
    assert list(first) == list(SCHEMAS)
    assert content(tmp_path) == first


def test_an_object_store_gets_the_same_bytes_as_a_disk(fake, tmp_path, s3_folder):
    fake.run(fake.make_spec(studies=["none", "kd"], budget={"trials": 2}), tmp_path)
    store = Store(s3_folder)
    for path in (tmp_path / "ledger").glob("*.jsonl"):
        store.write(f"ledger/{path.name}", path.read_bytes())
    place = "the place that its command names"
    assert content(s3_folder, place) == content(tmp_path, place)
    assert len(read_tables(s3_folder)["trials"]) == len(read_tables(tmp_path)["trials"]) == 8


def test_every_trial_has_a_row_and_only_complete_ones_a_score(tables):
    trials = tables["trials"]
    assert {"complete", "pruned", "diverged"} <= set(trials["state"])
    assert (trials["score"].notna() == (trials["state"] == "complete")).all()
    assert trials["trial_id"].is_unique
    confirmed = trials[trials["phase"] == "confirm"]
    assert len(confirmed) == 10
    assert set(confirmed["candidate_of"]) <= set(trials["trial_id"])
    assert (trials["params"].notna() == (trials["state"] == "complete")).all()
    assert json.loads(trials["config_json"][0])["epochs"] == 6


def test_metrics_hold_every_report_in_long_form(tables):
    metrics, trials = tables["metrics"], tables["trials"].set_index("trial_id")
    epochs = metrics[metrics["name"] == "lr"].groupby("trial_id")["epoch"].max()
    assert (epochs == trials["epochs_run"].loc[epochs.index]).all()
    assert {"miou", "term/channel_wise/raw", "term/channel_wise/weighted", "seconds/total"} <= set(metrics["name"])


def test_a_trial_says_where_its_seconds_went_and_what_the_teacher_was_asked(fake, tmp_path):
    with fake.open_driver(fake.make_spec(studies=["none"]), tmp_path) as driver:
        trial = driver.next()
        driver.started(trial.id)
        for epoch, parts in ((1, {"total": 2.0, "start": 0.5}), (2, {"total": 3.0, "teacher": 1.25})):
            counts = {"asked": 8 * (epoch - 1), "recorded": 0, "replayed": 8}
            driver.report(trial.id, EpochReport(epoch, 6, {}, {}, 0.1, parts, 8, **counts))
    write_tables(tmp_path)
    tables = read_tables(tmp_path)
    (row,) = tables["trials"].to_dict("records")
    assert json.loads(row["parts_json"]) == {"start": 0.5, "teacher": 1.25, "total": 5.0}
    assert (row["asked"], row["recorded"], row["replayed"]) == (8, 0, 16)
    metrics = tables["metrics"]
    assert metrics[metrics["name"] == "teacher_images"][["epoch", "value"]].to_numpy().tolist() == [[2, 8.0]]


def test_reports_that_do_not_tell_what_was_asked_leave_it_open(fake, tmp_path):
    with fake.open_driver(fake.make_spec(studies=["none"]), tmp_path) as driver:
        trial = driver.next()
        driver.started(trial.id)
        driver.report(trial.id, EpochReport(1, 6, {}, {}, 0.1, {"total": 2.0}, 8))
    spec, state = load_state(tmp_path)
    reports = state.trials[trial.id].reports
    for epoch, report in reports.items():
        counts = ("asked", "recorded", "replayed")
        content = {key: value for key, value in report.to_dict().items() if key not in counts}
        reports[epoch] = EpochReported.from_json({"trial": trial.id, "report": content}).report
    (row,) = rows(state, spec)["trials"]
    assert (row["asked"], row["recorded"], row["replayed"]) == (None, None, None)


def test_budgets_of_the_studies_add_up(tables):
    studies, trials = tables["studies"].set_index("study"), tables["trials"]
    searched = trials[trials["phase"] == "search"].groupby("study")["epochs_run"].agg(["count", "sum"])
    seconds = trials[trials["phase"] == "search"].groupby("study")["seconds"].sum()
    assert studies["spent_s"].to_dict() == seconds.to_dict()
    assert (studies["spent_trials"] == searched["count"].loc[studies.index]).all()
    assert (studies["spent_epochs"] == searched["sum"].loc[studies.index]).all()
    assert studies["is_baseline"].to_dict() == {name: name == "none" for name in studies.index}


def test_confusion_and_evaluation_agree(tables):
    cells, evaluations = tables["confusion"], tables["evaluations"]
    assert set(cells["eval_id"]) == set(evaluations["eval_id"])
    one = evaluations.iloc[0]
    mine = cells[cells["eval_id"] == one["eval_id"]]
    right = mine.loc[mine["gt"] == mine["pred"], "n"].sum()
    assert right / mine["n"].sum() == pytest.approx(one["pixel_accuracy"])
    assert one["iou"][2] is None or one["iou"][2] != one["iou"][2]  # the class that never occurs


def test_parameters_say_what_was_searched(fake, tmp_path):
    study = {"name": "set", "method": "cwd", "set": {"terms.channel_wise.weight": 2.0}}
    fake.run(fake.make_spec(studies=["none", study], budget={"trials": 1}), tmp_path)
    write_tables(tmp_path)
    params = read_tables(tmp_path)["params"]
    mine = params[params["trial_id"] == "set-0"].set_index("name")
    assert mine["role"].to_dict() == {
        "optimizer.lr": "nuisance",
        "terms.channel_wise.temperature": "nuisance",
        "terms.channel_wise.weight": "scientific",
    }
    assert mine.loc["terms.channel_wise.weight", "value"] == 2.0


def test_decisions_tell_the_life_of_every_trial(tables):
    decisions = tables["decisions"]
    assert decisions["n"].is_monotonic_increasing
    assert {"proposed", "started", "promoted", "stopped", "ended", "finished"} <= set(decisions["kind"])
    stopped = decisions[decisions["kind"] == "stopped"]
    assert stopped[["trial_id", "study", "epoch", "rung", "value"]].notna().all(axis=None)


def test_the_selection_is_among_the_confirmed(tables):
    selections = tables["selections"]
    assert selections["chosen"].sum() == 1
    assert (selections["n"] == 2).all()
    assert selections["seeds"].map(list).tolist() == [[8, 9]] * 5


def test_tables_of_a_sweep_that_has_just_begun(fake, tmp_path):
    with fake.open_driver(fake.make_spec(), tmp_path) as driver:
        write_tables(tmp_path)
        driver.started(driver.next().id)
    write_tables(tmp_path)
    trials = read_tables(tmp_path)["trials"]
    assert trials[["state", "epochs_run"]].to_dict("records") == [{"state": "running", "epochs_run": 0}]
    empty = ["seconds", "parts_json", "asked", "failure", "reused_from", "peak_memory_bytes"]
    assert trials[empty].isna().all(axis=None)
    assert trials["retries"].tolist() == [0]


def test_where_a_trial_ran_is_what_its_worker_said(fake, tmp_path):
    there = {**fake.context().environment, "environment_id": "env2", "device": "cuda", "gpu_memory_bytes": 80 * 2**30}
    with fake.open_driver(fake.make_spec(studies=["none"]), tmp_path) as driver:
        for node in ("node-1", "node-2"):
            trial = driver.next()
            driver.started(trial.id)
            driver.located(trial.id, {**there, "node": node})
            for epoch, peak in ((1, None), (2, 7 * 2**30), (3, 6 * 2**30)):
                driver.report(trial.id, EpochReport(epoch, 6, {}, {}, 0.1, {"total": 1.0}, 8, peak))
    write_tables(tmp_path)
    tables = read_tables(tmp_path)
    trials, environments = tables["trials"], tables["environments"].set_index("environment_id")
    assert trials["node"].tolist() == ["node-1", "node-2"]
    assert trials["environment_id"].tolist() == ["env2", "env2"]
    assert trials["peak_memory_bytes"].tolist() == [7 * 2**30] * 2
    assert "node" not in environments
    assert environments.loc["env2", "gpu_memory_bytes"] == 80 * 2**30


def test_failures_and_retries_are_told_by_kind(fake, tmp_path):
    def before(config, epoch):
        if config.uses_teacher:
            raise MemoryError("too big")

    fake.run(fake.make_spec(studies=["none", "kd"], retries=1), tmp_path, fake.FakeTrain(before=before))
    write_tables(tmp_path)
    trials = read_tables(tmp_path)["trials"]
    failed = trials[trials["study"] == "kd"]
    assert set(failed["state"]) == {"failed"}
    assert set(failed["failure"]) == {"out_of_memory"}
    assert (failed["retries"] == failed["attempts"] - 1).all()
    assert trials.loc[trials["study"] == "none", "failure"].isna().all()


def test_an_outcome_that_was_taken_over_says_from_where(fake, tmp_path):
    studies = ["none", {"name": "again", "method": "none"}]
    space = {"optimizer.lr": {"choices": [0.01, 0.02]}}
    fake.run(fake.make_spec(studies=studies, space=space, budget={"trials": 2}), tmp_path)
    write_tables(tmp_path)
    trials = read_tables(tmp_path)["trials"].set_index("trial_id")
    reused = trials.dropna(subset=["reused_from"])
    assert len(reused)
    for _, row in reused.iterrows():
        source = trials.loc[row["reused_from"]]
        for column in ("config_id", "seed", "score", "epochs_run", "seconds", "environment_id"):
            assert row[column] == source[column]


def test_a_folder_without_a_sweep_is_refused(tmp_path):
    with pytest.raises(InputError, match="no sweep in"):
        write_tables(tmp_path)
