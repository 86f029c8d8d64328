"""Whether the teacher's maps are read or computed, by what both cost."""

import json
import time

import pytest
import torch

from kdtrain import train
from kdtrain.config import Replay
from kdtrain.loop.frozen_teacher import FrozenTeacher, TeacherUse
from kdtrain.loop.map_costs import measure_map_costs
from kdtrain.loop.setup import build
from kdtrain.replay import ArrayFile
from kdtrain.replay.costs import MapCosts, read_costs, write_costs
from kdtrain.runtime.process_group import ProcessGroup

SLOW_S = 0.03
"""Of a fake disk per read, or of a fake teacher per batch: the only seconds of the clock in these tests."""


@pytest.fixture
def store(machine, tmp_path):
    return machine.model_copy(update={"replay": Replay(folder=tmp_path / "replay")})


@pytest.fixture
def slow(monkeypatch):
    """Makes reads of the maps of some layers, or the teacher, slow, on a clock that nothing else moves."""
    read, ask, clock = ArrayFile.read, FrozenTeacher.ask, [0.0]
    seconds = {"teacher": SLOW_S}

    def spend(spent):
        clock[0] += spent

    def slow_read(array, rows):
        spend(seconds.get(array.data_path.name.rpartition(".")[0].rpartition(".")[0], 0.0))
        return read(array, rows)

    def slow_ask(teacher, images, layers):
        spend(seconds["teacher"])
        return ask(teacher, images, layers)

    monkeypatch.setattr(time, "perf_counter", lambda: clock[0])
    monkeypatch.setattr(ArrayFile, "read", slow_read)
    monkeypatch.setattr(FrozenTeacher, "ask", slow_ask)
    return seconds


def use(result):
    """Images by epoch: shown to the teacher, recorded, replayed."""
    return [(past.asked, past.recorded, past.replayed) for past in result.reports]


def test_a_slow_teacher_is_asked_once(make_config, store, slow):
    assert use(train(make_config("kd"), store)) == [(16, 16, 16)] * 4
    assert use(train(make_config("kd"), store)) == [(0, 0, 16)] * 4


def test_maps_that_are_slow_to_read_are_computed(make_config, machine, store, slow, tmp_path, outcome):
    slow["logits"] = 5 * SLOW_S
    config = make_config("kd")
    first = train(config, store, workdir=tmp_path / "first")
    assert use(first) == [(12 + 16, 12, 0)] + [(16, 0, 0)] * 3  # three batches are recorded to see what reading takes
    second = train(config, store, workdir=tmp_path / "second")
    assert use(second) == [(16, 0, 0)] * 4
    live = outcome(train(config, machine, workdir=tmp_path / "live"), tmp_path / "live")
    assert outcome(first, tmp_path / "first") == outcome(second, tmp_path / "second") == live


def test_one_slow_layer_is_left_out_and_the_others_are_read_by_who_needs_no_more(make_config, store, slow):
    slow["decoder"] = 5 * SLOW_S
    both = store.model_copy(update={"replay": store.replay.model_copy(update={"layers": ("decoder", "logits")})})
    train(make_config("kd"), both)
    assert use(train(make_config("kd"), both)) == [(0, 0, 16)] * 4
    assert use(train(make_config("cwd_feature"), both)) == [(16, 0, 0)] * 4


def test_layers_that_only_together_are_slower_than_the_teacher_are_computed(make_config, store, slow):
    slow |= {"decoder": 0.75 * SLOW_S, "logits": 0.75 * SLOW_S}
    terms = [
        {"loss": "cross_entropy"},
        {"loss": "pixel_kd"},
        {"loss": "channel_wise", "student_layer": "decoder", "teacher_layer": "decoder"},
    ]
    train(make_config("cwd_feature"), store)
    joint = make_config("kd", terms=terms)
    train(joint, store)
    assert use(train(make_config("kd"), store)) == [(0, 0, 16)] * 4
    assert [replayed for _, _, replayed in use(train(joint, store))] == [0] * 4


def test_a_choice_that_turns_out_wrong_is_taken_again(make_config, store, slow):
    config = make_config("kd")
    train(config, store)
    slow["logits"] = 10 * SLOW_S  # the disk becomes slow
    changed = use(train(config, store))
    assert changed[0] == changed[-1] == (16, 0, 0)
    slow["logits"] = 0.0  # and quick again; each training measures once more, and half of the mean is forgotten
    for _ in range(5):
        last = use(train(config, store))
    assert last == [(0, 0, 16)] * 4


def test_kernels_are_read_where_the_maps_behind_them_are_not(make_config, store, slow):
    slow["decoder"] = 5 * SLOW_S
    train(make_config("cskd"), store)
    assert use(train(make_config("cskd"), store)) == [(0, 0, 16)] * 4


def test_a_choice_is_kept_unless_the_other_way_is_clearly_quicker():
    costs = MapCosts().with_measured({"logits": 0.010}, 0.020)
    assert costs.is_worth_reading(["logits"])
    for ask_s, is_read in ((0.009, True), (0.004, False), (0.011, False), (0.016, True)):
        costs = MapCosts(costs.read_s, ask_s, costs.asked).with_measured({})
        assert costs.is_worth_reading(["logits"]) == is_read, ask_s


def test_what_was_not_measured_is_read_and_a_note_that_is_damaged_is_none(tmp_path):
    assert MapCosts({"logits": 9.0}, None).is_worth_reading(["logits"])
    assert MapCosts({"logits": 9.0}, 1.0).is_worth_reading(["logits", "decoder"])
    assert not MapCosts({"logits": 9.0, "decoder": 0.0}, 1.0).is_worth_reading(["logits", "decoder"])
    costs = MapCosts({"logits": 9.0}, 1.0).with_measured({"logits": 7.0})
    write_costs(tmp_path / "costs.json", costs)
    assert read_costs(tmp_path / "costs.json") == costs == MapCosts({"logits": 8.0}, 1.0, frozenset({"logits"}))
    for content in ("", "[]", "{}", json.dumps({"read_s": {"a": "x"}, "ask_s": 1, "asked": []})):
        (tmp_path / "costs.json").write_text(content)
        assert read_costs(tmp_path / "costs.json") == MapCosts()


def test_maps_are_stored_in_the_precision_that_autocast_gave_them(make_config, store, machine, tmp_path, outcome):
    half = {"amp": "bfloat16"}
    live = outcome(
        train(make_config("kd"), machine.model_copy(update=half), workdir=tmp_path / "live"), tmp_path / "live"
    )
    train(make_config("kd"), store)
    for attempt in ("recorded", "replayed"):
        result = train(make_config("kd"), store.model_copy(update=half), workdir=tmp_path / attempt)
        assert outcome(result, tmp_path / attempt) == live
    sizes = sorted(file.stat().st_size for file in store.replay.folder.glob("*/view-00000/logits.*.bin"))
    assert sizes[1] == 2 * sizes[0]


def test_costs_are_measured_before_anything_is_recorded_and_leave_nothing(make_config, machine, slow, tmp_path):
    run = build(make_config("cwd_feature"), machine, ProcessGroup())
    images = torch.rand(4, 3, 32, 48)
    slow["probe"] = SLOW_S
    for costs in measure_map_costs(run.teacher, images, ["decoder", "logits"], tmp_path):
        assert costs.ask_s == pytest.approx(SLOW_S / 4)
        assert list(costs.read_s.values()) == pytest.approx([SLOW_S / 4] * 2)
        assert costs.read_s.keys() == {"decoder", "logits"}
    assert run.teacher.use == TeacherUse()
    assert list(tmp_path.iterdir()) == []
