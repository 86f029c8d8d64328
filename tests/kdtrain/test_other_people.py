"""A loss, a method and a data set of somebody else: one file, none of ours, by reference and by entry point."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from kdtrain import InputError, TrainConfig, foreign, train
from kdtrain.data import Streets, find_data, parse_data
from kdtrain.losses import cross_entropy
from kdtrain.methods import Method, Term, find_term, get_method, parse_term
from kdtrain.methods.describe import describe, offers
from kdtrain.methods.pixel import PixelKd
from kdtrain.methods.task import CrossEntropy
from kdtrain.space import Range
from kdtrain.testing import check_data, check_loss, check_method
from sweeps.spec.spec import parse_spec

KIT = Path(__file__).parent / "other_people"
NETWORKS = Path(__file__).parent / "networks"
COSINE, COSINE_KD, STRIPES = (f"cosine_kit:{name}" for name in ("Cosine", "COSINE_KD", "Stripes"))
TRAIN = """
import json, sys
from kdtrain import Machine, TrainConfig, train
task = json.load(sys.stdin)
for content in task["configs"]:
    config = TrainConfig.parse(content)
    result = train(config, Machine.model_validate(task["machine"]))
    print(json.dumps([config.config_id, result.reports[-1].losses, result.evaluation.to_dict()]))
"""


@pytest.fixture(autouse=True)
def kit(monkeypatch):
    monkeypatch.syspath_prepend(KIT)
    yield
    foreign._offers.cache_clear()


@pytest.fixture
def installed_kit(tmp_path, monkeypatch):
    """The folder of a package that offers the three under names."""
    folder = tmp_path / "site"
    info = folder / "cosine_kit-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: cosine-kit\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(
        f"[kdsweep.losses]\ntheir_cosine = {COSINE}\nbroken_loss = no_such_kit:Loss\n"
        f"[kdsweep.methods]\ntheir_method = {COSINE_KD}\nkd = {COSINE_KD}\n[kdsweep.data]\nstripes = {STRIPES}\n"
    )
    shutil.copy(KIT / "cosine_kit.py", folder)
    monkeypatch.syspath_prepend(folder)
    foreign._offers.cache_clear()
    return folder


def test_trains_the_same_here_and_from_json_in_a_fresh_process(installed_kit, machine, teacher):
    streets = {"name": "streets", "size": [32, 48], "counts": {"train": 8, "select": 4, "test": 1}}
    terms = [{"loss": "cross_entropy"}, {"loss": COSINE, "weight": 2}]
    recipe = {"student": {"arch": "tiny_networks:tiny"}, "epochs": 2, "batch_size": 4}
    configs = [
        TrainConfig.parse({**recipe, "data": streets, "terms": terms, "teacher": teacher[1].digest}),
        TrainConfig.parse({**recipe, "data": {"name": "stripes"}}),
    ]
    results = [train(config, machine) for config in configs]
    assert any("cosine" in name for name in results[0].reports[-1].losses)
    task = {
        "configs": [json.loads(config.model_dump_json()) for config in configs],
        "machine": machine.model_dump(mode="json"),
    }
    paths = os.pathsep.join([*map(str, (installed_kit, NETWORKS)), *sys.path])
    done = subprocess.run(
        [sys.executable, "-c", TRAIN], input=json.dumps(task), capture_output=True, text=True, check=False,
        env=os.environ | {"PYTHONPATH": paths},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [
        json.dumps([config.config_id, result.reports[-1].losses, result.evaluation.to_dict()])
        for config, result in zip(configs, results, strict=True)
    ]


class TestByReference:
    def test_the_benches_pass(self):
        check_loss(COSINE, power=2)
        check_method(COSINE_KD)
        check_data({"name": STRIPES, "count": 3})

    def test_a_class_is_called_by_its_reference_and_its_term_by_its_class(self):
        term = parse_term({"loss": COSINE, "power": 2})
        assert (term.loss, term.name) == (COSINE, "cosine")
        assert term == find_term(COSINE)(power=2)
        assert parse_data({"name": STRIPES}) == find_data(STRIPES)()

    def test_a_wrong_option_is_named(self):
        with pytest.raises(InputError, match=r"terms\.0: term 'cosine': power: .*greater than or equal to 1, got 0"):
            TrainConfig.parse({"terms": [{"loss": COSINE, "power": 0}], "teacher": "0" * 16})
        with pytest.raises(InputError, match=r"data\.sied: unknown key; did you mean side\?"):
            TrainConfig.parse({"data": {"name": STRIPES, "sied": 40}})
        with pytest.raises(InputError, match=r"data: 'cosine_kit:Stripe' cannot be imported .*did you mean Stripes"):
            TrainConfig.parse({"data": {"name": "cosine_kit:Stripe"}})

    @pytest.mark.parametrize(
        ("lookup", "name", "message"),
        [
            (find_term, COSINE_KD, "must be a subclass of kdtrain.methods.Term, got an object of Method"),
            (get_method, COSINE, "must be a kdtrain.methods.Method, got the class Cosine"),
            (find_data, COSINE, "must be a subclass of kdtrain.data.DataSet, got the class Cosine"),
        ],
    )
    def test_another_kind_of_object_is_refused(self, lookup, name, message):
        with pytest.raises(InputError, match=message):
            lookup(name)

    def test_a_spec_takes_them_all(self):
        spec = parse_spec(
            {
                "name": "theirs",
                "data": {"name": STRIPES, "side": 40},
                "teacher": {"path": "t"},
                "studies": ["none", COSINE_KD, {"name": "own", "terms": [{"loss": "cross_entropy"}, {"loss": COSINE}]}],
                "space": {"optimizer.lr": {"low": 0.01, "high": 0.1, "log": True}},
                "budget": {"trials": 2},
            }
        )
        assert [study.name for study in spec.studies] == ["none", "cosine_kd", "own"]
        assert set(spec.space_of(spec.studies[1])) == {"optimizer.lr", "terms.cosine.weight", "terms.cosine.power"}
        config = spec.config_for(spec.studies[1], {"terms.cosine.power": 2})
        assert config.terms[1] == find_term(COSINE)(weight=2.0, power=2)
        again = parse_spec(json.loads(json.dumps(spec.model_dump(mode="json"))))
        assert again == spec
        assert again.config_for(again.studies[1], {"terms.cosine.power": 2}).config_id == config.config_id
        assert "cosine_kit" in foreign.imported_modules()

    def test_is_described(self):
        text = describe(COSINE_KD)
        assert "Somebody Else, 2031" in text
        assert "| power | 1 | How much more the pixels count that differ more. |" in text
        assert "(1 − cos(s, t))^power" in describe(COSINE)


class TestByEntryPoint:
    def test_the_benches_pass(self, installed_kit):
        check_loss("their_cosine")
        check_method("their_method")
        check_data({"name": "stripes", "count": 3})

    def test_the_name_stays_in_the_config(self, installed_kit):
        term = parse_term({"loss": "their_cosine"})
        assert (term.loss, term.name) == ("their_cosine", "their_cosine")
        assert parse_term(json.loads(term.model_dump_json())) == term

    def test_what_is_installed_is_listed_without_an_import(self, installed_kit):
        assert offers() == [
            ("method their_method", COSINE_KD),
            ("term broken_loss", "no_such_kit:Loss"),
            ("term their_cosine", COSINE),
        ]

    def test_a_broken_one_breaks_only_what_names_it(self, installed_kit):
        assert parse_term({"loss": "pixel_kd"}) == PixelKd()
        with pytest.raises(InputError, match=r"the loss 'broken_loss' of the package cosine-kit: .*No module named"):
            parse_term({"loss": "broken_loss"})

    def test_a_name_of_ours_stays_ours(self, installed_kit):
        assert get_method("kd").title != get_method(COSINE_KD).title


class Good(Term):
    """Cross-entropy of the logits."""

    needs_teacher = False

    def value(self, taps):
        return cross_entropy(taps.student, taps.labels, taps.ignore_index)


class InHalf(Good):
    def value(self, taps):
        return super().value(taps).bfloat16()


class NotAScalar(Good):
    def value(self, taps):
        return taps.student.mean((1, 2, 3))


class Weighted(Good):
    def value(self, taps):
        return super().value(taps) * self.weight


class Detached(Good):
    def value(self, taps):
        return super().value(taps).detach()


class Blind(Good):
    def value(self, taps):
        return (taps.student * 0).mean()


class NaNWithoutLabels(Good):
    def value(self, taps):
        return super().value(taps) / (taps.labels != taps.ignore_index).float().mean()


class Random(Good):
    def value(self, taps):
        return super().value(taps) * float(np.random.default_rng().uniform(1, 2))


class InPlace(Good):
    def value(self, taps):
        taps.labels.zero_()
        return super().value(taps)


class NeedsEqualChannels(Term):
    def value(self, taps):
        student, teacher = taps.pair()
        return (student - teacher.detach()).square().mean()


class TeachesTheTeacher(Term):
    def value(self, taps):
        student, teacher = taps.pair()
        return (student.mean() - teacher.mean()).square()


class NeverZero(NeedsEqualChannels):
    zero_at_teacher = True
    equal_channels = property(lambda self: True)

    def value(self, taps):
        return super().value(taps) + 0.1


class Careless(Good, extra="ignore"):
    """A config that passes over misspelt keys."""


class CalledDifferently(Good):
    loss: str = "good"


@pytest.mark.parametrize(
    ("loss", "message"),
    [
        (InHalf, "the value must be a float32 scalar, got torch.bfloat16 ()"),
        (NotAScalar, "the value must be a float32 scalar, got torch.float32 (4,)"),
        (Weighted, "the value must not contain the weight"),
        (Detached, "the value must have a gradient"),
        (Blind, "the gradient of the student must not be 0 everywhere"),
        (NaNWithoutLabels, "the value must be finite"),
        (Random, "the value must be the same for the same maps"),
        (InPlace, "maps and labels must not be changed"),
        (NeedsEqualChannels, "fails with RuntimeError: The size of tensor a (16) must match the size of tensor b (24)"),
        (TeachesTheTeacher, "no gradient may reach the teacher"),
        (NeverZero, "declares zero_at_teacher, but equal maps give 0.1"),
    ],
)
def test_the_bench_of_losses_finds(loss, message, monkeypatch):
    monkeypatch.setitem(sys.modules, __name__, sys.modules.get(__name__) or type(sys)(__name__))
    monkeypatch.setattr(sys.modules[__name__], loss.__name__, loss, raising=False)
    with pytest.raises(AssertionError) as error:
        check_loss(loss)
    assert message in str(error.value)
    assert str(error.value).startswith(f"{__name__}:{loss.__name__}")


def test_a_class_with_a_name_that_leads_nowhere_is_refused():
    with pytest.raises(InputError, match="unknown loss 'good'"):
        check_loss(CalledDifferently)


@pytest.mark.parametrize(
    ("method", "message"),
    [
        (Method("untitled", "", "", (CrossEntropy(),)), "a title is required"),
        (Method("noted", "Noted", "", (CrossEntropy(),), notes={"weight": "1, I think"}), "a note starts with one of"),
        (
            Method("far", "Far", "", (PixelKd(),), {"pixel_kd.weight": Range(low=2, high=3, log=True)}),
            "the search of pixel_kd.weight must hold the default 1.0",
        ),
        (
            Method("wide", "Wide", "", (PixelKd(),), {"pixel_kd.weight": Range(low=-1, high=3)}),
            "a weight is searched on a log scale",
        ),
        (
            Method("wrong", "Wrong", "", (PixelKd(),), {"pixel_kd.temperature": Range(low=0, high=3)}),
            "the search of pixel_kd.temperature: the value 0.0 is not allowed",
        ),
    ],
)
def test_the_bench_of_methods_finds(method, message):
    with pytest.raises(AssertionError) as error:
        check_method(method)
    assert message in str(error.value)


def test_a_method_is_named_as_a_folder_may_be():
    with pytest.raises(InputError, match=r"method: a name begins with a letter or digit and holds .*, got 'my method'"):
        Method("my method", "Mine", "", (CrossEntropy(),))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"classes": ("dark", "dark")}, "classes must differ"),
        ({"palette": ((0, 0, 0),)}, "the palette must hold one color"),
        ({"ids": lambda self, role: (f"{role}-1", f"{role}-2")}, "ids('no such role') must raise InputError"),
        ({"read": lambda self, role, i: (np.zeros((4, 4)), np.zeros((4, 4)))}, "the image must be uint8 (H, W, 3)"),
        (
            {"read": lambda self, role, i: (np.zeros((4, 4, 3), np.uint8), np.full((4, 4), 7, np.uint8))},
            "labels must be 0 to 1 or 255, got [7]",
        ),
        (
            {"read": lambda self, role, i: (np.zeros((4, 4, 3), np.uint8), np.zeros((4, 4), np.uint8))},
            "no image may be in two roles",
        ),
        ({"digest": lambda self, role: "0" * 32}, "each role must have another digest"),
        ({"digest": lambda self, role: os.urandom(16).hex()}, "digest must be the same whenever it is opened"),
        ({"listing": lambda self, role: "a/b"}, "the listing must be a text of letters and digits"),
    ],
)
def test_the_bench_of_data_sets_finds(changes, message, monkeypatch):
    source = type(find_data(STRIPES)().open(None))
    for name, value in changes.items():
        monkeypatch.setattr(source, name, value)
    with pytest.raises(AssertionError) as error:
        check_data({"name": STRIPES, "count": 2})
    assert message in str(error.value)


def test_our_own_generated_data_set_passes_the_bench():
    check_data(Streets(size=(32, 48), counts={"train": 5, "select": 2, "test": 3}))


def test_a_class_that_gives_the_weight_another_default_still_refuses_a_negative_one():
    class Weighted(PixelKd):
        loss: str = "x"
        weight: float = 0.5

    with pytest.raises(ValueError, match="weight: must be at least 0, got -1"):
        Weighted(weight=-1)


def test_a_term_that_computes_nothing_is_no_loss(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "idle_kit.py").write_text("from kdtrain.methods import Term\nclass Idle(Term):\n    pass\n")
    with pytest.raises(InputError, match="'idle_kit:Idle' must define value, or module"):
        find_term("idle_kit:Idle")


@pytest.mark.parametrize("reference", ["./kit.py:Loss", ".kit:Loss", "kit:", ":Loss", "kit:Loss.inner", "a b:c"])
def test_a_reference_is_no_path(reference):
    with pytest.raises(InputError, match=r"a reference has the form package\.module:name, no path"):
        foreign.load_foreign(reference)


def test_a_module_that_exits_is_an_error(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "exiting_kit.py").write_text("import sys\nsys.exit(7)\n")
    with pytest.raises(InputError, match="the module exiting_kit fails with SystemExit"):
        foreign.load_foreign("exiting_kit:Loss")
