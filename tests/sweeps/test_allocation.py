"""The race of a study's best configs over fresh seeds, as a pure function of what has ended."""

from collections import Counter, defaultdict

import pytest

from sweeps.driver.allocation import race
from sweeps.launch.inline import run_inline
from sweeps.ledger.ledger import read


def racing(fake, **changes):
    return fake.make_spec(
        **{"studies": ["none", "kd"], "budget": {"trials": 6}, "confirm": {"top": 4, "seeds": 3}, "seed": 7, **changes}
    )


def fresh(state, study):
    """The fresh seeds of every candidate of a study."""
    found = defaultdict(list)
    for trial in state.of_study(study, "confirm"):
        found[trial.candidate_of].append(trial.seed)
    return dict(found)


def test_the_better_half_of_a_round_goes_on_to_more_seeds(fake, tmp_path):
    spec = racing(fake)
    assert spec.confirm_seeds == (8, 9, 10, 11)
    state = fake.run(spec, tmp_path)
    for study in ("none", "kd"):
        seeds = fresh(state, study)
        assert sorted(map(tuple, seeds.values())) == [(8,), (8,), (8, 9, 10, 11), (8, 9, 10, 11)]
        first = {trial.candidate_of: trial.score for trial in state.of_study(study, "confirm") if trial.seed == 8}
        through = {candidate for candidate, own in seeds.items() if len(own) == 4}
        assert through == set(sorted(first, key=first.get, reverse=True)[:2])
        screened = sorted(state.of_study(study, "search"), key=lambda trial: -trial.score)
        assert set(seeds) == {trial.id for trial in screened[:4]}


def test_a_round_waits_for_the_last_of_its_trainings(fake, tmp_path):
    spec = racing(fake, studies=["none"])
    with fake.open_driver(spec, tmp_path) as driver:
        while len(race(spec, driver.state, spec.studies[0])) < 1:
            one_step(fake, driver)
        begun = [driver.next() for _ in range(4)]
        assert {trial.seed for trial in begun} == {8}
        for trial in begun[:3]:
            fake.finish(driver, trial)
            assert driver.next().value == "wait"
            assert len(race(spec, driver.state, spec.studies[0])) == 1
        fake.finish(driver, begun[3])
        assert driver.next().seed == 9
        assert [len(alive) for alive in race(spec, driver.state, spec.studies[0])] == [4, 2]


def one_step(fake, driver):
    fake.finish(driver, driver.next())


def test_a_config_that_loses_a_seed_goes_out(fake, tmp_path):
    spec = racing(fake, studies=["none"], retries=0)
    best = {}

    def before(config, epoch):
        return "nan" if config.seed == 8 and config.config_id == best.get("id") and epoch == 2 else None

    with fake.open_driver(spec, tmp_path) as driver:
        while len(race(spec, driver.state, spec.studies[0])) < 1:
            one_step(fake, driver)
        best["id"] = race(spec, driver.state, spec.studies[0])[0][0].config_id
        run_inline(driver, fake.FakeTrain(before=before))
        runs = [trial for trial in driver.state.of_phase("confirm") if trial.config_id == best["id"]]
        assert [(trial.seed, trial.state) for trial in runs] == [(8, "diverged")]
        assert driver.state.finished


def test_a_study_that_searches_nothing_gets_the_seeds_of_every_round(fake, tmp_path):
    spec = racing(
        fake,
        space={},
        studies=[{"method": "none"}, {"method": "kd", "space": {"aux_weight": [0.1, 0.4]}}],
        purpose="ablation",
    )
    state = fake.run(spec, tmp_path)
    assert [trial.seed for trial in state.of_study("none")] == [8, 9, 10, 11]
    assert sorted(map(tuple, fresh(state, "kd").values())) == [(8, 9, 10, 11)] * 2


@pytest.mark.parametrize("first", [{"top": 1, "seeds": 1}, {"top": 4, "seeds": 1}, {"top": 2, "seeds": 6}])
def test_a_race_that_grows_ends_as_if_it_had_begun_so(fake, tmp_path, first):
    at_once = fake.run(racing(fake, confirm={"top": 4, "seeds": 6}), tmp_path / "at once")
    fake.run(racing(fake, confirm=first), tmp_path / "grown")
    train = fake.FakeTrain()
    grown = fake.run(racing(fake, confirm={"top": 4, "seeds": 6}), tmp_path / "grown", train)
    wanted = {(t.study, t.candidate_of, t.seed) for t in at_once.of_phase("confirm")}
    there = [(t.study, t.candidate_of, t.seed) for t in grown.of_phase("confirm")]
    assert wanted <= set(there)
    assert max(Counter(there).values()) == 1, "nothing was run twice"
    assert train.epochs_trained < 6 * len(wanted)


def test_what_was_decided_is_decided_again_by_a_resumed_sweep(fake, tmp_path):
    spec = racing(fake, train={"epochs": 2}, budget={"trials": 4})
    whole = fake.run(spec, tmp_path / "whole")
    expected = [(t.id, t.phase, t.candidate_of, t.seed, t.score) for t in whole.trials.values()]
    records = read(tmp_path / "whole")
    fresh_from = next(record.n for record in records if record.kind == "proposed" and record.data["phase"] == "confirm")
    for cut in range(fresh_from, len(records), 9):
        state = fake.resumed(tmp_path / f"cut{cut}", cut, lambda folder: fake.run(spec, folder))
        assert [(t.id, t.phase, t.candidate_of, t.seed, t.score) for t in state.trials.values()] == expected
