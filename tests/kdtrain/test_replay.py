"""Trainings that read what others have recorded."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from kdtrain import train
from kdtrain.config import Replay
from kdtrain.data import TrainSamples
from kdtrain.loop.frozen_teacher import FrozenTeacher
from kdtrain.loop.reports import OUTSIDE
from kdtrain.replay import ArrayFile

NETWORKS = Path(__file__).parent / "networks"
teaching = sys.modules["kdtrain.loop.frozen_teacher"]


@pytest.fixture
def store(machine, tmp_path, monkeypatch):
    """The machine with an empty replay store, whose maps are read however long that takes on a busy machine."""
    monkeypatch.setattr("kdtrain.replay.costs.NEGLIGIBLE_S", 1e9)
    return machine.model_copy(update={"replay": Replay(folder=tmp_path / "replay")})


@pytest.fixture
def questions(monkeypatch):
    """How many images the teacher was shown, and how often it was loaded."""
    counts = {"images": 0, "loaded": 0}
    load_model, ask = teaching.load_model, teaching.FrozenTeacher.ask

    def loading(*args):
        counts["loaded"] += 1
        return load_model(*args)

    def asking(teacher, images, layers):
        counts["images"] += len(images)
        return ask(teacher, images, layers)

    monkeypatch.setattr(teaching, "load_model", loading)
    monkeypatch.setattr(teaching.FrozenTeacher, "ask", asking)
    return counts


PROBE = 1  # an image of zeros, for the shapes


@pytest.mark.parametrize("method", ["none", "kd", "cskd", "csc_ace", "cwd_feature"])
def test_with_and_without_the_store_results_are_equal_bit_for_bit(
    method, make_config, machine, store, tmp_path, outcome
):
    config = make_config(method)
    live = outcome(train(config, machine, workdir=tmp_path / "live"), tmp_path / "live")
    for attempt in ("recorded", "replayed"):
        assert outcome(train(config, store, workdir=tmp_path / attempt), tmp_path / attempt) == live


@pytest.mark.parametrize("method", ["kd", "cwd_feature"])
@pytest.mark.parametrize("rounding", ["float16", "bfloat16"])
def test_rounded_answers_are_the_same_with_and_without_the_store_and_take_half_of_it(
    method, rounding, make_config, machine, store, tmp_path, outcome
):
    config = make_config(method, teacher_rounding=rounding)
    live = outcome(train(config, machine, workdir=tmp_path / "live"), tmp_path / "live")
    exact = train(make_config(method), store)
    assert live["reports"][0]["losses"] != exact.reports[0].losses
    for attempt in ("recorded", "replayed"):
        assert outcome(train(config, store, workdir=tmp_path / attempt), tmp_path / attempt) == live
    for layer in {layer for term in config.active_terms for layer in term.teacher_layers}:
        files = store.replay.folder.glob(f"*/view-00000/{layer}.*.bin")
        half, whole = sorted(file.stat().st_size for file in files)
        assert whole == 2 * half


@pytest.mark.parametrize(("photometric", "asked"), [(0.2, 16), (0.0, 0)])
def test_maps_of_pixels_that_were_recolored_by_another_version_are_not_read(
    photometric, asked, make_config, store, monkeypatch
):
    config = make_config("kd", epochs=1, augment={"photometric": photometric})
    with monkeypatch.context() as patch:
        patch.setattr("kdtrain.loop.replayed.RECOLORING", 1)
        assert train(config, store).reports[0].asked == 16
    assert train(config, store).reports[0].asked == asked


def test_a_trial_after_the_first_never_loads_the_teacher(make_config, store, questions):
    first = train(make_config("kd"), store)
    assert questions == {"images": 4 * 16 + PROBE, "loaded": 1}
    again = train(make_config("kd", optimizer={"lr": 0.01}), store)
    assert questions == {"images": 4 * 16 + PROBE, "loaded": 1}
    assert first.reports[0].seconds["record_teacher"] > 0
    assert "record_teacher" not in again.reports[0].seconds
    assert first.teacher_seconds == again.teacher_seconds == 0
    assert [(past.asked, past.recorded) for past in (*first.reports, *again.reports)] == 4 * [(16, 16)] + 4 * [(0, 0)]


def test_what_is_recorded_for_all_is_not_of_the_training_that_came_first(make_config, store, monkeypatch):
    batching = sys.modules["kdtrain.loop.replayed"]
    ensure, make, ask = batching.ensure, TrainSamples.__getitem__, FrozenTeacher.ask

    def after(seconds, call):
        def slow(*args):
            time.sleep(seconds)
            return call(*args)

        return slow

    monkeypatch.setattr(batching, "ensure", after(0.2, ensure))
    monkeypatch.setattr(TrainSamples, "__getitem__", after(0.2, make))
    monkeypatch.setattr(FrozenTeacher, "ask", after(0.3, ask))
    result = train(make_config("kd", epochs=1), store)
    (past,) = result.reports
    assert past.seconds["wait"] >= 2 * 0.2  # for samples and for maps
    assert past.seconds["record"] >= 4 * 0.2  # the samples of four chunks
    assert past.seconds["record_teacher"] >= 4 * 0.3
    parts = [seconds for name, seconds in past.seconds.items() if name not in ("total", *OUTSIDE)]
    assert sum(parts) <= past.seconds["total"]
    again = train(make_config("kd", epochs=1), store)
    assert result.seconds < again.seconds + 1  # though it slept for 2.4 seconds while recording


def test_layers_that_others_look_at_are_recorded_by_the_first(make_config, store, questions):
    replay = store.replay.model_copy(update={"layers": ("logits", "decoder")})
    shared = store.model_copy(update={"replay": replay})
    train(make_config("kd"), shared)
    train(make_config("cskd"), shared)
    assert questions == {"images": 4 * 16 + PROBE, "loaded": 1}


def test_layers_that_are_not_recorded_are_asked_for_in_every_trial(
    make_config, machine, store, questions, tmp_path, outcome
):
    replay = store.replay.model_copy(update={"layers": ("logits",)})
    partly = store.model_copy(update={"replay": replay})
    config = make_config("cwd_feature")
    live = outcome(train(config, machine, workdir=tmp_path / "live"), tmp_path / "live")
    for attempt in ("first", "second"):
        questions["images"] = 0
        assert outcome(train(config, partly, workdir=tmp_path / attempt), tmp_path / attempt) == live
        assert questions["images"] == 4 * 16 + (4 * 16 + PROBE if attempt == "first" else 0)


@pytest.mark.parametrize("layers", [("logits",), ("logits", "decoder"), None])
def test_kernels_are_recorded_and_stand_for_maps(layers, make_config, machine, store, questions, tmp_path, outcome):
    replay = store.replay.model_copy(update={"layers": layers})
    partly = store.model_copy(update={"replay": replay})
    live = outcome(train(make_config("cskd"), machine, workdir=tmp_path / "live"), tmp_path / "live")
    questions["images"] = 0
    for attempt in ("first", "second"):
        assert outcome(train(make_config("cskd"), partly, workdir=tmp_path / attempt), tmp_path / attempt) == live
    assert questions["images"] == 4 * 16 + PROBE
    kept = {path.name.split(".")[0] for path in replay.folder.glob("*/view-00000/*.bin")}
    assert ("decoder" in kept) == ("decoder" in (layers or ()))
    assert sum(name.startswith("kernel-") for name in kept) == 2


def test_kernels_are_made_of_recorded_maps_and_then_no_map_is_read(make_config, store, questions, monkeypatch):
    replay = store.replay.model_copy(update={"layers": ("logits", "decoder")})
    shared = store.model_copy(update={"replay": replay})
    reads = []
    read = ArrayFile.read
    monkeypatch.setattr(
        ArrayFile, "read", lambda array, rows: reads.append(array.data_path.name.split(".")[0]) or read(array, rows)
    )
    train(make_config("kd"), shared)  # reads some chunks of every layer, to measure the seconds
    reads.clear()
    train(make_config("kd"), shared)
    assert "decoder" not in reads
    train(make_config("cskd"), shared)
    assert questions["images"] == 4 * 16 + PROBE
    assert "decoder" in reads
    reads.clear()
    train(make_config("cskd"), shared)
    assert "decoder" not in reads
    assert any(name.startswith("kernel-") for name in reads)


def test_what_a_kernel_depends_on_parts_recordings(make_config, machine, store, questions):
    train(make_config("cskd", epochs=1), store)
    terms = [term.model_dump() for term in make_config("cskd").terms]
    colder = terms[:2] + [term | {"temperature": 1.0} for term in terms[2:]]
    config = make_config("cskd", epochs=1, terms=colder)
    before = questions["images"]
    replayed = train(config, store)
    assert questions["images"] == before + 16
    assert [past.losses for past in replayed.reports] == [past.losses for past in train(config, machine).reports]


def test_a_batch_that_was_not_recorded_as_such_has_no_kernel(make_config, machine, store):
    train(make_config("cskd"), store)
    config = make_config("cskd", batch_size=8)
    before = sorted(store.replay.folder.glob("*/view-*/kernel-*"))
    other, alone = train(config, store), train(config, machine)
    assert sorted(store.replay.folder.glob("*/view-*/kernel-*")) == before
    for past, lived in zip(other.reports, alone.reports, strict=True):
        for term, value in lived.losses.items():
            assert past.losses[term] == pytest.approx(value, rel=1e-3)


@pytest.mark.parametrize("method", ["kd", "cskd"])
def test_only_the_first_views_are_stored_where_more_find_no_room(method, make_config, store, questions):
    replay = store.replay.model_copy(update={"views": 3})
    for _ in range(2):
        questions["images"] = 0
        train(make_config(method), store.model_copy(update={"replay": replay}))
    assert questions["images"] == 16


def test_kernels_drive_nothing_out(make_config, store, questions):
    train(make_config("kd"), store)
    size = sum(path.stat().st_size for path in store.replay.folder.glob("*/view-*/*.bin"))
    brim = store.model_copy(update={"replay": store.replay.model_copy(update={"max_bytes": size})})
    before = sorted(store.replay.folder.glob("*/view-*/*.bin"))
    questions["images"] = 0
    train(make_config("cskd"), brim)
    assert sorted(store.replay.folder.glob("*/view-*/*.bin")) == before
    assert questions["images"] == 4 * 16 + PROBE  # at the decoder; the logits are read


def test_kernels_can_be_left_out(make_config, machine, store, questions, tmp_path, outcome):
    without = store.model_copy(update={"replay": store.replay.model_copy(update={"kernels": False})})
    live = outcome(train(make_config("cskd"), machine, workdir=tmp_path / "live"), tmp_path / "live")
    questions["images"] = 0
    for attempt in ("first", "second"):
        assert outcome(train(make_config("cskd"), without, workdir=tmp_path / attempt), tmp_path / attempt) == live
    assert questions["images"] == 4 * 16 + PROBE
    assert not list(store.replay.folder.glob("*/view-*/kernel-*"))


def test_another_batch_size_reads_the_same_rows(make_config, machine, store, questions):
    train(make_config("kd"), store)
    before = dict(questions)
    other = train(make_config("kd", batch_size=2), store)
    assert questions == before
    alone = train(make_config("kd", batch_size=2), machine)
    for past, lived in zip(other.reports, alone.reports, strict=True):
        assert past.losses["pixel_kd"] == pytest.approx(lived.losses["pixel_kd"], rel=1e-3)


def test_another_seed_augmentation_or_teacher_shares_nothing(make_config, store, questions):
    train(make_config("kd", epochs=1), store)
    for changes in ({"seed": 3}, {"augment": {"flip": 0.1}}):
        before = questions["images"]
        train(make_config("kd", epochs=1, **changes), store)
        assert questions["images"] == before + 16 + PROBE


def test_samples_of_files_that_were_decoded_otherwise_are_not_read(make_config, store, questions, monkeypatch):
    train(make_config("kd", epochs=1), store)
    monkeypatch.setattr("kdtrain.data.store.Images.decoding", property(lambda _: 2, lambda *_: None), raising=False)
    for images in (16 + PROBE, 0):
        before = questions["images"]
        train(make_config("kd", epochs=1), store)
        assert questions["images"] == before + images


@pytest.mark.parametrize("method", ["kd", "cskd"])
def test_views_come_again(method, make_config, machine, store, questions, tmp_path, outcome):
    config = make_config(method, views=2)
    live = outcome(train(config, machine, workdir=tmp_path / "live"), tmp_path / "live")
    questions["images"] = 0
    stored = outcome(train(config, store, workdir=tmp_path / "stored"), tmp_path / "stored")
    assert stored == live
    assert questions["images"] == 2 * 16 + PROBE
    assert config.config_id != make_config(method).config_id


@pytest.mark.parametrize("method", ["kd", "cskd"])
def test_without_room_everything_is_live(method, make_config, machine, store, questions):
    none = store.model_copy(update={"replay": store.replay.model_copy(update={"max_bytes": 1000})})
    crowded = train(make_config(method), none)
    assert questions["images"] == 4 * 16 + PROBE
    alone = train(make_config(method), machine)
    assert [past.losses for past in crowded.reports] == [past.losses for past in alone.reports]


@pytest.mark.parametrize("method", ["kd", "cskd"])
def test_damage_is_made_anew(method, make_config, machine, store, questions):
    config = make_config(method, epochs=1)
    expected = train(config, store)
    for path in store.replay.folder.glob("*/view-00000/*.bin"):
        content = bytearray(path.read_bytes())
        content[len(content) // 2] ^= 255
        path.write_bytes(content)
    before = questions["images"]
    again = train(config, store)
    assert questions["images"] > before
    assert [past.losses for past in again.reports] == [past.losses for past in expected.reports]
    train(config, store)  # records it
    before = questions["images"]
    assert [past.losses for past in train(config, store).reports] == [past.losses for past in expected.reports]
    assert questions["images"] == before


@pytest.mark.parametrize("method", ["kd", "cskd"])
def test_a_shuffled_teacher_replays(method, make_config, machine, store, tmp_path, outcome):
    config = make_config(method, teacher_order="shuffled", batch_size=5)
    live = outcome(train(config, machine, workdir=tmp_path / "live"), tmp_path / "live")
    assert outcome(train(config, store, workdir=tmp_path / "stored"), tmp_path / "stored") == live


@pytest.mark.slow
def test_trainings_at_once_share_the_recording_and_survive_one_that_is_killed(make_config, machine, store, tmp_path):
    config = make_config("cskd")
    live = train(config, machine)
    (tmp_path / "config.json").write_text(config.model_dump_json())
    (tmp_path / "machine.json").write_text(store.model_dump_json())
    path = os.pathsep.join(map(str, (Path(__file__).parents[2], NETWORKS)))
    started = [
        subprocess.Popen(
            [sys.executable, NETWORKS / "replaying_training.py", "config.json", "machine.json", f"{number}.json"],
            cwd=tmp_path,
            env=os.environ | {"PYTHONPATH": path},
        )
        for number in range(3)
    ]
    killed = started[0]
    while killed.poll() is None and not list(store.replay.folder.glob("*/view-00000/logits*.idx")):
        time.sleep(0.002)
    killed.send_signal(signal.SIGKILL)
    assert [one.wait(120) for one in started][1:] == [0, 0]
    outcomes = [json.loads((tmp_path / f"{number}.json").read_text()) for number in (1, 2)]
    for one in outcomes:
        assert one["losses"] == [past.losses for past in live.reports]
        assert one["miou"] == live.evaluation.miou
    assert sum(one["asked"] for one in outcomes) <= 4 * 16
