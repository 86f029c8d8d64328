"""Proposals that make no valid config: recorded, drawn anew, charged nothing; and whole numbers for whole fields."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import pytest

from kdtrain.config import Machine
from kdtrain.errors import InputError
from kdtrain.models import Network
from kdtrain.space import Choice, Range, Scalar
from sweeps.driver.config_check import ConfigCheck
from sweeps.driver.sampler import make_sampler, propose
from sweeps.ledger.ledger import read
from sweeps.ledger.state import SweepState
from sweeps.ledger.trial_state import TrialState
from sweeps.plan import plan
from sweeps.rehearsals import variants
from sweeps.show.progress import summarize
from sweeps.spec.settings import Sampler

STREETS = {"name": "streets", "size": [32, 64], "counts": {"train": 8, "select": 2, "test": 2}}
NEVER_VALID = {
    "terms.pixel_kd.schedule.warmup": {"low": 0.5, "high": 0.9},
    "terms.pixel_kd.schedule.stop": {"low": 0.1, "high": 0.4},
}
FOREIGN = """
from pydantic import field_validator
from kdtrain.methods import Term


class Moody(Term):
    depth: float = 1.0

    @field_validator("depth")
    @classmethod
    def _deep(cls, value):
        if 1.5 < value < 2:
            raise {error}
        return value

    def value(self, taps):
        return taps.student.mean()
"""


def searching(fake, own_space, method="kd", **changes):
    """A baseline, and a study that searches a space."""
    studies = ["none", {"method": method, "space": own_space}]
    return fake.make_spec(**{"studies": studies, "confirm": {"top": 0}, **changes})


def searched(state, study, path):
    return [trial.params[path] for trial in state.of_study(study, "search")]


@pytest.mark.parametrize(
    ("method", "path", "domain", "changes"),
    [
        ("kd", "batch_size", {"low": 4, "high": 16}, {}),
        ("kd", "views", {"low": 1, "high": 64, "log": True}, {}),
        ("cskd", "terms.grid_pam_cka.grid", {"low": 2, "high": 12}, {}),
        ("kd", "student.options.encoder_depth", {"low": 3, "high": 9}, {"student": {"options": {"encoder_depth": 4}}}),
    ],
)
def test_whole_fields_get_whole_numbers(fake, tmp_path, method, path, domain, changes):
    spec = searching(fake, {"optimizer.weight_decay": {"low": 0, "high": 1}, path: domain}, method, **changes)
    for name in ("tpe", "random"):
        sampler = {"sampler": {"name": name, "startup": 2}}
        state = fake.run(spec.model_validate({**spec.model_dump(), **sampler}), tmp_path / name)
        assert state.finished
        values = searched(state, method, path)
        assert len(values) == 4
        assert all(isinstance(value, int) and domain["low"] <= value <= domain["high"] for value in values)
        assert state.searches.invalid == {}


@pytest.mark.parametrize(
    ("method", "own_space"),
    [
        (
            "cwd",
            {f"terms.channel_wise.{side}_layer": ["logits", "encoder.3,decoder"] for side in ("student", "teacher")},
        ),
        (
            {"loss": "pixel_kd", "schedule": {"stop": 0.2}},
            {"terms.pixel_kd.schedule.warmup": {"low": 0.3, "high": 0.4}, "terms.pixel_kd.schedule.stop": [0.6, 0.9]},
        ),
    ],
)
def test_values_that_are_valid_only_together_may_be_searched(fake, tmp_path, method, own_space):
    study = (
        {"method": method} if isinstance(method, str) else {"name": "own", "terms": [{"loss": "cross_entropy"}, method]}
    )
    study = {**study, "space": {"optimizer.weight_decay": {"low": 0, "high": 1}, **own_space}}
    state = fake.run(fake.make_spec(studies=["none", study], confirm={"top": 0}), tmp_path)
    assert state.finished
    assert len(searched(state, study.get("name", method), next(iter(own_space)))) == 4


def test_a_value_that_is_valid_with_no_other_is_refused(fake):
    own_space = {"optimizer.weight_decay": {"low": 0, "high": 1}, "terms.pixel_kd.temperature": [-1, 2]}
    with pytest.raises(InputError, match=r"studies.kd.space.terms.pixel_kd.temperature: .*got -1"):
        searching(fake, own_space)


def test_fields_of_any_number_keep_their_fractions(fake, tmp_path):
    paths = {"terms.pixel_kd.temperature": {"low": 1, "high": 9}, "student.options.rate": {"low": 0, "high": 0.5}}
    spec = searching(fake, paths, student={"options": {"rate": 0}})
    assert not any(domain.integer for domain in spec.space_of(spec.studies[1]).values())


@pytest.mark.parametrize(
    ("path", "domain", "complaint"),
    [
        ("batch_size", {"low": 4.5, "high": 16}, r"batch_size: takes whole numbers.*must be whole, got low=4\.5"),
        ("terms.pixel_kd.mask_ignored", {"low": 0, "high": 1}, "takes single values; give a list of them"),
        ("optimizer.lr", {"low": -1.7e308, "high": 1.7e308}, "wider than a float can be"),
        ("batch_size", {"low": 1, "high": 1e300, "integer": True}, r"an integer range holds numbers up to 2\*\*53"),
    ],
)
def test_ranges_that_no_search_could_use_are_refused_by_name(fake, path, domain, complaint):
    with pytest.raises(InputError, match=complaint):
        searching(fake, {path: domain}, space={"aux_weight": [0.1, 0.2]})


def test_parameters_that_are_not_valid_together_are_drawn_anew_and_cost_nothing(fake, tmp_path):
    ends = {"low": 0.0, "high": 0.9}
    space = {"terms.pixel_kd.schedule.warmup": ends, "terms.pixel_kd.schedule.stop": {"low": 0.1, "high": 1.0}}
    spec = searching(fake, space, budget={"trials": 8})
    state = fake.run(spec, tmp_path)
    assert state.finished
    assert len(state.of_study("kd")) == 8
    assert all(trial.state == "complete" for trial in state.trials.values())
    invalid = state.searches.invalid["kd"]
    assert invalid
    assert all("warmup must end before stop" in proposal.reason for proposal in invalid)
    warmup, stop = space
    assert all(proposal.params[warmup] >= proposal.params[stop] for proposal in invalid)
    records = [record for record in read(tmp_path) if record.kind == "infeasible"]
    assert [record.data["params"] for record in records] == [dict(proposal.params) for proposal in invalid]
    assert SweepState.of(read(tmp_path)).searches.invalid == state.searches.invalid
    assert [row.study for row in state.decisions if row.kind == "infeasible"] == ["kd"] * len(invalid)
    (study,) = [study for study in summarize(spec, state).studies if study.name == "kd"]
    assert (study.invalid, study.spent) == (len(invalid), 1.0)


def test_both_weights_zero_is_one_of_four_and_the_rest_is_tried(fake, tmp_path):
    space = {"terms.dist.inter": [0, 1], "terms.dist.intra": [0, 1]}
    state = fake.run(searching(fake, space, "dist", space={"aux_weight": [0.4]}, budget={"trials": 9}), tmp_path)
    assert len(state.of_study("dist")) == 3
    assert len(state.searches.invalid["dist"]) == 1
    assert state.searches.exhausted["dist"] == "every config of its space was tried, 1 of them are not valid"


def test_a_study_without_a_valid_config_ends_and_the_others_go_on(fake, tmp_path, monkeypatch):
    monkeypatch.setattr("sweeps.driver.new_trials.MOST_IN_VAIN", 30)
    notices = []
    spec = searching(fake, NEVER_VALID)
    with fake.open_driver(spec, tmp_path, notice=notices.append) as driver:
        fake.run_inline(driver, fake.FakeTrain())
        state = driver.state
    assert state.finished
    assert [len(state.of_study(study)) for study in ("none", "kd")] == [4, 0]
    assert len(state.searches.invalid["kd"]) == 30
    assert state.searches.exhausted["kd"].startswith("none of 30 proposals in a row makes a valid config; the last:")
    assert any("the search of kd ends: none of" in notice and "correct its space" in notice for notice in notices)


@pytest.mark.parametrize("error", ["TypeError('no')", "OverflowError('no')", "ZeroDivisionError", "KeyError('a')"])
def test_a_foreign_validator_may_raise_anything(fake, tmp_path, monkeypatch, error):
    (tmp_path / "their_moods.py").write_text(FOREIGN.format(error=error))
    monkeypatch.syspath_prepend(tmp_path)
    terms = [{"loss": "cross_entropy"}, {"loss": "their_moods:Moody"}]
    study = {"name": "mine", "terms": terms, "space": {"terms.moody.depth": {"low": 1, "high": 3}}}
    spec = fake.make_spec(studies=["none", study], budget={"trials": 12}, confirm={"top": 0})
    state = fake.run(spec, tmp_path / "sweep")
    assert len(state.of_study("mine")) == 12
    assert state.searches.invalid["mine"]
    assert all(
        ("_deep" not in proposal.reason and "no" in proposal.reason) or "Error" in proposal.reason
        for proposal in state.searches.invalid["mine"]
    )


def test_a_batch_above_the_images_is_no_config_either(fake, tmp_path):
    spec = searching(fake, {"batch_size": {"low": 4, "high": 32}}, budget={"trials": 6})
    check = ConfigCheck(3, 8, (32, 64), Network(), 1)
    with fake.open_driver(spec, tmp_path, check_config=check) as driver:
        fake.run_inline(driver, fake.FakeTrain())
        state = driver.state
    assert max(searched(state, "kd", "batch_size")) <= 8
    assert "is more than the 8 images of role train" in state.searches.invalid["kd"][0].reason


def test_a_sweep_that_was_killed_among_invalid_proposals_decides_the_same(fake, tmp_path):
    ends = {"low": 0.4, "high": 0.9}
    space = {"terms.pixel_kd.schedule.warmup": ends, "terms.pixel_kd.schedule.stop": {"low": 0.1, "high": 1.0}}
    spec = searching(fake, space, budget={"trials": 5}, sampler={"startup": 9})
    whole = fake.run(spec, tmp_path / "whole")
    file = min((tmp_path / "whole" / "ledger").glob("*.jsonl"))
    lines = file.read_bytes().splitlines(keepends=True)
    cuts = [index for index, line in enumerate(lines) if b'"kind":"infeasible"' in line]
    assert len(cuts) > 2
    for cut in cuts[:3]:
        folder = tmp_path / f"cut-{cut}"
        (folder / "ledger").mkdir(parents=True)
        (folder / "ledger" / file.name).write_bytes(b"".join(lines[: cut + 1]))
        resumed = fake.run(spec, folder)
        assert [t.params for t in resumed.trials.values()] == [t.params for t in whole.trials.values()]
        assert resumed.searches.invalid == whole.searches.invalid


MODULE = """
class Stuck:
    def propose(self, study, space, trials, seed):
        return {path: domain.choices[0] if hasattr(domain, "choices") else domain.low for path, domain in space.items()}
"""


@pytest.mark.parametrize("high", [100_000, 10_001, 2**50])
def test_a_sampler_that_repeats_itself_does_not_end_a_large_space(fake, tmp_path, monkeypatch, high):
    (tmp_path / "stuck_sampler.py").write_text(MODULE)
    monkeypatch.syspath_prepend(tmp_path)
    space = {"views": {"low": 1, "high": high}}
    sampler = {"name": "stuck_sampler:Stuck"}
    spec = fake.make_spec(studies=["none"], space=space, budget={"trials": 30}, confirm={"top": 0}, sampler=sampler)
    state = fake.run(spec, tmp_path / "sweep")
    values = searched(state, "none", "views")
    assert len(set(values)) == 30
    assert state.searches.exhausted == {}


def test_a_continuous_space_does_not_end_with_its_sampler(fake, tmp_path, monkeypatch):
    (tmp_path / "stuck_sampler.py").write_text(MODULE)
    monkeypatch.syspath_prepend(tmp_path)
    sampler = {"name": "stuck_sampler:Stuck"}
    spec = fake.make_spec(studies=["none"], budget={"trials": 20}, confirm={"top": 0}, sampler=sampler)
    state = fake.run(spec, tmp_path / "sweep")
    values = searched(state, "none", "optimizer.lr")
    assert len(set(values)) == 20
    assert all(0.001 <= value <= 0.1 for value in values)


@dataclass(frozen=True)
class Told:
    """A complete trial, as a sampler sees it."""

    params: Mapping[str, Scalar]
    state: TrialState = TrialState.COMPLETE
    score: float = 0.5
    curve: Mapping[int, float] = field(default_factory=dict)
    is_valid: bool = True


def test_a_finite_space_is_exhausted_exactly_when_every_config_was_proposed():
    sampler = make_sampler(Sampler(startup=2))
    space = {"a": Range(low=1, high=3, integer=True), "b": Range(low=1, high=4, integer=True, log=True)}
    told = []
    while (params := propose("s", space, sampler, 3, told, None)) is not None:
        told.append(Told(params))
    assert sorted((one.params["a"], one.params["b"]) for one in told) == [
        (a, b) for a in (1, 2, 3) for b in (1, 2, 3, 4)
    ]


def test_choices_that_python_calls_equal_are_several():
    space = {"a": Choice(choices=(1, True, 1.0, "1", None))}
    told = []
    while (params := propose("s", space, make_sampler(Sampler(startup=2)), 3, told, None)) is not None:
        told.append(Told(params))
    assert sorted(repr(one.params["a"]) for one in told) == ["'1'", "1", "1.0", "None", "True"]


def test_a_plan_tries_the_corners_and_random_configs_of_every_space(fake):
    spec = fake.make_spec(
        data=STREETS,
        teacher={"fit": {"network": {}, "epochs": 3}},
        studies=[
            "none",
            {"method": "kd", "space": NEVER_VALID},
            {"method": "dist", "space": {"terms.dist.inter": [0, 1], "terms.dist.intra": [0, 1]}},
        ],
        space={"batch_size": {"low": 4, "high": 32}},
    )
    text = plan(spec, Machine()).render().replace("\n", " ")
    assert "kd: 200 of 200 random configs of its space and 8 of 8 corners are not valid" in text
    assert "warmup must end before stop" in text
    assert "none: " in text
    assert "is more than the 8 images of role train" in text
    assert "dist: " in text


def test_published_values_outside_of_the_space_are_not_checked(fake):
    """A batch of 8 is more than the data have, but the search never tries it."""
    few = {**STREETS, "counts": {"train": 6, "select": 2, "test": 2}}
    space = {"batch_size": {"low": 2, "high": 6}}
    fit = {"fit": {"network": {}, "epochs": 3, "batch_size": 2}}
    spec = fake.make_spec(data=few, studies=["none"], space=space, teacher=fit, train={"epochs": 2, "batch_size": 8})
    assert "are not valid" not in plan(spec, Machine()).render()
    assert spec.typical(spec.studies[0]) == {"batch_size": 2}
    assert min(config.batch_size for config in variants(spec, spec.studies[0])) == 2
    assert max(config.batch_size for config in variants(spec, spec.studies[0])) == 6


def test_a_rehearsal_leaves_out_what_the_search_would_draw_anew(fake):
    spec = fake.make_spec(data=STREETS, studies=["none"], space={"batch_size": {"low": 4, "high": 32}})
    check = ConfigCheck(3, 8, (32, 64), Network(), 1)
    assert {config.batch_size for config in variants(spec, spec.studies[0], check)} == {4}


NUMPY = """
import numpy as np


class Numpy:
    def propose(self, study, space, trials, seed):
        drawn = {path: np.float64(np.random.default_rng(seed).uniform(d.low, 2 * d.high)) for path, d in space.items()}
        return drawn if seed % 3 else {"nothing": object()}
"""


def test_a_sampler_that_leaves_the_space_now_and_then_does_not_end_the_sweep(fake, tmp_path, monkeypatch):
    (tmp_path / "numpy_sampler.py").write_text(NUMPY)
    monkeypatch.syspath_prepend(tmp_path)
    sampler = {"name": "numpy_sampler:Numpy"}
    spec = fake.make_spec(studies=["none"], budget={"trials": 6}, confirm={"top": 0}, sampler=sampler)
    state = fake.run(spec, tmp_path / "sweep")
    values = searched(state, "none", "optimizer.lr")
    assert len(values) == 6
    assert all(type(value) is float and 0.001 <= value <= 0.1 for value in values)
    assert {proposal.reason.split(" must propose ")[1][:3] for proposal in state.searches.invalid["none"]} == {
        "a v",
        "for",
    }
