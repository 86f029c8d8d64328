import itertools
import json

import numpy as np
import pytest

from kdtrain.errors import InputError
from kdtrain.methods import METHODS, parse_term
from kdtrain.space import Choice
from sweeps.designs import DESIGNS, Options, TimeRatio, ablation
from sweeps.designs.arms import Arm, without
from sweeps.designs.factorial import aliases
from sweeps.designs.retune import space_of
from sweeps.outcome.tabulate import rows
from sweeps.spec.spec import load_spec

NO_CONTROLS = Options(controls=())


def make(fake, method, design="leave-one-out", seeds=None, **options):
    spec = fake.make_spec()
    content = spec.config_for(spec.study(method), {"optimizer.lr": 0.03}).model_dump(mode="json")
    return ablation(design, {"config": content, "evidence": {}}, spec, seeds, Options(**options))


def terms(spec):
    return {study.name: [term.loss for term in study.terms] for study in spec.studies}


def cells(spec):
    return {cell.study: cell for cell in spec.cells}


def test_every_term_is_left_out_once(fake):
    spec = make(fake, "cskd")
    assert terms(spec) == {
        "reference": ["cross_entropy", "channel_wise", "cam_cka", "grid_pam_cka"],
        "without_channel_wise": ["cross_entropy", "cam_cka", "grid_pam_cka"],
        "without_cam_cka": ["cross_entropy", "channel_wise", "grid_pam_cka"],
        "without_grid_pam_cka": ["cross_entropy", "channel_wise", "cam_cka"],
        "none": ["cross_entropy"],
        "placebo": ["cross_entropy", "channel_wise", "cam_cka", "grid_pam_cka"],
    }
    assert [(cell.study, cell.role, cell.factor, cell.level, cell.family) for cell in spec.cells][:2] == [
        ("reference", "reference", None, None, "terms"),
        ("without_channel_wise", "cell", "channel_wise", "off", "terms"),
    ]
    assert cells(spec)["without_cam_cka"].levels == {"channel_wise": "on", "cam_cka": "off", "grid_pam_cka": "on"}
    assert spec.baseline.name == "none"
    assert [cell.study for cell in make(fake, "cskd", factors=("cam_cka",), controls=()).cells] == [
        "reference",
        "without_cam_cka",
    ]


def test_no_cell_is_without_a_loss_on_labels(fake):
    assert terms(make(fake, "csc_ace", controls=("none",))) == {
        "reference": ["adaptive_cross_entropy", "csc"],
        "without_adaptive_cross_entropy": ["cross_entropy", "csc"],
        "without_csc": ["adaptive_cross_entropy"],
        "none": ["cross_entropy"],
    }


def test_terms_are_added_one_by_one_to_cross_entropy(fake):
    spec = make(fake, "csc_ace", "add-one-in", controls=())
    assert terms(spec) == {
        "none": ["cross_entropy"],
        "only_adaptive_cross_entropy": ["adaptive_cross_entropy"],
        "only_csc": ["cross_entropy", "csc"],
        "reference": ["adaptive_cross_entropy", "csc"],
    }
    assert {name: cell.role for name, cell in cells(spec).items()} == {
        "none": "reference",
        "only_adaptive_cross_entropy": "cell",
        "only_csc": "cell",
        "reference": "control",
    }


def test_nothing_is_trained_twice(fake):
    assert list(terms(make(fake, "cwd"))) == ["reference", "without_channel_wise", "placebo"]
    spec = make(fake, "cskd", "leave-one-out,add-one-in,factorial")
    assert len(spec.studies) == 2**3 + 1
    configs = [spec.config_for(study).config_id for study in spec.studies]
    assert len(set(configs)) == len(configs)
    references = [(cell.design, cell.study) for cell in spec.cells if cell.role == "reference"]
    assert references == [("leave-one-out", "reference"), ("add-one-in", "none"), ("factorial", "reference")]
    controls = {(cell.design, cell.study) for cell in spec.cells if cell.family == "controls"}
    assert controls == {("leave-one-out", "none"), ("leave-one-out", "placebo"), ("add-one-in", "reference")}


def test_controls(fake):
    spec = make(
        fake, "cskd", controls=("none", "none_equal_time", "placebo", "smoothed"), time_ratio=TimeRatio(1.8, "as told")
    )
    config = {study.name: spec.config_for(study) for study in spec.studies}
    assert (config["none"].epochs, config["none_equal_time"].epochs) == (6, 11)
    assert not config["none_equal_time"].uses_teacher
    assert config["placebo"].teacher_order == "shuffled"
    assert config["placebo"].terms == config["reference"].terms
    assert config["smoothed"].terms[0].smoothing == 0.1
    assert {cell.family for cell in spec.cells if cell.role == "control"} == {"controls"}
    assert any("11 instead of 6 epochs" in note and "as told" in note for note in spec.notes)


def test_what_is_not_known_is_left_out_and_said(fake):
    assert any("equal time is left out, because it is not known" in note for note in make(fake, "kd").notes)
    spec = make(fake, "kd", time_ratio=TimeRatio(1.01, "as told"))
    assert "none_equal_time" not in terms(spec)
    assert any("the reference takes no longer" in note for note in spec.notes)


def test_a_factorial_is_balanced_and_holds_the_config_and_the_student_alone(fake):
    spec = make(fake, "cskd", "factorial", controls=())
    names = ["channel_wise", "cam_cka", "grid_pam_cka"]
    found = {tuple(cell.levels[name] for name in names): cell for cell in spec.cells}
    assert set(found) == set(itertools.product(("on", "off"), repeat=3))
    for levels, cell in found.items():
        on = [name for name, level in zip(names, levels, strict=True) if level == "on"]
        assert terms(spec)[cell.study] == ["cross_entropy", *on]
    assert found["on", "on", "on"].role == "reference"
    assert found["off", "off", "off"].study == "none"


def test_a_factorial_takes_values_and_terms(fake):
    spec = make(
        fake, "cskd", "factorial", factors=("cam_cka",), values={"channel_wise.temperature": (2, 4)}, controls=()
    )
    assert set(terms(spec)) == {
        "reference",
        "without_cam_cka",
        "channel_wise.temperature-4",
        "without_cam_cka+channel_wise.temperature-4",
    }
    both = cells(spec)["without_cam_cka+channel_wise.temperature-4"]
    assert both.levels == {"cam_cka": "off", "channel_wise.temperature": "4"}
    assert spec.config_for(spec.study(both.study)).terms[1].temperature == 4


def four_factors(fake, design, **options):
    spec = fake.make_spec()
    config = spec.config_for(spec.study("cskd")).model_dump(mode="json")
    config["terms"] += [term.model_dump(mode="json") for term in METHODS["csc_ace_add"].terms[1:]]
    return ablation(design, config, spec, None, Options(controls=(), **options))


def signs(spec, names):
    return np.array([[1 if cell.levels[name] == "on" else -1 for name in names] for cell in spec.cells])


def test_a_fraction_keeps_main_effects_apart_from_interactions(fake):
    five = ["channel_wise", "cam_cka", "grid_pam_cka", "adaptive_cross_entropy", "csc"]
    spec = four_factors(fake, "fractional", factors=tuple(five[:4]))
    assert len(spec.cells) == 8
    assert spec.cells[0].role == "reference"
    design = signs(spec, five[:4])
    assert (design.T @ design == 8 * np.eye(4)).all()
    pairs = [design[:, i] * design[:, j] for i, j in itertools.combinations(range(4), 2)]
    assert not (design.T @ np.array(pairs).T).any()
    note = next(note for note in spec.notes if note.startswith("fractional"))
    assert "8 of 16 combinations (1/2), resolution IV" in note
    assert "channel_wise:cam_cka = grid_pam_cka:adaptive_cross_entropy" in note

    whole = four_factors(fake, "fractional")
    assert len(whole.cells) == 16
    assert "resolution V; no two interactions of two are mixed" in whole.notes[0]
    assert len(four_factors(fake, "fractional", resolution=5).cells) == 16


def test_aliases_by_definition():
    signs = np.array([[1, 1, 1], [1, -1, -1], [-1, 1, -1], [-1, -1, 1]])
    assert aliases(["a", "b", "c"], signs) == ["a = b:c", "b = a:c", "c = a:b"]
    assert aliases(["a", "b", "c"], signs * [1, 1, -1]) == ["a = b:c", "b = a:c", "c = a:b"]


def test_by_default_interactions_are_kept_apart_where_a_fraction_can(fake):
    five = ("channel_wise", "cam_cka", "grid_pam_cka", "adaptive_cross_entropy", "csc")
    config = fake.make_spec().config_for(fake.make_spec().study("cskd"))
    values = {"optimizer.lr": (config.optimizer.lr, 2 * config.optimizer.lr)}
    spec = four_factors(fake, "fractional", factors=five, values=values)
    assert len(spec.cells) == 32  # 16 of the 64 would have resolution IV


def test_what_a_cell_sets_is_not_searched_again_in_it():
    term = parse_term({"loss": "cross_entropy", "weight": 1.0})
    searched = {path: Choice(choices=(0.1, 0.2)) for path in ("optimizer.lr", "terms.kd.weight", "batch_size")}
    assert set(space_of(Arm("fast", (term,), {"optimizer.lr": 0.1}), searched)) == {"batch_size"}


def test_one_factor_at_a_time(fake):
    values = {"channel_wise.temperature": (1, 2, 4), "channel_wise.weight": (0, 3, 10), "optimizer.lr": (0.01, 0.03)}
    spec = make(fake, "cskd", "one-factor", values=values, controls=())
    assert list(terms(spec)) == [
        "reference",
        "channel_wise.temperature-1",
        "channel_wise.temperature-4",
        "channel_wise.weight-0",
        "channel_wise.weight-10",
        "optimizer.lr-0.01",
    ]
    assert {cell.family for cell in spec.cells} == {"all", *values}
    assert terms(spec)["channel_wise.weight-0"] == ["cross_entropy", "cam_cka", "grid_pam_cka"]
    assert spec.config_for(spec.study("optimizer.lr-0.01")).optimizer.lr == 0.01
    hot = cells(spec)["channel_wise.temperature-4"]
    assert hot.levels == {"channel_wise.temperature": "4", "channel_wise.weight": "3", "optimizer.lr": "0.03"}


def test_a_grid_of_layers(fake):
    values = {"cam_cka.student_layer": ("decoder", "encoder.4"), "cam_cka.teacher_layer": ("decoder", "encoder.3")}
    spec = make(fake, "cskd", "layer-grid", values=values, controls=())
    pairs = {(c.levels["cam_cka.student_layer"], c.levels["cam_cka.teacher_layer"]): c.study for c in spec.cells}
    assert len(pairs) == len(spec.studies) == 4
    assert pairs["decoder", "decoder"] == "reference"
    term = spec.config_for(spec.study(pairs["encoder.4", "encoder.3"])).terms[2]
    assert (term.name, term.student_layer, term.teacher_layer) == ("cam_cka", "encoder.4", "encoder.3")

    aside = make(fake, "cwd", "layer-grid", values={k.replace("cam_cka", "channel_wise"): v for k, v in values.items()})
    assert [cell.levels for cell in aside.cells if cell.role == "reference"] == [None]
    assert any("selection" in note for note in aside.notes)


def test_a_response_lies_evenly_on_log_axes_with_a_cell_of_weight_zero(fake):
    spec = make(fake, "cwd", "response", controls=())
    found = [cell.levels for cell in spec.cells if len(cell.levels) == 2]
    points = np.log([[float(levels[f"channel_wise.{name}"]) for name in ("weight", "temperature")] for levels in found])
    coded = (points - np.log([3, 4])) / np.log([10, 2])
    assert len(found) == 9
    assert np.allclose(sorted(np.hypot(*coded.T)), [0] + [1] * 8, atol=0.01)
    assert np.abs(coded.sum(0)).max() < 0.02
    (zero,) = [cell for cell in spec.cells if len(cell.levels) == 1]
    assert zero.levels == {"channel_wise.weight": "0"}
    assert terms(spec)[zero.study] == ["cross_entropy"]

    grid = {"channel_wise.weight": (1, 3, 10), "channel_wise.temperature": (2, 4)}
    assert len(make(fake, "cwd", "response", values=grid, controls=()).cells) == 6 + 1
    line = make(fake, "csc_ace", "response", factors=("csc",), values={"csc.weight": (1, 100)}, controls=())
    assert sorted(float(cell.levels["csc.weight"]) for cell in line.cells) == [0, 1, 3.16, 10, 31.6, 100]


def test_the_recipe_is_that_of_the_config_and_the_seeds_are_new(fake):
    spec = make(fake, "cwd", seeds=4)
    config = spec.config_for(spec.study("reference"))
    assert (config.optimizer.lr, config.epochs, config.batch_size) == (0.03, 6, 4)
    origin = fake.make_spec()
    used = {origin.seed, *origin.confirm_seeds}
    reporting = {max(used) + number for number in range(1, origin.confirm.final_seeds + 1)}
    assert len(spec.confirm_seeds) == 4
    assert not set(spec.confirm_seeds) & (used | reporting)
    assert not any(spec.space_of(study) for study in spec.studies)


def test_what_is_searched_again_is_searched_in_every_cell_and_said(fake, tmp_path):
    spec = make(fake, "csc_ace", retune={"optimizer.lr": (3,), "csc.weight": (5, 10)}, seeds=2)
    spaces = {study.name: {path: domain.choices for path, domain in study.space.items()} for study in spec.studies}
    rates = {"optimizer.lr": (0.015, 0.03, 0.06)}
    assert spaces["none"] == spaces["without_csc"] == rates
    assert spaces["reference"] == spaces["placebo"] == {**rates, "terms.csc.weight": (5, 10)}
    cell_of = cells(spec)
    assert cell_of["none"].retuned == "optimizer.lr over 0.015, 0.03, 0.06, on one seed; all else as in the reference"
    assert "favors the reference" in cells(make(fake, "csc_ace"))["none"].retuned
    state = fake.run(spec, tmp_path)
    searched = [trial.params["optimizer.lr"] for trial in state.of_study("none", "search")]
    assert sorted(searched) == [0.015, 0.03, 0.06]
    assert len(state.of_study("reference", "search")) == 6
    assert len(state.of_study("reference", "confirm")) == 2


@pytest.mark.parametrize("design", ["leave-one-out,add-one-in", "factorial"])
def test_an_ablation_is_a_spec_like_any_other(fake, tmp_path, design):
    spec = make(fake, "cskd", design)
    path = tmp_path / "ablation.yaml"
    path.write_text(spec.dump())
    assert load_spec(path) == spec
    state = fake.run(spec, tmp_path / "run")
    assert {trial.phase for trial in state.trials.values()} == {"confirm"}
    assert len(state.trials) == len(spec.studies) * 2
    table = rows(state, spec)["cells"]
    assert [row["cell"] for row in table] == [cell.study for cell in spec.cells]
    assert {row["design"] for row in table} == set(design.split(","))
    assert [json.loads(row["levels_json"]) for row in table if row["levels_json"]] == [
        cell.levels for cell in spec.cells if cell.levels
    ]


VALUES = {"channel_wise.temperature": (2, 4)}
LAYERS = {"cam_cka.student_layer": ("decoder",), "cam_cka.teacher_layer": ("decoder",)}


@pytest.mark.parametrize(
    ("method", "design", "options", "message"),
    [
        ("none", "leave-one-out", {}, "nothing to leave out"),
        ("cskd", "leave-one-in", {}, "unknown design 'leave-one-in'; did you mean leave-one-out"),
        ("cskd", "leave-one-out", {"factors": ("cam",)}, "--factors: the config has no term 'cam' .*cam_cka"),
        ("cskd", "leave-one-out", {"values": VALUES}, "is about whole terms and takes no --values"),
        ("cwd", "factorial", {}, "needs at least two factors, but there is only channel_wise"),
        (
            "cskd",
            "factorial",
            {"values": {"channel_wise.temperature": (1, 4)}},
            "one of them that of the config \\(2\\), got 1, 4",
        ),
        (
            "cskd",
            "factorial",
            {"values": VALUES, "factors": ("channel_wise",)},
            "means nothing where channel_wise is off",
        ),
        ("cskd", "fractional", {}, "needs 4 to 9 factors, but there are 3; take factorial"),
        ("cskd", "leave-one-out", {"resolution": 4}, "only the design fractional"),
        ("cskd", "one-factor", {}, "needs --values, as in"),
        ("cskd", "one-factor", {"values": {"channel_wise.temprature": (1,)}}, "--values: .*has no temprature; did you"),
        (
            "cskd",
            "one-factor",
            {"values": {"channel_wise.temperature": (2,)}},
            "must have a value besides that of the config, got 2 alone",
        ),
        ("cskd", "one-factor", {"values": {"channel_wise.temperature": (4, 4.0)}}, "names a value twice: 4, 4"),
        ("cskd", "one-factor", {"values": {"optimizer.lr": (-1,)}}, "optimizer.lr: input should be greater than 0"),
        ("cskd", "layer-grid", {}, "takes one term; give --factors, one of channel_wise, cam_cka"),
        ("cskd", "layer-grid", {"factors": ("cam_cka",)}, "two lists of layers, as in --values cam_cka.student_layer"),
        ("cskd", "layer-grid", {"values": LAYERS}, "one pair of layers is no grid"),
        ("none", "response", {}, "the config has no term that the design could vary"),
        (
            "cwd",
            "response",
            {"values": {"channel_wise.weight": (0, 3)}},
            "numbers above 0; a weight of 0 is tried anyway",
        ),
        ("cwd", "response", {"values": {"optimizer.lr": (0.1, 3)}}, "takes one term"),
        (
            "cskd",
            "leave-one-out",
            {"controls": ("placeb",)},
            "--controls: unknown control 'placeb'; did you mean placebo",
        ),
        (
            "cskd",
            "leave-one-out",
            {"retune": {"optimizer.lr": (1,)}},
            "--retune: optimizer.lr needs a number of values",
        ),
        ("cskd", "leave-one-out", {"retune": {"optimizer.lrr": (3,)}}, "optimizer has no lrr; did you mean lr"),
    ],
)
def test_what_does_not_fit_is_refused_in_one_sentence(fake, method, design, options, message):
    with pytest.raises(InputError, match=message) as caught:
        make(fake, method, design, **options)
    assert "\n" not in str(caught.value)


def test_every_design_says_what_it_is():
    assert all(draw.__doc__ for draw in DESIGNS.values())


def test_cross_entropy_takes_the_weight_of_the_loss_on_labels_whose_place_it_takes():
    adaptive, csc = (parse_term({"loss": loss, "weight": 3.0}) for loss in ("adaptive_cross_entropy", "csc"))
    assert [(term.loss, term.weight) for term in without((csc, adaptive), ["adaptive_cross_entropy"])] == [
        ("cross_entropy", 3.0),
        ("csc", 3.0),
    ]


def test_an_ablation_searches_each_grid_once_however_often_its_origin_searched(fake):
    """Every search of a grid would try the same configs."""
    origin = fake.make_spec(budget={"trials": 6}, repeats=3)
    content = origin.config_for(origin.study("cwd")).model_dump(mode="json")
    assert ablation("leave-one-out", {"config": content}, origin).repeats == 1
