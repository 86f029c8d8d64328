"""A sweep that trains more fresh seeds until its comparison is decided, and stops as soon as it is."""

import io
import re

import pytest
from rich.console import Console

from analysis import read_tables
from analysis.formats import signed
from analysis.report.verdict import verdict_of
from kdtrain.errors import InputError
from sweeps.launch.inline import run_inline
from sweeps.ledger.ledger import read
from sweeps.outcome.loaded import load_state
from sweeps.outcome.tabulate import write_tables
from sweeps.outcome.words import read_words
from sweeps.show.live_page import live_page
from sweeps.show.status import show_status
from sweeps.store.store import Store

PLAN = {"top": 1, "seeds": [3, 12], "until": "decided"}


def spec_of(fake, **changes):
    base = {"studies": ["none", "kd"], "train": {"epochs": 2}, "budget": {"trials": 1}, "confirm": PLAN, "seed": 7}
    return fake.make_spec(**{**base, **changes})


def training(fake, gain, noise=0.01, **options):
    """Trainings whose scores are 0.5, plus a gain with a teacher, plus noise of each seed."""

    def quality(config):
        taught = gain if config.uses_teacher else 0.0
        return 0.5 + taught + noise * (fake.draw(config.config_id, config.seed) - 0.5)

    return fake.FakeTrain(quality, **options)


def run(fake, spec, folder, train):
    with fake.open_driver(spec, folder, judge=read_words) as driver:
        run_inline(driver, train)
        return driver.state


def looks_of(folder):
    return [
        (record.data["seeds"], record.data["goes_on"], record.data["reason"])
        for record in read(folder)
        if record.kind == "look"
    ]


def decided(folder):
    return [record.data for record in read(folder) if record.kind in ("proposed", "look", "ended")]


def seeds_of(state, study):
    return [trial.seed for trial in state.of_study(study, "confirm")]


def test_a_clear_gain_stops_at_the_first_look_that_has_enough_seeds(fake, tmp_path):
    state = run(fake, spec_of(fake), tmp_path, training(fake, gain=0.2))
    first, second = looks_of(tmp_path)
    assert first[:2] == (3, True)
    assert second == (5, False, "kd is separated from the baseline none")
    assert seeds_of(state, "kd") == seeds_of(state, "none") == [8, 9, 10, 11, 12]
    assert state.finished


def test_no_gain_stops_because_more_seeds_would_hardly_decide(fake, tmp_path):
    state = run(fake, spec_of(fake), tmp_path, training(fake, gain=-0.02, noise=0.02))
    seeds, goes_on, reason = looks_of(tmp_path)[-1]
    assert not goes_on
    assert reason.startswith("more seeds would hardly decide: the chance that 12 seeds would separate a study")
    assert len(seeds_of(state, "kd")) == seeds < 12


def test_small_differences_are_shown_equivalent(fake, tmp_path):
    run(fake, spec_of(fake), tmp_path, training(fake, gain=0.0, noise=0.001))
    assert looks_of(tmp_path)[-1][1:] == (False, "kd is equivalent to the baseline none")


def test_at_the_most_seeds_it_ends(fake, tmp_path):
    spec = spec_of(fake, confirm={**PLAN, "seeds": [3, 5]})
    state = run(fake, spec, tmp_path, training(fake, gain=0.006, noise=0.02))
    assert looks_of(tmp_path)[-1] == (5, False, "not decided on 5 seeds, the most that were planned")
    assert len(seeds_of(state, "kd")) == 5


def test_the_tables_know_the_looks_and_their_plan(fake, tmp_path):
    run(fake, spec_of(fake), tmp_path, training(fake, gain=0.2))
    write_tables(tmp_path)
    tables = read_tables(tmp_path)
    row = tables["sweeps"].iloc[0]
    assert (row["confirm_seeds"], row["confirm_most"], list(row["looks"]), row["looks_most"]) == (3, 12, [3], 12)
    assert row["looks_spent"] == pytest.approx(12 / 13 * 9 / 144)
    looks = tables["decisions"][tables["decisions"]["kind"] == "look"]
    assert list(looks["detail"])[-1] == "5 seeds: kd is separated from the baseline none; no more seeds"


def test_the_best_config_of_a_race_goes_on_alone(fake, tmp_path):
    spec = spec_of(fake, confirm={**PLAN, "top": 4}, budget={"trials": 4}, sampler={"name": "random"})
    state = run(fake, spec, tmp_path, training(fake, gain=0.2))
    assert [look[0] for look in looks_of(tmp_path)] == [4, 7]
    for study in ("none", "kd"):
        counts = {}
        for trial in state.of_study(study, "confirm"):
            counts[trial.candidate_of] = counts.get(trial.candidate_of, 0) + 1
        assert sorted(counts.values()) in ([1, 1, 4, 7], [1, 1, 4, 4 + 3])
    write_tables(tmp_path)
    tops = read_tables(tmp_path)["selections"].drop_duplicates("study")
    assert list(tops["n"]) == [7, 7]


def test_a_killed_sweep_takes_the_same_looks(fake, tmp_path):
    spec, train = spec_of(fake), training(fake, gain=0.2)
    run(fake, spec, tmp_path / "whole", train)
    last = [record.n for record in read(tmp_path / "whole") if record.kind == "look"][-1]
    for cut in (last - 1, last):
        folder = tmp_path / f"cut{cut}"
        fake.resumed(folder, cut, lambda folder: run(fake, spec, folder, training(fake, gain=0.2)))
        assert looks_of(folder) == looks_of(tmp_path / "whole")
        assert decided(folder) == decided(tmp_path / "whole")


def test_who_raises_the_most_goes_on_from_a_stop(fake, tmp_path):
    train = training(fake, gain=-0.02, noise=0.02)
    run(fake, spec_of(fake), tmp_path, train)
    stopped = looks_of(tmp_path)[-1][0]
    state = run(fake, spec_of(fake, confirm={**PLAN, "seeds": [3, 20]}), tmp_path, train)
    assert len(seeds_of(state, "kd")) > stopped
    assert load_state(tmp_path)[1].finished


def test_a_finished_sweep_that_is_run_again_looks_at_nothing_again(fake, tmp_path):
    for _ in range(2):
        run(fake, spec_of(fake), tmp_path, training(fake, gain=0.2))
    assert len(looks_of(tmp_path)) == 2


def test_a_new_study_is_looked_at_on_the_seeds_of_the_others(fake, tmp_path):
    train = training(fake, gain=0.2)
    run(fake, spec_of(fake), tmp_path, train)
    state = run(fake, spec_of(fake, studies=["none", "kd", "cwd"]), tmp_path, train)
    assert [look[0] for look in looks_of(tmp_path)][:3] == [3, 5, 5]
    assert len(seeds_of(state, "cwd")) == len(seeds_of(state, "kd"))


def test_a_begun_sweep_can_be_continued_until_it_is_decided(fake, tmp_path):
    train = training(fake, gain=0.2)
    run(fake, spec_of(fake, confirm={"top": 1, "seeds": 3}), tmp_path, train)
    state = run(fake, spec_of(fake), tmp_path, train)
    write_tables(tmp_path)
    row = read_tables(tmp_path)["sweeps"].iloc[0]
    assert row["looks"][0] == 3
    assert row["looks_spent"] >= 0.75  # the words at 3 seeds were no planned look
    assert state.finished


def test_every_search_of_a_study_goes_on_to_the_same_seeds(fake, tmp_path):
    spec = spec_of(fake, repeats=2, budget={"trials": 2})
    state = run(fake, spec, tmp_path, training(fake, gain=0.2))
    assert [look[0] for look in looks_of(tmp_path)] == [3, 5]
    for study in ("none", "kd"):
        runs = {}
        for trial in state.of_study(study, "confirm"):
            runs.setdefault(trial.candidate_of, []).append(trial.seed)
        assert list(runs.values()) == [[8, 9, 10, 11, 12]] * 2


def test_failed_seeds_count_in_a_look(fake, tmp_path):
    def before(config, epoch):
        return "nan" if config.seed == 9 and config.uses_teacher and epoch == 2 else None

    state = run(fake, spec_of(fake), tmp_path, training(fake, gain=0.2, before=before))
    first = next(record.data for record in read(tmp_path) if record.kind == "look")
    assert seeds_of(state, "kd")[:3] == [8, 9, 10]
    assert first["seeds"] == 3
    assert [word["n"] for word in first["words"]] in ([3], [])


def test_without_a_study_to_compare_with_no_more_seeds_are_trained(fake, tmp_path):
    run(fake, spec_of(fake, studies=["kd", "cwd"]), tmp_path, training(fake, gain=0.2))
    ((seeds, goes_on, reason),) = looks_of(tmp_path)
    assert (seeds, goes_on) == (3, False)
    assert "can be compared with a baseline" in reason


def ablation(fake, **changes):
    cells = [{"study": "whole", "role": "reference"}, {"study": "part"}, {"study": "same"}]
    studies = [{"name": cell["study"], "method": "kd", "set": {"aux_weight": 0.1 * n}} for n, cell in enumerate(cells)]
    return spec_of(fake, studies=studies, space={}, purpose="ablation", design="one-factor", cells=cells, **changes)


@pytest.mark.parametrize(
    ("noise", "last"), [(0.001, (5, "all 2 effects are separated")), (0.03, (5, "would hardly decide"))]
)
def test_an_ablation_stops_when_its_effects_are_decided_or_hardly_will_be(fake, tmp_path, noise, last):
    def quality(config):
        part = -0.1 if config.aux_weight == 0.1 else 0.0
        return 0.5 + part + noise * (fake.draw(config.config_id, config.seed) - 0.5)

    run(fake, ablation(fake), tmp_path, fake.FakeTrain(quality))
    seeds, goes_on, reason = looks_of(tmp_path)[-1]
    assert not goes_on
    assert (seeds, last[1] in reason) == (last[0], True), reason


def test_a_control_decides_nothing_in_an_ablation(fake, tmp_path):
    def quality(config):
        worth = {0.0: 0.5, 0.1: 0.4, 0.2: 0.5}[config.aux_weight]
        noise = 0.03 if config.aux_weight == 0.2 else 0.001
        return worth + noise * (fake.draw(config.config_id, config.seed) - 0.5)

    spec = ablation(fake)
    cells = [*spec.cells[:2], spec.cells[2].model_copy(update={"role": "control"})]
    run(fake, spec.model_copy(update={"cells": tuple(cells)}), tmp_path, fake.FakeTrain(quality))
    assert looks_of(tmp_path)[-1] == (5, False, "all 1 effects are separated from 0 or equivalent to it")


def test_a_cell_that_lacks_a_seed_is_not_decided(fake, tmp_path):
    def quality(config):
        part = -0.1 if config.aux_weight == 0.1 else 0.0
        noise = 0.03 if config.aux_weight == 0.2 else 0.001
        return 0.5 + part + noise * (fake.draw(config.config_id, config.seed) - 0.5)

    def before(config, epoch):
        if config.aux_weight == 0.2 and config.seed == 12:
            raise MemoryError("out of memory")

    run(fake, ablation(fake), tmp_path, fake.FakeTrain(quality, before=before))
    assert looks_of(tmp_path)[1][0] == 5
    assert "all" not in looks_of(tmp_path)[1][2].split()


@pytest.mark.parametrize(
    ("confirm", "said"),
    [
        ({"seeds": [3, 12]}, r"confirm: seeds: must be two numbers with until: decided"),
        ({"until": "decided"}, "such as .3, 12. .*got 3"),
        ({"seeds": [3, 3], "until": "decided", "top": 1}, "second at least 4 .the race takes 3 seeds."),
        ({"seeds": [1, 9], "until": "decided"}, "first number must be at least 2"),
        ({"seeds": [3, 4], "until": "decided", "top": 4}, "second at least 5 .the race takes 4 seeds."),
        ({"seeds": [3, 12, 20], "until": "decided"}, "confirm.seeds: must be a whole number from 0 to 10.9, or two"),
        ({"seeds": [3, 12.5], "until": "decided"}, "confirm.seeds: must be a whole number"),
        ({"seeds": -1}, "confirm.seeds: must be a whole number from 0"),
        ({"seeds": [3, 12], "until": "sure"}, "confirm.until"),
    ],
)
def test_plans_that_cannot_be_are_refused_by_name(fake, confirm, said):
    with pytest.raises(InputError, match=said):
        fake.make_spec(confirm=confirm)


def shown(spec, folder):
    state = load_state(folder)[1]
    return live_page(spec, state, "running"), status(folder)


def status(folder):
    console = Console(width=400, record=True, file=io.StringIO())
    console.print(show_status(Store(folder)))
    return console.export_text()


def test_between_looks_the_live_page_repeats_the_words_of_the_last_one(fake, tmp_path):
    spec, train = spec_of(fake), training(fake, gain=0.006, noise=0.02)
    with fake.open_driver(spec, tmp_path, judge=read_words) as driver:
        while driver.state.last_look is None:
            page = re.sub(r"<script.*?</script>", "", live_page(spec, driver.state, "running"), flags=re.DOTALL)
            assert " points " not in page
            one_step(fake, driver, train)
        at_look = live_page(spec, driver.state, "running")
        one_step(fake, driver, train)
        later, told = shown(spec, tmp_path)
    said = read(tmp_path)[[record.kind for record in read(tmp_path)].index("look")].data["words"][0]
    words = f"kd: {said['word']} from the reference, {signed(said['difference'])} points"
    for page in (at_look, later):
        assert words in page
        assert "on 3 seeds alone" in page
        assert "scores that came in between change no word" in page
        assert "Look 1 of at most 4 at 3 fresh seeds: not decided yet" in page
    assert "look 1 of at most 4 at 3 fresh seeds: not decided yet" in told


def one_step(fake, driver, train):
    trial = driver.next()
    driver.started(trial.id)
    folder = driver.store.local / "trials" / trial.id
    config = fake.TrainConfig.parse(trial.config)
    driver.ended(trial.id, train(config, report=lambda r: driver.report(trial.id, r), workdir=folder))


def test_status_and_page_say_why_it_stopped(fake, tmp_path):
    spec = spec_of(fake)
    run(fake, spec, tmp_path, training(fake, gain=0.2))
    page, told = shown(spec, tmp_path)
    end = "ook 2 of at most 4 at 5 fresh seeds: kd is separated from the baseline none; no more seeds are trained"
    assert end in page
    assert end in told
    write_tables(tmp_path)
    ended = "At the last planned look, 5 seeds: kd is separated from the baseline none; no more seeds."
    (line,) = [line.text for line in verdict_of(read_tables(tmp_path)).lines if line.label == "Looks"]
    assert line.startswith(ended)


def broken_once(fake, gain, noise):
    """Trainings of which one on a fresh seed is stopped by its machine; and the same on a mended machine."""

    def before(config, epoch):
        if config.seed == 9 and config.uses_teacher:
            raise MemoryError("out of memory")

    return training(fake, gain, noise, before=before), training(fake, gain, noise)


def test_a_look_says_which_seed_it_lacks_and_is_taken_again_once_that_is_mended(fake, tmp_path):
    spec = spec_of(fake, retries=0, confirm={**PLAN, "seeds": [3, 5]})
    broken, mended = broken_once(fake, gain=0.2, noise=0.01)
    run(fake, spec, tmp_path, broken)
    assert [look[0] for look in looks_of(tmp_path)] == [3, 5]
    for _, _, reason in looks_of(tmp_path):
        assert "; no verdict on kd: 1 of " in reason
        assert "planned fresh seeds of kd is missing" in reason
    for _ in range(2):
        state = run(fake, spec, tmp_path, mended)
        assert looks_of(tmp_path)[2:] == [(5, False, "kd is separated from the baseline none")]
    told = status(tmp_path)
    assert "look 2 of at most 2 at 5 fresh seeds: kd is separated from the baseline none; no more seeds" in told
    assert [look.seeds for look in state.looks] == [3, 5]


def test_a_stop_without_a_mended_seed_is_taken_back_where_all_seeds_leave_a_chance(fake, tmp_path):
    spec = spec_of(fake, retries=0)

    def quality(config):
        gain = {8: -0.02, 9: 0.2, 10: -0.03}.get(config.seed, 0.05) if config.uses_teacher else 0.0
        return 0.5 + gain

    def before(config, epoch):
        if config.seed == 9 and config.uses_teacher:
            raise MemoryError("out of memory")

    run(fake, spec, tmp_path, fake.FakeTrain(quality, before=before))
    ((_, goes_on, reason),) = looks_of(tmp_path)
    assert (goes_on, "hardly decide" in reason) == (False, True)
    state = run(fake, spec, tmp_path, fake.FakeTrain(quality))
    assert looks_of(tmp_path)[1][:2] == (3, True)
    assert len(seeds_of(state, "kd")) >= 5
