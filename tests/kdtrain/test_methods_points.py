"""Terms with adapters and generators, and the recipes that public zoos run under other papers' names."""

from dataclasses import replace

import pytest
import torch

from kdtrain.errors import InputError
from kdtrain.losses import channel_wise, fitnet, intra_class_variation
from kdtrain.methods import METHODS, TermInput, parse_term
from kdtrain.methods.channel_wise import ChannelWise
from kdtrain.methods.dist import Dist
from kdtrain.methods.fitnet import FitNet
from kdtrain.methods.ifvd import IntraClassVariation
from kdtrain.methods.mgd import MaskedGeneration

torch.set_num_threads(1)

FEATURES = {"student_layer": "decoder", "teacher_layer": "decoder"}


def taps(student=(16, 6, 8), teacher=(24, 6, 8), seed=0):
    source = torch.Generator().manual_seed(seed)
    return TermInput(
        students=(torch.randn(4, *student, generator=source).requires_grad_(),),
        teachers=(torch.randn(4, *teacher, generator=source),),
        labels=torch.randint(5, (4, 24, 32), generator=source),
        num_classes=5,
        ignore_index=255,
        generator=torch.Generator().manual_seed(1),
    )


def built(term, inputs):
    shapes = [tuple(maps[0].shape[1:]) for maps in (inputs.students, inputs.teachers)]
    return term.build({term.student_layer: shapes[0]}, {term.teacher_layer: shapes[1]}, inputs.num_classes)


class TestChannelsBehindAnAdapter:
    def test_counted_before_it_the_loss_weighs_more(self):
        inputs = taps()
        values = []
        for counted in ("adapted", "student"):
            torch.manual_seed(0)
            values.append(built(ChannelWise(counted=counted, **FEATURES), inputs)(inputs))
        torch.testing.assert_close(values[1], values[0] * 24 / 16)

    def test_nothing_changes_without_an_adapter(self):
        inputs = taps(teacher=(16, 6, 8))
        module = built(ChannelWise(counted="student", **FEATURES), inputs)
        torch.testing.assert_close(module(inputs), channel_wise(inputs.student, inputs.teacher))

    def test_only_where_channels_divide(self):
        with pytest.raises(InputError, match="normalize='class' divides by no channels: counted must be 'adapted'"):
            parse_term({"loss": "channel_wise", "normalize": "class", "counted": "student"})


class TestFitNet:
    def test_compares_behind_the_adapter_at_the_students_size(self):
        inputs = taps(teacher=(24, 12, 16))
        module = built(FitNet(), inputs)
        _, teacher = inputs.pair()
        torch.testing.assert_close(module(inputs), fitnet(module.adapter(inputs.student), teacher))
        assert [type(layer).__name__ for layer in module.adapter] == ["Conv2d"]

    def test_adapters(self):
        same = taps(teacher=(16, 6, 8))
        assert not list(built(FitNet(), same).parameters())
        assert [p.shape for p in built(FitNet(adapter="conv"), same).parameters()] == [(16, 16, 1, 1)]
        with pytest.raises(InputError, match="term 'fitnet' needs equal channels"):
            built(FitNet(adapter="none"), taps())


class TestMaskedGeneration:
    def test_definition(self):
        """The generator sees a pixel with all its channels, or not at all."""
        term = MaskedGeneration(**FEATURES)
        inputs = taps()
        module = built(term, inputs)
        drawn = torch.rand(4, 1, 6, 8, generator=torch.Generator().manual_seed(1))
        seen = module.align(inputs.student) * (drawn >= 0.75)
        expected = (module.generate(seen) - inputs.teacher).square().sum() / 4
        torch.testing.assert_close(module(inputs), expected)

    def test_masked_pixels_get_no_gradient(self):
        inputs = taps()
        built(MaskedGeneration(**FEATURES), inputs)(inputs).backward()
        drawn = torch.rand(4, 6, 8, generator=torch.Generator().manual_seed(1))
        assert torch.equal(inputs.student.grad.abs().sum(1) > 0, drawn >= 0.75)

    def test_the_mask_is_the_terms_own_stream(self):
        term = MaskedGeneration(masked=0.5, **FEATURES)
        inputs = taps()
        module = built(term, inputs)
        values = [module(replace(inputs, generator=torch.Generator().manual_seed(seed))).item() for seed in (1, 1, 2)]
        assert values[0] == values[1] != values[2]

    def test_layers(self):
        names = [name for name, _ in built(MaskedGeneration(), taps()).named_parameters()]
        assert names == [
            *("align.weight", "align.bias"),
            *("generate.0.weight", "generate.0.bias", "generate.2.weight", "generate.2.bias"),
        ]
        assert len(list(built(MaskedGeneration(), taps(teacher=(16, 6, 8))).parameters())) == 4


def test_labels_tell_the_classes_of_variation():
    inputs = taps()
    expected = intra_class_variation(inputs.student, inputs.teacher, inputs.labels, 5)
    assert built(IntraClassVariation(), inputs)(inputs) == expected


def test_dist_over_images_needs_several():
    assert Dist().smallest_batch == 1
    assert Dist(intra_axis="batch").smallest_batch == 2
    with pytest.raises(InputError, match="inter and intra cannot both be 0"):
        parse_term({"loss": "dist", "inter": 0, "intra": 0})


def test_several_pairs_of_layers_have_adapters_of_their_own():
    layers = {"student_layer": ("encoder.3", "encoder.4"), "teacher_layer": ("encoder.3", "encoder.4")}
    term = parse_term({"loss": "fitnet", **layers})
    students, teachers = (
        {"encoder.3": (4, 6, 8), "encoder.4": (8, 3, 4)},
        {"encoder.3": (6, 6, 8), "encoder.4": (8, 3, 4)},
    )
    module = term.build(students, teachers, 5)
    assert [p.shape for p in module.parameters()] == [(6, 4, 1, 1)]
    source = torch.Generator().manual_seed(0)
    maps = [
        tuple(torch.randn(2, *shape, generator=source) for shape in shapes.values()) for shapes in (students, teachers)
    ]
    inputs = replace(taps(), students=maps[0], teachers=maps[1])
    first, second = fitnet(module.pairs[0].adapter(maps[0][0]), maps[1][0]), fitnet(maps[0][1], maps[1][1])
    torch.testing.assert_close(module(inputs), (first + second) / 2)


def weights(name, units="weight"):
    return {term.name: term.weight for term in METHODS[name].defaults(units)[0]}


def test_published_recipes():
    task = {"cross_entropy": 1}
    assert weights("fitnet") == task | {"fitnet": 10}
    assert weights("at") == task | {"attention_transfer": 1e4}
    assert weights("ifvd") == task | {"pixel_kd": 10, "intra_class_variation": 200, "holistic": 1e-3}
    assert weights("dist") == task | {"dist": 1}
    assert weights("dist_aux") == task | {"dist": 1, "dist_aux": 0.4}
    assert weights("mgd") == task | {"masked_generation": 2e-5, "channel_wise": 3}
    assert weights("skd") == task | {"pixel_kd": 10, "pairwise": 0.5, "holistic": 0.1}
    assert weights("dsd") == task | {"pixel_similarity": 1000, "category_similarity": 10}
    assert weights("local_affinity") == task | {"pixel_kd": 1, "local_affinity": 1}


def test_defaults_in_reductions_that_depend_on_no_size_pull_as_published_at_the_published_size():
    pixels, classes = 64 * 128, 19
    assert weights("at", "pull")["attention_transfer"] == pytest.approx(1e4 / pixels, rel=0.02)
    assert weights("zoo_at", "pull")["attention_transfer"] == pytest.approx(1e4 / pixels, rel=0.02)
    assert weights("dsd", "pull")["pixel_similarity"] == pytest.approx(1000 / pixels, rel=0.02)
    assert weights("ifvd", "pull")["pixel_kd"] == pytest.approx(10 / classes, rel=0.01)


def test_what_the_zoo_runs_under_other_names():
    """CWD is CWD twice, with KD and a discriminator; FitNet and AT come with KD."""
    common, adversary = {"cross_entropy": 1, "pixel_kd": 1}, {"holistic": 1e-3}
    assert weights("zoo_cwd") == common | adversary | {"channel_wise": 3, "channel_wise_feature": 50}
    assert weights("zoo_skd") == common | adversary | {"pairwise": 10}
    assert weights("zoo_ifvd") == common | adversary | {"intra_class_variation": 20}
    assert weights("zoo_at") == common | {"attention_transfer": 1e4}
    assert weights("zoo_fitnet") == common | {"fitnet": 10}
    for name in ("zoo_cwd", "zoo_skd", "zoo_ifvd"):
        (holistic,) = (term for term in METHODS[name].terms if term.loss == "holistic")
        assert (holistic.objective, holistic.optimizer, holistic.discriminator_weight) == ("hinge", "adam", 0.1)
