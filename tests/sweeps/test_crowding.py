"""Too many trials at once for a search to learn: when it is said, and with what numbers."""

import re
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml
from called_command import called
from tiny_spec import TINY

from kdtrain.config import Machine
from sweeps.attempt.signals import StopRequest
from sweeps.driver.crowding import crowding
from sweeps.launch.tune import run_on_ray


def spec_of(fake, **changes):
    given = {
        "studies": ["kd"],
        "sampler": {"name": "gp", "startup": 4},
        "budget": {"trials": 8},
        "space": {"optimizer.lr": {"low": 1e-3, "high": 1e-1, "log": True}},
    }
    return fake.make_spec(**{**given, **changes})


def test_up_to_half_of_the_trainings_of_a_search_may_run_at_once(fake):
    spec = spec_of(fake)
    assert crowding(spec, 4) is None
    assert crowding(spec, 16) == (
        "16 trials at once, 16 of a search that has 8 full trainings: many begin before the first score, so the "
        "sampler learns from few; resources.concurrent: 4 takes longer and, in replays of real trainings, finds a "
        "better config with the same epochs"
    )


def test_searches_share_what_runs_at_once(fake):
    spec = spec_of(fake, studies=["none", "kd", "cwd"])
    assert crowding(spec, 12) is None
    assert "13 trials at once, 5 of a search" in crowding(spec, 13)
    repeated = spec_of(fake, studies=["none", "kd", "cwd"], repeats=2, budget={"trials": 24})
    assert crowding(repeated, 36) is None
    assert "37 trials at once, 7 of a search that has 12 full trainings" in crowding(repeated, 37)


def test_a_study_that_searches_nothing_counts_for_nothing(fake):
    kd = {"method": "kd", "space": {"optimizer.lr": {"low": 1e-3, "high": 1e-1, "log": True}}}
    mixed = spec_of(fake, space={}, studies=[{"method": "cwd", "space": {}}, kd])
    assert not mixed.space_of(mixed.study("cwd"))
    assert crowding(mixed, 16) == crowding(spec_of(fake), 16) is not None


def test_what_is_proposed_stays_below_the_bound(fake):
    for studies, trials in ((["kd"], 5), (["none", "kd"], 7), (["none", "kd", "cwd"], 21)):
        spec = spec_of(fake, studies=studies, budget={"trials": trials})
        most = int(re.search(r"resources\.concurrent: (\d+) ", crowding(spec, 100))[1])
        assert crowding(spec, most) is None
        assert crowding(spec, most + 1) is not None


@pytest.mark.parametrize(
    "changes",
    [
        {"sampler": {"name": "random"}},
        {"sampler": {"name": "grid"}},
        {"sampler": {"name": "gp", "startup": 8}},
        {"space": {}, "studies": [{"method": "kd", "space": {}}]},
    ],
    ids=["random", "grid", "no model", "nothing searched"],
)
def test_where_nothing_is_learned_nothing_is_said(fake, changes):
    assert crowding(spec_of(fake, **changes), 100) is None


@pytest.mark.parametrize("cpus", [4.0, 16.0])
def test_a_run_says_it_once_for_the_cluster_that_it_finds(fake, tmp_path, monkeypatch, cpus):
    monkeypatch.setattr("ray.cluster_resources", lambda: {"CPU": cpus})
    monkeypatch.setattr("ray.tune.Tuner", lambda *words, **settings: SimpleNamespace(fit=lambda: None))
    spec, said = spec_of(fake), []
    for _ in range(2):
        with fake.open_driver(spec, tmp_path, notice=said.append) as driver:
            run_on_ray(driver, Machine(device="cpu"), lambda: None, StopRequest())
            driver.next()
    assert [text for text in said if "trials at once" in text] == ([crowding(spec, 16)] if cpus == 16 else [])


def test_a_plan_says_it(monkeypatch, capsys, tmp_path):
    monkeypatch.setenv("KDSWEEP_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    spec = {**TINY, "studies": ["kd"], "teacher": {"fit": {"network": TINY["student"], "epochs": 1}}}
    Path("spec.yaml").write_text(yaml.safe_dump({**spec, "budget": {"trials": 8}}))

    def lines(most):
        words = ("spec.yaml", "--no-rehearsal", "--set", f"resources.concurrent={most}")
        code, out, err = called(monkeypatch, capsys, "plan", *words)
        assert (code, err) == (0, "")
        return [line for line in out.splitlines() if "trials at once" in line]

    assert lines(4) == []
    (line,) = lines(5)
    assert line.startswith("5 trials at once, 5 of a search that has 8 full trainings")
