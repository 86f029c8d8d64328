import json
import math

import pytest
from pydantic import ValidationError

from kdtrain import InputError, Machine, TrainConfig
from kdtrain.config import Optimizer, Schedule
from kdtrain.foreign import reading
from kdtrain.methods import METHODS


def teaching(**changes):
    """A config with something other than the default in every field."""
    base = {
        "data": {"name": "streets", "size": (48, 64), "counts": {"train": 20}, "seed": 3},
        "augment": {"crop": (32, 32), "scale": (0.5, 2.0), "photometric": 0.3},
        "student": {"arch": "Unet", "encoder": "resnet18", "options": {"decoder_channels": (64, 32, 16, 8, 4)}},
        "teacher": "feedfacefeedface",
        "terms": [term.model_dump() for term in METHODS["cskd"].terms],
        "teacher_order": "shuffled",
        "aux_weight": 0.2,
        "optimizer": {"name": "adamw", "lr": 1e-3, "weight_decay": 0.05},
        "schedule": {"name": "cosine", "warmup_epochs": 1.5},
        "epochs": 7,
        "batch_size": 5,
        "clip_norm": 1.0,
        "evaluate_every": 2,
        "eval_scale": 0.5,
        "seed": 11,
        "data_seed": 4,
    }
    return TrainConfig.parse(base | changes)


@pytest.mark.parametrize("method", METHODS)
def test_plain_values_and_back_is_the_same_config(method):
    for config in (
        TrainConfig(terms=METHODS[method].terms, teacher="feedfacefeedface"),
        teaching(terms=[term.model_dump() for term in METHODS[method].terms]),
    ):
        back = TrainConfig.parse(json.loads(json.dumps(config.model_dump(mode="json"))))
        assert back == config
        assert TrainConfig.model_validate_json(config.model_dump_json()) == config
        assert back.config_id == config.config_id
        assert [type(term) for term in back.terms] == [type(term) for term in METHODS[method].terms]


OTHERS = {
    "data": {"name": "streets", "seed": 4},
    "augment": {"flip": 0.0},
    "student": {"arch": "FPN"},
    "teacher": "0123456789abcdef",
    "terms": [{"loss": "cross_entropy"}, {"loss": "cam_cka", "weight": 0.31}],
    "teacher_order": "own",
    "teacher_rounding": "bfloat16",
    "aux_weight": 0.0,
    "optimizer": {"name": "adamw", "lr": 1.1e-3, "weight_decay": 0.05},
    "schedule": {"name": "poly"},
    "epochs": 8,
    "batch_size": 6,
    "unlabelled": {"images": "extra", "per_batch": 2},
    "stages": {"features": 0.3},
    "views": 3,
    "clip_norm": None,
    "ema": {"half_life": 0.5},
    "evaluate_every": 1,
    "eval_scale": 1.0,
    "eval_batch_size": 2,
    "data_seed": None,
}


FIRST_IDS = {
    "pixel_similarity": "3b6be683386a7ca8",
    "local_affinity": "0f27f79b35d4b4e9",
    "masked_generation": "2a1ba38123b76885",
    "holistic": "efb6935eb25f9be2",
    "attention_transfer": "b6ae26b6aa228eb6",
    "pixel_kd": "ecbfa924f5e2c12d",
    "fitnet": "6d1f32001ae6614a",
}


@pytest.mark.parametrize("loss", FIRST_IDS)
def test_options_that_were_added_to_one_loss_leave_the_id(loss):
    config = TrainConfig(terms=[{"loss": "cross_entropy"}, {"loss": loss}], teacher="t")
    assert config.config_id == FIRST_IDS[loss]


def test_options_that_were_added_to_one_loss_count():
    changes = {
        "pixel_similarity": {"reduction": "image"},
        "local_affinity": {"contrast": "relative"},
        "masked_generation": {"reduction": "mean"},
        "holistic": {"view": 32},
        "attention_transfer": {"form": "squared"},
        "pixel_kd": {"reduction": "ifvd"},
        "fitnet": {"reduction": "image"},
    }
    assert changes.keys() == FIRST_IDS.keys()
    for loss, change in changes.items():
        config = TrainConfig(terms=[{"loss": "cross_entropy"}, {"loss": loss, **change}], teacher="t")
        assert config.config_id != FIRST_IDS[loss]


def test_what_is_only_read_may_have_a_batch_that_was_too_small():
    content = {"terms": [{"loss": "cross_entropy"}, {"loss": "cam_cka"}], "teacher": "t", "batch_size": 2}
    with reading(lambda group, name: None):
        assert TrainConfig.parse(content).batch_size == 2
    with pytest.raises(InputError, match="needs at least 3 images"):
        TrainConfig.parse(content)


def test_the_id_ignores_the_seed_and_nothing_else():
    config = teaching()
    assert teaching(seed=12).config_id == config.config_id
    assert {*OTHERS, "seed"} == set(TrainConfig.model_fields)
    ids = {teaching(**{field: value}).config_id for field, value in OTHERS.items()}
    assert len(ids | {config.config_id}) == len(OTHERS) + 1


@pytest.mark.parametrize(
    ("method", "config_id"),
    [("none", "b902e86ca99f6004"), ("cwd", "1035badde48518c3"), ("csc_ace", "40305d5f028a7927")],
)
def test_the_ids_of_configs_stay_what_they_were(method, config_id):
    """Sweeps that ran hold these ids: a field that is added later must leave them alone at its default."""
    config = TrainConfig(terms=METHODS[method].terms, teacher="feedfacefeedface")
    assert config.config_id == config_id
    smoothed = [{**term.model_dump(), "smoothing": 0.1} for term in METHODS["none"].terms]
    assert TrainConfig.parse({"terms": smoothed}).config_id != TrainConfig().config_id


def test_the_seed_of_the_samples_is_the_seed_unless_it_has_its_own():
    assert TrainConfig(seed=5).sample_seed == 5
    assert TrainConfig(seed=5, data_seed=0).sample_seed == 0


def test_terms_of_weight_zero_are_not_active():
    config = TrainConfig.parse({"terms": [{"loss": "cross_entropy"}, {"loss": "channel_wise", "weight": 0}]})
    assert [term.name for term in config.active_terms] == ["cross_entropy"]
    assert not config.uses_teacher


def test_a_config_cannot_be_changed():
    with pytest.raises(ValidationError, match="frozen"):
        TrainConfig().epochs = 3


CE = {"loss": "cross_entropy"}


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ({"epoch": 3}, "epoch: unknown key; did you mean epochs?"),
        ({"optimizer": {"nam": "sgd"}}, "optimizer.nam: unknown key; did you mean name?"),
        ({"optimizer": {"name": "rmsprop"}}, "optimizer.name: input should be 'sgd' or 'adamw', got 'rmsprop'"),
        ({"optimizer": {"lr": math.nan}}, "optimizer.lr: input should be a finite number, got nan"),
        ({"optimizer": {"lr": 0}}, "optimizer.lr: input should be greater than 0, got 0"),
        ({"optimizer": {"momentum": 1}}, "optimizer.momentum: input should be less than 1"),
        ({"data": {"name": "camvd"}}, "'camvd'"),
        ({"data": {"name": "streets", "sze": 3}}, "data.sze: unknown key; did you mean size?"),
        ({"augment": {"crop": [0, 1]}}, "augment.crop.0: input should be greater than or equal to 1, got 0"),
        ({"student": {"enc": "x"}}, "student.enc: unknown key; did you mean encoder?"),
        ({"student": {"std": [0, 1, 1]}}, "student.std: must be positive, got [0.0, 1.0, 1.0]"),
        ({"student": {"options": {"a": object}}}, "student.options: must be values that JSON can hold"),
        ({"student": {"options": {"a": math.nan}}}, "student.options: must be values that JSON can hold"),
        ({"terms": [{"loss": "channel_wis"}]}, "terms.0: unknown loss 'channel_wis' in a term: known are cross_"),
        ({"terms": [CE | {"wieght": 2}]}, "terms.0: term 'cross_entropy' has no option wieght: allowed are loss,"),
        ({"terms": [CE, CE]}, "terms: the names must differ, got cross_entropy twice"),
        ({"terms": [CE | {"name": "aux"}]}, "terms: the name aux belongs to the auxiliary head"),
        ({"terms": []}, "terms: at least one term must have a weight above 0"),
        ({"terms": [CE | {"weight": 0}]}, "terms: at least one term must have a weight above 0"),
        ({"terms": [CE, {"loss": "pixel_kd"}]}, "teacher: pixel_kd needs a teacher, got none"),
        (
            {"terms": [CE, {"loss": "cam_cka"}], "teacher": "t", "batch_size": 2},
            "batch_size: cam_cka needs at least 3 images in a batch, got 2: the CKA of two images is 1 whatever",
        ),
        ({"epochs": 0}, "epochs: input should be greater than 0, got 0"),
        ({"epochs": 1.5}, "epochs: input should be a valid integer"),
        ({"seed": -1}, "seed: input should be greater than or equal to 0, got -1"),
        ({"clip_norm": 0}, "clip_norm: input should be greater than 0"),
        ({1: 2}, "keys should be strings"),
        ([], "input should be a mapping"),
        ("best.yaml", "input should be a mapping"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said_in_one_sentence_with_the_field(content, said):
    with pytest.raises(InputError) as error:
        TrainConfig.parse(content)
    assert said in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("schedule", "expected"),
    [
        (Schedule(name="constant"), {0: 1.0, 50: 1.0, 99: 1.0}),
        (Schedule(name="poly"), {0: 1.0, 50: 0.5**0.9, 99: 0.01**0.9}),
        (Schedule(name="poly", power=2), {0: 1.0, 50: 0.25, 99: 1e-4}),
        (Schedule(name="cosine"), {0: 1.0, 50: 0.5, 75: (1 - math.sqrt(0.5)) / 2}),
        (Schedule(name="constant", warmup_epochs=2), {0: 0.05, 9: 0.5, 19: 1.0, 20: 1.0}),
        (Schedule(name="poly", warmup_epochs=0.5), {0: 0.2, 3: 0.8 * 0.97**0.9, 4: 0.96**0.9}),
    ],
)
def test_the_learning_rate_follows_its_schedule(schedule, expected):
    for step, factor in expected.items():
        assert schedule.factor(step, 100, 10) == pytest.approx(factor, rel=1e-12)
    factors = [schedule.factor(step, 100, 10) for step in range(100)]
    assert all(0 < factor <= 1 for factor in factors)


def test_defaults_are_the_published_recipe():
    assert Optimizer().model_dump() == {"name": "sgd", "lr": 0.02, "weight_decay": 1e-4, "momentum": 0.9}
    assert [term.name for term in TrainConfig().active_terms] == ["cross_entropy"]


def test_the_machine_is_told_by_the_environment(monkeypatch, tmp_path):
    for name in ("DATA", "CACHE", "WEIGHTS"):
        monkeypatch.setenv(f"KDSWEEP_{name}", str(tmp_path / name))
    machine = Machine()
    assert (machine.data_root, machine.cache, machine.weights) == tuple(
        tmp_path / name for name in ("DATA", "CACHE", "WEIGHTS")
    )
    monkeypatch.delenv("KDSWEEP_WEIGHTS")
    assert Machine().weights is None


def test_the_name_of_the_deepest_stage_leaves_the_id_as_it_was():
    def config(layer):
        term = {"loss": "masked_generation", "student_layer": layer, "teacher_layer": layer}
        return TrainConfig.parse({"teacher": "0" * 16, "terms": [{"loss": "cross_entropy"}, term]})

    assert config("encoder.last").config_id == config("encoder.5").config_id
    assert config("encoder.3,encoder.last").config_id == config("encoder.3,encoder.5").config_id
    assert config("encoder.last").config_id != config("encoder.4").config_id
    shipped = TrainConfig(teacher="0" * 16, terms=METHODS["mgd"].published)
    assert shipped.config_id == "d030726d18b252d5"
