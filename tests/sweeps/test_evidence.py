"""Growing a sweep by seeds: what its page says would decide, and the command that goes on."""

import shlex

import pytest

from analysis import read_tables
from analysis.report.evidence_lines import what_would_decide
from analysis.selection.compare import compare
from analysis.selection.evidence import races, situation
from analysis.stats.seed_plan import in_sds
from analysis.tables.commands import shared
from kdtrain.errors import InputError
from sweeps.designs.detectable import comparisons, lines_without_noise, study_lines
from sweeps.designs.evidence import begun_as, detectable_like, lines_like
from sweeps.ledger.grow_command import grow_command
from sweeps.outcome.loaded import load_state
from sweeps.outcome.tabulate import write_tables

NOISE = 0.02


def spec_of(fake, seeds=2, **changes):
    base = {"studies": ["none", "kd", "cwd"], "budget": {"trials": 2}, "confirm": {"top": 1, "seeds": seeds}}
    base |= {"sampler": {"name": "random"}, "train": {"epochs": 2}}
    return fake.make_spec(**{**base, **changes})


def training(fake, gain=0.02):
    return fake.FakeTrain(
        lambda config: 0.5 + gain * config.uses_teacher + NOISE * (fake.draw(config.config_id, config.seed) - 0.5)
    )


@pytest.fixture
def finished(fake, tmp_path):
    """A finished sweep of three studies, two seeds each."""
    fake.run(spec_of(fake), tmp_path, training(fake))
    write_tables(tmp_path)
    return tmp_path


def test_a_sweep_grows_from_2_to_5_seeds_and_its_words_come_from_all_five(fake, finished):
    before = read_tables(finished)
    assert set(compare(before)["n"]) == {2}
    assert races(before).cost(5).trainings == 9
    fake.run(spec_of(fake, seeds=5), finished, training(fake))
    write_tables(finished)
    tables = read_tables(finished)
    assert set(compare(tables)["n"]) == {5}
    assert list(tables["sweeps"]["looks"].iloc[0]) == [2]
    again = situation(tables)
    assert (again.seeds, again.looks.seeds, again.comparisons) == (5, (2,), 2)


def test_what_would_decide_names_seeds_cost_and_the_change(finished):
    tables = read_tables(finished)
    sentence = what_would_decide(tables, "cwd against none", 0.02, "not separated", 2)
    assert "more seeds, " in sentence
    assert " trainings and " in sentence
    assert "--set confirm.seeds=" in sentence
    assert what_would_decide(tables, "cwd against none", 0.02, "separated", 5) == ""
    assert "For cwd against none: no number of seeds up to 30" in what_would_decide(
        tables, "cwd against none", 0.0001, "not separated", 2
    )


def test_nothing_is_planned_from_unknown_noise(fake, tmp_path):
    fake.run(spec_of(fake, seeds=1), tmp_path, training(fake))
    write_tables(tmp_path)
    tables = read_tables(tmp_path)
    assert situation(tables) is None
    assert what_would_decide(tables, "cwd against none", 0.02, None, 1) == ""
    with pytest.raises(InputError, match="--like D: must be a sweep with two configs or more"):
        lines_like(spec_of(fake), tables, "D", False)


def test_a_race_counts_what_its_rounds_train(fake, tmp_path):
    spec = spec_of(fake, confirm={"top": 4, "seeds": 2}, budget={"trials": 6})
    fake.run(spec, tmp_path, training(fake))
    write_tables(tmp_path)
    plan = races(read_tables(tmp_path))
    setting = plan.setting_for(6)
    before = sum(len(load_state(tmp_path)[1].of_study(study, "confirm")) for study in ("none", "kd", "cwd"))
    state = fake.run(
        spec_of(fake, confirm={"top": 4, "seeds": setting}, budget={"trials": 6}), tmp_path, training(fake)
    )
    after = sum(len(state.of_study(study, "confirm")) for study in ("none", "kd", "cwd"))
    expected = plan.cost(setting).trainings
    assert expected <= after - before <= expected + 3 * 2  # another config may come through with more seeds
    write_tables(tmp_path)
    assert compare(read_tables(tmp_path))["n"].max() >= 6


def test_a_plan_like_another_sweep_counts_all_trainings_and_one_of_its_own_further_ones(fake, finished):
    tables, (_, state) = read_tables(finished), load_state(finished)
    same, other = spec_of(fake, seeds=3), spec_of(fake, seeds=3, studies=["none", "kd"], name="other")
    assert begun_as(same, state, "D")
    assert not begun_as(other, state, "D")
    own, new = lines_like(same, tables, "D", True), lines_like(other, tables, "D", False)
    assert "2 comparisons" in own[0]
    assert "1 comparison)" in new[0]
    assert any("further training" in line for line in own)
    assert not any("further training" in line for line in new)
    assert "2 miss it in" in own[-1]
    assert "3 miss it in" in new[-1]


def test_without_noise_a_plan_says_what_seeds_buy_and_how_to_know_more(fake):
    lines = lines_without_noise(spec_of(fake))
    assert "in sds of a training over seeds: 2 seeds " in lines[0]
    assert "--like D" in lines[0]
    assert lines_without_noise(spec_of(fake, confirm={"top": 0, "seeds": 0})) == []
    assert comparisons(spec_of(fake, studies=["none", "kd", {"name": "cwd", "method": "cwd", "control": True}])) == 1


def test_the_gain_that_each_study_will_detect_is_said_with_what_it_assumes(fake, finished):
    spec = spec_of(fake, seeds=3)
    (_, line) = lines_without_noise(spec)
    assert line.startswith("smallest gain of kd, cwd over none that is detected ")
    assert "an sd of 1.0 points over seeds" in line
    (three,) = in_sds([3], comparisons(spec))
    assert f": {three:.1f} points of mIoU with 3 seeds, if" in line
    (like,) = detectable_like(spec, read_tables(finished), "D")
    assert like.endswith(" with 3 seeds, with the noise of D")
    assert f" {three:.1f} points" not in like
    (one,) = study_lines(spec_of(fake, seeds=1), 0.01, "")
    assert ": no gain, which takes 2 seeds, with 1 seed" in one
    assert study_lines(spec_of(fake, studies=["kd", "cwd"]), 0.01, "") == []


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("kdsweep run a.yaml --dir D", "kdsweep run a.yaml --dir D --set confirm.seeds=SEEDS"),
        ("kdsweep run a.yaml --set confirm.seeds=2 --dir D", "kdsweep run a.yaml --dir D --set confirm.seeds=SEEDS"),
        ("kdsweep run a.yaml --set=confirm.seeds=2 --dir D", "kdsweep run a.yaml --dir D --set confirm.seeds=SEEDS"),
        ("kdsweep run --dir D -- -a.yaml", "kdsweep run --dir D --set confirm.seeds=SEEDS -- -a.yaml"),
        ("KDSWEEP_TRUST='a b' kdsweep run a.yaml", "KDSWEEP_TRUST='a b' kdsweep run a.yaml --set confirm.seeds=SEEDS"),
    ],
)
def test_the_command_that_goes_on_changes_the_seeds_once(line, expected):
    made = grow_command({"line": line, "folder": "/my folder", "sweep": "/w/D"})
    assert made == f"cd '/my folder' && {expected}"
    assert shlex.split(made)[:2] == ["cd", "/my folder"]


@pytest.mark.parametrize(
    ("line", "place", "options"),
    [
        ("kdsweep demo --dir D", None, ""),
        ("kdsweep run a.yaml --data d --set 'confirm={top: 1, seeds: 2}'", None, " --data '/my folder/d'"),
        ("kdsweep run a.yaml --data=/d --trust --device cpu", "/x/D", " --data /d --trust --device cpu"),
        ("python mine.py --data d", None, ""),
    ],
)
def test_where_the_command_cannot_be_changed_the_kept_spec_goes_on(line, place, options):
    made = grow_command({"line": line, "folder": "/my folder", "sweep": "/w/D"}, place)
    folder = place or "/w/D"
    assert made == f"kdsweep run {folder}/spec.yaml --dir {folder}{options} --set confirm.seeds=SEEDS"


def test_a_sweep_that_no_command_began_goes_on_from_its_kept_spec():
    assert grow_command(None) is None
    assert grow_command(None, "/w/my D") == (
        "kdsweep run '/w/my D/spec.yaml' --dir '/w/my D' --set confirm.seeds=SEEDS"
    )


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("cd '/my f' && K_A='a b' kdsweep run a.yaml --data d --trust", ("K_A='a b' ", " --data '/my f/d' --trust")),
        ("kdsweep run a.yaml --weights=/w --set x=--data", ("", " --weights /w")),
        ("kdsweep run a.yaml --dir D -- --data", ("", "")),
    ],
)
def test_other_commands_about_a_sweep_have_its_data_its_weights_and_its_trust(line, expected):
    assert shared(line) == expected
