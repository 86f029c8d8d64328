"""A training that is interrupted and resumed later."""

import dataclasses

import pytest
import torch

from kdtrain import train
from kdtrain.errors import DamagedError
from kdtrain.loop.reports import OUTSIDE
from kdtrain.loop.run_folder import RunFolder
from kdtrain.runtime.checkpoints import save_checkpoint

WAYS = {
    "none": {"schedule": {"name": "poly", "warmup_epochs": 1.5}},
    "cwd_feature": {"optimizer": {"name": "adamw", "lr": 1e-3, "weight_decay": 0.1}},
    "cskd": {"clip_norm": 0.5, "evaluate_every": 2, "augment": {"crop": (24, 32), "scale": (0.6, 1.4)}},
    "csc_ace": {"student": {"arch": "tiny_networks:with_aux"}, "eval_scale": 0.5},
    "ifvd": {},
    "fitnet": {"stages": {"features": 0.4, "features_after": False}},
}
STEPS = 4


class At:
    """Answers True at the given calls, counted from 1."""

    def __init__(self, *calls: int) -> None:
        self.calls, self.count = calls, 0

    def __call__(self) -> bool:
        self.count += 1
        return self.count in self.calls


def names(workdir) -> list[str]:
    return sorted(path.name for path in (workdir / "checkpoints").iterdir())


@pytest.mark.parametrize("method", WAYS)
def test_an_interrupted_training_equals_an_uninterrupted_one_bit_for_bit(
    method, make_config, machine, tmp_path, monkeypatch, outcome
):
    monkeypatch.setattr(RunFolder, "_drop_checkpoints", lambda run, folder: None)
    config = make_config(method, epochs=3, **WAYS[method])
    whole = train(config, machine, workdir=tmp_path / "whole")
    states = []
    for attempt in range(20):
        torch.manual_seed(attempt)
        result = train(config, machine, workdir=tmp_path / "broken", interrupt=At(3))
        states.append((result.state, result.epochs_run))
        if result.state == "complete":
            break
    assert len(states) >= 4
    assert {state for state, _ in states[:-1]} == {"interrupted"}
    assert outcome(result, tmp_path / "broken") == outcome(whole, tmp_path / "whole")
    for part in ("student", "modules", "optimizer"):
        broken, intact = (
            torch.load(tmp_path / folder / "checkpoints" / "epoch-00003.pt", weights_only=True)[part]
            for folder in ("broken", "whole")
        )
        torch.testing.assert_close(broken, intact, rtol=0, atol=0)


@pytest.mark.parametrize(
    ("call", "left_off", "checkpoint"),
    [
        (1, "interrupted in epoch 1 after 1 of 4 steps", ["epoch-00000-step-00001.pt"]),
        (4, "interrupted in epoch 1 after 4 of 4 steps", ["epoch-00000-step-00004.pt"]),
        (5, "interrupted in epoch 1 after 4 of 4 steps", ["epoch-00000-step-00004.pt"]),
        (6, "interrupted in epoch 2 after 1 of 4 steps", ["epoch-00001-step-00001.pt", "epoch-00001.pt"]),
        (10, "interrupted in epoch 2 after 4 of 4 steps", ["epoch-00001-step-00004.pt", "epoch-00001.pt"]),
    ],
)  # fmt: skip
def test_it_leaves_off_at_any_step_and_in_the_evaluation(
    call, left_off, checkpoint, make_config, machine, tmp_path, outcome
):
    config = make_config("kd", epochs=2)
    result = train(config, machine, workdir=tmp_path / "broken", interrupt=At(call))
    assert (result.state, result.reason, result.evaluation) == ("interrupted", left_off, None)
    assert result.epochs_run == len(result.reports) == (call - 1) // 5
    assert names(tmp_path / "broken") == checkpoint
    assert not (tmp_path / "broken" / "result.json").exists()
    rest = At()
    result = train(config, machine, workdir=tmp_path / "broken", interrupt=rest)
    assert rest.count == 10 - call + (call % 5 == 0), "what was done is not done again, but for the evaluation"
    whole = train(config, machine, workdir=tmp_path / "whole")
    assert outcome(result, tmp_path / "broken") == outcome(whole, tmp_path / "whole")


def test_it_takes_no_further_step(make_config, machine, tmp_path):
    import tiny_networks

    config = make_config("none", student={"arch": "tiny_networks:watched"})
    for attempt in range(1, 4):
        tiny_networks.SEEN.clear()
        assert train(config, machine, workdir=tmp_path, interrupt=lambda: True).state == "interrupted"
        assert len(tiny_networks.SEEN) == 1
        assert names(tmp_path)[-1] == f"epoch-00000-step-0000{attempt}.pt"
    assert len(names(tmp_path)) == 2


def test_workers_may_make_the_samples(make_config, machine, tmp_path, outcome):
    config = make_config("cskd", epochs=2)
    helped = machine.model_copy(update={"workers": 1})
    for call in (2, 4):
        assert train(config, helped, workdir=tmp_path / "a", interrupt=At(call)).state == "interrupted"
    one = train(config, helped, workdir=tmp_path / "a")
    two = train(config, machine, workdir=tmp_path / "b")
    assert outcome(one, tmp_path / "a") == outcome(two, tmp_path / "b")


def test_without_a_folder_it_just_ends(make_config, machine):
    result = train(make_config(epochs=2), machine, interrupt=At(7))
    assert (result.state, result.epochs_run, result.evaluation) == ("interrupted", 1, None)
    assert dataclasses.replace(result, reports=()) == type(result).from_dict(result.to_dict() | {"reports": []})


def test_the_last_evaluation_alone_may_be_interrupted(make_config, machine, tmp_path, outcome):
    config = make_config(epochs=1)

    def fail(past):
        raise RuntimeError("the listener breaks")

    with pytest.raises(RuntimeError, match="the listener breaks"):
        train(config, machine, fail, tmp_path / "broken")
    result = train(config, machine, workdir=tmp_path / "broken", interrupt=At(1))
    assert (result.state, result.epochs_run, result.reason) == ("interrupted", 1, "interrupted in the last evaluation")
    result = train(config, machine, workdir=tmp_path / "broken")
    whole = train(config, machine, workdir=tmp_path / "whole")
    assert outcome(result, tmp_path / "broken") == outcome(whole, tmp_path / "whole")


def test_the_seconds_of_all_attempts_add_up(make_config, machine, tmp_path):
    config = make_config("kd", epochs=1)
    spent = 0.0
    for call in (1, 1, 2):
        train(config, machine, workdir=tmp_path, interrupt=At(call))
        so_far = torch.load(tmp_path / "checkpoints" / names(tmp_path)[-1], weights_only=True)["epoch"]["seconds"]
        assert so_far["total"] > spent
        spent = so_far["total"]
    (past,) = train(config, machine, workdir=tmp_path).reports
    assert past.seconds["total"] > spent
    inside = [seconds for name, seconds in past.seconds.items() if name not in ("total", *OUTSIDE)]
    assert sum(inside) <= past.seconds["total"]
    assert past.seconds["start"] > 0
    assert (past.asked, past.recorded) == (16, 0)


def test_checkpoints_keep_the_names_by_which_every_version_reads_them(make_config, machine, tmp_path, outcome):
    config = make_config("kd", epochs=2)
    assert train(config, machine, workdir=tmp_path / "broken", interrupt=At(7)).state == "interrupted"
    whole, middle = (tmp_path / "broken" / "checkpoints" / name for name in names(tmp_path / "broken")[::-1])
    state = torch.load(middle, weights_only=True)
    parts = {"student", "modules", "optimizer", "scaler", "reports", "reports_sha256"}
    assert set(torch.load(whole, weights_only=True)) == parts
    assert set(state) == {*parts, "epoch"}
    assert set(state["epoch"]) == {"step", "losses", "seconds", "gradients", "shown"}
    assert set(state["epoch"]["losses"]) == {"raw", "weighted", "computed", "steps"}
    assert state["epoch"]["shown"].tolist() == [8, 0, 0]

    del state["epoch"]["shown"]  # as the first versions wrote them
    torch.save(state, middle)
    result = train(config, machine, workdir=tmp_path / "broken")
    assert [past.asked for past in result.reports] == [16, 8]
    uninterrupted = train(config, machine, workdir=tmp_path / "whole")
    assert outcome(result, tmp_path / "broken") == outcome(uninterrupted, tmp_path / "whole")


def test_what_broke_before_the_interrupt_is_not_lost(make_config, machine, tmp_path, monkeypatch):
    monkeypatch.setattr("kdtrain.loop.epoch.LossMeter.__init__", _rarely())
    config = make_config(student={"arch": "tiny_networks:breaks", "options": {"at": 2}})
    result = train(config, machine, workdir=tmp_path, interrupt=At(3))
    assert (result.state, result.reason) == ("diverged", "the loss of cross_entropy was not finite in epoch 1")


def _rarely():
    """A meter that looks as rarely as on a GPU."""
    from kdtrain.loop.epoch import LossMeter

    made = LossMeter.__init__
    return lambda meter, terms, every: made(meter, terms, 16)


@pytest.mark.parametrize("name", ["student.net.stem.0.weight", "student.net.stem.1.running_var"])
def test_a_checkpoint_that_is_not_finite_is_refused_by_the_name_of_its_tensor(name, make_config, machine, tmp_path):
    config = make_config("none", epochs=2)
    train(config, machine, workdir=tmp_path, report=lambda report: "stop")
    (file,) = (tmp_path / "checkpoints").iterdir()
    state = torch.load(file, weights_only=True)
    state["student"][name.removeprefix("student.")].fill_(torch.nan)
    save_checkpoint(tmp_path / "checkpoints", 1, state)
    part = name.removeprefix("student.").replace(".", r"\.")
    with pytest.raises(DamagedError, match=rf"the last checkpoint in .* holds NaN or infinity in \S*{part}; delete it"):
        train(config, machine, workdir=tmp_path)
