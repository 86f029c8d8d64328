import pytest

from kdtrain.errors import InputError
from kdtrain.space import Choice, Range, parse_domain


@pytest.mark.parametrize(
    ("written", "domain"),
    [
        ({"low": 0.1, "high": 10, "log": True}, Range(low=0.1, high=10, log=True)),
        ({"low": 1, "high": 8, "integer": True}, Range(low=1, high=8, integer=True)),
        ({"low": "1e-4", "high": 1}, Range(low=1e-4, high=1)),
        ([1, 2.5, "a", None, True], Choice(choices=(1, 2.5, "a", None, True))),
        ((1, 2), Choice(choices=(1, 2))),
        ({"choices": ["sgd", "adamw"]}, Choice(choices=("sgd", "adamw"))),
        (Range(low=0, high=1), Range(low=0, high=1)),
    ],
)
def test_domains_are_read_as_they_stand_in_yaml(written, domain):
    read = parse_domain(written)
    assert read == domain
    if isinstance(read, Choice):
        assert [type(choice) for choice in read.choices] == [type(choice) for choice in domain.choices]
    assert type(read).model_validate_json(read.model_dump_json()) == read


@pytest.mark.parametrize(
    ("written", "said"),
    [
        ({"low": 2, "high": 2}, "the range is empty: low must be below high, got low=2, high=2"),
        ({"low": 0, "high": 1, "log": True}, "a log range must start above 0, got low=0"),
        ({"low": 0.5, "high": 3, "integer": True}, "an integer range needs whole ends"),
        ({"low": 0}, "high: is required"),
        ({"low": 0, "high": float("inf")}, "high: input should be a finite number, got inf"),
        ({"low": 0, "high": 1, "logg": True}, "logg: unknown key; did you mean log?"),
        ({"low": 0, "choices": [1]}, "low: unknown key; known: choices"),
        ({1: 2}, "a range is a list of choices or a mapping with low and high, got {1: 2}"),
        ({}, "a range is a list of choices or a mapping with low and high, got {}"),
        ([], "the list of choices is empty"),
        ([1, 2, 1], "the choices repeat a value: [1, 2, 1]"),
        ([1, [2]], "a choice is a finite number, a text, true, false or null, got [2]"),
        ([1, float("nan")], "a choice is a finite number, a text, true, false or null, got nan"),
        ("abc", "a range is a list of choices or a mapping with low and high, got 'abc'"),
        (3, "a range is a list of choices or a mapping"),
        (None, "a range is a list of choices or a mapping"),
    ],
)
def test_wrong_domains_are_refused_in_one_sentence(written, said):
    with pytest.raises(InputError) as error:
        parse_domain(written)
    assert said in str(error.value)
    assert "\n" not in str(error.value)
