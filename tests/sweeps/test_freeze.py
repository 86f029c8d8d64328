"""The freeze: before it nothing reads the role report, after it nothing changes the selection."""

import contextlib
import json
import signal
import sys

import pytest
import yaml

from analysis import read_tables
from analysis.selection.final_seeds import final_difference, final_scores
from analysis.selection.select import best
from kdtrain.config import TrainConfig
from kdtrain.data import Streets
from kdtrain.errors import InputError
from kdtrain.loop.evaluation import Evaluation
from kdtrain.loop.reports import TrainResult
from sweeps.attempt import attempt as work
from sweeps.attempt.signals import StopRequest
from sweeps.cli import main
from sweeps.driver.growth import check_begun
from sweeps.launch.inline import run_inline
from sweeps.ledger.extent import HEAD
from sweeps.ledger.ledger import read
from sweeps.outcome.freeze import freeze
from sweeps.outcome.loaded import load_state
from sweeps.outcome.tabulate import write_tables
from sweeps.show.status import show_status
from sweeps.store.store import Store


@pytest.fixture
def readings(fake, monkeypatch):
    """Evaluations on the role report, of students that were never trained."""
    made = []

    def measure(student, config, role, machine, between):
        between()
        made.append((role, config.config_id, config.seed))
        found = fake.evaluation(config)
        return Evaluation(role, "r1", found.image_ids, found.groups, found.classes, found.confusion)

    monkeypatch.setattr(work, "measure", measure)
    return made


def quality(better):
    """Scores in which a study with (or without) a teacher is the better one by far."""

    def of(config):
        luck = 0.01 * (config.seed % 3) + 0.1 * abs(config.optimizer.lr - 0.02)
        return (0.7 if (config.teacher is not None) == (better == "taught") else 0.4) - luck

    return of


def small(fake, **changes):
    own = {} if changes.pop("plain", False) else {"final_seeds": 3}
    confirm = {"top": 1, "seeds": 2, **own} | changes.pop("confirm", {})
    return fake.make_spec(**{"studies": ["none", "kd"], "budget": {"trials": 2}, "confirm": confirm, **changes})


def tables_of(folder):
    write_tables(folder)
    return read_tables(folder)


def test_a_sweep_that_is_not_finished_is_not_frozen(fake, tmp_path):
    with pytest.raises(InputError, match="no sweep in"):
        freeze(Store(tmp_path / "nowhere"))
    with fake.open_driver(small(fake), tmp_path) as driver:
        driver.started(driver.next().id)
        with pytest.raises(InputError, match="another driver"):
            freeze(Store(tmp_path))
    with pytest.raises(InputError, match=r"not finished, so its selection cannot be frozen; run .*spec\.yaml"):
        freeze(Store(tmp_path))


def test_before_the_freeze_nothing_reads_the_role_report(fake, tmp_path, readings):
    fake.run(small(fake), tmp_path)
    fake.run(small(fake), tmp_path)
    assert readings == []
    evaluations = tables_of(tmp_path)["evaluations"]
    assert set(evaluations["role"]) == {"select"}
    assert "kdsweep best D --freeze" in best(read_tables(tmp_path))["evidence"]["test"]


def test_winner_and_baseline_are_trained_on_seeds_of_their_own(fake, tmp_path, readings):
    spec = small(fake)
    train = fake.FakeTrain(quality("taught"))
    before = fake.run(spec, tmp_path, train)
    record = freeze(Store(tmp_path))
    assert record.chosen.study == "kd"
    assert record.baseline.study == "none"
    state = fake.run(spec, tmp_path, train)
    assert state.finished
    runs = state.of_phase("final")
    assert [(trial.study, trial.seed) for trial in runs] == [
        (study, seed) for seed in (10, 11, 12) for study in ("kd", "none")
    ]
    assert not {trial.seed for trial in runs} & {trial.seed for trial in before.trials.values()}
    assert {trial.config_id for trial in runs} == {record.chosen.config_id, record.baseline.config_id}
    assert readings == [("test", trial.config_id, trial.seed) for trial in runs]

    tables = tables_of(tmp_path)
    held_out = tables["evaluations"][tables["evaluations"]["role"] == "test"]
    assert held_out["trial_id"].tolist() == [trial.id for trial in runs]
    assert set(tables["confusion"]["eval_id"]) >= set(held_out["eval_id"])
    decisions = tables["decisions"]
    assert (decisions["kind"] == "frozen").sum() == 1
    assert decisions.loc[decisions["kind"] == "test_read", "trial_id"].tolist() == [trial.id for trial in runs]

    evidence = yaml.safe_load(yaml.safe_dump(best(tables)))["evidence"]["test"]
    own, theirs = final_scores(tables), final_scores(tables, "baseline")
    assert own.seeds == theirs.seeds == tuple(evidence["seeds"]) == (10, 11, 12)
    assert evidence["mean"] == pytest.approx(held_out["miou"].iloc[::2].mean())
    assert evidence["difference"]["mean"] == pytest.approx(own.mean - theirs.mean)
    assert final_difference(tables).each == pytest.approx([0.0, 0.0, 0.0])
    gap = evidence["optimism_gap"]
    screen = tables["selections"].set_index("study").loc["kd", "screen_score"]
    assert gap["screen_score_minus_role_select"] == pytest.approx(screen - own.select_mean)
    assert gap["screen_score_minus_role_test"] == pytest.approx(screen - own.mean)


def test_final_seeds_come_after_every_seed_that_was_ever_trained(fake, tmp_path, readings):
    """Also after those of an earlier, longer confirm phase."""
    fake.run(small(fake, confirm={"top": 1, "seeds": 4}), tmp_path)
    shorter = small(fake, confirm={"top": 1, "seeds": 2})
    trained = {trial.seed for trial in fake.run(shorter, tmp_path).trials.values()}
    assert trained == {7, 8, 9, 10, 11}
    assert freeze(Store(tmp_path)).seeds == (12, 13, 14)


def test_reporting_seeds_change_no_selection(fake, tmp_path, readings):
    spec = small(fake)
    fake.run(spec, tmp_path)
    before = tables_of(tmp_path)["selections"]
    freeze(Store(tmp_path))
    fake.run(spec, tmp_path, fake.FakeTrain(lambda config: 0.99 if config.seed > 9 else 0.1))
    after = tables_of(tmp_path)["selections"]
    assert json.loads(after.drop(columns="sweep_id").to_json()) == json.loads(before.drop(columns="sweep_id").to_json())


def test_a_baseline_that_nothing_beat_is_trained_once(fake, tmp_path, readings):
    spec = small(fake)
    train = fake.FakeTrain(quality("untaught"))
    fake.run(spec, tmp_path, train)
    record = freeze(Store(tmp_path))
    assert record.chosen == record.baseline
    state = fake.run(spec, tmp_path, train)
    assert [trial.study for trial in state.of_phase("final")] == ["none"] * 3
    evidence = best(tables_of(tmp_path))["evidence"]["test"]
    assert evidence["baseline"] == "the chosen config is the baseline"
    assert "difference" not in evidence


def test_a_sweep_without_a_teacher_or_baseline(fake, tmp_path, readings):
    spec = small(fake, studies=["none"], teacher=None, confirm={"top": 2, "seeds": 1, "final_seeds": 2})
    fake.run(spec, tmp_path)
    freeze(Store(tmp_path))
    assert len(fake.run(spec, tmp_path).of_phase("final")) == 2


def test_the_freeze_is_final(fake, tmp_path, readings):
    spec = small(fake)
    fake.run(spec, tmp_path)
    freeze(Store(tmp_path))
    with pytest.raises(InputError, match="is frozen already, since 20"):
        freeze(Store(tmp_path))
    for more in (
        {"budget": {"trials": 3}},
        {"studies": ["none", "kd", "cwd"]},
        {"confirm": {"top": 1, "seeds": 3}},
        {"confirm": {"top": 1, "seeds": 2, "final_seeds": 9}},
    ):
        with pytest.raises(InputError, match=r"was frozen at .* and the sweep cannot grow any more"):
            check_begun(small(fake, **more), Store(tmp_path))
        with pytest.raises(InputError, match="cannot grow any more"):
            fake.open_driver(small(fake, **more), tmp_path)
    fake.open_driver(small(fake, retries=3, resources={"cpu": 2}), tmp_path).close()


def test_a_frozen_sweep_goes_on_though_the_default_number_of_final_seeds_has_grown_since(fake, tmp_path, readings):
    fake.run(small(fake), tmp_path)
    freeze(Store(tmp_path))
    plain = small(fake, confirm={"top": 1, "seeds": 2}, plain=True)
    check_begun(plain, Store(tmp_path))
    assert plain.confirm.final_seeds != 3
    with fake.open_driver(plain, tmp_path) as driver:
        assert driver.spec.confirm.final_seeds == 3


def test_a_reading_that_was_cut_off_is_done_again(fake, tmp_path, readings):
    spec = small(fake, confirm={"top": 1, "seeds": 1, "final_seeds": 1})
    fake.run(spec, tmp_path)
    freeze(Store(tmp_path))
    done = len(read(tmp_path))
    train = fake.FakeTrain()
    fake.run(spec, tmp_path, train)
    records = read(tmp_path)
    first_read = next(record.n for record in records if record.kind == "test_read")
    (tmp_path / HEAD).unlink()
    for file in (tmp_path / "ledger").glob("*.jsonl"):
        lines = file.read_bytes().splitlines(keepends=True)
        start = int(file.stem[:9])
        kept = [line for number, line in enumerate(lines, start) if number <= first_read]
        file.write_bytes(b"".join(kept)) if kept else file.unlink()
    again = fake.FakeTrain()
    state = fake.run(spec, tmp_path, again)
    assert done < first_read
    assert again.epochs_trained < train.epochs_trained
    assert state.finished
    kinds = [record.kind for record in read(tmp_path)]
    assert kinds.count("test_read") == 3, "every reading is on record, the one cut off as well"
    assert len(final_scores(tables_of(tmp_path)).seeds) == 1


def test_an_interrupted_reading_goes_on_later(fake, tmp_path, monkeypatch):
    spec = small(fake, studies=["none"], teacher=None, confirm={"top": 1, "seeds": 1, "final_seeds": 1})
    fake.run(spec, tmp_path)
    freeze(Store(tmp_path))

    def measure(student, config, role, machine, between):
        departure.signal = signal.SIGTERM
        between()
        raise AssertionError("the evaluation was to be left")

    departure = StopRequest()
    monkeypatch.setattr(work, "measure", measure)
    with fake.open_driver(spec, tmp_path) as driver:
        run_inline(driver, fake.FakeTrain(), stop_request=departure)
        (trial,) = driver.state.of_phase("final")
        assert (trial.state, driver.state.finished) == ("planned", False)


@pytest.mark.parametrize("state", ["interrupted", "stopped", "diverged"])
def test_a_training_that_is_not_complete_is_not_measured_on_the_role_test(fake, tmp_path, readings, state):
    unfinished = TrainResult(state, 2, ())
    config = TrainConfig.parse({})
    result = work.held_out(lambda *_: unfinished)(config, None, None, tmp_path, None)
    assert (result, readings) == (unfinished, [])


def test_the_status_says_where_the_selection_stands(fake, tmp_path, readings):
    spec = small(fake)
    fake.run(spec, tmp_path)

    def said():
        return str(show_status(Store(tmp_path)).renderables[1])

    assert "fresh seeds: round 1 of 1; of the epochs so far the search took 50%" in said()
    assert f"not frozen; 6 runs on final seeds are allowed by: kdsweep best {tmp_path} --freeze" in said()
    freeze(Store(tmp_path))
    assert "final seeds: 0 of 6 runs" in said()
    fake.run(spec, tmp_path)
    assert "final seeds: 6 of 6 runs" in said()
    assert load_state(tmp_path)[1].frozen.records > 0


def test_poisoned_report_images_harm_no_sweep_before_its_freeze(tmp_path, monkeypatch, capsys):
    """A whole sweep on real trainings: plan, run, report and best never open them, only the runs after the freeze."""
    source = type(Streets().open(None))
    true_read, true_ids = source.read, source.ids

    def read_image(self, role, image_id):
        assert role not in ("test", "report"), "the role test was read"
        return true_read(self, role, image_id)

    def ids(self, role):
        assert role not in ("test", "report"), "the role test was read"
        return true_ids(self, role)

    def run(*words):
        monkeypatch.setattr(sys, "argv", ["kdsweep", *map(str, words)])
        capsys.readouterr()
        with contextlib.suppress(SystemExit):
            main()
        return capsys.readouterr().out

    monkeypatch.setenv("KDSWEEP_CACHE", str(tmp_path / "cache"))
    spec, sweep = tmp_path / "spec.yaml", tmp_path / "sweep"
    content = {
        "name": "tiny",
        "data": {"name": "streets", "size": [32, 48], "counts": {"train": 4, "select": 2, "test": 3}},
        "student": {"arch": "FPN", "encoder": "tu-mobilenetv3_small_050"},
        "train": {"epochs": 1, "batch_size": 4},
        "studies": ["none"],
        "space": {"optimizer.lr": {"low": 0.01, "high": 0.1, "log": True}},
        "budget": {"trials": 2},
        "confirm": {"top": 1, "seeds": 1, "final_seeds": 1},
    }
    spec.write_text(yaml.safe_dump(content))
    command = ("run", spec, "--dir", sweep, "--inline", "--threads", 1)
    with monkeypatch.context() as poisoned:
        poisoned.setattr(source, "read", read_image)
        poisoned.setattr(source, "ids", ids)
        assert "1 runs on final seeds at most" in run("plan", spec)
        run(*command)
        run("report", sweep)
        run("best", sweep)
        assert "final seeds 2" in run("best", sweep, "--freeze")
    said = run(*command)
    assert "verdict: Held out, on role test: " in said
    assert "mIoU over 1 final seed" in said
    evidence = yaml.safe_load((sweep / "best.yaml").read_text())["evidence"]["test"]
    tables = read_tables(sweep)
    row = tables["evaluations"][tables["evaluations"]["role"] == "test"].iloc[0]
    assert row["n_images"] == 3
    assert evidence["scores_on_role_test"] == [pytest.approx(row["miou"])]


def test_data_without_a_role_report_are_reported_on_the_role_select(fake, tmp_path, readings):
    folders = {"train": {"images": "a/images", "labels": "a/labels"}}
    data = {"name": "folder", "classes": list(fake.CLASSES), "folders": folders}
    spec = small(fake, data=data)
    fake.run(spec, tmp_path)
    assert freeze(Store(tmp_path)).role == "select"
    fake.run(spec, tmp_path)
    assert readings == []
    evidence = best(tables_of(tmp_path))["evidence"]["test"]
    assert (evidence["role"], evidence["scores_on_role_test"]) == ("select", [])
    assert evidence["mean"] == pytest.approx(sum(evidence["scores_on_role_select"]) / 3)
    assert list(evidence["optimism_gap"]) == ["screen_score_minus_role_select"]
