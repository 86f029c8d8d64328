"""The error that looks may spend: never more than is allowed in all, and something left for each."""

import itertools

import pytest

from analysis.stats.looks import Looks, alpha_at, planned_looks


@pytest.mark.parametrize(("seeds", "level"), [(2, 0.0333), (3, 0.0375), (5, 0.0417), (10, 0.0455)])
def test_a_single_look_spends_nearly_all(seeds, level):
    assert alpha_at(seeds) == pytest.approx(level, abs=1e-4)


def test_a_later_look_has_what_is_left():
    assert alpha_at(5, Looks.unplanned((3,))) == pytest.approx(0.05 * (5 / 6 - 3 / 4))
    assert alpha_at(8, Looks.unplanned((3, 5))) == pytest.approx(0.05 * (8 / 9 - 5 / 6))


def histories():
    """Looks in many orders: planned and not, plans that change, more seeds and no more seeds."""
    steps = [(3, 0), (3, 12), (5, 12), (5, 0), (8, 20), (12, 12), (12, 0), (20, 20)]
    return itertools.permutations(steps, 4)


def test_all_looks_together_never_spend_more_than_is_allowed_and_each_has_something_left():
    for history in histories():
        looks, levels = Looks(), []
        for seeds, most in history:
            looks = Looks(looks.seeds, looks.spent, most)
            levels.append(alpha_at(seeds, looks))
            looks = looks.after(seeds)
        assert sum(levels) <= 0.05
        assert min(levels) > 0
        assert list(looks.seeds) == sorted(set(looks.seeds))


def test_planned_looks_spend_by_the_square_and_end_where_one_look_would_have():
    looks, shares = Looks(most=12), []
    for seeds in (3, 5, 8, 12):
        shares.append(looks.share(seeds))
        looks = looks.after(seeds)
    assert shares == pytest.approx([12 / 13 * part / 144 for part in (9, 16, 39, 80)])
    assert looks.spent == pytest.approx(Looks().share(12))


def test_a_look_with_other_finalists_on_as_many_seeds_counts_as_one_seed_more():
    assert Looks.unplanned((3, 3, 3)).seeds == (3, 4, 5)


@pytest.mark.parametrize(
    ("first", "most", "looks"),
    [
        (3, 12, (3, 5, 8, 12)),
        (4, 12, (4, 7, 12)),
        (3, 10, (3, 5, 10)),
        (3, 20, (3, 5, 8, 13, 20)),
        (3, 4, (3, 4)),
        (1, 6, (1, 2, 4, 6)),
    ],
)
def test_planned_looks_grow_and_end_at_the_most(first, most, looks):
    assert planned_looks(first, most) == looks
