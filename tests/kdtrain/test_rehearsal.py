"""What would fail in a training fails in its rehearsal, and networks that are not what they seem are refused."""

import pytest
import torch
from PIL import Image

from kdtrain import Machine, train
from kdtrain.config import TrainConfig
from kdtrain.errors import InputError
from kdtrain.loop import rehearsal
from kdtrain.loop.rehearsal import rehearse
from kdtrain.models import Network, build_network
from kdtrain.teacher import save_model

NOT_TRAINED = r"6 parameters \(first: body\.0\.weight\) of the student decide its prediction in evaluation mode"
CONTIGUOUS = "the student does not take maps in channels-last order and is trained in contiguous order, perhaps slower"


def odd(function: str, module: str = "odd_networks", **options) -> dict:
    return {"arch": f"{module}:{function}", "options": options}


@pytest.fixture
def rehearsed(machine, make_config):
    def rehearse_one(student: dict, method: str = "none", **changes):
        return rehearse(make_config(method, student=student, **changes), machine)

    return rehearse_one


@pytest.mark.parametrize(
    ("student", "notes"),
    [
        (odd("tiny", "tiny_networks"), ()),
        (odd("with_aux", "tiny_networks"), ()),
        (odd("tied", "tiny_networks"), ()),
        (odd("returns", form="object"), ()),
        (odd("returns", form="log_softmax"), ()),
        (
            odd("returns", form="second last in training"),
            ("2 parameters (first: second.weight) of the student get no gradient and stay as they are",),
        ),
        (odd("views"), (CONTIGUOUS,)),
        (odd("views_and_says_so"), (CONTIGUOUS,)),
        (odd("skips_at_random"), ()),
        (odd("pooled"), ()),
        (odd("spectral_norm"), ()),
        (odd("scripted"), ()),
        (odd("lazy"), ()),
        (odd("zero_head"), ()),
    ],
)
def test_a_sound_network_passes(rehearsed, student, notes):
    seen = rehearsed(student)
    assert seen.notes == notes
    assert 0 < seen.step_s < 60
    assert seen.evaluation_s is not None


@pytest.mark.parametrize(
    ("student", "said"),
    [
        (
            odd("returns", form="second first"),
            r"returns 2 maps with one channel per class, and 6 parameters .*",
        ),
        (odd("returns", form="second first in training"), NOT_TRAINED),
        (odd("no_grad_in_training"), r"7 parameters .* set requires_grad to False on what is frozen"),
        (
            odd("returns", form="losses in training"),
            "in training mode must return logits .* the keys loss_ce, loss",
        ),
        (
            odd("returns", form="softmax"),
            "the output of a softmax .* add up to 1 .*leave the activation out",
        ),
        (odd("returns", form="sigmoid"), "looks like the output of a sigmoid"),
        (odd("returns", form="softmax in training"), "the student in training mode must return logits"),
        (odd("views", when="training"), "in training mode; use reshape in place of view, or give the network"),
        (odd("returns", form="one class more in training"), "must have 10 channels in training mode, .* got 11"),
        (odd("returns", form="transposed"), "got maps of 12 x 8 for images of 32 x 48: height and width are exchanged"),
        (
            odd("returns", form="one value"),
            "must return a map of logits, got one value per class for images",
        ),
        (odd("extra_state"), "its state _extra_state must be a tensor, got dict; return a tensor"),
        (odd("hidden_state"), "computes other logits once it is saved and loaded"),
        (odd("random_buffer"), "persistent=False, which training changes or which is drawn at random"),
        (odd("needs_targets"), r"a step with 4 images of 32 x 48 fails: KeyError: 'targets' at odd_networks.py:\d+"),
        (odd("endless", value="nan"), "the student's map at logits holds NaN or infinity in the first step"),
        (odd("bad_gradient", "tiny_networks"), "the weights were not finite after the first step"),
        (odd("frozen"), "odd_networks:frozen must have parameters that require a gradient, got none"),
        (
            odd("lazy_and_failing"),
            "has lazy modules, which a pass of an image of 64 x 64 must initialize, but",
        ),
        (odd("shared"), "odd_networks:shared must build a new network in every call, got the same one twice"),
        (odd("one_class_more", "tiny_networks"), "gives 11 channels of logits for 10 classes"),
    ],
)
def test_a_network_that_is_not_what_it_seems_is_refused(rehearsed, student, said):
    with pytest.raises(InputError, match=said) as error:
        rehearsed(student)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("student", "note"),
    [
        (
            odd("drawn_elsewhere"),
            "the starting weights of odd_networks:drawn_elsewhere differ from one build",
        ),
        (odd("random_in_evaluation"), "the student computes other logits each time in evaluation mode"),
        (
            odd("returns", form="softmax in evaluation"),
            "the student returns logits in training, and what looks like the output of a softmax in evaluation mode",
        ),
    ],
)
def test_what_works_but_is_strange_is_noted(rehearsed, student, note):
    (only,) = rehearsed(student).notes
    assert only.startswith(note)


def test_batch_norm_over_one_value_is_found_before_training(rehearsed):
    with pytest.raises(InputError, match=r"a step with 1 image of 32 x 48 .*; batch norm needs more than one value"):
        rehearsed(odd("pooled"), batch_size=1)
    deeplab = {"arch": "DeepLabV3Plus", "options": {"encoder_depth": 4, "decoder_channels": 16}}
    with pytest.raises(InputError, match=r"a step with 1 image .*: raise train.batch_size"):
        rehearsed(deeplab, batch_size=1)


def test_terms_are_computed_whatever_their_schedules_say(rehearsed, monkeypatch, make_config):
    seen = []
    check = rehearsal.check_step
    monkeypatch.setattr(
        rehearsal, "check_step", lambda result, *rest: (seen.append(dict(result.weights)), check(result, *rest))
    )
    terms = [term.model_dump() for term in make_config("kd").terms]
    terms[1]["schedule"] = {"warmup": 0.4, "stop": 0.45}
    rehearsed(odd("tiny", "tiny_networks"), "kd", terms=terms)
    assert set(seen[0]) == {term["name"] for term in terms}
    assert min(seen[0].values()) > 0


@pytest.fixture
def teach(tmp_path, select, machine):
    """A teacher folder of an odd network, and the config's digest of it."""

    def make(network: Network):
        net = build_network(network, len(select.classes), seed=9).net
        facts = {"network": network, "classes": select.classes, "trained_on": "streets"}
        card = save_model(tmp_path / "odd", net, facts)
        return machine.model_copy(update={"teacher": tmp_path / "odd"}), card.digest

    return make


@pytest.mark.parametrize(
    ("network", "said"),
    [
        (odd("endless", value="nan"), "teacher: its map at logits holds NaN"),
        (odd("returns", form="softmax"), "teacher: it must return logits, but .* the output of a softmax"),
        (odd("returns", form="sigmoid"), "teacher: it must return logits, but .* the output of a sigmoid"),
    ],
)
def test_a_teacher_that_is_not_what_it_seems_is_refused(teach, make_config, network, said):
    here, digest = teach(Network.model_validate(network))
    with pytest.raises(InputError, match=said):
        rehearse(make_config("kd", teacher=digest), here)


def test_a_teacher_with_minus_infinity_is_noted_or_refused_by_what_compares_it(teach, make_config):
    here, digest = teach(Network.model_validate(odd("endless", value="-inf")))
    noted = "the teacher's map at logits holds minus infinity, which losses take as a probability of 0"
    assert rehearse(make_config("kd", teacher=digest), here).notes == (noted,)
    with pytest.raises(InputError, match="teacher: its map at logits holds minus infinity, which csc cannot compare"):
        rehearse(make_config("csc", teacher=digest), here)


def test_a_teacher_whose_features_alone_are_used_may_return_probabilities(teach, make_config):
    here, digest = teach(Network.model_validate(odd("returns", form="softmax")))
    terms = [
        {"loss": "cross_entropy"},
        {"loss": "attention_transfer", "student_layer": "decoder", "teacher_layer": "decoder"},
    ]
    assert rehearse(make_config("kd", teacher=digest, terms=terms), here).notes == ()


def test_a_teacher_with_several_heads_is_noted(teach, make_config):
    here, digest = teach(Network.model_validate(odd("returns", form="second first")))
    notes = rehearse(make_config("kd", teacher=digest), here).notes
    assert notes[0].startswith("the teacher returns 2 maps with one channel per class, of which the first one teaches")


def folder_of(root, name: str, sizes: list[tuple[int, int]]) -> dict:
    for kind, mode in (("images", "RGB"), ("labels", "L")):
        (root / name / kind).mkdir(parents=True)
        for number, (height, width) in enumerate(sizes):
            picture = Image.new(mode, (width, height))
            if kind == "labels":
                picture.paste(1, (0, 0, width // 2, height))
            picture.save(root / name / kind / f"{number}.png")
    return {"images": f"{name}/images", "labels": f"{name}/labels"}


def test_sizes_of_images_that_a_network_refuses_are_found_before_training(tmp_path, make_config, cache):
    sizes = {"train": [(32, 48)] * 4, "select": [(32, 48), (32, 48), (40, 56)]}
    data = {
        "name": "folder",
        "classes": ["a", "b"],
        "folders": {role: folder_of(tmp_path, role, of) for role, of in sizes.items()},
    }
    here = Machine(data_root=tmp_path, cache=cache, device="cpu", threads=1, weights=None)
    rehearse(make_config(data=data), here)
    with pytest.raises(
        InputError, match=r"an evaluation of 1 image of 40 x 56 fails: .*images must be 32 x 48 at odd_networks\.py:\d+"
    ):
        rehearse(make_config(data=data, student=odd("one_size")), here)
    mixed = data | {"folders": data["folders"] | {"train": folder_of(tmp_path, "mixed", [(32, 48)] * 3 + [(48, 32)])}}
    with pytest.raises(InputError, match=r"augment.crop must be set, because the images differ in size: 48x32, 32x48"):
        rehearse(make_config(data=mixed), here)


def test_memory_that_is_too_small_is_one_sentence(rehearsed, monkeypatch):
    def full(*_args):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20 GiB\nand so on")

    monkeypatch.setattr(rehearsal.TrainStep, "__call__", full)
    with pytest.raises(InputError, match=r"4 images of 32 x 48 fails: memory is too small; lower train.batch"):
        rehearsed(odd("tiny", "tiny_networks"))


def test_a_module_that_runs_twice_is_noted(rehearsed, make_config):
    terms = [
        {"loss": "cross_entropy"},
        {"loss": "attention_transfer", "student_layer": "head", "teacher_layer": "logits"},
    ]
    notes = rehearsed(odd("twice"), "kd", terms=terms).notes
    assert notes == ("the student's module head runs more than once in a pass: the map of its last run is taken",)


def test_several_heads_that_are_all_trained_are_noted(rehearsed, make_config):
    terms = [
        {"loss": "cross_entropy"},
        {"loss": "cross_entropy", "name": "of_the_other", "student_layer": "head"},
    ]
    notes = rehearsed(odd("returns", form="second first"), terms=terms).notes
    assert notes[0].startswith(
        "the student returns 2 maps with one channel per class, of which the first one is its pre"
    )


def test_sizes_of_the_test_images_are_found_once_the_sweep_may_read_them(tmp_path, make_config, cache, monkeypatch):
    sizes = {"train": [(32, 48)] * 4, "select": [(32, 48)], "test": [(32, 48), (64, 48)]}
    folders = {role: folder_of(tmp_path, role, of) for role, of in sizes.items()}
    data = {"name": "folder", "classes": ["a", "b"], "folders": folders}
    here = Machine(data_root=tmp_path, cache=cache, device="cpu", threads=1, weights=None)
    config = make_config(data=data, student=odd("one_size"))
    rehearse(config, here)
    with pytest.raises(InputError, match=r"an evaluation of 1 image of 64 x 48 fails"):
        rehearse(config, here, tests=True)
    rehearse(make_config(data=data), here, tests=True)


def test_batches_of_an_evaluation_have_a_size_of_their_own(make_config, machine, monkeypatch):
    config = make_config()
    own = make_config(eval_batch_size=1)
    assert config.images_per_evaluation == 4
    assert config.config_id != own.config_id
    sizes = []
    read_batch = rehearsal.evaluate.__globals__["read_batch"]

    def counted(images, indices):
        sizes.append(len(indices))
        return read_batch(images, indices)

    monkeypatch.setitem(rehearsal.evaluate.__globals__, "read_batch", counted)
    rehearse(config, machine)
    rehearse(own, machine)
    assert sizes == [4, 1]
    sizes.clear()
    one = make_config(eval_batch_size=1, epochs=1)
    result = train(one, machine)
    assert sizes == [1] * 6
    sizes.clear()
    whole = train(make_config(epochs=1), machine)
    assert sizes == [4, 2]
    assert result.evaluation.miou == pytest.approx(whole.evaluation.miou, abs=1e-3)


def test_a_config_without_the_field_has_the_id_that_it_had():
    config = TrainConfig.parse({})
    assert config.config_id == config.model_copy(update={"eval_batch_size": None}).config_id
    assert "eval_batch_size" in config.model_dump()


@pytest.mark.slow
def test_several_processes_rehearse_together(make_config, machine):
    two = machine.model_copy(update={"processes": 2})
    assert rehearse(make_config(), two).notes == ()
