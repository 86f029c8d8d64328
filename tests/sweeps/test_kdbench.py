"""The table of kdbench, collected from a small sweep whose scores are known."""

from pathlib import Path
from types import ModuleType

import pandas as pd
import pytest
from kdbench import table

from sweeps.outcome.loaded import load_state
from sweeps.outcome.tabulate import write_tables
from sweeps.spec.spec import load_spec

TASKS = sorted((Path(table.__file__).parent).glob("*.yaml"))


@pytest.fixture
def collected(fake: ModuleType, tmp_path: Path) -> tuple[pd.DataFrame, table.Spaces, Path]:
    spec = fake.make_spec(
        studies=["none", "kd"],
        budget={"trials": 8},
        sampler={"name": "sobol"},
        scheduler={"name": "none"},
        confirm={"top": 9, "seeds": 1},
    )
    fake.run(spec, tmp_path)
    write_tables(tmp_path)
    return *table.collect(tmp_path), tmp_path


def test_every_training_of_the_sweep_has_its_whole_curve(
    collected: tuple[pd.DataFrame, table.Spaces, Path],
) -> None:
    rows, _, sweep = collected
    trials = load_state(sweep)[1].trials.values()
    curves = {
        (trial.config_id, trial.seed): [report.metrics["miou"] for report in trial.reports.values()] for trial in trials
    }
    seeds = sorted({trial.seed for trial in trials})
    found = {
        (config, seeds[seed]): curve.sort_values("epoch").score.tolist()
        for (config, seed), curve in rows.groupby(["config_id", "seed"])
    }
    assert found == curves
    assert rows.images.tolist() == (8 * rows.epoch).tolist()


def test_all_configs_have_two_seeds_and_the_best_have_more(
    collected: tuple[pd.DataFrame, table.Spaces, Path],
) -> None:
    rows, _, _ = collected
    seeds = rows.groupby(["study", "config"]).seed.nunique()
    assert len(seeds) == 2 * 8
    assert seeds.min() == 2
    last = rows[rows.epoch == rows.epochs].groupby(["study", "config"]).score.mean()
    for study in ("none", "kd"):
        assert seeds[study].idxmax() in last[study].nlargest(3).index


def test_the_published_default_is_marked_on_all_its_seeds_and_nowhere_else(
    collected: tuple[pd.DataFrame, table.Spaces, Path],
) -> None:
    rows, _, _ = collected
    assert set(rows[rows.published_default].config) == {0}
    assert rows[rows.config == 0].published_default.all()


def test_no_config_is_marked_where_the_published_one_lies_outside(fake: ModuleType, tmp_path: Path) -> None:
    fake.run(fake.make_spec(studies=["none"], space={"optimizer.lr": {"low": 0.5, "high": 0.9}}), tmp_path)
    write_tables(tmp_path)
    rows, _ = table.collect(tmp_path)
    assert len(rows)
    assert not rows.published_default.any()


def test_a_table_reads_as_it_was_written(collected: tuple[pd.DataFrame, table.Spaces, Path], tmp_path: Path) -> None:
    rows, spaces, _ = collected
    table.write(rows, spaces, tmp_path / "tables")
    again, spaces_again = table.read("five", tmp_path / "tables")
    pd.testing.assert_frame_equal(again, rows)
    assert spaces_again == spaces
    assert set(spaces["kd"]) == {name.removeprefix("set.") for name in rows if name.startswith("set.")}


@pytest.mark.parametrize("path", TASKS, ids=lambda path: path.stem)
def test_a_task_trains_enough_configs_to_the_end(path: Path) -> None:
    spec = load_spec(path)
    assert spec.name == path.stem
    assert [study.name for study in spec.studies] == ["none", "kd", "cwd", "csc_ace", "cskd"]
    trials = spec.budget.trials or 0
    assert trials >= 30
    assert spec.scheduler.name == "none"
    assert spec.train["epochs"] >= 12
    assert spec.train.get("evaluate_every", 1) == 1
    assert spec.confirm.top >= trials
