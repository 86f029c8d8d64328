import pytest

from analysis.tables.scores import score


def test_score_is_the_last_evaluated_epoch_not_the_best():
    assert score([(1, {"miou": 0.3}), (2, {"miou": 0.6}), (3, {"miou": 0.5}), (4, {})]) == 0.5


def test_order_of_reports_does_not_matter_and_a_repeated_epoch_counts_once():
    assert score([(3, {"miou": 0.5}), (1, {"miou": 0.9}), (3, {"miou": 0.4})]) == 0.4


@pytest.mark.parametrize("reports", [[], [(1, {})], [(1, {"loss": 2.0})], [(1, {"miou": float("nan")})]])
def test_never_evaluated_is_none_and_never_zero(reports):
    assert score(reports) is None


def test_a_last_epoch_that_broke_does_not_fall_back_to_an_earlier_one():
    assert score([(1, {"miou": 0.3}), (2, {"miou": float("nan")})]) is None
