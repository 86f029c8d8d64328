"""Registries, configs and modules of terms."""

import itertools
from dataclasses import replace
from typing import ClassVar

import pytest
import torch
from pydantic import BaseModel

from kdtrain.errors import InputError
from kdtrain.losses import adaptive_cross_entropy, channel_wise, resize_map
from kdtrain.methods import METHODS, TERMS, AnyTerm, Term, TermInput, get_method, parse_term
from kdtrain.methods.base import RANGES, Method
from kdtrain.methods.channel_wise import ChannelWise
from kdtrain.methods.csc_ace import AdaptiveCrossEntropy, Csc
from kdtrain.methods.cskd import CamCka, GridPamCka
from kdtrain.methods.pixel import PixelKd
from kdtrain.methods.task import CrossEntropy
from kdtrain.space import Choice, Range
from kdtrain.testing import CLASSES, check_loss, check_method, example_input, example_module

torch.set_num_threads(1)


def at(term, student, teacher):
    """The module for so many channels at the term's layers."""
    return term.build({term.student_layer: (student, 8, 8)}, {term.teacher_layer: (teacher, 8, 8)}, CLASSES)


@pytest.mark.parametrize("loss", TERMS)
class TestEveryTerm:
    def test_registered_under_its_literal(self, loss):
        term = TERMS[loss]()
        assert term.loss == loss
        assert term.name == loss
        assert isinstance(term, Term)

    def test_passes_the_bench_of_all_losses(self, loss):
        check_loss(loss)

    def test_misspelt_and_wrong_options_are_refused(self, loss):
        with pytest.raises(InputError, match=r"term 'x' has no option wieght: allowed are loss, name, weight"):
            parse_term({"loss": loss, "name": "x", "wieght": 1})
        with pytest.raises(InputError, match=r"term '.*': weight: .*greater than or equal to 0, got -1"):
            parse_term({"loss": loss, "weight": -1})


@pytest.mark.parametrize("name", METHODS)
class TestEveryMethod:
    def test_passes_the_bench_of_all_methods(self, name):
        check_method(name)

    def test_name_citation_and_losses(self, name):
        method = get_method(name)
        assert method.name == name
        assert method.citation or name == "none"
        assert all(term.loss in TERMS for term in method.terms)

    def test_task_loss_is_there(self, name):
        losses = {term.loss: term.weight for term in METHODS[name].terms}
        task = "adaptive_cross_entropy" if name in ("csc_ace", "ace") else "cross_entropy"
        assert losses[task] == 1.0


def test_published_defaults():
    def weights(name):
        return {term.name: term.weight for term in METHODS[name].terms}

    assert weights("none") == {"cross_entropy": 1}
    assert weights("kd") == {"cross_entropy": 1, "pixel_kd": 1}
    assert weights("cwd") == {"cross_entropy": 1, "channel_wise": 3}
    assert weights("csc_ace") == {"adaptive_cross_entropy": 1, "csc": 10}
    assert weights("csc_ace_add") == {"cross_entropy": 1, "adaptive_cross_entropy": 1, "csc": 10}
    assert weights("cskd") == {"cross_entropy": 1, "channel_wise": 3, "cam_cka": 0.3, "grid_pam_cka": 0.8}
    assert METHODS["cwd"].terms[1].temperature == 4
    assert [t.temperature for t in METHODS["cskd"].terms[1:]] == [2, 2, 2]
    assert METHODS["cskd"].terms[3].grid == 5
    assert not METHODS["none"].needs_teacher
    assert METHODS["cwd"].needs_teacher


def test_unknown_names_list_the_known():
    with pytest.raises(InputError, match="unknown method 'cdw': known are none, kd, cwd"):
        get_method("cdw")
    with pytest.raises(InputError, match="unknown loss 'cwd' in a term: known are cross_entropy, pixel_kd"):
        parse_term({"loss": "cwd"})
    with pytest.raises(InputError, match="a mapping with the key loss"):
        parse_term({"weight": 1})
    with pytest.raises(InputError, match="a mapping with the key loss"):
        parse_term("channel_wise")
    with pytest.raises(InputError, match="unknown loss"):
        parse_term({"loss": ["csc"]})


def test_a_field_for_any_term_keeps_all_options():
    class Config(BaseModel):
        terms: tuple[AnyTerm, ...]

    config = Config(terms=[{"loss": "cross_entropy"}, {"loss": "channel_wise", "temperature": 2}])
    assert config.terms[1] == ChannelWise(temperature=2)
    assert Config.model_validate_json(config.model_dump_json()) == config
    with pytest.raises(ValueError, match="unknown loss 'nothing'"):
        Config(terms=[{"loss": "nothing"}])


def test_methods_refuse_alike_names_and_idle_searches():
    with pytest.raises(InputError, match="the names of terms must differ"):
        Method("twice", "", "", (CrossEntropy(), CrossEntropy()))
    with pytest.raises(InputError, match=r"searches 'cross_entropy\.temperature'"):
        Method("idle", "", "", (CrossEntropy(),), {"cross_entropy.temperature": Choice(choices=(1,))})


class TestDefaults:
    TERMS = (CrossEntropy(), PixelKd(weight=0.3))
    PUBLISHED = (CrossEntropy(), PixelKd(weight=10.0, reduction="skd"))
    SEARCH: ClassVar = {
        "pixel_kd.weight": Range(low=1, high=100, log=True),
        "pixel_kd.temperature": Choice(choices=(1.0,)),
    }
    PULLS: ClassVar = {"pixel_kd": Range(low=0.1, high=10, log=True)}

    def method(self, terms=TERMS, **changes):
        return Method("m", "M", "", terms, **{"search": self.SEARCH, "pulls": self.PULLS} | changes)

    def test_pulls_stand_in_the_places_of_the_weights(self):
        method = self.method(published=self.PUBLISHED)
        assert method.defaults("weight") == (self.PUBLISHED, self.SEARCH)
        terms, search = method.defaults("pull")
        assert terms == self.TERMS
        assert list(search.items()) == [
            ("pixel_kd.pull", self.PULLS["pixel_kd"]),
            ("pixel_kd.temperature", self.SEARCH["pixel_kd.temperature"]),
        ]

    def test_a_method_that_knows_no_pulls_keeps_its_weights(self):
        method = self.method(pulls={})
        assert method.defaults("pull") == method.defaults("weight") == (self.TERMS, self.SEARCH)

    def test_a_term_can_have_pulls_without_weights(self):
        assert list(self.method(search={}).defaults("pull")[1]) == ["pixel_kd.pull"]

    def test_a_former_range_counts_up_to_the_ranges_after_which_it_changed(self):
        narrow, wide = (Range(low=0.1, high=high, log=True) for high in (5, 8))

        def ranges(former):
            method = self.method(former_pulls=former)
            assert method.defaults("pull") == self.method().defaults("pull")
            assert method.defaults("weight", "narrow") == method.defaults("weight")
            return [method.defaults("pull", ranges)[1]["pixel_kd.pull"] for ranges in RANGES]

        latest = self.PULLS["pixel_kd"]
        assert ranges({"narrow": {"pixel_kd": narrow}}) == [narrow, latest, latest]
        assert ranges({"wide": {"pixel_kd": wide}}) == [wide, wide, latest]
        assert ranges({"narrow": {"pixel_kd": narrow}, "wide": {"pixel_kd": wide}}) == [narrow, wide, latest]

    @pytest.mark.parametrize("name", METHODS)
    def test_former_ranges_are_part_of_the_ones_after(self, name):
        method = METHODS[name]
        for term in {term for pulls in method.former_pulls.values() for term in pulls}:
            editions = [method.defaults("pull", ranges)[1][f"{term}.pull"] for ranges in RANGES]
            for former, after in itertools.pairwise(editions):
                assert after.low <= former.low < former.high <= after.high
            assert editions[0] != editions[-1]

    def test_what_does_not_fit_is_refused(self):
        with pytest.raises(InputError, match=r"former_pulls has 'pixel_kd', which pulls has not"):
            self.method(pulls={}, former_pulls={"narrow": self.PULLS})
        with pytest.raises(InputError, match=r"has a range of pulls of 'kd', which is none of its terms"):
            self.method(pulls={"kd": self.PULLS["pixel_kd"]})
        with pytest.raises(InputError, match=r"pulls of 'pixel_kd' must be a log range of numbers, got {'low': 0.1"):
            self.method(pulls={"pixel_kd": Range(low=0.1, high=10)})
        with pytest.raises(
            InputError, match=r"published must name the same losses as terms, .*, got \['cross_entropy'\]"
        ):
            self.method(published=(CrossEntropy(),))
        with pytest.raises(AssertionError, match=r"the pulls of pixel_kd must lie within 0.001 and 50"):
            check_method(self.method(published=self.PUBLISHED, pulls={"pixel_kd": Range(low=0.1, high=60, log=True)}))
        with pytest.raises(AssertionError, match=r"the search of pixel_kd.weight must hold the default 1000"):
            check_method(self.method(published=(CrossEntropy(), PixelKd(weight=1000))))

    @pytest.mark.parametrize("name", METHODS)
    def test_every_searched_weight_has_a_range_of_pulls(self, name):
        method = METHODS[name]
        assert set(method.pulls) == {key.split(".")[0] for key in method.search if key.endswith(".weight")}


@pytest.mark.parametrize(
    "term", [PixelKd(), ChannelWise(), ChannelWise(adapter="none"), AdaptiveCrossEntropy(), Csc(form="C")]
)
def test_losses_between_channels_need_equal_ones(term):
    with pytest.raises(InputError, match="needs equal channels at its two layers, but the student has 5"):
        at(term, 5, 7)


FEATURES = {"student_layer": "decoder", "teacher_layer": "decoder"}


@pytest.mark.parametrize(
    "term", [Csc(**FEATURES), Csc(form="B", **FEATURES), CamCka(**FEATURES), GridPamCka(**FEATURES)]
)
def test_losses_between_pixels_or_images_take_any_channels_of_features(term):
    assert at(term, 5, 7) is not None


@pytest.mark.parametrize("loss", sorted(loss for loss, term in TERMS.items() if term.needs_teacher))
@pytest.mark.parametrize("layers", [("logits", "logits"), ("aux", "logits"), ("decoder,logits", "decoder,logits")])
def test_no_loss_compares_class_maps_of_different_classes(loss, layers):
    try:
        term = parse_term({"loss": loss, "student_layer": layers[0], "teacher_layer": layers[1]})
    except InputError:
        pytest.skip("takes other layers")
    channels = ({"logits": count, "aux": count, "decoder": 6} for count in (5, 7))
    students, teachers = ({layer: (count, 16, 16) for layer, count in side.items()} for side in channels)
    with pytest.raises(InputError, match=r"same classes as channels, got 5 and 7|needs equal channels at"):
        term.build(students, teachers, CLASSES)


def test_options_that_contradict_are_refused():
    with pytest.raises(InputError, match="term 'csc': form D has no circular shifts"):
        parse_term({"loss": "csc", "form": "D", "include_zero_shift": False})
    with pytest.raises(InputError, match="term 'channel_wise': normalize='none' gives no distributions"):
        parse_term({"loss": "channel_wise", "normalize": "none"})
    with pytest.raises(InputError, match="term 'cam_cka': the unbiased CKA can be negative"):
        parse_term({"loss": "cam_cka", "estimator": "unbiased"})


def test_a_term_without_its_teacher_says_so():
    inputs = TermInput((torch.zeros(1, 2, 3, 3),), (), torch.zeros(1, 3, 3, dtype=torch.int64), 2, 255)
    assert at(CrossEntropy(), 2, 0)(inputs) > 0
    with pytest.raises(InputError, match="need a teacher"):
        at(PixelKd(), 2, 2)(inputs)


class TestSeveralLayers:
    def test_a_loss_at_several_pairs_is_their_mean(self):
        term = ChannelWise(student_layer=["encoder.3", "decoder"], teacher_layer="encoder.4, decoder", adapter="conv")
        assert term.student_layer == "encoder.3,decoder"
        assert term.teacher_layers == ("encoder.4", "decoder")
        inputs = example_input(term)
        module = example_module(term, inputs)
        apart = [own(alone) for own, alone in zip(module.pairs, inputs.each(), strict=True)]
        torch.testing.assert_close(module(inputs), torch.stack(apart).mean())
        assert len({id(parameter) for parameter in module.parameters()}) == 2

    def test_layers_without_a_partner_are_refused(self):
        with pytest.raises(InputError, match="equally many layers"):
            parse_term({"loss": "csc", "student_layer": "encoder.3,decoder", "teacher_layer": "decoder"})
        with pytest.raises(InputError, match="cross_entropy looks at one layer"):
            parse_term({"loss": "cross_entropy", "student_layer": "aux,logits"})


class TestAdapters:
    def kinds(self, adapter, student=16, teacher=24):
        term = ChannelWise(student_layer="decoder", teacher_layer="decoder", adapter=adapter)
        module = at(term, student, teacher)
        return [type(layer).__name__ for layer in getattr(module, "adapter", [])]

    def test_layers(self):
        assert self.kinds("auto") == ["Conv2d"]
        assert self.kinds("auto", 24) == []
        assert self.kinds("conv", 24) == ["Conv2d"]
        assert self.kinds("conv_bn_relu") == ["Conv2d", "BatchNorm2d", "ReLU"]
        with pytest.raises(InputError, match="equal channels"):
            self.kinds("none")

    def test_channels_are_counted_behind_the_adapter(self):
        """Some codes divide by the student's own channels and so weigh the loss by C_t / C_s."""
        term = ChannelWise(student_layer="decoder", teacher_layer="decoder")
        inputs = example_input(term)
        module = example_module(term, inputs)
        adapted = module.adapter(inputs.student)
        torch.testing.assert_close(module(inputs), channel_wise(adapted, inputs.teacher))


def test_the_teachers_map_is_resized_to_the_students():
    term = ChannelWise()
    inputs = example_input(term, teacher_size=(12, 15))
    expected = channel_wise(inputs.student, resize_map(inputs.teacher, (6, 8)))
    torch.testing.assert_close(example_module(term, inputs)(inputs), expected)


def test_adaptive_cross_entropy_resizes_both_maps_straight_to_the_labels():
    inputs = example_input(AdaptiveCrossEntropy(), teacher_size=(12, 15))
    expected = adaptive_cross_entropy(inputs.student, inputs.teacher, inputs.labels)
    torch.testing.assert_close(example_module(AdaptiveCrossEntropy(), inputs)(inputs), expected)


class TestAttentionTerms:
    def test_smallest_batches(self):
        assert CamCka().smallest_batch == 3
        assert CamCka(samples="pixels").smallest_batch == 1
        assert GridPamCka(estimator="unbiased", distance="one_minus").smallest_batch == 4
        assert ChannelWise().smallest_batch == 1

    def test_factor_starts_at_zero_and_is_trained(self):
        module = at(CamCka(), 8, 8)
        assert [(name, p.item()) for name, p in module.named_parameters()] == [("gamma", 0.0)]
        assert list(at(CamCka(gamma="zero"), 8, 8).parameters()) == []

    def test_learned_projections_are_trained(self):
        term = GridPamCka(projection="learned", grid=2)
        inputs = example_input(term)
        module = example_module(term, inputs)
        module.gamma.data.fill_(0.5)
        module(inputs).backward()
        assert len(list(module.parameters())) == 3
        assert all(p.grad.abs().max() > 0 for p in module.parameters())

    @pytest.mark.parametrize(
        "term",
        [
            CamCka(),
            CamCka(gamma="zero"),
            GridPamCka(),
            GridPamCka(gamma="zero"),
            GridPamCka(projection="fixed", grid=2),
        ],
    )
    def test_a_kernel_that_was_written_down_gives_the_same_bits(self, term):
        inputs = example_input(term, teacher_size=(12, 16))
        module = example_module(term, inputs)
        if module.gamma is not None:
            module.gamma.data.fill_(0.5)
        rows = module.kernel.rows(inputs.teacher, torch.Generator().manual_seed(5))
        assert rows.shape == (4, *module.kernel.parts, 4)
        read = torch.frombuffer(bytearray(rows.numpy().tobytes()), dtype=rows.dtype).view(rows.shape)
        found = []
        for kernel in (rows, read):
            given = replace(inputs, teachers=(), kernel=kernel, generator=torch.Generator().manual_seed(1))
            value = module(given)
            wanted = [inputs.student, *([] if module.gamma is None else [module.gamma])]
            found.append((value, *torch.autograd.grad(value, wanted)))
        assert all(torch.equal(one, other) for one, other in zip(*found, strict=True))
        assert found[0][1].abs().max() > 0

    def test_what_needs_the_pixels_or_trained_projections_has_no_kernel(self):
        for term in (CamCka(samples="pixels"), GridPamCka(samples="pixels"), GridPamCka(projection="learned")):
            assert example_module(term, example_input(term)).kernel is None

    def test_only_resampling_draws_from_the_stream(self):
        for projection, draws in (("resampled", True), ("fixed", False), ("learned", False)):
            term = GridPamCka(projection=projection, grid=2)
            inputs = example_input(term)
            before = inputs.generator.get_state()
            example_module(term, inputs)(inputs)
            assert torch.equal(before, inputs.generator.get_state()) != draws
