import pytest

from analysis.selection.halving import Round, all_seeds, entered, schedule, survivors, trainings


@pytest.mark.parametrize(
    ("top", "seeds", "rounds"),
    [
        (1, 3, [(1, 3)]),
        (2, 3, [(2, 3)]),
        (3, 3, [(3, 1), (2, 2)]),
        (4, 3, [(4, 1), (2, 3)]),
        (6, 4, [(6, 1), (3, 2), (2, 4)]),
        (8, 1, [(8, 1), (4, 1), (2, 1)]),
        (0, 3, []),
        (2, 0, []),
    ],
)
def test_rounds_share_the_budget(top, seeds, rounds):
    made = schedule(top, seeds)
    assert made == tuple(Round(*each) for each in rounds)
    assert all_seeds(made) == sum(seeds for _, seeds in rounds)


def test_rounds_cost_no_more_than_the_budget_once_it_gives_every_round_its_seeds():
    for top in range(1, 20):
        for seeds in range(6, 12):
            made = schedule(top, seeds)
            assert trainings(made, top) <= top * seeds
            assert trainings(made, 1) == all_seeds(made)


def test_the_round_of_a_config_follows_from_its_seeds():
    rounds = schedule(6, 4)  # 1, 2 and 4 seeds
    assert [entered(rounds, seeds) for seeds in (1, 2, 3, 4, 7, 9)] == [1, 2, 2, 3, 3, 3]


def test_the_better_half_by_mean_goes_on_in_its_order():
    scores = {"a": [0.5, 0.1], "b": [0.4, 0.4], "c": [0.2, 0.2], "d": [0.6, 0.6]}
    assert survivors(scores, 2) == ["b", "d"]
    assert survivors({"a": [0.4], "b": [0.4], "c": [0.4]}, 2) == ["a", "b"]


def test_a_config_with_a_lost_seed_goes_on_only_for_want_of_others():
    scores = {"a": [0.9, None], "b": [0.4, 0.4], "c": [None, None]}
    assert survivors(scores, 1) == ["b"]
    assert survivors(scores, 2) == ["a", "b"]


def test_a_config_with_a_failed_training_goes_on_only_for_want_of_others():
    scores = {"a": [0.9, 0.8], "b": [0.4, None], "c": [0.3, 0.3]}
    assert survivors(scores, 2, {"a"}) == ["b", "c"]
    assert survivors(scores, 3, {"a"}) == ["a", "b", "c"]
