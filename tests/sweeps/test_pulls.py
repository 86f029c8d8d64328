"""Pulls in specs, their calibrations, and the weights that follow from them."""

import json
import math
import signal

import pytest
from sweep_command import LIBRARY_NETWORK, SMALL, streets

from kdtrain import InputError, Machine, TrainConfig
from kdtrain.loop.calibration import Calibration
from kdtrain.loop.stop import InterruptedTrainingError
from kdtrain.methods import parse_term
from kdtrain.space import Choice, Range
from sweeps.attempt.signals import Interrupted, StopRequest
from sweeps.calibrate import calibrate, lines_for_plan, measure_here
from sweeps.designs import DESIGNS, Options, ablation
from sweeps.driver.growth import as_begun, growth, load_continued
from sweeps.launch.calibrate import measure_on_ray
from sweeps.launch.cluster import cluster
from sweeps.launch.inline import run_inline
from sweeps.ledger.former_names import renamed_spec
from sweeps.ledger.ledger import read
from sweeps.ledger.state import SweepState
from sweeps.outcome.best_file import read_config
from sweeps.outcome.loaded import load_state
from sweeps.outcome.tabulate import rows
from sweeps.spec.calibrations import calibrations
from sweeps.spec.overrides import parse_changed
from sweeps.spec.pulls import Star, key_of, levels
from sweeps.spec.spec import parse_spec
from sweeps.spec.strict_yaml import dump_yaml
from sweeps.store.store import Store
from sweeps.sweep import Sweep

STEPS = (6, 12, 24)
KD, WEIGHT = "terms.pixel_kd.pull", "terms.pixel_kd.weight"
STUDIES = [
    "none",
    "kd",
    {"name": "own", "terms": [{"loss": "cross_entropy"}, {"loss": "pixel_kd", "pull": 0.3}]},
    {"name": "set", "method": "kd", "set": {KD: 0.5}},
]


class Fake:
    """A calibration by a formula: the pull at weight 1 is 2, times the square of the temperature."""

    def __init__(self, ratio=lambda options: 2.0 * options.get("temperature", 1.0) ** 2):
        self.ratio, self.made = ratio, []

    def __call__(self, measurement, machine, teacher):
        self.made.append(measurement)
        lengths = {
            key: tuple(self.ratio(json.loads(key)) * task for task in (3.0, 2.0, 1.0)) for key in measurement.terms
        }
        return Calibration(STEPS, (3.0, 2.0, 1.0), lengths)


def run(fake, spec, folder, measure=None, train=None, notice=print):
    with fake.open_driver(spec, folder, notice=notice) as driver:
        calibrate(driver, None, None, measure or Fake())
        run_inline(driver, train or fake.FakeTrain())
        return driver.state


def with_pulls(fake, **changes):
    return fake.make_spec(**{"units": "pull", "studies": STUDIES, **changes})


def config_of(spec, study, ratio=1.0, params=None):
    return spec.config_for(spec.study(study), params, ratio=lambda study, term: ratio)


def pair(term):
    return term.weight, term.pull


# Terms and configs


def test_a_pull_is_no_part_of_what_a_training_is(fake):
    content = fake.make_spec().config_for(fake.make_spec().study("kd")).model_dump(mode="json")
    before = TrainConfig.parse(content)
    content["terms"][1]["pull"] = 0.3
    assert TrainConfig.parse(content).config_id == before.config_id


def test_a_training_with_a_pull_and_no_weight_is_refused_in_one_sentence():
    content = {"teacher": "abc", "terms": [{"loss": "cross_entropy"}, {"loss": "pixel_kd", "pull": 0.3}]}
    with pytest.raises(InputError, match=r"terms.pixel_kd.pull: .* calibration of a sweep"):
        TrainConfig.parse(content)
    content["terms"][1]["weight"] = 2.0
    assert TrainConfig.parse(content).terms[1].weight == 2.0


# Specs


def test_units_decide_what_a_method_searches(fake):
    spec = with_pulls(fake, studies=["none", "kd", {"name": "old", "method": "kd", "units": "weight"}])
    assert KD in spec.space_of(spec.study("kd"))
    assert WEIGHT not in spec.space_of(spec.study("kd"))
    assert WEIGHT in spec.space_of(spec.study("old"))
    assert WEIGHT in fake.make_spec(units="weight").space_of(spec.study("kd"))


@pytest.mark.parametrize(
    ("study", "shared"),
    [
        ({"set": {WEIGHT: 0.5}}, {}),
        ({}, {WEIGHT: {"low": 0.1, "high": 1}}),
        ({"set": {KD: 0.5}}, {}),
        ({"units": "weight", "set": {KD: 0.5}}, {}),
    ],
)
def test_a_unit_that_is_given_takes_the_other_out_of_the_default_space(fake, study, shared):
    spec = fake.make_spec(units="pull", space=shared, studies=[{"name": "a", "method": "kd", **study}])
    space = spec.space_of(spec.study("a"))
    assert set(space) == {*shared, "terms.pixel_kd.temperature"}


@pytest.mark.parametrize(
    ("study", "shared", "form"),
    [
        ({}, {}, "squared"),
        ({"set": {"terms.attention_transfer.weight": 1e4}}, {}, "code"),
        ({"space": {"terms.attention_transfer.weight": {"low": 1e3, "high": 1e5}}}, {}, "code"),
        ({}, {"terms.attention_transfer.weight": {"low": 1e3, "high": 1e5}}, "code"),
        ({"set": {"terms.attention_transfer.weight": 2.0, "terms.attention_transfer.form": "squared"}}, {}, "squared"),
        ({"set": {"terms.attention_transfer.pull": 1.0}}, {}, "squared"),
    ],
)
def test_a_weight_that_is_given_belongs_to_the_published_form_of_its_loss(fake, study, shared, form):
    studies = [{"name": "at", "method": "at", **study}]
    spec = fake.make_spec(studies=studies, space=shared or {"optimizer.lr": {"low": 0.01, "high": 0.1}}, units="pull")
    terms = {term.name: term for term in spec.config_for(spec.study("at")).terms}
    assert terms["attention_transfer"].form == form


@pytest.mark.parametrize(
    "study",
    [
        {"method": "kd", "set": {KD: 0.3, WEIGHT: 1}},
        {"method": "kd", "set": {KD: 0.3}, "space": {WEIGHT: {"low": 0.3, "high": 1}}},
        {"method": "kd", "space": {KD: {"low": 0.3, "high": 1}, WEIGHT: {"low": 0.3, "high": 1}}},
        {"terms": [{"loss": "cross_entropy"}, {"loss": "pixel_kd", "pull": 0.3, "weight": 1.0}]},
    ],
)
def test_both_units_are_refused(fake, study):
    with pytest.raises(InputError, match=r"pixel_kd.*(not both|weight or its pull)"):
        with_pulls(fake, studies=["none", {"name": "a", **study}])


def test_a_spec_with_pulls_reads_again_as_it_was_written(fake):
    spec = with_pulls(fake)
    again = parse_spec(json.loads(json.dumps(spec.model_dump(mode="json"))))
    assert again == spec
    assert again.model_dump(mode="json") == spec.model_dump(mode="json")


def test_weights_are_pulls_divided_by_the_pull_at_weight_1(fake):
    spec = with_pulls(fake)
    assert pair(config_of(spec, "own", 4.0).terms[1]) == (0.075, 0.3)
    assert pair(config_of(spec, "set", 4.0).terms[1]) == (0.125, 0.5)
    assert pair(config_of(spec, "kd", 4.0, {KD: 2.0}).terms[1]) == (0.5, 2.0)
    assert pair(config_of(spec, "kd", 4.0).terms[1]) == (1.0, None)
    assert config_of(spec, "own", 4.0).terms[0].weight == 1.0


def test_a_weight_of_zero_stays_zero_and_a_weight_clears_a_pull(fake):
    spec = with_pulls(fake, studies=["none", {"name": "a", "terms": STUDIES[2]["terms"], "set": {WEIGHT: 0}}])
    assert pair(config_of(spec, "a", 4.0).terms[1]) == (0.0, None)
    spec = with_pulls(fake, studies=["none", {"name": "a", "method": "kd", "set": {KD: 0}}])
    assert not config_of(spec, "a", 4.0).uses_teacher


def test_the_published_weight_comes_back_from_its_pull_to_the_last_bit(fake):
    path = "terms.channel_wise.pull"
    study = {"name": "a", "method": "cwd", "space": {path: {"low": 0.01, "high": 10}}}
    spec = with_pulls(fake, studies=["none", study])
    published = config_of(spec, "a").terms[1].weight
    assert published * 0.1 / 0.1 != published
    for ratio in (0.1, 1 / 3, 0.7123456789, 1.7):
        params = spec.defaults(spec.study("a"), lambda study, term, ratio=ratio: ratio)
        assert params[path] == pytest.approx(ratio * published)
        assert config_of(spec, "a", ratio, params).terms[1].weight == published


def test_a_change_on_the_command_line_finds_the_range_of_its_unit(fake):
    content = fake.content(units="pull", studies=["none", "kd"])
    spec = parse_changed(parse_spec, content, {f"studies.kd.space.{KD}.low": 0.01}, "f")
    assert spec.space_of(spec.study("kd"))[KD].low == 0.01
    spec = parse_changed(parse_spec, content, {f"studies.kd.space.{WEIGHT}": {"low": 0.1, "high": 1}}, "f")
    assert KD not in spec.space_of(spec.study("kd"))


# Options


def test_levels_of_an_option():
    assert levels(Choice(choices=("a", "b"))) == ("a", "b")
    assert levels(Range(low=1, high=16, log=True)) == (1, 4, 16)
    assert levels(Range(low=1, high=4, integer=True)) == (1, 2, 4)
    assert levels(Range(low=0, high=1)) == (0, 0.5, 1)


def test_the_pull_at_weight_1_is_interpolated_between_levels():
    term = parse_term({"loss": "pixel_kd", "temperature": 2.0})
    axes = {"temperature": Range(low=1, high=16, log=True), "mask_ignored": Choice(choices=(True, False))}
    star = Star(term, axes)
    by_level = {1.0: 1.0, 2.0: 3.0, 4.0: 5.0, 16.0: 20.0}
    measured = {}
    for option, level, point in star.points():
        measured[key_of(point)] = 6.0 if option == "mask_ignored" else by_level[level or 2.0]
    assert len(measured) == 5

    def ratio(**options):
        return star.ratio(term.model_copy(update=options), measured)

    assert ratio() == 3.0
    assert ratio(temperature=16.0) == pytest.approx(20.0)
    assert ratio(mask_ignored=True) == 6.0
    assert ratio(mask_ignored=True, temperature=16.0) == pytest.approx(3.0 * (20 / 3) * (6 / 3))
    between = math.exp(math.log(5) + (math.log(20) - math.log(5)) * math.log(8 / 4) / math.log(16 / 4))
    assert ratio(temperature=8.0) == pytest.approx(between)
    assert ratio(temperature=64.0) == pytest.approx(20.0)


def test_a_level_without_a_gradient_is_left_out_and_a_default_without_one_is_an_error():
    term = parse_term({"loss": "pixel_kd"})
    star = Star(term, {"temperature": Choice(choices=(1.0, 2.0))})
    other = term.model_copy(update={"temperature": 2.0})
    assert star.ratio(other, {key_of(term): 3.0, key_of(other): 0.0}) == pytest.approx(3.0)
    with pytest.raises(InputError, match=r"terms.pixel_kd.pull: the gradient"):
        star.ratio(term, {key_of(term): 0.0})
    with pytest.raises(InputError, match="not measured yet"):
        star.ratio(term, {})


# Calibrations


def test_only_a_sweep_with_pulls_is_calibrated(fake, tmp_path):
    spec = fake.make_spec(units="weight")
    measure = Fake()
    run(fake, spec, tmp_path / "a", measure)
    assert measure.made == []
    assert calibrations(spec) == []


def test_studies_that_differ_in_what_pulls_depend_on_have_a_calibration_each(fake):
    studies = [
        "none",
        "kd",
        {"name": "decay", "method": "kd", "set": {"optimizer.weight_decay": 0.3}},
        {"name": "averaged", "method": "kd", "set": {"ema.half_life": 0.5}},
        {"name": "large", "method": "kd", "set": {"batch_size": 8}},
    ]
    made = calibrations(fake.make_spec(units="pull", studies=studies))
    assert [each.config.batch_size for each in made] == [4, 8]
    assert all(not each.config.uses_teacher for each in made)
    averaging = calibrations(
        fake.make_spec(units="pull", studies=studies, train={"epochs": 6, "batch_size": 4, "ema": {"half_life": 0.5}})
    )
    assert [each.config for each in averaging] == [each.config for each in made]
    assert [term.loss for term in made[0].config.terms] == ["cross_entropy"]
    temperatures = [json.loads(key)["temperature"] for key in made[0].terms]
    assert sorted(temperatures) == [1.0, 2.0, 4.0, 8.0]


def test_a_sweep_measures_once_and_trains_with_the_weights_that_follow(fake, tmp_path):
    spec, measure, said = with_pulls(fake), Fake(), []
    state = run(fake, spec, tmp_path / "a", measure, notice=said.append)
    assert len(measure.made) == 1
    for trial in state.trials.values():
        for term in trial.config["terms"]:
            if term["pull"] is not None:
                assert term["weight"] == pytest.approx(term["pull"] / (2.0 * term["temperature"] ** 2), rel=1e-11)
    assert any("kd: pixel_kd x 1 pulls 2 (67 %)" in line for line in said)
    kinds = [record.kind for record in read(Store(str(tmp_path / "a")))]
    assert kinds.index("pulls") < kinds.index("proposed")
    run(fake, spec, tmp_path / "a", measure)
    assert len(measure.made) == 1


def test_two_sweeps_of_one_spec_have_the_same_trials_and_so_has_a_resumed_one(fake, tmp_path):
    spec = with_pulls(fake)
    whole = run(fake, spec, tmp_path / "whole")

    def killed(config, epoch):
        if fake.draw(config.config_id, config.seed, epoch) < 0.04:
            raise fake.Killed

    def dies(measurement, machine, teacher):
        raise fake.Killed

    measure = Fake()
    for attempt in range(60):
        try:
            with fake.open_driver(spec, tmp_path / "killed") as driver:
                if attempt == 0:
                    with pytest.raises(fake.Killed):
                        calibrate(driver, None, None, dies)
                    continue
                calibrate(driver, None, None, measure)
                run_inline(driver, fake.FakeTrain(before=killed if attempt < 3 else lambda config, epoch: None))
            break
        except fake.Killed:
            continue
    resumed = load_state(tmp_path / "killed")[1]
    assert len(measure.made) == 1

    def shown(state):
        return [(each.id, each.params, each.config, each.score) for each in state.trials.values()]

    assert shown(resumed) == shown(whole) == shown(run(fake, spec, tmp_path / "again"))


def test_growth_measures_what_is_new_and_keeps_the_weights_of_finalists(fake, tmp_path):
    measure = Fake()
    before = run(fake, with_pulls(fake), tmp_path / "a", measure)
    grown = with_pulls(
        fake,
        studies=[*STUDIES, "cwd"],
        confirm={"top": 1, "seeds": 3},
    )
    after = run(fake, grown, tmp_path / "a", measure)
    assert len(measure.made) == 2
    assert {json.loads(key)["loss"] for key in measure.made[1].terms} == {"channel_wise"}
    assert {each.id: each.config for each in before.trials.values()}.items() <= {
        each.id: each.config for each in after.trials.values()
    }.items()
    for trial in after.trials.values():
        if trial.candidate_of is not None:
            assert trial.config_id == after.trials[trial.candidate_of].config_id


def test_finalists_keep_their_weights_where_a_corrected_space_changes_the_levels(fake, tmp_path):
    def spec(high, seeds):
        space = {KD: {"low": 0.1, "high": 1, "log": True}, "terms.pixel_kd.temperature": {"low": 1, "high": high}}
        return with_pulls(
            fake, studies=["none", {"name": "a", "method": "kd", "space": space}], confirm={"top": 1, "seeds": seeds}
        )

    measure = Fake(lambda options: 2.0 + options["temperature"] ** 3)
    run(fake, spec(4, 1), tmp_path / "a", measure)
    state = run(fake, spec(9, 2), tmp_path / "a", measure)
    reruns = [trial for trial in state.trials.values() if trial.candidate_of is not None and trial.study == "a"]
    assert reruns
    for trial in reruns:
        assert trial.config_id == state.trials[trial.candidate_of].config_id


def test_a_pull_of_a_loss_without_a_gradient_stops_the_sweep_before_its_first_trial(fake, tmp_path):
    with pytest.raises(InputError, match=r"studies.kd: terms.pixel_kd.pull: the gradient"):
        run(fake, with_pulls(fake), tmp_path / "a", Fake(lambda options: 0.0))
    assert not load_state(tmp_path / "a")[1].trials


@pytest.mark.parametrize(("ratio", "words"), [(1e-4, "less than 0.1 %"), (40.0, "more than 95 %")])
def test_defaults_that_hardly_pull_or_pull_too_hard_are_warned_of(fake, tmp_path, ratio, words):
    said = []
    run(fake, with_pulls(fake), tmp_path / "a", Fake(lambda options: ratio), notice=said.append)
    assert any(line.startswith("warning: kd: pixel_kd pulls") and words in line for line in said)


# Tables, best.yaml, ablations


def test_tables_hold_pulls_and_the_weights_that_followed(fake, tmp_path):
    run(fake, with_pulls(fake), tmp_path / "a")
    spec, state = load_state(tmp_path / "a")
    tables = rows(state, spec)
    of_trial = {row["name"]: row for row in tables["params"] if row["trial_id"] == "kd-0"}
    assert of_trial[KD]["role"] == "nuisance"
    assert of_trial[WEIGHT]["role"] == "derived"
    assert (of_trial[KD]["value"], of_trial[WEIGHT]["value"]) == (2.0, 1.0)
    defaults = {row["study"]: json.loads(row["defaults_json"]) for row in tables["studies"]}
    assert defaults["kd"][KD] == 2.0
    default = {row["study"]: row for row in tables["pulls"] if row["option"] is None}
    assert {name: default["kd"][name] for name in ("ratio", "weight", "pull")} == {
        "ratio": 2.0,
        "weight": 1.0,
        "pull": 2.0,
    }
    assert default["own"]["weight"] == 0.15
    assert default["own"]["share"] == pytest.approx(0.3 / 1.3)
    levels_of_kd = [row["level_json"] for row in tables["pulls"] if row["study"] == "kd" and row["option"]]
    assert levels_of_kd == ["2.0", "4.0", "8.0"]


def test_every_design_takes_a_config_that_holds_pulls(fake):
    terms = [*STUDIES[2]["terms"], {"loss": "channel_wise", "pull": 0.1}]
    spec = with_pulls(fake, studies=["none", {"name": "own", "terms": terms}])
    config = config_of(spec, "own", 4.0)
    for design in ("leave-one-out", "add-one-in", "factorial", "response", "one-factor", "layer-grid"):
        layers = {f"pixel_kd.{side}_layer": ("logits", "aux") for side in ("student", "teacher")}
        values = {"one-factor": {"pixel_kd.weight": (0.1, 1.0)}, "layer-grid": layers}.get(design, {})
        factors = ("pixel_kd",) if design in ("response", "layer-grid") else ()
        options = Options(factors=factors, values=values, controls=())
        made = ablation(design, config.model_dump(mode="json"), spec, options=options)
        assert calibrations(made) == []
        reference = next(each for each in (made.config_for(study) for study in made.studies) if each.uses_teacher)
        assert {pair(term) for term in reference.terms} <= {(1.0, None), (0.075, None), (0.025, None)}
        assert parse_spec(made.model_dump(mode="json")) == made
    assert set(DESIGNS) >= {"leave-one-out"}
    with pytest.raises(InputError, match=r"--values: pixel_kd.pull: .* give pixel_kd.weight"):
        ablation("one-factor", config.model_dump(mode="json"), spec, options=Options(values={"pixel_kd.pull": (1,)}))


def test_a_single_training_takes_a_changed_weight_and_no_changed_pull(fake, tmp_path):
    config = config_of(with_pulls(fake), "own", 4.0)
    file = tmp_path / "best.yaml"
    file.write_text(dump_yaml({"config": config.model_dump(mode="json")}))
    assert read_config(file)[0] == config
    assert pair(read_config(file, {WEIGHT: 2.0})[0].terms[1]) == (2.0, None)
    with pytest.raises(InputError, match=r"terms.pixel_kd.pull: .* change terms.pixel_kd.weight"):
        read_config(file, {KD: 2.0})


# Begun sweeps


def test_a_sweep_of_a_former_version_keeps_its_weights(fake, tmp_path):
    old = fake.make_spec(units="weight", studies=["none", "kd"])
    run(fake, old, tmp_path / "a")
    content = fake.content(studies=["none", "kd"], budget={"trials": 5})
    del content["units"]
    state = load_state(tmp_path / "a")[1]
    continued = as_begun(parse_spec(content), state)
    assert continued.units == "weight"
    after = run(fake, parse_spec(content), tmp_path / "a")
    assert all(WEIGHT in trial.params for trial in after.by_study["kd"])
    with pytest.raises(InputError, match="units is 'weight' and not 'pull'"):
        run(fake, parse_spec({**content, "units": "pull"}), tmp_path / "a")


def test_a_ledger_without_units_is_read_in_weights():
    assert renamed_spec({"name": "a"})["units"] == "weight"
    assert renamed_spec({"name": "a", "units": "pull"})["units"] == "pull"


@pytest.mark.parametrize(("ranges", "ends"), [("narrow", (10, 10, 2)), ("wide", (50, 50, 2))])
def test_a_sweep_of_a_former_version_keeps_its_ranges(fake, tmp_path, ranges, ends):
    def highs(spec):
        paths = {"kd": KD, "dist": "terms.dist.pull", "dice_ce": "terms.dice.pull"}
        return tuple(spec.space_of(spec.study(study))[path].high for study, path in paths.items())

    old = with_pulls(fake, studies=["none", "kd"], ranges=ranges, budget={"trials": 2})
    run(fake, old, tmp_path / "a")
    content = fake.content(units="pull", studies=["none", "kd", "dist", "dice_ce"], budget={"trials": 5})
    assert highs(as_begun(parse_spec(content), load_state(tmp_path / "a")[1])) == ends
    assert highs(as_begun(parse_spec(content), SweepState())) == (50, 50, 20)
    after = run(fake, parse_spec(content), tmp_path / "a")
    for study, path, high in (("kd", KD, ends[0]), ("dice_ce", "terms.dice.pull", ends[2])):
        assert max(trial.params[path] for trial in after.by_study[study]) <= high
    with pytest.raises(InputError, match=f"ranges is '{ranges}' and not 'wider'"):
        run(fake, parse_spec({**content, "ranges": "wider"}), tmp_path / "a")


@pytest.mark.parametrize("former", [{"units": "pull", "ranges": "narrow"}, {"units": "weight"}])
def test_a_changed_range_starts_from_the_one_that_the_begun_sweep_searches(fake, tmp_path, former):
    path = WEIGHT if former["units"] == "weight" else KD
    old = fake.make_spec(studies=["none", "kd"], budget={"trials": 2}, **former)
    run(fake, old, tmp_path / "a")
    content = fake.content(studies=["none", "kd"], budget={"trials": 2})
    del content["units"]
    file = tmp_path / "spec.yaml"
    file.write_text(dump_yaml(content))
    before = old.space_of(old.study("kd"))[path]
    spec = load_continued(file, {f"studies.kd.space.{path}.low": 0.2}, Store(tmp_path / "a"))
    assert spec.study("kd").space[path] == before.model_copy(update={"low": 0.2})
    assert Sweep.from_yaml(file, tmp_path / "a", {f"studies.kd.space.{path}.low": 0.2}).spec == spec
    assert growth(load_state(tmp_path / "a")[1].sweep.spec, as_begun(spec, load_state(tmp_path / "a")[1]), "a")
    if "ranges" in former:
        new = load_continued(file, {f"studies.kd.space.{path}.low": 0.2}, Store(tmp_path / "b"))
        assert new.study("kd").space[path].high == 50


def test_a_ledger_without_ranges_has_narrow_ones():
    assert renamed_spec({"name": "a", "units": "pull"})["ranges"] == "narrow"
    assert renamed_spec({"name": "a", "ranges": "wide"})["ranges"] == "wide"


def test_a_state_is_rebuilt_from_its_records(fake, tmp_path):
    state = run(fake, with_pulls(fake), tmp_path / "a")
    again = SweepState.of(read(Store(str(tmp_path / "a"))))
    assert again.pulls == state.pulls
    assert sorted(next(iter(again.pulls.values())).values()) == pytest.approx([2.0, 8.0, 32.0, 128.0])


def test_a_plan_says_nothing_of_pulls_as_long_as_the_teacher_is_not_fitted(fake):
    assert lines_for_plan(with_pulls(fake), None, None, 8, {}, print) == []


def test_a_stop_in_the_middle_of_a_calibration_leaves_the_sweep_to_be_resumed(fake, tmp_path, monkeypatch):
    def stopped(*arguments):
        raise InterruptedTrainingError

    monkeypatch.setattr("sweeps.calibrate.measure_pulls", stopped)
    spec = with_pulls(fake)
    with pytest.raises(Interrupted):
        run(fake, spec, tmp_path / "a", measure_here(StopRequest()))
    assert load_state(tmp_path / "a")[1].calibrations == []
    assert run(fake, spec, tmp_path / "a").finished


# On a cluster


@pytest.mark.slow
@pytest.mark.ray
def test_a_calibration_on_a_cluster_is_that_of_this_process(tmp_path):
    terms = [{"loss": "cross_entropy"}, {"loss": "dice", "pull": 0.3}]
    spec = parse_spec(
        {
            "name": "on_ray",
            "data": streets(train=8, select=2) | {"size": [64, 64]},
            "student": LIBRARY_NETWORK | {"options": SMALL},
            "train": {"epochs": 4, "batch_size": 4},
            "studies": ["none", {"name": "dice", "terms": terms}],
            "space": {"optimizer.lr": {"low": 0.001, "high": 0.1, "log": True}},
            "budget": {"trials": 1},
        }
    )
    (measurement,) = calibrations(spec, None)
    machine = Machine(device="cpu", threads=1, cache=tmp_path)
    here = measure_here(StopRequest())(measurement, machine, None)
    assert here.ratio(next(iter(measurement.terms))) > 0
    with cluster(None):
        assert measure_on_ray(spec.resources, StopRequest())(measurement, machine, None) == here
        stop = StopRequest()
        stop.ask(signal.SIGTERM)
        with pytest.raises(Interrupted):
            measure_on_ray(spec.resources, stop)(measurement, machine, None)
