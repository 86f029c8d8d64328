import pytest

from analysis.tables.scores import curve, evaluations, reached, score


def test_score_is_the_last_evaluated_epoch_not_the_best():
    assert score([(1, {"miou": 0.3}), (2, {"miou": 0.6}), (3, {"miou": 0.5}), (4, {})]) == 0.5


def test_order_of_reports_does_not_matter_and_a_repeated_epoch_counts_once():
    assert score([(3, {"miou": 0.5}), (1, {"miou": 0.9}), (3, {"miou": 0.4})]) == 0.4


@pytest.mark.parametrize("reports", [[], [(1, {})], [(1, {"loss": 2.0})], [(1, {"miou": float("nan")})]])
def test_never_evaluated_is_none_and_never_zero(reports):
    assert score(reports) is None


def test_a_last_epoch_that_broke_does_not_fall_back_to_an_earlier_one():
    assert score([(1, {"miou": 0.3}), (2, {"miou": float("nan")})]) is None


def test_a_score_may_be_the_mean_of_the_last_evaluations():
    epochs = [(4, {"miou": 0.6}), (1, {"miou": 0.9}), (2, {"miou": 0.2}), (3, {}), (5, {"miou": 0.1})]
    assert score(epochs, last=2) == pytest.approx(0.35)
    assert score(epochs, last=3) == pytest.approx(0.3)
    assert curve(evaluations(epochs), 3) == pytest.approx({1: 0.9, 2: 0.55, 4: 1.7 / 3, 5: 0.3})
    assert list(curve(evaluations(epochs), 3)) == [1, 2, 4, 5]


def test_the_mean_of_one_evaluation_is_that_evaluation_to_the_last_bit():
    mious = {epoch: 1 / (epoch + 2.7) for epoch in range(100)}
    assert curve(mious) == mious


def test_one_broken_evaluation_in_the_mean_breaks_the_score_and_what_was_reached_leaves_it_out():
    epochs = [(1, {"miou": 0.1}), (2, {"miou": 0.3}), (3, {"miou": float("nan")}), (4, {"miou": 0.5})]
    assert score(epochs, last=2) is None
    assert score(epochs, last=1) == 0.5
    assert reached(epochs, last=2) == pytest.approx(0.4)
    assert reached(epochs, last=9) == pytest.approx(0.3)
