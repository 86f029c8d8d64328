"""Several searches of a study: each with seeds, a budget, rungs and a race of its own, and none influences another."""

import re
from collections import Counter
from dataclasses import replace

import pytest

from analysis.selection.compare import compare
from analysis.selection.finalists import finalists
from analysis.selection.searches import searches
from analysis.tables.files import read_tables
from kdtrain.errors import InputError
from sweeps.attempt import attempt
from sweeps.driver.growth import check_begun
from sweeps.driver.idle_settings import idle_settings
from sweeps.ledger.ledger import read
from sweeps.ledger.state import SweepState
from sweeps.outcome.freeze import freeze
from sweeps.outcome.loaded import load_state
from sweeps.outcome.tabulate import rows, short_frames, write_tables
from sweeps.show.progress import summarize
from sweeps.store.store import Store, open_store
from sweeps.study_plan import study_plan

HALVING = {"name": "halving", "grace": 1, "factor": 2}
STUDIES = ("none", "kd")


def repeated(fake, repeats=2, trials=4, **changes):
    """Two studies whose searches have four trials each, unless the budget is another."""
    return fake.make_spec(
        **{
            "studies": list(STUDIES),
            "train": {"epochs": 3},
            "budget": {"trials": repeats * trials},
            "repeats": repeats,
            "scheduler": HALVING,
            "confirm": {"top": 2, "seeds": 2},
            **changes,
        }
    )


def seen(state, study, search):
    """What a search tried, and what became of it."""
    return [(dict(t.params), t.seed, t.state, t.score) for t in state.of_study(study, "search", search)]


def fresh(state, study, search):
    """What a search trained on fresh seeds."""
    return [(dict(t.params), t.seed, t.score) for t in state.of_study(study, "confirm", search)]


@pytest.fixture(scope="module")
def life(fake, tmp_path_factory):
    """A whole life of a sweep with three searches of each study."""
    folder = tmp_path_factory.mktemp("repeats")
    return fake.run(repeated(fake, repeats=3), folder), folder


def test_the_searches_of_a_study_share_its_budget_and_try_different_configs(life):
    state, _ = life
    for study in STUDIES:
        tried = [{tuple(params.items()) for params, *_ in seen(state, study, search)} for search in (1, 2, 3)]
        assert [len(each) for each in tried] == [4, 4, 4]
        default = set.intersection(*tried)
        assert len(default) == 1, "the published values, which every search tries first"
        assert len(set.union(*tried)) == 1 + 3 * 3


def test_each_search_trains_on_a_seed_of_its_own_and_all_race_on_the_same_fresh_seeds(life):
    state, _ = life
    for study in STUDIES:
        assert [{seed for _, seed, *_ in seen(state, study, search)} for search in (1, 2, 3)] == [
            {7},
            {10**6 + 7},
            {2 * 10**6 + 7},
        ]
        assert [Counter(seed for _, seed, _ in fresh(state, study, search)) for search in (1, 2, 3)] == [
            {8: 2, 9: 2}
        ] * 3
        assert [trial.number for trial in state.of_study(study)] == list(range(24))


def test_the_first_search_is_that_of_the_sweep_without_repeats(life, fake, tmp_path):
    state, _ = life
    alone = fake.run(repeated(fake, repeats=1), tmp_path)
    for study in STUDIES:
        assert seen(state, study, 1) == seen(alone, study, 1)
        assert fresh(state, study, 1) == fresh(alone, study, 1)


def test_a_further_search_is_the_same_whatever_the_others_find(life, fake, tmp_path):
    """Neither rungs nor races nor proposals of a search depend on another search."""

    def quality(config):
        return 0.99 if config.seed == 7 else fake.default_quality(config)

    other = fake.run(repeated(fake, repeats=3), tmp_path, fake.FakeTrain(quality))
    for study in STUDIES:
        assert seen(other, study, 1) != seen(life[0], study, 1)
        for search in (2, 3):
            assert seen(other, study, search) == seen(life[0], study, search)
            assert fresh(other, study, search) == fresh(life[0], study, search)


def test_more_searches_leave_the_others_as_they_were(life, fake, tmp_path):
    state = fake.run(repeated(fake, repeats=2), tmp_path)
    for study in STUDIES:
        for search in (1, 2):
            assert seen(state, study, search) == seen(life[0], study, search)


def test_rungs_are_those_of_one_search(life, fake, tmp_path):
    """A search that does well on its seed prunes nothing of another."""
    spec = repeated(fake, trials=2, scheduler={**HALVING, "factor": 3})
    state = fake.run(spec, tmp_path, fake.FakeTrain(lambda c: 0.9 if c.seed == 7 else 0.1 + c.optimizer.lr))
    assert {trial.state for trial in state.trials.values()} == {"complete"}
    assert any(trial.state == "pruned" for trial in life[0].trials.values())


def test_a_budget_of_epochs_is_shared_too(fake, tmp_path):
    spec = repeated(fake, budget={"epochs": 36}, train={"epochs": 4}, confirm={"top": 0})
    state = fake.run(spec, tmp_path)
    for study in STUDIES:
        spent = [sum(t.epochs_run for t in state.of_study(study, "search", search)) for search in (1, 2)]
        assert all(abs(epochs - 18) <= 2 for epochs in spent), "half a trial"


def test_the_tables_say_which_search_a_trial_belongs_to(life):
    state, folder = life
    write_tables(folder)
    tables = read_tables(folder)
    assert tables["studies"]["repeats"].tolist() == [3, 3]
    trials = tables["trials"].set_index("trial_id")
    assert {name: trial.search for name, trial in state.trials.items()} == trials["search"].to_dict()
    again = trials[trials["phase"] == "confirm"]
    assert (again["search"] == trials.loc[again["candidate_of"], "search"].to_numpy()).all()
    found = searches(tables).set_index(["study", "search"])
    assert found.index.tolist() == [(study, search) for study in STUDIES for search in (1, 2, 3)]
    assert found["seeds"].tolist() == [[8, 9]] * 6
    assert found["search_trials"].tolist() == [4] * 6
    ranked, comparison = finalists(tables), compare(tables).set_index("study")
    for study in STUDIES:
        best = found.loc[study].sort_values("mean").iloc[-1]
        assert best["config_id"] == comparison.loc[study, "config_id"]
        assert best.name == ranked[ranked["study"] == study].sort_values("rank")["search"].iloc[0]


def test_a_config_that_two_searches_found_is_trained_once_on_a_seed(fake, tmp_path):
    """The published values are the best of every search: one finalist, each of its trainings counted once."""
    spec = repeated(fake, scheduler={"name": "none"}, confirm={"top": 1, "seeds": 3})
    default = dict.fromkeys(STUDIES)

    def quality(config):
        name = "kd" if config.uses_teacher else "none"
        default[name] = default[name] or config.config_id
        return 0.5 + 0.01 * fake.draw(config.config_id, config.seed) + 0.2 * (config.config_id == default[name])

    train = fake.FakeTrain(quality)
    state = fake.run(spec, tmp_path, train)
    assert train.epochs_trained == 3 * 2 * (2 * 4 + 3)
    again = state.of_study("kd", "confirm", 2)
    assert [(t.seed, state.trials[t.reused_from].search) for t in again] == [(8, 1), (9, 1), (10, 1)]
    tables = short_frames(state, spec)
    assert finalists(tables)["n"].tolist() == [3, 3]
    assert [study.fresh_runs for study in summarize(spec, state).studies] == [3, 3]
    found = searches(tables)
    assert found["same_as"].fillna(0).tolist() == [0, 1, 0, 1]
    assert found["scores"][0] == found["scores"][1]


def test_a_config_that_is_being_trained_on_a_seed_is_waited_for(fake, tmp_path):
    """Else workers that are free at once would train the same thing twice."""
    spec = repeated(fake, trials=1, confirm={"top": 1, "seeds": 1}, studies=["none"])
    with fake.open_driver(spec, tmp_path) as driver:
        for _ in range(2):
            fake.finish(driver, driver.next())
        first = driver.next()
        assert (first.phase, first.search) == ("confirm", 1)
        assert driver.next().value == "wait"
        fake.finish(driver, first)
        assert driver.next().value == "done"
        assert [(t.search, t.reused_from) for t in driver.state.of_phase("confirm")] == [(1, None), (2, first.id)]


def test_a_sweep_killed_after_any_record_ends_as_if_it_had_not_been(fake, tmp_path):
    spec = repeated(fake, trials=3, studies=["none"], train={"epochs": 2}, confirm={"top": 2, "seeds": 1})
    fake.run(spec, tmp_path / "whole")
    expected = lasting(tmp_path / "whole")
    for cut in range(1, len(read(tmp_path / "whole")) + 1, 3):
        fake.resumed(tmp_path / f"cut{cut}", cut, lambda folder: fake.run(spec, folder))
        assert lasting(tmp_path / f"cut{cut}") == expected


def lasting(folder):
    spec, state = load_state(folder)
    trials = rows(state, spec)["trials"]
    return [{key: value for key, value in trial.items() if key != "attempts"} for trial in trials]


def test_a_study_that_searches_nothing_is_trained_once(fake, tmp_path):
    spec = repeated(
        fake,
        studies=[{"method": "none"}, {"method": "kd", "space": {"aux_weight": [0.1, 0.2, 0.3, 0.4]}}],
        space={},
        purpose="ablation",
    )
    state = fake.run(spec, tmp_path)
    assert [(t.phase, t.search, t.seed) for t in state.of_study("none")] == [("confirm", 1, 8), ("confirm", 1, 9)]
    assert {t.search for t in state.of_study("kd", "search")} == {1, 2}
    tables = short_frames(state, spec)
    assert tables["studies"]["repeats"].tolist() == [1, 2]
    assert searches(tables)[["study", "search"]].to_numpy().tolist() == [["none", 1], ["kd", 1], ["kd", 2]]
    alone = repeated(fake, studies=["none"], space={})
    assert "repeats: no study searches anything, so each is trained once on every fresh seed" in idle_settings(alone)


def test_a_finite_space_is_exhausted_by_each_search_for_itself(fake, tmp_path):
    spec = repeated(fake, trials=6, space={"optimizer.lr": [0.01, 0.02, 0.03]}, studies=["none"], confirm={"top": 0})
    state = fake.run(spec, tmp_path)
    assert [len(state.of_study("none", "search", search)) for search in (1, 2)] == [3, 3]
    assert set(state.searches.exhausted) == {"none", "none/2"}
    assert state.finished
    (study,) = summarize(spec, state).studies
    assert (study.spent, study.budget) == (1.0, "every config of its space was tried")
    details = [decision.detail for decision in state.decisions if decision.kind == "exhausted"]
    assert details == ["every config of its space was tried", "search 2: every config of its space was tried"]


def test_proposals_of_no_valid_config_count_for_their_search_alone(fake, tmp_path, monkeypatch):
    monkeypatch.setattr("sweeps.driver.new_trials.MOST_IN_VAIN", 5)

    def check(config):
        if not 0.019 < config.optimizer.lr < 0.021:
            raise InputError("train.optimizer.lr: must be the published one")

    spec = repeated(fake, studies=["none"], confirm={"top": 0})
    with fake.open_driver(spec, tmp_path, check_config=check) as driver:
        while driver.next() not in ("done",) and not driver.state.finished:
            trial = driver.next()
            if not hasattr(trial, "id"):
                break
            fake.finish(driver, trial)
        state = driver.state
    assert Counter(proposal.search for proposal in state.searches.invalid["none"]) == {1: 5, 2: 5}
    assert set(state.searches.exhausted) == {"none", "none/2"}
    assert SweepState.of(read(tmp_path)).searches.invalid == state.searches.invalid


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        (
            {"budget": {"trials": 2}},
            r"budget\.trials: must be at least 3, one trial for each of the 3 searches .*got 2",
        ),
        ({"budget": {"epochs": 8}}, r"budget\.epochs: must be at least 9, one trial of 3 epochs for each .*got 8"),
        ({"repeats": 0, "budget": {"trials": 4}}, "repeats: .*got 0"),
        ({"repeats": 1.5, "budget": {"trials": 4}}, "repeats: .*1.5"),
    ],
)
def test_a_budget_that_does_not_hold_the_searches_is_refused_in_one_sentence(fake, changes, says):
    with pytest.raises(InputError, match=says) as refused:
        repeated(fake, **{"repeats": 3, **changes})
    assert "\n" not in str(refused.value)


def test_a_budget_without_searches_to_share_it_is_not_refused(fake):
    assert repeated(fake, repeats=9, budget={"trials": 1}, studies=["none"], space={}).repeats == 9


def test_the_plan_shows_how_the_budget_is_shared(fake):
    spec = repeated(fake, repeats=3, confirm={"top": 4, "seeds": 3})
    shown = study_plan(spec, spec.study("kd"))
    assert (shown.searches, shown.trials, shown.search_epochs, shown.confirm_runs) == (3, 12, 36, 3 * 10)
    assert shown.confirm_text == "fresh seeds, in 2 rounds: 4 configs x 1, 2 configs x 3, 10 for each of 3 searches"
    alone = repeated(fake, repeats=1)
    assert study_plan(alone, alone.study("kd")).confirm_text == "fresh seeds"


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"budget": {"trials": 10}}, "budget.trials: 10 cannot be shared evenly by 3 searches: each has 3, and 1 of"),
        ({"budget": {"trials": 3}}, "repeats: each of the 3 searches has one trial, of the published values"),
        ({"confirm": {"top": 5, "seeds": 2}}, "confirm.top: 5 is more than the 4 configs that each of the 3 searches"),
        (
            {"sampler": {"name": "tpe", "startup": 4}},
            "sampler.startup: tpe learns from trials once there are 4, and each of the 3",
        ),
        ({"budget": {"trials": 12, "epochs": 90}}, "budget.epochs: 30 for each search is never reached"),
    ],
)
def test_the_plan_warns_of_what_a_share_of_the_budget_does_not_allow(fake, changes, says):
    (sentence,) = [each for each in idle_settings(repeated(fake, repeats=3, **changes)) if each.startswith(says)]
    assert "\n" not in sentence
    assert not any(says[:20] in each for each in idle_settings(repeated(fake, repeats=3)))


class Halton:
    """Goes through a fixed sequence of points, whatever the seed."""

    def propose(self, study, space, trials, seed):
        return {path: domain.low + (domain.high - domain.low) / (2 + len(trials)) for path, domain in space.items()}


def test_the_plan_warns_of_a_sampler_that_ignores_its_seed(fake, monkeypatch):
    monkeypatch.setattr("sweeps.driver.idle_settings.make_sampler", lambda settings: Halton())
    says = "sampler.name: tpe proposes the same first config whatever its seed, so the 3 searches of a study may"
    assert any(each.startswith(says) for each in idle_settings(repeated(fake, repeats=3, studies=["none"])))
    assert not any(each.startswith(says[:40]) for each in idle_settings(repeated(fake, repeats=1, studies=["none"])))
    few = repeated(fake, repeats=3, studies=["none"], space={"optimizer.lr": [0.01, 0.02]})
    assert not any(each.startswith(says[:40]) for each in idle_settings(few))


def test_progress_shows_each_search(fake, tmp_path):
    spec = repeated(fake, studies=["none"])
    with fake.open_driver(spec, tmp_path) as driver:
        for _ in range(3):
            fake.finish(driver, driver.next())
        (study,) = summarize(spec, driver.state).studies
    assert study.budget == "2 searches: 2/4, 1/4 trials"
    assert study.spent == pytest.approx(3 / 8)


def test_the_time_left_counts_the_searches_and_races_to_come(fake, tmp_path):
    spec = repeated(fake, studies=["none"], scheduler={"name": "none"})
    with fake.open_driver(spec, tmp_path) as driver:
        fake.finish(driver, driver.next())
        assert summarize(spec, driver.state).seconds_left == 3 * (7 + 2 * 4)


def test_searches_can_be_added_to_a_begun_sweep_with_as_much_budget(life, fake, tmp_path):
    fake.run(repeated(fake, repeats=1), tmp_path)
    train = fake.FakeTrain()
    state = fake.run(repeated(fake, repeats=3), tmp_path, train)
    for study in STUDIES:
        for search in (1, 2, 3):
            assert seen(state, study, search) == seen(life[0], study, search)
            assert fresh(state, study, search) == fresh(life[0], study, search)


def test_repeats_that_would_leave_a_search_less_than_it_has_spent_are_refused(fake, tmp_path):
    fake.run(repeated(fake, repeats=1), tmp_path)
    with pytest.raises(InputError) as refused:
        check_begun(repeated(fake, repeats=3, budget={"trials": 4}), open_store(tmp_path))
    text = str(refused.value)
    assert text.startswith("repeats: the 3 searches of a study share its budget evenly, 1 trial each, but search 1 of")
    assert "add --set budget.trials=12, so that" in text
    assert "\n" not in text


def test_repeats_that_a_begun_sweep_can_still_share_are_not_refused(fake, tmp_path):
    """A sweep that was stopped early has spent less than a share."""
    with fake.open_driver(repeated(fake, repeats=1, trials=8, studies=["none"]), tmp_path) as driver:
        for _ in range(3):
            fake.finish(driver, driver.next())
    state = fake.run(repeated(fake, repeats=2, trials=4, studies=["none"]), tmp_path)
    assert [len(state.of_study("none", "search", search)) for search in (1, 2)] == [4, 4]


def test_epochs_that_were_spent_beyond_a_share_are_refused_but_for_half_a_trial(fake, tmp_path):
    changes = {"scheduler": {"name": "none"}, "confirm": {"top": 0}, "studies": ["none"]}
    fake.run(repeated(fake, repeats=1, budget={"epochs": 11}, **changes), tmp_path)  # four trials of three epochs
    store = open_store(tmp_path)
    assert check_begun(repeated(fake, budget={"epochs": 22}, **changes), store).finished
    with pytest.raises(InputError, match=re.escape("add --set budget.epochs=24")):
        check_begun(repeated(fake, budget={"epochs": 20}, **changes), store)


def test_searches_cannot_be_taken_back(fake, tmp_path):
    fake.run(repeated(fake, repeats=2), tmp_path)
    with pytest.raises(InputError, match=r"repeats: can only grow in a sweep that was begun, .* 2 searches .*, got 1"):
        check_begun(repeated(fake, repeats=1), open_store(tmp_path))


def test_a_corrected_space_starts_every_search_again(fake, tmp_path):
    spec = repeated(fake, studies=["none"], confirm={"top": 0}, scheduler={"name": "none"})
    narrow = {"optimizer.lr": {"low": 0.019, "high": 0.021}}
    fake.run(spec, tmp_path)
    state = fake.run(
        repeated(fake, studies=["none"], confirm={"top": 0}, space=narrow, scheduler={"name": "none"}), tmp_path
    )
    for search in (1, 2):
        assert len(state.of_study("none", "search", search)) == 4
        assert all(0.019 <= t.params["optimizer.lr"] <= 0.021 for t in state.of_study("none", "search", search))


def test_a_wider_space_starts_every_search_again_that_had_tried_all(fake, tmp_path):
    rates = [0.01, 0.02, 0.03]
    changes = {"studies": ["none"], "confirm": {"top": 0}, "scheduler": {"name": "none"}, "trials": 6}
    assert len(fake.run(repeated(fake, **changes, space={"optimizer.lr": rates}), tmp_path).searches.exhausted) == 2
    state = fake.run(repeated(fake, **changes, space={"optimizer.lr": [*rates, 0.04]}), tmp_path)
    assert [len(state.of_study("none", "search", search)) for search in (1, 2)] == [4, 4]


def test_final_seeds_follow_the_fresh_ones_and_belong_to_the_search_of_the_config(fake, tmp_path, monkeypatch):
    monkeypatch.setattr(
        attempt, "measure", lambda student, config, role, *_: replace(fake.evaluation(config), role=role)
    )
    spec = repeated(fake, repeats=3, confirm={"top": 2, "seeds": 2, "final_seeds": 3})
    fake.run(spec, tmp_path)
    frozen = freeze(Store(tmp_path))
    assert frozen.seeds == (10, 11, 12)
    state = fake.run(spec, tmp_path)
    for trial in state.of_phase("final"):
        assert trial.search == state.trials[trial.candidate_of].search
    with pytest.raises(InputError, match="the sweep cannot grow any more"):
        check_begun(repeated(fake, repeats=4, confirm={"top": 2, "seeds": 2, "final_seeds": 3}), open_store(tmp_path))
