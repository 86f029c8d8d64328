import pytest

from kdtrain.errors import InputError
from kdtrain.space import Choice, Range, contains
from sweeps.spec.paths import config_at, extremes, lookup, replaced, size

CONTENT = {"optimizer": {"lr": 0.1}, "terms": [{"name": "a", "weight": 1.0}, {"name": "b", "weight": 2.0}]}


def test_terms_are_addressed_by_name():
    assert lookup(CONTENT, "terms.b.weight") == 2.0
    changed = replaced(CONTENT, {"terms.b.weight": 5.0, "optimizer.lr": 0.2})
    assert (changed["terms"][1]["weight"], changed["optimizer"]["lr"]) == (5.0, 0.2)
    assert CONTENT["terms"][1]["weight"] == 2.0


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("optimizer.lrr", "optimizer has no lrr; did you mean lr?"),
        ("terms.c.weight", "terms has no c; known: a, b"),
        ("optimizer.lr.x", "optimizer.lr has no x"),
        ("nothing", "the config has no nothing"),
    ],
)
def test_a_path_that_is_not_there_says_what_is(path, message):
    with pytest.raises(InputError, match=message.replace("?", r"\?")):
        lookup(CONTENT, path)


def test_what_a_domain_contains():
    assert contains(Range(low=1, high=2), 2)
    assert not contains(Range(low=1, high=2), 2.5)
    assert not contains(Range(low=0, high=2), True)
    assert contains(Range(low=1, high=3, integer=True), 2)
    assert not contains(Range(low=1, high=3, integer=True), 2.5)
    assert contains(Choice(choices=(None, "x")), None)
    assert not contains(Choice(choices=(0, 1)), False)


def test_extremes_keep_whole_numbers_whole():
    assert extremes(Range(low=1, high=3, integer=True)) == (1, 3)
    assert all(isinstance(value, int) for value in extremes(Range(low=1, high=3, integer=True)))


def test_a_finite_space_is_counted_and_listed():
    space = {"a": Choice(choices=("x", "y")), "b": Range(low=1, high=3, integer=True)}
    assert size(space) == 6
    listed = [tuple(config_at(space, index).values()) for index in range(6)]
    assert listed == [("x", 1), ("x", 2), ("x", 3), ("y", 1), ("y", 2), ("y", 3)]
    assert size({**space, "c": Range(low=0, high=1)}) == float("inf")
