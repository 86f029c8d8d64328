import math
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from scipy import stats

from analysis.stats.looks import alpha_at
from analysis.stats.power import PairedTest, first_step
from sweeps import cli
from sweeps.designs import Options, TimeRatio, ablation
from sweeps.designs.forecast import forecast
from sweeps.designs.measured import Measured, measure
from sweeps.spec.spec import load_spec


@pytest.fixture
def make(fake):
    def make(method="cskd", design="leave-one-out", seeds=3, **options):
        spec = fake.make_spec()
        content = spec.config_for(spec.study(method)).model_dump(mode="json")
        return ablation(design, content, spec, seeds, Options(**options))

    return make


def test_cost_is_counted_in_runs_epochs_and_hours(make):
    spec = make(time_ratio=TimeRatio(2.0, "as told"))
    found = forecast(spec, Measured(sd=0.01, df=9, taught=20.0, untaught=10.0, name="before"))
    assert (found.cells, found.runs) == (7, 21)
    assert found.epochs == 3 * (6 * 6 + 12)
    taught, untaught = 5 * 3 * 6, 3 * (6 + 12)
    assert found.hours == pytest.approx((20 * taught + 10 * untaught) / 3600)
    assert forecast(spec).hours is None


def test_a_search_in_each_cell_costs_its_trials(make):
    assert forecast(make(controls=(), retune={"optimizer.lr": (3,)})).runs == 4 * (3 + 3)


def test_every_family_says_what_it_could_see(make):
    spec = make(design="leave-one-out,factorial", seeds=4)
    found = {(one.design, one.name): one for one in forecast(spec, Measured(sd=0.01, df=9)).families}
    assert set(found) == {("leave-one-out", "terms"), ("leave-one-out", "controls"), ("factorial", "factorial")}
    left_out = found["leave-one-out", "terms"]
    assert left_out.comparisons == 3
    assert left_out.detectable == pytest.approx(PairedTest(0.01 * math.sqrt(2), 3).smallest(4))
    factorial = found["factorial", "factorial"]
    assert factorial.comparisons == 3 + 3
    assert factorial.detectable < 0.5 * left_out.detectable
    points = 100 * factorial.detectable
    seen = f"sees main effects from {points:.1f} points and interactions from {2 * points:.1f} on"
    assert any(seen in line for line in forecast(spec, Measured(sd=0.01, df=9)).lines())


def test_a_main_effect_is_found_as_often_as_promised(make):
    """80 of 100, by simulation with the estimate that a balanced design has: on minus off, over all runs."""
    spec = make(design="factorial", seeds=3, controls=())
    families = forecast(spec, Measured(sd=0.01, df=9)).families
    (family,) = (each for each in families if each.name == "factorial")
    rng = np.random.default_rng(0)
    signs = np.array([[1 if cell.levels[name] == "on" else -1 for name in cell.levels] for cell in spec.cells])
    columns = [np.ones(8), *signs.T, *(signs[:, i] * signs[:, j] for i, j in ((0, 1), (0, 2), (1, 2)))]
    design = np.repeat(np.column_stack(columns), 3, axis=0)
    blocks = np.tile(np.eye(3), (8, 1))[:, 1:]
    whole = np.hstack([design, blocks])
    solve, residual = np.linalg.pinv(whole), len(whole) - whole.shape[1]
    scores = rng.normal(0, 0.01, (4000, len(whole))) + family.detectable / 2 * design[:, 1]
    weights = scores @ solve.T
    noise = ((scores - weights @ whole.T) ** 2).sum(1) / residual
    t = weights[:, 1] / np.sqrt(noise * (solve[1] ** 2).sum())
    cells = scores.reshape(4000, 8, 3)
    left = cells - cells.mean(2, keepdims=True)
    squares = ((left - left.mean(1, keepdims=True)) ** 2).sum(2)
    df = np.minimum(residual, 2 * squares.sum(1) ** 2 / (squares**2).sum(1))
    found = (2 * stats.t.sf(np.abs(t), df) < first_step(alpha_at(3), family.comparisons)).mean()
    assert 0.77 < found < 0.88


def test_what_a_sweep_measured():
    rows = [("cskd", "a", "confirm", s, 0.5 + d, 180.0, 9) for s, d in enumerate((-0.01, 0.0, 0.01))]
    rows += [("none", "b", "confirm", s, 0.4 + d, 90.0, 9) for s, d in enumerate((-0.02, 0.0, 0.02))]
    rows += [("none", "b", "confirm", s, 0.4 + d, 90.0, 9) for s, d in ((3, 0.03), (4, -0.03))]
    rows += [
        ("none", "b", "search", 0, 0.99, 90.0, 9),
        ("none", "c", "search", 0, 0.9, 9000.0, 9),
        ("cskd", "d", "search", 0, None, 1.0, 1),
    ]
    trials = pd.DataFrame(rows, columns=["study", "config_id", "phase", "seed", "score", "seconds", "epochs_run"])
    trials["state"] = np.where(trials["score"].isna(), "failed", "complete")
    trials["config_json"] = [f'{{"study": "{row.study}", "seed": {row.seed}}}' for row in trials.itertuples()]
    tables = {"trials": trials, "sweeps": pd.DataFrame({"baseline": ["none"], "name": ["before"]})}
    found = measure(tables, {"study": "cskd", "seed": 1})
    squares = 2 * 0.01**2 + 2 * (0.02**2 + 0.03**2)  # of fresh seeds alone, with 2 and 4 degrees of freedom
    assert found.sd == pytest.approx(np.sqrt(squares / 6))
    assert found.df == 6
    assert (found.taught, found.untaught) == (20.0, 10.0)
    assert found.ratio.value == pytest.approx(2.0)
    assert measure({**tables, "trials": trials.iloc[:0]}, {"study": "cskd"}).ratio is None


def test_plan_and_ablate_say_the_same(tmp_path, monkeypatch, capsys):
    def run(*words):
        monkeypatch.setattr(sys, "argv", ["kdsweep", *map(str, words)])
        with pytest.raises(SystemExit) as left:
            cli.main()
        return left.value.code or 0, *capsys.readouterr()

    demo = Path(cli.__file__).parents[1] / "specs" / "demo.yaml"
    out = tmp_path / "a.yaml"
    code, output, _ = run("ablate", demo, "--design", "leave-one-out,factorial", "--time-ratio", 1.5, "--out", out)
    assert code == 0
    assert "10 cells x 3 fresh seeds: 30 runs, 189 epochs" in output
    assert "family factorial/factorial: 3 main effects and 3 interactions of 8 cells; sees main effects from" in output
    assert "favors the reference" in output
    lines = [line for line in output.splitlines() if not line.startswith(str(out))]
    assert forecast(load_spec(out)).lines() == lines
    options = ("--values", "channel_wise.temperature=1,2,4", "--retune", "optimizer.lr=0.01,0.02", "--controls", "")
    assert run("ablate", demo, "--design", "one-factor", *options, "--out", out, "--force")[0] == 0
    content = yaml.safe_load(out.read_text())
    assert [study["name"] for study in content["studies"]] == [
        "reference",
        "channel_wise.temperature-1",
        "channel_wise.temperature-4",
    ]
    assert content["studies"][0]["space"] == {"optimizer.lr": {"choices": [0.01, 0.02]}}

    many = ("ablate", demo, "--design", "factorial", "--seeds", 30, "--out", tmp_path / "many.yaml")
    code, _, error = run(*many)
    assert code == 2
    assert (
        "error: design factorial: 270 runs are more than 200; give fewer factors, values or seeds, or give --yes"
        in error
    )
    assert not (tmp_path / "many.yaml").exists()
    assert run(*many, "--yes")[0] == 0
    assert "--values: must be FIELD=VALUE,VALUE" in run("ablate", demo, "--values", "x")[2]
