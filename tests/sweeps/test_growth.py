"""A sweep that was begun may grow; what ran is neither lost nor run again."""

import itertools

import pytest

from kdtrain import TrainConfig, code_digest
from kdtrain.errors import InputError
from sweeps.driver import attempts, new_trials, running_code
from sweeps.driver.growth import as_begun, growth
from sweeps.ledger import sweep_events
from sweeps.ledger.extent import HEAD
from sweeps.ledger.ledger import read
from sweeps.ledger.state import SweepState
from sweeps.outcome.code_columns import code_columns
from sweeps.outcome.freeze import freeze
from sweeps.spec.spec import parse_spec
from sweeps.store.store import open_store


def grown(fake, folder, first, then):
    """Run one spec to its end and then the other; the state, and the epochs that the second took."""
    fake.run(fake.make_spec(**first), folder)
    train = fake.FakeTrain()
    state = fake.run(fake.make_spec(**then), folder, train)
    return state, train.epochs_trained


def searched(state, study):
    return [trial.params for trial in state.of_study(study, "search")]


@pytest.fixture
def small():
    return {"studies": ["none", "kd"], "budget": {"trials": 2}, "confirm": {"top": 0}}


@pytest.mark.parametrize(
    ("begun", "given", "kept"),
    [
        ({"name": "random", "startup": 9}, None, ("random", 9)),
        ({"name": "tpe", "startup": 6}, {"startup": 6}, ("tpe", 6)),
        ({"name": "tpe", "startup": 6}, {"name": "tpe"}, ("tpe", 6)),
        ({"name": "cmaes", "startup": 6}, {"name": "cmaes", "startup": 6}, ("cmaes", 6)),
    ],
)
def test_a_begun_sweep_keeps_the_sampler_that_its_spec_leaves_to_the_defaults(
    fake, tmp_path, small, begun, given, kept
):
    state = fake.run(fake.make_spec(**small, sampler=begun), tmp_path)
    content = fake.content(**small, sampler=given)
    if given is None:
        del content["sampler"]
    continued = as_begun(parse_spec(content), state)
    assert (continued.sampler.name, continued.sampler.startup) == kept
    assert fake.run(continued, tmp_path).finished
    with pytest.raises(InputError, match=r"sampler\.name is '.*' and not 'sobol'"):
        fake.run(parse_spec({**content, "sampler": {"name": "sobol"}}), tmp_path)


def test_more_trials_go_on_from_what_the_search_knows(fake, tmp_path, small):
    state, epochs = grown(fake, tmp_path / "grown", small, {**small, "budget": {"trials": 5}})
    at_once = fake.run(fake.make_spec(**{**small, "budget": {"trials": 5}}), tmp_path / "at once")
    assert epochs == 2 * 3 * 6
    assert state.finished
    for study in ("none", "kd"):
        assert searched(state, study) == searched(at_once, study)
    assert [record.data["changes"] for record in read(tmp_path / "grown") if record.kind == "grown"] == [
        ["budget.trials: 2 -> 5"]
    ]


def test_more_epochs_of_budget(fake, tmp_path, small):
    first = {**small, "budget": {"epochs": 12}}
    state, epochs = grown(fake, tmp_path, first, {**first, "budget": {"epochs": 24}})
    assert epochs == 24
    assert len(state.trials) == 8


def test_a_new_study_gets_the_same_budget(fake, tmp_path, small):
    state, epochs = grown(fake, tmp_path, small, {**small, "studies": ["none", "cwd", "kd"]})
    assert epochs == 12
    assert {study: len(state.of_study(study)) for study in ("none", "kd", "cwd")} == {"none": 2, "kd": 2, "cwd": 2}


def test_more_seeds_for_the_same_finalists(fake, tmp_path, small):
    first = {**small, "confirm": {"top": 1, "seeds": 1}}
    state, epochs = grown(fake, tmp_path, first, {**first, "confirm": {"top": 1, "seeds": 3}})
    assert epochs == 2 * 2 * 6
    assert [trial.seed for trial in state.of_study("kd", "confirm")] == [8, 9, 10]
    assert len({trial.config_id for trial in state.of_study("kd", "confirm")}) == 1


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"train": {"epochs": 9, "batch_size": 4}}, r"train\.epochs is 6 and not 9"),
        ({"studies": ["none"]}, "with the study kd, which is missing now"),
        ({"studies": ["none", {"method": "kd", "set": {"aux_weight": 0.1}}]}, r"studies\.kd\.set\.aux_weight"),
        ({"seed": 8}, "seed is 7 and not 8"),
        ({"scheduler": {"name": "halving"}}, r"scheduler\.name"),
    ],
)
def test_what_would_make_trials_incomparable_is_refused_by_name(fake, tmp_path, small, change, named):
    fake.run(fake.make_spec(**small), tmp_path)
    with pytest.raises(InputError, match=named):
        fake.open_driver(fake.make_spec(**{**small, **change}), tmp_path)


def twins(small):
    """Two studies that search the same: every config of the second has been run by the first."""
    return {**small, "studies": ["none", {"name": "again", "method": "none"}], "budget": {"trials": 1}}


def test_a_config_that_was_run_is_not_run_again_but_counted(fake, tmp_path, small):
    train = fake.FakeTrain()
    state = fake.run(fake.make_spec(**twins(small)), tmp_path, train)
    assert train.epochs_trained == 6
    again, first = state.trials["again-0"], state.trials["none-0"]
    assert (again.reused_from, again.state, again.score) == ("none-0", "complete", first.score)
    assert (again.committed, again.seconds, again.attempts) == (6, first.seconds, 0)
    assert again.result == first.result


def test_a_failed_trial_is_no_outcome_to_take_over(fake, tmp_path, small):
    def before(config, epoch):
        raise RuntimeError("no")

    first = fake.make_spec(**{**twins(small), "studies": ["none", "kd"]}, retries=0)
    fake.run(first, tmp_path, fake.FakeTrain(before=lambda c, e: before(c, e) if len(c.terms) == 1 else None))
    train = fake.FakeTrain()
    studies = [*twins(small)["studies"], "kd"]
    state = fake.run(fake.make_spec(**{**twins(small), "studies": studies}, retries=0), tmp_path, train)
    assert state.trials["none-0"].state == "failed"
    again = state.trials["again-0"]
    assert (again.state, again.reused_from) == ("complete", None)


@pytest.mark.parametrize(("changed", "reused"), [("kdtrain.methods.task", False), ("kdtrain.methods.cskd", True)])
def test_only_what_the_same_code_gave_is_reused(fake, tmp_path, small, monkeypatch, changed, reused):
    spec = fake.make_spec(**{**twins(small), "studies": ["none"]})
    fake.run(spec, tmp_path)
    train, notices = fake.FakeTrain(), []
    monkeypatch.setattr(running_code, "code_of", edited(changed))
    about = fake.context()
    about.environment.update(environment_id="env2", code_digest="another")
    with fake.Driver(fake.make_spec(**twins(small)), tmp_path, about, notices.append, fake.noon) as driver:
        fake.run_inline(driver, train)
    assert train.epochs_trained == (0 if reused else 6)
    assert driver.state.trials["again-0"].reused_from == ("none-0" if reused else None)
    about_code = [notice for notice in notices if "code has changed" in notice]
    assert about_code == ([] if reused else about_code[:1])
    if not reused:
        assert f"trials of none ran ({changed}): what is trained" in about_code[0]
        assert "put the earlier code back" in about_code[0]
        assert len(set(code_columns(driver.state).code_digest.values())) == 2


def test_code_of_a_worker_that_is_not_the_drivers_counts(fake, tmp_path, small):
    with fake.open_driver(fake.make_spec(**{**twins(small), "studies": ["none"]}), tmp_path) as driver:
        trial = driver.next()
        driver.started(trial.id)
        here = trial.code
        driver.located(trial.id, driver.environment, edited("kdtrain.methods.task")(TrainConfig.parse(trial.config)))
    assert here is not None
    assert trial.code not in (None, here)
    state = SweepState.of(read(tmp_path))
    assert state.trials[trial.id].code == trial.code
    assert set(state.codes) == {here, trial.code}


@pytest.mark.parametrize("known", [True, False])
def test_sweeps_of_versions_that_recorded_the_package_as_a_whole(fake, tmp_path, small, monkeypatch, known):
    """Such ledgers name no code in `started`, but one digest of the package in the environment."""
    monkeypatch.setattr(running_code, "code_here", lambda trial: None)
    monkeypatch.setattr(attempts, "code_here", lambda trial: None)
    about = fake.context()
    about.environment.update(environment_id="env0", code_digest="whole")
    with fake.Driver(
        fake.make_spec(**{**twins(small), "studies": ["none"]}), tmp_path, about, clock=fake.noon
    ) as driver:
        fake.run_inline(driver, fake.FakeTrain())
        config = TrainConfig.parse(driver.state.trials["none-0"].config)
    monkeypatch.undo()
    packages = {"whole": code_digest.digests_of(code_digest.code_of(config))} if known else {}
    monkeypatch.setattr(code_digest, "_same_results", lambda: {"current": {}, "parts": {}, "packages": packages})
    train = fake.FakeTrain()
    state = fake.run(fake.make_spec(**twins(small)), tmp_path, train)
    assert train.epochs_trained == (0 if known else 6)
    columns = code_columns(state)
    assert len(set(columns.code_digest.values())) == (1 if known else 2)


def edited(module):
    """`code_of` as if the code of one module were another."""

    def code_of(config):
        parts = code_digest.code_of(config)
        return {
            part: {name: "edited" if name == module else digest for name, digest in modules.items()}
            for part, modules in parts.items()
        }

    return code_of


def test_a_reuse_cut_off_by_a_kill_is_completed(fake, tmp_path, small):
    spec = fake.make_spec(**twins(small))
    fake.run(spec, tmp_path)
    (file,) = (tmp_path / "ledger").glob("*.jsonl")
    lines = file.read_bytes().splitlines(keepends=True)
    reused = next(index for index, line in enumerate(lines) if b'"kind":"reused"' in line)
    for kept in range(reused, len(lines)):
        file.write_bytes(b"".join(lines[: kept + 1]))
        (tmp_path / HEAD).unlink(missing_ok=True)
        for later in set((tmp_path / "ledger").glob("*.jsonl")) - {file}:
            later.unlink()
        train = fake.FakeTrain()
        state = fake.run(spec, tmp_path, train)
        assert train.epochs_trained == 0
        assert [trial.state for trial in state.trials.values()] == ["complete", "complete"]


def wrong_range(fake, high, **changes):
    """A study whose learning rates above 1 diverge in an error."""
    space = {"optimizer.lr": {"low": 0.001, "high": high, "log": True}}
    studies = ["none", {"method": "kd", "space": {"terms.pixel_kd.weight": {"low": 0.1, "high": 9}}}]
    return fake.make_spec(**{"studies": studies, "space": space, "budget": {"trials": 6}, "retries": 0, **changes})


def failing_above(limit):
    def before(config, epoch):
        if config.optimizer.lr > limit:
            raise RuntimeError(f"lr {config.optimizer.lr}")

    return before


def test_a_range_that_was_wrong_can_be_corrected(fake, tmp_path):
    fake.run(wrong_range(fake, 1000), tmp_path, fake.FakeTrain(before=failing_above(0.1)))
    first = SweepState.of(read(tmp_path))
    outside = [
        trial.id for trial in first.trials.values() if trial.phase == "search" and trial.params["optimizer.lr"] > 0.1
    ]
    kept = [trial.id for trial in first.trials.values() if trial.phase == "search" and trial.id not in outside]
    assert outside
    assert len(kept) > 1
    train, notices = fake.FakeTrain(before=failing_above(0.1)), []
    with fake.open_driver(wrong_range(fake, 0.1), tmp_path, notice=notices.append) as driver:
        fake.run_inline(driver, train)
        state = driver.state
    assert state.finished
    assert "space.optimizer.lr: 0.001 to 1000, log -> 0.001 to 0.1, log" in notices[0]
    (grown,) = [record for record in read(tmp_path) if record.kind == "grown"]
    assert sorted(itertools.chain(*grown.data["corrected"].values())) == sorted(outside)
    assert [trial.id for trial in state.trials.values() if trial.phase == "left_out"] == outside
    for study in ("none", "kd"):
        now = state.of_study(study, "search")
        assert len(now) == 6
        assert all(trial.state == "complete" and trial.params["optimizer.lr"] <= 0.1 for trial in now)
        assert {trial.id for trial in now} >= {trial_id for trial_id in kept if trial_id.startswith(study)}
    again = fake.FakeTrain()
    assert fake.run(wrong_range(fake, 0.1), tmp_path, again).trials.keys() == state.trials.keys()
    assert again.epochs_trained == 0


def test_a_study_without_a_valid_config_can_be_corrected(fake, tmp_path, monkeypatch):
    monkeypatch.setattr(new_trials, "MOST_IN_VAIN", 5)

    def spec(low, high):
        never = {"terms.pixel_kd.schedule.warmup": {"low": low, "high": high}, "terms.pixel_kd.schedule.stop": [0.4]}
        return fake.make_spec(studies=["none", {"method": "kd", "space": never}], confirm={"top": 0})

    state = fake.run(spec(0.5, 0.9), tmp_path)
    assert "kd" in state.searches.exhausted
    state = fake.run(spec(0.0, 0.3), tmp_path)
    assert len(state.of_study("kd", "search")) == 4
    assert "kd" not in state.searches.exhausted
    assert len(state.of_study("none", "search")) == 4


def test_trials_that_were_to_be_tried_again_after_an_abort_follow_the_corrected_space(fake, tmp_path):
    with pytest.raises(InputError, match="the first"):
        fake.run(wrong_range(fake, 1000), tmp_path, fake.FakeTrain(before=lambda config, epoch: 1 / 0))
    begun = SweepState.of(read(tmp_path)).trials
    assert all(trial.state == "planned" for trial in begun.values())
    state = fake.run(wrong_range(fake, 0.1), tmp_path)
    assert state.finished
    assert len(state.trials) > len(begun)
    left_out = [trial for trial in state.trials.values() if trial.phase == "left_out"]
    assert all(trial.reason == "its parameters lie outside of the corrected space" for trial in left_out)
    assert [len(state.of_study(study, "search")) for study in ("none", "kd")] == [6, 6]


def test_a_frozen_sweep_keeps_its_space(fake, tmp_path):
    fake.run(wrong_range(fake, 0.2), tmp_path)
    freeze(open_store(tmp_path))
    with pytest.raises(InputError, match=r"cannot grow any more \(space\.optimizer\.lr"):
        fake.open_driver(wrong_range(fake, 0.1), tmp_path)


def test_a_parameter_that_is_searched_later_starts_the_search_anew(fake, tmp_path, small):
    fake.run(fake.make_spec(**small), tmp_path)
    space = {"optimizer.lr": {"low": 0.001, "high": 0.1, "log": True}, "aux_weight": [0.2, 0.4]}
    state = fake.run(fake.make_spec(**{**small, "space": space}), tmp_path)
    assert all(set(trial.params) == set(space) | {"optimizer.lr"} for trial in state.of_study("none", "search"))
    assert len(state.of_study("none", "search")) == 2
    assert len(state.of_study("none")) == 4


def test_changes_are_named_in_the_words_of_a_spec(fake, tmp_path, small):
    fake.run(fake.make_spec(**small), tmp_path)
    notices = []
    watched = fake.make_spec(**{**small, "watchers": ["live_page"], "retries": 2})
    with fake.open_driver(watched, tmp_path, notice=notices.append):
        pass
    assert "watchers: [] -> [{name: live_page, options: {}}]" in notices[0]
    assert "'" not in notices[0]


@pytest.mark.parametrize("recorded_before_the_field", [False, True])
def test_a_class_may_be_allowed_to_be_absent_in_a_begun_sweep(fake, recorded_before_the_field):
    spec = fake.make_spec()
    begun = spec.model_dump(mode="json")
    if recorded_before_the_field:
        del begun["data"]["absent"]
    allowed = parse_spec({**spec.model_dump(mode="json"), "data": {**begun["data"], "absent": ["person"]}})
    assert growth(begun, allowed, "D") == ["data.absent: [] -> [person]"]
    study = spec.studies[0]
    assert allowed.config_for(study).config_id == spec.config_for(study).config_id


def test_a_study_that_ended_too_early_goes_on_with_a_larger_budget(fake, tmp_path, small):
    """Earlier versions ended a search whose sampler had repeated itself."""
    space = {"views": {"low": 1, "high": 100_000}}
    first = {**small, "studies": ["none"], "space": space}
    with fake.open_driver(fake.make_spec(**first), tmp_path) as driver:
        fake.run_inline(driver, fake.FakeTrain())
        driver._sweep.append(sweep_events.Exhausted("none", "every config of its space was tried"))
    state = fake.run(fake.make_spec(**{**first, "budget": {"trials": 5}}), tmp_path)
    assert len(state.of_study("none", "search")) == 5
    assert state.searches.exhausted == {}


def test_a_sweep_that_was_begun_with_another_normalization_says_so_and_continues_from_its_own_spec(fake):
    library = {"arch": "Unet", "encoder": "xception", "weights": "library"}
    begun = fake.make_spec(student=library, studies=["none"]).model_dump(mode="json")
    begun["student"] |= {"mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225]}
    with pytest.raises(InputError, match=r"student\.mean\.0 is 0\.485 and not 0\.5.*run D/spec\.yaml --dir D`"):
        growth(begun, fake.make_spec(student=library, studies=["none"]), "D")
    assert growth(begun, parse_spec(begun), "D") == []


def test_every_change_is_named(fake, small):
    begun = fake.make_spec(**small).model_dump(mode="json")
    later = {"budget": {"trials": 5, "epochs": 90}, "confirm": {"top": 2, "seeds": 4}, "resources": {"cpu": 3}}
    assert growth(begun, fake.make_spec(**{**small, **later}), "D") == [
        "resources.cpu: 1.0 -> 3.0",
        "budget.trials: 2 -> 5",
        "budget.epochs: null -> 90",
        "confirm.top: 0 -> 2",
        "confirm.seeds: 3 -> 4",
    ]


def test_every_field_that_would_make_trials_incomparable_is_named(fake, small):
    begun = fake.make_spec(**small).model_dump(mode="json")
    other = fake.make_spec(**{**small, "seed": 8, "train": {"epochs": 9, "batch_size": 2}})
    with pytest.raises(InputError) as error:
        growth(begun, other, "D")
    for named in ("seed is 7 and not 8", "train.epochs is 6 and not 9", "train.batch_size is 4 and not 2"):
        assert named in str(error.value)


@pytest.mark.parametrize("change", [{"seed": 5}, {"studies": ["kd"]}, {"studies": ["none", "cwd"]}, {"repeats": 1}])
def test_a_refused_change_is_answered_with_a_command_that_has_the_data_of_the_sweep(fake, small, change):
    begun = fake.make_spec(**{**small, "repeats": 2}).model_dump(mode="json")
    command = {"line": "kdsweep run s.yaml --dir a --data 'my data'", "folder": "/runs", "sweep": "/runs/a"}
    with pytest.raises(InputError, match=r"`kdsweep run /runs/a/spec\.yaml --dir /runs/a --data '/runs/my data'`"):
        growth(begun, fake.make_spec(**{**small, "repeats": 2, **change}), "/runs/a", command)
