"""Every command that shows a result ends with the next step, and what it prints can be pasted."""

import shlex
from dataclasses import replace

import pytest
from called_command import called

from sweeps.designs.evidence import how_to_go_on
from sweeps.driver.driver import Driver
from sweeps.launch.inline import run_inline
from sweeps.outcome.results import tables_now
from sweeps.store.store import Store

FEW, ENOUGH = 2, 6


@pytest.fixture
def finished(fake, tmp_path):
    """Makes a finished sweep whose seeds differ by half a point and its studies by ten, as a command began it."""
    sweep = tmp_path / "D"

    def make(seeds, **changes):
        train = fake.FakeTrain(
            lambda config: 0.5 + 0.1 * config.uses_teacher + 0.005 * fake.draw(config.config_id, config.seed)
        )
        confirm = {"top": 1, "seeds": seeds, "final_seeds": 3}
        base = {"studies": ["none", "kd"], "budget": {"trials": 2}, "train": {"epochs": 2}, "confirm": confirm}
        line = {"line": "kdsweep run D/spec.yaml --dir D --inline", "folder": str(tmp_path), "sweep": str(sweep)}
        spec, context = fake.make_spec(**{**base, **changes}), replace(fake.context(), command=line)
        with Driver(spec, sweep, context) as driver:
            run_inline(driver, train)
        return sweep

    return make


@pytest.fixture
def last(monkeypatch, capsys):
    """The end of what the commands print: the same lines for all of them, from one that begins with a word on."""

    def read(sweep, begin):
        printed = []
        for command in ("status", "report", "best"):
            code, out, err = called(monkeypatch, capsys, command, sweep)
            assert (code, err) == (0, "")
            lines = [line.removeprefix("# ").strip() for line in out.splitlines()]
            printed.append(lines[next(n for n, line in enumerate(lines) if line.startswith(begin)) :])
        assert printed[0] == printed[1] == printed[2]
        return printed[0]

    return read


def test_seeds_that_have_not_decided_are_followed_by_more_seeds(finished, last):
    sweep = finished(FEW)
    lines = last(sweep, "selection not frozen; 6 runs on final seeds are allowed by: kdsweep best ")
    assert " more seeds" in lines[1]
    assert lines[2].startswith(f"cd {sweep.parent} && kdsweep run D/spec.yaml --dir D --inline --set confirm.seeds=")
    assert lines[3].startswith("verdict: Provisional: ")
    moved = sweep.rename(sweep.with_name("moved"))
    lines = last(moved, "selection not frozen; 6 runs on final seeds are allowed by: kdsweep best ")
    assert lines[2].startswith(f"kdsweep run {moved}/spec.yaml --dir {moved} --inline --set confirm.seeds=")


def test_seeds_that_have_decided_are_followed_by_the_freeze_and_this_by_the_final_seeds(
    finished, last, monkeypatch, capsys
):
    sweep = finished(ENOUGH)
    first, freeze, verdict = last(sweep, "next: ")
    assert first.startswith("next: freeze the selection; then up to 6 trainings on final seeds")
    assert freeze == f"kdsweep best {sweep} --freeze"
    assert "separated from the baseline none" in verdict
    called(monkeypatch, capsys, "report", sweep)
    page = sweep / "report" / "index.html"
    assert "The selection is frozen" not in page.read_text()

    code, out, err = called(monkeypatch, capsys, *shlex.split(freeze)[1:])
    assert (code, err) == (0, "")
    assert "The selection is frozen" in page.read_text(), "the page of before would be stale"
    first, resume, _ = last(sweep, "next: ")
    assert first == "next: 6 trainings on final seeds, for the held-out result:"
    assert resume == f"cd {sweep.parent} && kdsweep run D/spec.yaml --dir D --inline"
    assert resume in out

    assert how_to_go_on(tables_now(Store(sweep)), "D").startswith("the selection of D is frozen and cannot grow")


@pytest.mark.parametrize(
    "changes",
    [
        {"data": {"name": "folder", "classes": ["a", "b", "c"], "folders": {"train": {"images": "i", "labels": "l"}}}},
        {"confirm": {"top": 1, "seeds": ENOUGH, "final_seeds": 0}},
    ],
    ids=["no role test", "no final seeds"],
)
def test_a_freeze_that_reads_no_held_out_images_is_no_next_step(finished, last, changes):
    assert last(finished(ENOUGH, **changes), "verdict: ")
    with pytest.raises(StopIteration):
        last(finished(ENOUGH, **changes), "next: ")
