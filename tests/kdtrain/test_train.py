import errno
import json
import os
import re
import signal
import subprocess
import sys
from contextlib import nullcontext
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from kdtrain import EpochReport, InputError, TrainResult, train
from kdtrain.errors import StorageError
from kdtrain.loop import setup, trainer
from kdtrain.loop.evaluate import evaluate
from kdtrain.loop.run_folder import RunFolder
from kdtrain.models import Network, build_network
from kdtrain.runtime import atomic_files
from kdtrain.teacher import load_model

NETWORKS = Path(__file__).parent / "networks"


class BreakOffError(Exception):
    """What a listener raises to break a training off."""


def break_off(after: int):
    def report(past: EpochReport) -> None:
        if past.epoch == after:
            raise BreakOffError

    return report


def stop(at: int):
    return lambda past: "stop" if past.epoch >= at else None


def untimed(result: TrainResult) -> list[dict[str, object]]:
    return [{name: value for name, value in past.to_dict().items() if name != "seconds"} for past in result.reports]


def weights(workdir: Path) -> bytes:
    return (workdir / "student" / "weights.safetensors").read_bytes()


def same(one, two) -> bool:
    """Whether two states are equal bit for bit."""
    if isinstance(one, dict):
        return one.keys() == two.keys() and all(same(one[key], two[key]) for key in one)
    if isinstance(one, list | tuple):
        return len(one) == len(two) and all(map(same, one, two))
    return torch.equal(one, two) if isinstance(one, torch.Tensor) else one == two


def parts(workdir: Path, epoch: int) -> dict[str, object]:
    state = torch.load(workdir / "checkpoints" / f"epoch-{epoch:05d}.pt", weights_only=True)
    return {name: part for name, part in state.items() if not name.startswith("reports")}


WAYS = {
    "none": {"schedule": {"name": "poly", "warmup_epochs": 1.5}},
    "cwd_feature": {"optimizer": {"name": "adamw", "lr": 1e-3, "weight_decay": 0.1}, "schedule": {"name": "cosine"}},
    "cskd": {"clip_norm": 0.5, "evaluate_every": 3, "augment": {"crop": (24, 32), "scale": (0.6, 1.4)}},
    "csc_ace": {"student": {"arch": "tiny_networks:with_aux"}, "eval_scale": 0.5},
    "cwd": {"ema": {"half_life": 0.5}, "evaluate_every": 3},
}


@pytest.mark.parametrize("method", WAYS)
def test_a_resumed_training_equals_an_uninterrupted_one_bit_for_bit(
    method, make_config, machine, tmp_path, monkeypatch
):
    monkeypatch.setattr(RunFolder, "_drop_checkpoints", lambda run, folder: None)
    config = make_config(method, **WAYS[method])
    whole = train(config, machine, workdir=tmp_path / "whole")
    for after in (1, 3):
        torch.manual_seed(after)
        with pytest.raises(BreakOffError):
            train(config, machine, break_off(after), tmp_path / "broken")
    resumed = train(config, machine, workdir=tmp_path / "broken")
    assert (whole.state, whole.resumed_from) == ("complete", 0)
    assert (resumed.state, resumed.resumed_from) == ("complete", 3)
    assert untimed(resumed) == untimed(whole)
    assert resumed.evaluation.to_dict() == whole.evaluation.to_dict()
    assert weights(tmp_path / "broken") == weights(tmp_path / "whole")
    assert same(parts(tmp_path / "broken", 4), parts(tmp_path / "whole", 4))
    if method in ("cwd_feature", "cskd"):
        learned = parts(tmp_path / "whole", 4)["modules"]
        fresh = parts(tmp_path / "whole", 3)["modules"]
        assert not same(learned, fresh), "adapters and factors are trained"


def test_a_killed_training_goes_on_bit_for_bit(make_config, machine, tmp_path):
    config = make_config("cskd")
    (tmp_path / "config.json").write_text(config.model_dump_json())
    (tmp_path / "machine.json").write_text(machine.model_dump_json())
    files = [tmp_path / "config.json", tmp_path / "machine.json", tmp_path / "killed"]
    for where, epoch in (("step", 2), ("checkpoint", 3)):
        script = [sys.executable, NETWORKS / "killed_training.py", *files, where, str(epoch)]
        path = {"PYTHONPATH": f"{Path(__file__).parents[2]}{os.pathsep}{NETWORKS}"}
        done = subprocess.run(script, env=os.environ | path, capture_output=True, text=True, check=False)
        assert done.returncode == -signal.SIGKILL, done.stderr
    assert sorted(path.name.split(".")[-1] for path in (tmp_path / "killed" / "checkpoints").iterdir()) == [
        "pt",
        "pt",
        "tmp",
    ]
    result = train(config, machine, workdir=tmp_path / "killed")
    whole = train(config, machine, workdir=tmp_path / "whole")
    assert (result.state, result.resumed_from) == ("complete", 2)
    assert untimed(result) == untimed(whole)
    assert weights(tmp_path / "killed") == weights(tmp_path / "whole")
    assert sorted(path.name for path in (tmp_path / "killed").iterdir()) == ["config.json", "result.json", "student"]


def test_workers_and_the_callers_randomness_change_nothing(make_config, machine, tmp_path):
    config = make_config("cskd", epochs=2)
    one = train(config, machine, workdir=tmp_path / "one")
    torch.manual_seed(99)
    two = train(config, machine.model_copy(update={"workers": 1}), workdir=tmp_path / "two")
    assert untimed(one) == untimed(two)
    assert weights(tmp_path / "one") == weights(tmp_path / "two")


def test_a_finished_training_returns_its_result_at_once(make_config, machine, tmp_path, monkeypatch):
    config = make_config("none", epochs=2)
    result = train(config, machine, workdir=tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["config.json", "result.json", "student"]
    monkeypatch.setattr(setup, "open_roles", None)
    heard: list[EpochReport] = []
    again = train(config, machine, heard.append, tmp_path)
    assert again.to_dict() == result.to_dict()
    assert tuple(heard) == result.reports
    assert TrainResult.from_dict(json.loads(json.dumps(result.to_dict()))).to_dict() == result.to_dict()


def test_the_student_is_saved_as_a_network_that_can_teach(make_config, machine, select, tmp_path):
    result = train(make_config("none", epochs=2), machine, workdir=tmp_path)
    card, network = load_model(tmp_path / "student")
    assert (card.classes, card.trained_on, card.role, card.epochs) == (select.classes, "streets", "select", 2)
    assert (card.miou, card.macs, card.params) == (
        result.evaluation.miou,
        result.student["macs"],
        result.student["params"],
    )
    network.to(memory_format=torch.channels_last)
    evaluation = evaluate(lambda pixels: network(pixels)["logits"], select, "select", 4, 1.0, torch.device("cpu"))
    assert evaluation.to_dict() == result.evaluation.to_dict()
    taught = make_config("kd", teacher=card.digest, epochs=1)
    assert train(taught, machine.model_copy(update={"teacher": tmp_path / "student"})).state == "complete"


def test_a_training_stopped_by_its_listener_can_go_on(make_config, machine, tmp_path):
    config = make_config("none")
    stopped = train(config, machine, stop(2), tmp_path)
    assert (stopped.state, stopped.epochs_run, len(stopped.reports), stopped.evaluation) == ("stopped", 2, 2, None)
    assert not (tmp_path / "result.json").exists()
    heard: list[int] = []
    result = train(config, machine, lambda past: heard.append(past.epoch), tmp_path)
    assert heard == [1, 2, 3, 4], "reports of before the resume come first"
    assert (result.state, result.resumed_from, result.epochs_run) == ("complete", 2, 4)
    assert result.evaluation.to_dict() == train(config, machine).evaluation.to_dict()


def test_an_epoch_is_reported_when_its_checkpoint_is_on_the_disk(make_config, machine, tmp_path):
    seen = []

    def report(past: EpochReport) -> None:
        state = torch.load(tmp_path / "checkpoints" / f"epoch-{past.epoch:05d}.pt", weights_only=True)
        seen.append([content["epoch"] for content in state["reports"]])

    train(make_config("none", epochs=2), machine, report, tmp_path)
    assert seen == [[1], [1, 2]]


def test_a_listener_may_stop_at_a_report_of_before_the_resume(make_config, machine, tmp_path):
    config = make_config("none")
    with pytest.raises(BreakOffError):
        train(config, machine, break_off(3), tmp_path)
    stopped = train(config, machine, stop(2), tmp_path)
    assert (stopped.state, stopped.epochs_run, len(stopped.reports), stopped.resumed_from) == ("stopped", 3, 3, 3)


def test_after_the_last_epoch_there_is_nothing_to_stop(make_config, machine, tmp_path):
    config = make_config("none", epochs=2)
    assert train(config, machine, stop(2)).state == "complete"
    with pytest.raises(BreakOffError):
        train(config, machine, break_off(2), tmp_path)
    result = train(config, machine, stop(2), tmp_path)
    assert (result.state, result.resumed_from, result.epochs_run) == ("complete", 2, 2)
    assert result.evaluation.miou == result.reports[-1].metrics["miou"]


BREAKS = {"arch": "tiny_networks:breaks"}


@pytest.mark.parametrize(
    ("method", "changes", "epochs", "reason"),
    [
        ("none", {"optimizer": {"lr": 1e30}}, 0, "the loss of cross_entropy was not finite in epoch 1"),
        ("none", {"student": BREAKS | {"options": {"at": 6}}}, 1, "cross_entropy .* in epoch 2"),
        (
            "kd",
            {"terms": [{"loss": "pixel_kd", "name": "mine"}], "student": BREAKS | {"options": {"at": 1}}},
            0,
            "the loss of mine was not finite in epoch 1",
        ),
        (
            "none",
            {"student": {"arch": "tiny_networks:bad_gradient"}, "batch_size": 16, "epochs": 1},
            0,
            "the weights were not finite in epoch 1",
        ),
    ],
)  # fmt: skip
def test_a_training_that_diverges_ends_and_says_where(method, changes, epochs, reason, make_config, machine, tmp_path):
    config = make_config(method, **changes)
    result = train(config, machine, workdir=tmp_path)
    assert (result.state, result.epochs_run, result.evaluation, len(result.reports)) == (
        "diverged",
        epochs,
        None,
        epochs,
    )
    assert re.search(reason, result.reason)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["config.json", "result.json"]
    assert train(config, machine, workdir=tmp_path) == result


def test_a_term_of_weight_zero_computes_nothing(make_config, machine, tmp_path, monkeypatch):
    plain = train(make_config("none", epochs=2), machine, workdir=tmp_path / "plain")
    monkeypatch.setattr(setup, "FrozenTeacher", None)
    config = make_config(
        "none", epochs=2, terms=[{"loss": "cross_entropy"}, {"loss": "channel_wise", "weight": 0}], teacher="x"
    )
    result = train(config, machine, workdir=tmp_path / "zero")
    assert untimed(result) == untimed(plain)
    assert weights(tmp_path / "zero") == weights(tmp_path / "plain")
    assert result.teacher_seconds == 0


def test_trainings_of_one_seed_see_the_same_samples_and_start_alike_whatever_the_method(make_config, machine):
    import tiny_networks

    def seen(method: str, **changes):
        tiny_networks.SEEN.clear()
        train(make_config(method, student={"arch": "tiny_networks:watched"}, epochs=2, **changes), machine)
        sums, started = [total for total, _ in tiny_networks.SEEN], tiny_networks.SEEN[0][1]
        assert len(sums) == 8
        return sums, started

    sums, started = seen("none")
    for method in ("cwd_feature", "cskd"):
        other_sums, other_started = seen(method, optimizer={"name": "adamw", "lr": 1e-3})
        assert other_sums == sums
        assert torch.equal(other_started, started)
    assert len(set(sums)) == 8
    other_sums, other_started = seen("none", seed=1)
    assert not set(other_sums) & set(sums)
    assert not torch.equal(other_started, started)
    other_sums, other_started = seen("none", seed=1, data_seed=0)
    assert other_sums == sums
    assert not torch.equal(other_started, started)


def test_an_auxiliary_head_is_trained_with_its_weight(make_config, machine, tmp_path):
    changes = {"student": {"arch": "tiny_networks:with_aux"}, "epochs": 1}
    heads = {}
    for weight in (0.0, 0.3):
        config = make_config("none", aux_weight=weight, **changes)
        result = train(config, machine, workdir=tmp_path / str(weight))
        heads[weight] = load_file(tmp_path / str(weight) / "student" / "weights.safetensors")["aux.weight"]
        losses = result.reports[0].losses
        assert set(losses) == ({"cross_entropy", "aux"} if weight else {"cross_entropy"})
        if weight:
            assert losses["aux"]["weighted"] == pytest.approx(weight * losses["aux"]["raw"])
    untrained = build_network(Network(arch="tiny_networks:with_aux"), 10).net.state_dict()["aux.weight"]
    assert torch.equal(heads[0.0], untrained)
    assert not torch.equal(heads[0.3], untrained)


def test_the_gradient_is_clipped_to_its_largest_norm(make_config, machine, tmp_path):
    def moved(clip_norm: float | None) -> float:
        config = make_config(
            "none", batch_size=16, epochs=1, clip_norm=clip_norm, schedule={"name": "constant"},
            optimizer={"lr": 0.5, "weight_decay": 0, "momentum": 0},
        )  # fmt: skip
        train(config, machine, workdir=tmp_path / str(clip_norm))
        after = load_file(tmp_path / str(clip_norm) / "student" / "weights.safetensors")
        before = build_network(config.student, 10)
        steps = [after[name] - value.detach() for name, value in before.net.named_parameters()]
        return float(torch.cat([step.flatten() for step in steps]).norm())

    free = moved(None)
    assert moved(0.25 * free / 0.5) == pytest.approx(0.25 * free, rel=1e-3)
    assert moved(100 * free) == pytest.approx(free, rel=1e-6)


def test_reports_say_what_happened(make_config, machine):
    config = make_config("cskd", epochs=3, evaluate_every=2, schedule={"name": "cosine"}, optimizer={"lr": 0.1})
    result = train(config, machine)
    assert [past.epoch for past in result.reports] == [1, 2, 3]
    assert [set(past.metrics) for past in result.reports] == [
        set(),
        {"miou", "pixel_accuracy"},
        {"miou", "pixel_accuracy"},
    ]
    for past in result.reports:
        assert EpochReport.from_dict(json.loads(json.dumps(past.to_dict()))) == past
        assert past.lr == pytest.approx(0.1 * config.schedule.factor(4 * past.epoch - 1, 12, 4))
        assert (past.images, past.epochs, past.peak_memory_bytes) == (16, 3, None)
        for term in config.terms:
            assert past.losses[term.name]["weighted"] == pytest.approx(term.weight * past.losses[term.name]["raw"])
        assert (past.asked, past.recorded) == (16, 0)
        parts = {"data", "teacher", "student", "losses", "backward", "optimizer"}
        assert parts <= set(past.seconds)
        assert sum(past.seconds[part] for part in parts) <= past.seconds["total"]
    assert result.reports[-1].metrics == result.evaluation.metrics
    assert 0 < result.teacher_seconds < result.seconds
    student = result.student
    assert student["params"] == sum(value.numel() for value in build_network(config.student, 10).parameters())
    assert (student["input_height"], student["input_width"]) == (32, 48)
    assert student["macs"] == 16 * 24 * 6 * 27 + 8 * 12 * 12 * 6 * 9 + 8 * 12 * 10 * 12
    assert student["latency_ms"] > 0
    assert student["latency_device"].endswith("1 threads")


def test_training_learns(make_config, machine):
    config = make_config("kd", student={"arch": "FPN"}, epochs=5, augment={}, optimizer={"name": "adamw", "lr": 5e-3})
    reports = train(config, machine).reports
    assert reports[-1].losses["cross_entropy"]["raw"] < 0.75 * reports[0].losses["cross_entropy"]["raw"]


def test_low_precision_trains(make_config, machine):
    result = train(make_config("cwd_feature", epochs=1), machine.model_copy(update={"amp": "bfloat16"}))
    assert result.state == "complete"
    assert result.evaluation.miou is not None


class TestWrongInput:
    """Refused in one sentence, before any training."""

    @pytest.fixture
    def refused(self, monkeypatch, tmp_path):
        monkeypatch.setattr(trainer, "moved", None)

        def refuse(config, machine, workdir=tmp_path / "run") -> str:
            with pytest.raises(InputError) as error:
                train(config, machine, workdir=workdir)
            assert "\n" not in str(error.value)
            return str(error.value)

        return refuse

    @pytest.mark.parametrize(
        ("changes", "message"),
        [
            ({"batch_size": 17}, "batch_size is 17, but the training role has only 16 images"),
            ({"student": {"arch": "Unett"}}, "got 'Unett'; did you mean Unet?"),
            ({"student": {"encoder": "resnet81"}}, "got 'resnet81'; did you mean resnet18?"),
            ({"student": {"arch": "tiny_networks:one_class_more"}}, "gives 11 channels of logits for 10 classes"),
            ({"student": {"arch": "PAN"}}, "PAN does not take images of 32 x 48"),
            ({"student": {"arch": "tiny_networks:at_least_64_high"}}, "TooSmall does not take images of 32 x 48"),
            ({"terms": [{"loss": "cross_entropy", "student_layer": "decodr"}]}, "layer 'decodr' does not exist in"),
            ({"terms": [{"loss": "channel_wise", "teacher_layer": "decodr"}]}, "layer 'decodr' does not exist in Tiny"),
            ({"terms": [{"loss": "pixel_kd", "student_layer": "decoder"}]}, "term 'pixel_kd' needs equal channels"),
            ({"teacher": "0123456789abcdef"}, "but the config asks for 0123456789abcdef"),
            ({"data": {"name": "camvid"}}, "camvid"),
        ],
    )  # fmt: skip
    def test_in_the_config(self, changes, message, make_config, machine, refused):
        assert message in refused(make_config("kd", **changes), machine.model_copy(update={"data_root": Path("gone")}))

    def test_in_the_machine(self, make_config, machine, refused, tmp_path):
        config = make_config("kd")
        for changes, message in (
            ({"teacher": None}, "name its folder by --teacher"),
            (
                {"teacher": tmp_path / "gone"},
                "gone is not a teacher folder, it must hold model.json and weights.safetensors",
            ),
            ({"device": "cuda:77"}, "device: 'cuda:77' is not available"),
            ({"device": "tpuu"}, "device: 'tpuu' is not available"),
            ({"cache": tmp_path / "file" / "cache"}, "cannot write the image cache"),
        ):
            (tmp_path / "file").touch()
            assert message in refused(config, machine.model_copy(update=changes))

    def test_a_teacher_of_other_classes(self, make_config, machine, refused, teacher, tmp_path):
        folder, card = teacher
        other = card.model_copy(update={"classes": (*card.classes[1:], "train")})
        (tmp_path / "other").mkdir()
        (tmp_path / "other" / "model.json").write_text(other.model_dump_json())
        (tmp_path / "other" / "weights.safetensors").write_bytes((folder / "weights.safetensors").read_bytes())
        config = make_config("kd", teacher=other.digest)
        assert "has 10 classes (" in refused(config, machine.model_copy(update={"teacher": tmp_path / "other"}))

    def test_a_folder_that_takes_no_file(self, make_config, machine, refused, tmp_path, monkeypatch):
        (tmp_path / "file").touch()
        assert "cannot write to" in refused(make_config(), machine, tmp_path / "file")
        monkeypatch.setattr(atomic_files.os, "fsync", full_disk)
        assert "No space left on device; make room or choose another folder" in refused(make_config(), machine)

    def test_the_folder_of_another_run(self, make_config, machine, tmp_path):
        config = make_config(epochs=1)
        train(config, machine, workdir=tmp_path)
        for other in (make_config(epochs=1, seed=1), make_config(epochs=2)):
            with pytest.raises(InputError, match=f"holds the run {config.config_id} with seed 0, not .*choose another"):
                train(other, machine, workdir=tmp_path)
        for content in (b"{", b"[]", b'{"seed": 0}', b"\xff"):
            (tmp_path / "config.json").write_bytes(content)
            with pytest.raises(InputError, match=r"config\.json is damaged; delete the folder to train from the start"):
                train(config, machine, workdir=tmp_path)

    def test_a_config_that_could_not_be_trained_does_not_claim_the_folder(self, make_config, machine, tmp_path):
        with pytest.raises(InputError, match="batch_size"):
            train(make_config(batch_size=17), machine, workdir=tmp_path)
        assert train(make_config(epochs=1), machine, workdir=tmp_path).state == "complete"

    def test_a_damaged_result(self, make_config, machine, tmp_path):
        config = make_config(epochs=1)
        result = train(config, machine, workdir=tmp_path)
        whole = json.loads((tmp_path / "result.json").read_text())
        config_of_earlier_version = json.loads((tmp_path / "config.json").read_text())
        del whole["sha256"], config_of_earlier_version["sha256"]
        (tmp_path / "config.json").write_text(json.dumps(config_of_earlier_version))
        for content in (
            "",
            "{",
            "[]",
            "null",
            whole | {"reports": 3},
            whole | {"evaluation": {"cells": "AAAA"}},
            whole | {"x": 1},
        ):
            text = content if isinstance(content, str) else json.dumps(content)
            (tmp_path / "result.json").write_text(text)
            with pytest.raises(InputError, match=r"result\.json is damaged \(\w+\); delete it to train from the start"):
                train(config, machine, workdir=tmp_path)
        (tmp_path / "result.json").unlink()
        (tmp_path / "result.json").write_text(json.dumps(whole))
        assert untimed(train(config, machine, workdir=tmp_path)) == untimed(result), "of an earlier version"
        (tmp_path / "result.json").unlink()
        assert untimed(train(config, machine, workdir=tmp_path)) == untimed(result)

    def test_an_edited_result(self, make_config, machine, tmp_path):
        config = make_config(epochs=1)
        result = train(config, machine, workdir=tmp_path)
        path = tmp_path / "result.json"
        whole = json.loads(path.read_text())
        path.write_text(json.dumps(whole, indent=4, sort_keys=True))
        assert untimed(train(config, machine, workdir=tmp_path)) == untimed(result), "the same content"
        better = json.loads(path.read_text())
        better["reports"][-1]["metrics"]["miou"] = 0.99
        without_checksum = {key: value for key, value in better.items() if key != "sha256"}
        for content in (better, without_checksum, whole | {"state": "diverged"}, whole | {"epochs_run": 2}):
            path.write_text(json.dumps(content))
            with pytest.raises(
                InputError, match=r"result\.json was edited or is damaged: .*or delete it to train from"
            ):
                train(config, machine, workdir=tmp_path)

    def test_an_edited_config_of_a_run(self, make_config, machine, tmp_path):
        config = make_config(epochs=1)
        train(config, machine, workdir=tmp_path)
        claimed = json.loads((tmp_path / "config.json").read_text())
        (tmp_path / "config.json").write_text(json.dumps(claimed | {"config": {}}))
        with pytest.raises(InputError, match=r"config\.json was edited or is damaged: .*delete the folder"):
            train(config, machine, workdir=tmp_path)

    def test_edited_reports_of_a_checkpoint(self, make_config, machine, tmp_path):
        config = make_config(epochs=2)
        train(config, machine, stop(1), tmp_path)
        path = tmp_path / "checkpoints" / "epoch-00001.pt"
        state = torch.load(path, weights_only=True)
        whole = path.read_bytes()
        state["reports"][0]["metrics"]["miou"] = 0.99
        torch.save(state, path)
        with pytest.raises(InputError, match=r"the reports in the last checkpoint .* were edited.*delete the folder"):
            train(config, machine, workdir=tmp_path)
        del state["reports_sha256"]
        path.write_bytes(whole)
        assert train(config, machine, workdir=tmp_path).resumed_from == 1

    def test_a_damaged_checkpoint(self, make_config, machine, tmp_path, caplog):
        config = make_config(epochs=3)
        train(config, machine, stop(2), tmp_path)
        newest, older = (tmp_path / "checkpoints" / f"epoch-0000{epoch}.pt" for epoch in (2, 1))
        newest.write_bytes(newest.read_bytes()[:-1000])
        whole = older.read_bytes()
        older.write_bytes(whole[:-1000])
        with pytest.raises(InputError, match=r"epoch-00002\.pt is damaged .* to start this run again"):
            train(config, machine, workdir=tmp_path)
        older.write_bytes(whole)
        result = train(config, machine, workdir=tmp_path)
        assert result.resumed_from == 1
        assert "epoch-00002.pt is damaged (BadZipFile); resuming from epoch-00001.pt" in caplog.text
        assert untimed(result) == untimed(train(config, machine))

    def test_checkpoints_of_another_network(self, make_config, machine, tmp_path):
        train(make_config(epochs=2), machine, stop(1), tmp_path)
        (tmp_path / "config.json").unlink()
        other = make_config(epochs=2, student={"arch": "tiny_networks:tiny", "options": {"width": 8}})
        with pytest.raises(InputError, match="belong to another training") as error:
            train(other, machine, workdir=tmp_path)
        assert "\n" not in str(error.value)


def full_disk(_descriptor: int) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_a_disk_that_fills_up_costs_no_more_than_the_epoch(make_config, machine, tmp_path, monkeypatch):
    config = make_config(epochs=3)

    def fill(past: EpochReport) -> None:
        if past.epoch == 2:
            monkeypatch.setattr(atomic_files.os, "fsync", full_disk)

    with pytest.raises(StorageError, match=r"cannot write .*epoch-00003\.pt: No space left .* run the same command"):
        train(config, machine, fill, tmp_path)
    monkeypatch.undo()
    monkeypatch.syspath_prepend(NETWORKS)
    result = train(config, machine, workdir=tmp_path)
    assert (result.state, result.resumed_from) == ("complete", 2)
    assert untimed(result) == untimed(train(config, machine))


def test_starting_and_checkpoints_are_told_beside_the_epochs(make_config, machine, tmp_path):
    def parts(seconds):
        return [name for name in ("start", "checkpoint") if name in seconds]

    config = make_config("kd", epochs=4)
    with pytest.raises(KeyboardInterrupt):
        train(config, machine, workdir=tmp_path, report=_leaves_at(2))
    reports = train(config, machine, workdir=tmp_path).reports
    assert [parts(past.seconds) for past in reports] == [["start"], ["checkpoint"], ["start"], ["checkpoint"]]
    assert all(past.seconds[part] > 0 for past in reports for part in parts(past.seconds))


def test_reports_from_before_the_bill_still_read(make_config, machine):
    (past,) = train(make_config(epochs=1), machine).reports
    content = {name: value for name, value in past.to_dict().items() if name not in ("asked", "recorded", "replayed")}
    assert EpochReport.from_dict(content) == past


def _leaves_at(epoch):
    def report(past):
        if past.epoch == epoch:
            raise KeyboardInterrupt

    return report


@pytest.mark.parametrize("fails", [False, True])
def test_a_training_returns_its_free_memory_to_the_system_however_it_ends(make_config, machine, monkeypatch, fails):
    returned: list[bool] = []
    monkeypatch.setattr("kdtrain.loop.trainer.return_freed_memory", lambda: returned.append(True))

    def report(_):
        assert not returned
        if fails:
            raise RuntimeError("the listener fails")

    with pytest.raises(RuntimeError) if fails else nullcontext():
        train(make_config(epochs=1), machine, report)
    assert returned == [True]
