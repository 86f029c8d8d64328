"""Every command that is printed can be pasted: it is quoted, and has the options and folders that the user gave."""

import shlex
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml
from called_command import called

from kdtrain.redact import redacted
from sweeps.attempt.signals import Interrupted
from sweeps.driver.driver import Driver
from sweeps.outcome.results import Results
from sweeps.show.commands import next_command
from sweeps.store.store import Store

SPEC = {
    "name": "tiny",
    "data": {"name": "streets", "size": [32, 48], "counts": {"train": 4, "select": 2, "test": 1}, "absent": []},
    "student": {
        "arch": "FPN",
        "encoder": "tu-mobilenetv3_small_050",
        "options": {"decoder_pyramid_channels": 32, "decoder_segmentation_channels": 32},
    },
    "teacher": {"fit": {"network": {"arch": "FPN", "encoder": "tu-mobilenetv3_small_050"}}},
    "train": {"epochs": 1, "batch_size": 4},
    "studies": ["none", "kd"],
    "space": {"optimizer.lr": {"low": 0.01, "high": 0.1, "log": True}},
    "budget": {"trials": 1},
    "confirm": {"top": 1, "seeds": 1, "final_seeds": 1},
}
BEST = {"verdict": {"headline": "Provisional: config kd-0 came out first"}}


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    for name in ("KDSWEEP_DATA", "KDSWEEP_WEIGHTS", "KDSWEEP_CACHE", "KDSWEEP_TRUST"):
        monkeypatch.delenv(name, raising=False)
    folder = tmp_path / "a [b] 'c'"
    for name in ("d [1]", "w;rm", "mine"):
        (folder / name).mkdir(parents=True)
    monkeypatch.chdir(folder)
    (folder / "spec.yaml").write_text(yaml.safe_dump({**SPEC, "teacher": None, "studies": ["none"]}))
    return folder


def printed(monkeypatch, capsys, *words):
    """What `kdsweep run` prints as the next command, as words."""
    results = Results("report", "D/best file.yaml", {"evidence": BEST})
    monkeypatch.setattr("sweeps.run.run_sweep", lambda *arguments, **options: results)
    code, out, err = called(monkeypatch, capsys, *words)
    assert (code, err) == (0, "")
    assert out.splitlines()[-1] == f"verdict: {BEST['verdict']['headline']}"
    return shlex.split(next(line for line in out.splitlines() if line.startswith("train it: ")).partition(": ")[2])


def test_the_next_command_has_the_options_that_it_shares(monkeypatch, capsys):
    words = ["run", "spec.yaml", "--dir", "D x", "--data", "d [1]", "--weights=w;rm", "--threads", "2", "--inline"]
    assert printed(monkeypatch, capsys, *words, "--set", "seed=3") == [
        *["kdsweep", "train", "D/best file.yaml", "--dir", "D x-student"],
        *["--data", "d [1]", "--weights", "w;rm", "--threads", "2"],
    ]


def test_the_next_command_has_the_folders_of_the_environment(monkeypatch, capsys):
    monkeypatch.setenv("KDSWEEP_DATA", "/data a")
    monkeypatch.setenv("KDSWEEP_WEIGHTS", "/w")
    monkeypatch.setenv("KDSWEEP_CACHE", "/cache b")
    assert printed(monkeypatch, capsys, "run", "spec.yaml", "--dir", "D", "--weights", "mine", "--trust") == [
        *["KDSWEEP_CACHE=/cache b", "kdsweep", "train", "D/best file.yaml", "--dir", "D-student"],
        *["--weights", "mine", "--trust", "--data", "/data a"],
    ]


def test_the_command_that_resumes_is_the_whole_command(monkeypatch, capsys):
    def stopped(*arguments: object, **options: object) -> Mapping[str, object]:
        raise Interrupted("between two trials")

    monkeypatch.setattr("sweeps.run.run_sweep", stopped)
    monkeypatch.setenv("KDSWEEP_DATA", "/data")
    words = ["run", "--set", "seed=3", "spec.yaml", "--set=notes=[a b]", "--dir", "D", "--inline", "--trust"]
    code, out, _ = called(monkeypatch, capsys, *words)
    assert code == 130
    command = shlex.split(out.splitlines()[-1])
    assert command[:3] == ["kdsweep", "run", "spec.yaml"]
    assert sorted(command[3:]) == sorted(
        ["--set", "seed=3", "--set", "notes=[a b]", "--dir", "D", "--inline", "--trust", "--data", "/data"]
    )


def test_status_prints_the_command_that_began_the_session(here, fake, monkeypatch, capsys):
    def stopped(spec, sweep, *_: object, command: str, **options: object) -> None:
        line = {"line": redacted(command), "folder": str(Path.cwd()), "sweep": Store(sweep).place}
        with Driver(fake.make_spec(), sweep, replace(fake.context(), command=line)):
            raise Interrupted("between two trials")

    monkeypatch.setattr("sweeps.run.run_sweep", stopped)
    monkeypatch.setenv("KDSWEEP_CACHE", "cache")
    words = ["run", "spec.yaml", "--dir", "D", "--inline", "--data", "d [1]", "--no-rehearsal"]
    words += ["--set", "notes=token=abc"]
    printed = called(monkeypatch, capsys, *words)[1].splitlines()[-1].strip()
    assert "token=***" in printed
    assert f"to resume: {printed}\n" in called(monkeypatch, capsys, "status", "../" + here.name + "/D")[1]
    chosen = SimpleNamespace(config_id="0" * 16, study="kd")
    frozen = SimpleNamespace(chosen=chosen, baseline=None, why="best", seeds=(7,))
    monkeypatch.setattr("sweeps.outcome.freeze.freeze", lambda store: frozen)
    assert f"the final seeds 7:\n  {printed}\n" in called(monkeypatch, capsys, "best", "D", "--freeze")[1]
    monkeypatch.chdir(here / "mine")
    assert f"to resume: cd {shlex.quote(str(here))} && {printed}\n" in called(monkeypatch, capsys, "status", "../D")[1]
    (here / "D").rename(here / "moved")
    moved = called(monkeypatch, capsys, "status", here / "moved")[1]
    assert f"--dir {shlex.quote(str(here / 'moved'))} --data {shlex.quote(str(here / 'd [1]'))}" in moved


def test_an_argument_that_looks_like_an_option_is_kept_apart():
    assert next_command("run", "-x.yaml", dir="-D") == "kdsweep run --dir=-D -- -x.yaml"
    assert next_command("best", Path("a b"), freeze=True) == "kdsweep best 'a b' --freeze"


def test_an_option_that_means_something_else_is_not_carried(monkeypatch, capsys):
    monkeypatch.setattr("sweeps.show.live_page.watch_page", lambda *_: print(next_command("best", "D", freeze=True)))
    assert called(monkeypatch, capsys, "status", "D", "--out", "page.html")[1] == "kdsweep best D --freeze\n"


@pytest.mark.slow
def test_every_command_that_a_sweep_prints_in_its_life_runs(here, monkeypatch, capsys):
    (here / "spec.yaml").write_text(yaml.safe_dump(SPEC))
    waiting, ran = [["kdsweep", "run", "spec.yaml", "--dir", "D", "--inline", "--data", "."]], []
    waiting += [["kdsweep", *words] for words in (["best", "D", "--freeze"], ["ablate", "D"], ["status", "D"])]
    while waiting:
        words = waiting.pop(0)
        grown = [word for word in words if word.startswith("confirm.seeds=")]
        frozen = "--freeze" in words and any("--freeze" in each for each in ran)  # was printed before the freeze
        if words in ran or grown or frozen or "ablat" in "".join(words[2:]):
            assert all(word.partition("=")[2].isdigit() for word in grown)
            continue
        ran.append(words)
        code, out, err = called(monkeypatch, capsys, *words[1:])
        assert (code, err) == (0, ""), words
        lines = [line[line.index("kdsweep ") :] for line in out.splitlines() if "kdsweep " in line]
        waiting += [shlex.split(line) for line in lines]
    assert {words[1] for words in ran} == {"run", "train", "best", "status", "ablate"}
    assert len(ran) >= 6
