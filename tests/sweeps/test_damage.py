"""Wrong or damaged input to going on with a sweep: what can heal does, and what cannot is said in one sentence."""

import json
import os
import re
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import yaml
from called_command import called

from sweeps.cli import main
from sweeps.driver.driver import Driver
from sweeps.ledger.ledger import read
from sweeps.ledger.state import SweepState
from sweeps.outcome.loaded import load_state
from sweeps.rehearsals import Rehearsed
from sweeps.store.lock import take_lock
from sweeps.store.store import Store

SPEC: dict[str, Any] = {
    "name": "damaged",
    "data": {"name": "streets", "size": [32, 48], "counts": {"train": 4, "select": 2, "test": 1}},
    "student": {
        "arch": "FPN",
        "encoder": "tu-mobilenetv3_small_050",
        "options": {"decoder_pyramid_channels": 32, "decoder_segmentation_channels": 32},
    },
    "teacher": {"fit": {"network": {"arch": "FPN", "encoder": "tu-mobilenetv3_small_050"}, "epochs": 1}},
    "train": {"epochs": 3, "batch_size": 4},
    "studies": ["none", "kd"],
    "space": {"optimizer.lr": {"low": 0.01, "high": 0.1, "log": True}},
    "budget": {"trials": 1},
    "confirm": {"top": 0},
    "seed": 3,
}
Change = Callable[[Path], object]


class Killed(BaseException):
    """The process is gone."""


class Sweep:
    """A sweep in a folder, and the command line on it."""

    def __init__(self, folder: Path, capsys: pytest.CaptureFixture[str], patch: pytest.MonkeyPatch) -> None:
        self.folder, self.spec, self._capsys, self._patch = folder, folder / "spec.yaml", capsys, patch

    def command(self, *words: object) -> tuple[int, str, str]:
        return called(self._patch, self._capsys, *words)

    def run(self) -> tuple[int, str, str]:
        return self.command(
            "run", self.spec, "--dir", self.folder / "sweep", "--inline", "--threads", 1, "--no-rehearsal"
        )

    def refused(self) -> str:
        code, _, err = self.run()
        assert code == 2, err
        assert err.startswith("error: ")
        assert err.count("\n") == 1
        return err

    def goes_on_to_the_end(self) -> SweepState:
        code, _, err = self.run()
        assert code == 0, err
        return load_state(self.folder / "sweep")[1]


def curves(state: SweepState) -> dict[str, dict[int, float]]:
    return {trial.id: trial.curve for trial in state.trials.values()}


def dies_after(epoch: int, study: str, patch: pytest.MonkeyPatch) -> None:
    report = Driver.report

    def dying(self: Driver, trial_id: str, told: Any) -> str:
        answer = report(self, trial_id, told)
        if (trial_id, told.epoch) == (f"{study}-0", epoch):
            raise Killed
        return answer

    patch.setattr(Driver, "report", dying)


@pytest.fixture(autouse=True, scope="module")
def _only_going_on() -> Iterator[None]:
    """What comes before and after is tested elsewhere, and takes longer than all of this."""
    with pytest.MonkeyPatch.context() as patch:
        without_store = SimpleNamespace(
            replay=SimpleNamespace(on=lambda machine: machine), one_sided=(), config=lambda config: None
        )
        patch.setattr("sweeps.run.check", lambda *_, **__: without_store)
        patch.setattr("sweeps.run.rehearse_sweep", lambda *_: Rehearsed((), {}))
        patch.setattr("analysis.report.sweep_report.write_report", lambda folder: folder / "report" / "index.html")
        patch.setattr("sweeps.outcome.predictions.draw_predictions", lambda *_: None)
        yield


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="module")
def half_way(tmp_path_factory: pytest.TempPathFactory, cache: Path) -> Path:
    """A sweep killed twice: none-0 is complete, kd-0 has two checkpoints, the ledger three files."""
    folder = tmp_path_factory.mktemp("half-way")
    (folder / "spec.yaml").write_text(yaml.safe_dump(SPEC))
    words = [
        "kdsweep",
        "run",
        str(folder / "spec.yaml"),
        "--dir",
        str(folder / "sweep"),
        "--inline",
        "--threads",
        "1",
        "--no-rehearsal",
    ]
    for epoch, study in ((1, "none"), (1, "kd"), (2, "kd")):
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("KDSWEEP_CACHE", str(cache))
            patch.setattr(sys, "argv", words)
            patch.setattr("os.fsync", lambda handle: None)
            dies_after(epoch, study, patch)
            with pytest.raises(Killed):
                main()
    assert len(ledger(folder / "sweep")) == 3
    assert len(checkpoints(folder / "sweep")) == 2
    return folder


@pytest.fixture
def sweep(
    half_way: Path, cache: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Sweep:
    shutil.copytree(half_way, tmp_path, dirs_exist_ok=True)
    monkeypatch.setenv("KDSWEEP_CACHE", str(cache))
    return Sweep(tmp_path, capsys, monkeypatch)


@pytest.fixture(scope="module")
def whole(half_way: Path, cache: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[int, float]]:
    """The curves of the sweep without any damage."""
    folder = tmp_path_factory.mktemp("whole")
    shutil.copytree(half_way, folder, dirs_exist_ok=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("KDSWEEP_CACHE", str(cache))
        words = [
            "run",
            str(folder / "spec.yaml"),
            "--dir",
            str(folder / "sweep"),
            "--inline",
            "--threads",
            "1",
            "--no-rehearsal",
        ]
        patch.setattr(sys, "argv", ["kdsweep", *words])
        with pytest.raises(SystemExit) as end:
            main()
        assert not end.value.code
    return curves(load_state(folder / "sweep")[1])


def ledger(sweep: Path) -> list[Path]:
    return sorted((sweep / "ledger").glob("*.jsonl"))


def checkpoints(sweep: Path) -> list[Path]:
    return sorted((sweep / "trials" / "kd-0" / "checkpoints").glob("*.pt"))


def flip(path: Path, at: float = 0.5) -> None:
    """Flip one bit of a file."""
    content = bytearray(path.read_bytes())
    content[int(at * len(content))] ^= 1
    path.write_bytes(bytes(content))


def lines(path: Path, change: Callable[[list[bytes]], list[bytes]]) -> None:
    path.write_bytes(b"".join(change(path.read_bytes().splitlines(keepends=True))))


def swap(one: Path, other: Path) -> None:
    content = one.read_bytes()
    one.write_bytes(other.read_bytes())
    other.write_bytes(content)


LEDGERS: dict[str, tuple[Change, str]] = {
    "a bit flipped": (lambda s: flip(ledger(s)[0]), "does not read"),
    "a record missing": (lambda s: lines(ledger(s)[0], lambda all_: all_[:3] + all_[4:]), "where record 4 belongs"),
    "a record twice": (lambda s: lines(ledger(s)[0], lambda all_: all_[:3] + all_[2:]), "where record 4 belongs"),
    "two files swapped": (lambda s: swap(*ledger(s)[:2]), "where record 1 belongs"),
    "a file missing": (lambda s: ledger(s)[1].unlink(), "belongs"),
    "a file cut short": (lambda s: lines(ledger(s)[1], lambda all_: all_[:-1]), "belongs"),
    "a file empty": (lambda s: ledger(s)[1].write_bytes(b""), "belongs"),
    "a file that is not JSON": (lambda s: ledger(s)[1].write_bytes(b"these are\nnot records\n"), "does not read"),
    "the last record torn": (lambda s: ledger(s)[-1].write_bytes(ledger(s)[-1].read_bytes()[:-9]), "does not read"),
    "the last record gone": (lambda s: lines(ledger(s)[-1], lambda all_: all_[:-1]), "its end is lost, record "),
    "the last file missing": (lambda s: ledger(s)[-1].unlink(), "its end is lost, records "),
    "a file of zeros": (lambda s: ledger(s)[0].write_bytes(bytes(4096)), "does not read"),
}


@pytest.mark.parametrize(("damage", "said"), LEDGERS.values(), ids=LEDGERS)
def test_a_damaged_ledger_is_refused_and_repaired(
    sweep: Sweep, whole: dict[str, dict[int, float]], damage: Change, said: str
) -> None:
    damage(sweep.folder / "sweep")
    message = sweep.refused()
    assert "the ledger is damaged" in message
    assert said in message
    assert "kdsweep repair" in message
    code, out, _ = sweep.command("repair", sweep.folder / "sweep")
    assert code == 0
    assert "records are left" in out
    assert sweep.command("repair", sweep.folder / "sweep")[1].startswith("the ledger is whole")
    assert curves(sweep.goes_on_to_the_end()) == whole


def edit(path: Path, change: Callable[[dict[str, Any]], dict[str, Any]]) -> None:
    """Edit a JSON file, as with an editor."""
    path.write_text(json.dumps(change(json.loads(path.read_text())), indent=2))


def edit_result(path: Path) -> None:
    def better(content: dict[str, Any]) -> dict[str, Any]:
        content["reports"][-1]["metrics"]["miou"] = 0.99
        return content

    edit(path, better)


def edit_checkpoint(path: Path) -> None:
    state = torch.load(path, weights_only=True)
    state["reports"][-1]["metrics"]["miou"] = 0.99
    torch.save(state, path)


HEALING: dict[str, Change] = {
    "a torn record behind the last one": lambda s: ledger(s)[-1].write_bytes(ledger(s)[-1].read_bytes() + b'{"n":99'),
    "the note of how far the ledger reaches missing": lambda s: (s / "ledger" / "head.json").unlink(),
    "spec.yaml missing": lambda s: (s / "spec.yaml").unlink(),
    "the newest checkpoint damaged": lambda s: flip(checkpoints(s)[-1]),
    "all checkpoints damaged": lambda s: [path.write_bytes(path.read_bytes()[:999]) for path in checkpoints(s)],
    "a checkpoint of another network": lambda s: [
        path.unlink() or shutil.copy(s / "teacher" / "weights.safetensors", path) for path in checkpoints(s)
    ],
    "the trial's folder missing": lambda s: shutil.rmtree(s / "trials" / "kd-0"),
    "the trial's config damaged": lambda s: (s / "trials" / "kd-0" / "config.json").write_bytes(b"{"),
    "the folder of another trial": lambda s: shutil.copy(
        s / "trials" / "none-0" / "config.json", s / "trials" / "kd-0" / "config.json"
    ),
    "the trial's result damaged": lambda s: (s / "trials" / "kd-0" / "result.json").write_bytes(b'{"state": "comp'),
    "the trial's config edited": lambda s: edit(s / "trials" / "kd-0" / "config.json", lambda c: c | {"seed": 3.0}),
    "the score in a checkpoint edited": lambda s: [edit_checkpoint(path) for path in checkpoints(s)],
    "the fitted teacher's card edited": lambda s: edit(s / "teacher" / "model.json", lambda c: c | {"miou": 0.99}),
    "the fitted teacher's weights damaged": lambda s: flip(s / "teacher" / "weights.safetensors"),
    "the fitted teacher's card damaged": lambda s: (s / "teacher" / "model.json").write_bytes(b"{}"),
    "the fitted teacher missing": lambda s: shutil.rmtree(s / "teacher"),
    "the tables damaged": lambda s: _put(s / "tables" / "trials.parquet", b"PAR1 is all that is left"),
}


def _put(path: Path, content: bytes) -> None:
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(content)


@pytest.mark.parametrize("damage", HEALING.values(), ids=HEALING)
def test_what_can_heal_heals(sweep: Sweep, whole: dict[str, dict[int, float]], damage: Change) -> None:
    damage(sweep.folder / "sweep")
    state = sweep.goes_on_to_the_end()
    assert curves(state) == whole
    assert {trial.state for trial in state.trials.values()} == {"complete"}


def test_a_trial_whose_files_are_damaged_again_and_again_fails(sweep: Sweep, monkeypatch: pytest.MonkeyPatch) -> None:
    for path in checkpoints(sweep.folder / "sweep"):
        path.write_bytes(b"nothing")
    keep = Store.move
    monkeypatch.setattr(Store, "move", lambda self, prefix, to: keep(self, to, prefix) if "aside" in prefix else None)
    state = sweep.goes_on_to_the_end()
    trial = state.trials["kd-0"]
    assert (trial.state, trial.failure) == ("failed", "damaged")
    assert "delete this and the older one" in (trial.reason or "")


def cut_ledger_before(folder: Path, record: bytes) -> None:
    """Leave what a ledger held before a record was written."""
    found = False
    for path in ledger(folder):
        kept = []
        for line in path.read_bytes().splitlines(keepends=True):
            found = found or record in line
            kept += [] if found else [line]
        path.write_bytes(b"".join(kept)) if kept else path.unlink()


def test_an_edited_result_is_not_taken_into_the_ledger(sweep: Sweep, whole: dict[str, dict[int, float]]) -> None:
    folder = sweep.folder / "sweep"
    cut_ledger_before(folder, b'"kind":"ended"')
    (folder / "ledger" / "head.json").unlink()
    edit_result(folder / "trials" / "none-0" / "result.json")
    code, out, err = sweep.run()
    assert code == 0, err
    assert "none-0 starts from its first epoch" in out
    assert "result.json was edited or is damaged" in out
    assert curves(load_state(folder)[1]) == whole


def test_what_was_damaged_is_kept_aside(sweep: Sweep) -> None:
    folder = sweep.folder / "sweep"
    for path in checkpoints(folder):
        path.write_bytes(b"nothing")
    code, out, _ = sweep.run()
    assert code == 0
    assert "kd-0 starts from its first epoch" in out
    (aside,) = (folder / "trials-set-aside").iterdir()
    assert (aside / "config.json").is_file()
    assert [record.data["failure"] for record in read(folder) if record.kind == "retried"] == ["damaged"]


SPECS: dict[str, tuple[dict[str, Any], str]] = {
    "epochs": ({"train": {"epochs": 4, "batch_size": 4}}, "train.epochs is 3 and not 4"),
    "a study removed": ({"studies": ["none"]}, "with the study kd, which is missing now"),
    "the seed": ({"seed": 4}, "seed is 3 and not 4"),
    "the data": ({"data": {**SPEC["data"], "size": [32, 64]}}, "data.size"),
    "the teacher's network": (
        {"teacher": {"fit": {"network": {"arch": "FPN", "encoder": "resnet18"}, "epochs": 1}}},
        "teacher.fit",
    ),
    "the name": ({"name": "other"}, "name is 'damaged' and not 'other'"),
}


@pytest.mark.parametrize(("changes", "said"), SPECS.values(), ids=SPECS)
def test_a_changed_spec_is_refused_with_the_field_and_a_way_out(
    sweep: Sweep, changes: dict[str, Any], said: str
) -> None:
    sweep.spec.write_text(yaml.safe_dump({**SPEC, **changes}))
    message = sweep.refused()
    assert said in message
    assert re.search(r"choose another --dir, or continue the sweep with `KDSWEEP_CACHE=\S+ kdsweep run ", message)


def test_the_ledger_of_another_sweep_is_refused(sweep: Sweep) -> None:
    sweep.spec.write_text(yaml.safe_dump({**SPEC, "name": "other", "seed": 9}))
    message = sweep.refused()
    assert "already holds the sweep damaged" in message


def test_changed_data_are_refused(sweep: Sweep, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kdtrain.data.streets.VERSION", 2)
    message = sweep.refused()
    assert "the data have changed" in message
    assert "put the data back, or start a new sweep" in message


def test_another_teacher_in_its_place_is_refused(sweep: Sweep) -> None:
    card = sweep.folder / "sweep" / "teacher" / "model.json"
    content = json.loads(card.read_text())
    content["classes"][0] = "renamed"
    del content["sha256"]
    card.write_text(json.dumps(content))
    message = sweep.refused()
    assert "was begun with the teacher" in message
    assert "put the teacher back" in message


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda teacher: flip(teacher / "weights.safetensors"), "weights.safetensors is damaged"),
        (lambda teacher: (teacher / "weights.safetensors").unlink(), "must hold model.json and weights.safetensors"),
        (lambda teacher: (teacher / "model.json").write_bytes(b"{}"), "model.json is damaged"),
        (lambda teacher: shutil.rmtree(teacher), "is not a teacher folder"),
    ],
)
def test_a_given_teacher_is_looked_at_before_any_training(sweep: Sweep, damage: Change, said: str) -> None:
    teacher = sweep.folder / "teacher"
    shutil.move(sweep.folder / "sweep" / "teacher", teacher)
    shutil.rmtree(sweep.folder / "sweep")
    sweep.spec.write_text(yaml.safe_dump({**SPEC, "teacher": {"path": str(teacher)}}))
    damage(teacher)
    message = sweep.refused()
    assert said in message
    assert not (sweep.folder / "sweep" / "trials").exists()


def test_a_file_where_the_sweep_should_be_is_refused(sweep: Sweep) -> None:
    shutil.rmtree(sweep.folder / "sweep")
    (sweep.folder / "sweep").write_text("a file")
    assert "choose another folder" in sweep.refused()


def test_a_file_where_the_ledger_should_be_is_refused(sweep: Sweep) -> None:
    shutil.rmtree(sweep.folder / "sweep" / "ledger")
    (sweep.folder / "sweep" / "ledger").write_text("a file")
    assert "Not a directory" in sweep.refused()


def test_a_folder_that_takes_no_files_is_refused(sweep: Sweep, monkeypatch: pytest.MonkeyPatch) -> None:
    opened = Path.open

    def read_only(self: Path, mode: str = "r", *options: Any, **more: Any) -> Any:
        if sweep.folder / "sweep" in self.parents and set(mode) & set("wxa"):
            raise OSError(30, os.strerror(30))
        return opened(self, mode, *options, **more)

    monkeypatch.setattr(Path, "open", read_only)
    message = sweep.refused()
    assert "Read-only file system" in message
    assert "choose another folder" in message


def test_a_sweep_that_is_being_run_is_refused(sweep: Sweep) -> None:
    lock = take_lock(Store(sweep.folder / "sweep"))
    try:
        message = sweep.refused()
    finally:
        lock.close()
    assert f"another driver (process {os.getpid()}" in message
    assert "wait for it or end it first" in message
