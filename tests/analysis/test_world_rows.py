"""The rows of `benchmarks/worlds.py` that are fast enough, with fewer worlds than there."""

import numpy as np
import pytest
from world_rows.row import Row
from worlds import frame, markdown, rows

ROWS = {row.name: row for row in rows()}
FAST = {
    "unequal noise: sd 0.1 and 2.0 in turns, quiet baseline, 5 configs, n = 3: any false separated": 150,
    "unequal noise: sd 0.1 and 2.0 in turns, noisy baseline, 8 configs, n = 10: any false separated": 60,
    "unequal noise: baseline sd 2, rest 1, 5 configs, n = 5: any false separated": 150,
    "same noise: 8 configs, n = 2: any false separated": 150,
    "same noise: 5 % collapsed, 5 configs, n = 10: any false separated": 60,
}


@pytest.mark.parametrize(("name", "worlds"), FAST.items())
def test_a_world_keeps_its_bounds(name, worlds):
    result = ROWS[name].run(worlds)
    assert result.holds, result


def test_names_of_rows_are_different():
    assert len(ROWS) == len(rows())


def test_a_row_out_of_its_bounds_is_marked_and_the_same_seed_draws_the_same_worlds():
    row = Row("topic", "a coin", "heads", lambda rng, worlds: rng.random(worlds) < 0.5, most=0.3)
    result = row.run(400)
    assert result == row.run(400)
    assert result.error == pytest.approx(0.025, abs=0.001)
    assert not result.holds
    assert "**(out)**" in markdown([result])
    assert "at most 30.0 %" in markdown([result])
    assert not frame([(result, 1.0)])["holds"].iloc[0]
    assert Row("topic", "a coin", "heads", lambda rng, worlds: np.ones(worlds), least=0.9).run(3).holds
