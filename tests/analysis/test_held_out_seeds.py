"""What a search returned is scored on seeds that had no part in choosing it."""

import pytest

from analysis.selection.held_out_seeds import held_out_scores


@pytest.fixture
def race(empty_sweep):
    """One search whose four finalists are raced: two lead after seeds 11 and 12 and are trained on 13 and 14 too."""
    made = empty_sweep(confirm_top=4, confirm_seeds=2)
    made.study("none", is_baseline=True)
    scores = {"a": (0.40, 0.40), "b": (0.50, 0.52, 0.41, 0.43), "c": (0.30, 0.31), "d": (0.48, 0.50, 0.60, 0.62)}
    for name, of_seeds in scores.items():
        trial = made.trial("none", 0.5, config_id=name)
        for seed, score in zip((11, 12, 13, 14), of_seeds, strict=False):
            made.trial("none", score, seed=seed, of=trial)
    return made


def test_the_leader_before_the_last_round_is_scored_on_the_last_round(race):
    rows = held_out_scores(race.tables())
    assert rows["config"].str.startswith("b ").all()
    assert dict(zip(rows["seed"], rows["score"], strict=True)) == {13: 0.41, 14: 0.43}


@pytest.mark.parametrize("first", [0.5, None])
def test_in_a_single_round_the_search_chooses_among_those_that_it_scored(empty_sweep, first):
    made = empty_sweep()
    made.study("none", is_baseline=True)
    for screen, fresh in ((first, 0.2), (0.6, 0.3), (0.5, 0.4)):
        trial = made.trial("none", screen)
        for seed in (11, 12):
            made.trial("none", fresh, seed=seed, of=trial)
    assert held_out_scores(made.tables())["score"].tolist() == [0.3, 0.3]


def test_a_training_that_diverged_counts(race):
    row = next(row for row in race.rows["trials"] if row["config_id"] == "b" and row["seed"] == 14)
    row |= {"state": "diverged", "score": None, "reached": 0.11}
    assert held_out_scores(race.tables())["score"].tolist() == [0.41, 0.11]


def test_searches_that_returned_the_same_config_on_the_same_seeds_share_it(empty_sweep):
    made = empty_sweep()
    made.study("none", is_baseline=True, repeats=3)
    for search, config in enumerate(("a", "a", "b"), start=1):
        trial = made.trial("none", 0.5, config_id=config, search=search)
        made.trial("none", 0.4, seed=11, of=trial, search=search)
    rows = held_out_scores(made.tables()).set_index("search")["config"]
    assert rows[1] == rows[2] != rows[3]
