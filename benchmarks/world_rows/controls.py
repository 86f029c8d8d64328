"""Rows about controls: the first line of an ablation beside its table, and beside the truth."""

import numpy as np
from world_rows.row import Row

from analysis.ablation.control_contrasts import ablation_contrasts
from analysis.ablation.effects import ablate
from analysis.report.verdict import verdict_of
from analysis.selection.control_contrasts import ControlContrast
from analysis.selection.finalists import finalists
from analysis.tables.files import Tables
from tests.analysis.conftest import ROLES, ablation_of

_SD = 0.01


def _tables(rng: np.random.Generator, means: dict[str, float], seeds: int) -> Tables:
    """An ablation whose cells have some means: the seeds correlate by 0.5."""
    sd = _SD * 0.5**0.5
    shared = rng.normal(0, sd, seeds)
    scores = {cell: 0.5 + means.get(cell, 0.0) + shared + rng.normal(0, sd, seeds) for cell in ROLES}
    return ablation_of(scores, confirm_seeds=seeds).tables()


def _contrasts(tables: Tables) -> list[ControlContrast]:
    return ablation_contrasts(tables, ablate(tables))


def _disagrees(rng: np.random.Generator, worlds: int) -> np.ndarray:
    """Whether a word or a difference of the first line is another than in the table, or a control is chosen."""
    wrong = []
    for _ in range(worlds):
        tables = _tables(rng, {cell: rng.normal(0, _SD) for cell in ROLES}, int(rng.integers(2, 9)))
        table, headline = ablate(tables).set_index("cell"), verdict_of(tables).headline
        differs = False
        for each in ablation_contrasts(tables, table.reset_index()):
            row, number = table.loc[each.control], f"{-100 * table.loc[each.control, 'difference']:+z.2f}"
            side = {1: "better", -1: "worse"}[1 if each.difference > 0 else -1]
            said = f"against {each.name}: {side if row['word'] == 'separated' else row['word']}, {number} points"
            differs |= said.replace("+0.00", "0.00") not in headline
        chosen = finalists(tables).loc[lambda frame: frame["chosen"], "study"]
        wrong.append(differs or ROLES[chosen.iloc[0]][0] == "control")
    return np.array(wrong)


def _falsely_better(seeds: int):
    """Whether a config that is worth no more than its controls is called better than one of them, or worse."""

    def simulate(rng: np.random.Generator, worlds: int) -> np.ndarray:
        return np.array(
            [any(each.word == "separated" for each in _contrasts(_tables(rng, {}, seeds))) for _ in range(worlds)]
        )

    return simulate


def _warned(rng: np.random.Generator, worlds: int) -> np.ndarray:
    """Whether a placebo three standard deviations above the reference is in the warnings."""
    found = []
    for _ in range(worlds):
        lines = {line.label: line for line in verdict_of(_tables(rng, {"placebo": 3 * _SD}, 3)).lines}
        found.append("the placebo" in lines["Warnings"].text)
    return np.array(found)


ROWS = [
    Row(
        "controls",
        "ablations of 2 parts and 3 controls, 2 to 8 seeds",
        "first line against table contradict, or a control is chosen",
        _disagrees,
        most=0.0,
        most_worlds=500,
    ),
    *(
        Row(
            "controls",
            f"config worth no more than its 3 controls, n = {n}",
            "false word",
            _falsely_better(n),
            most=0.05,
        )
        for n in (3, 5, 8)
    ),
    Row("controls", "placebo 3 sd above the config, n = 3", "warned", _warned, least=0.99, most_worlds=500),
]
