from typing import Annotated, Literal

import pytest
from pydantic import Field, ValidationError

from kdtrain.config_base import Strict
from kdtrain.explain import did_you_mean, sentence


class Cat(Strict):
    name: Literal["cat"] = "cat"
    whiskers: int = Field(default=1, gt=0)


class Dog(Strict):
    name: Literal["dog"] = "dog"
    barks: bool = True


class House(Strict):
    owner: str
    pets: tuple[Annotated[Cat | Dog, Field(discriminator="name")], ...] = ()
    rooms: dict[str, Cat] = {}
    guest: Dog | None = None


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ({}, "owner: is required"),
        ({"owner": "x", "pest": []}, "pest: unknown key; did you mean pets?"),
        ({"owner": "x", "zzz": []}, "zzz: unknown key; known: guest, owner, pets, rooms"),
        (
            {"owner": "x", "pets": [{"name": "cat", "wiskers": 2}]},
            "pets.0.wiskers: unknown key; did you mean whiskers?",
        ),
        (
            {"owner": "x", "pets": [{"name": "cat", "whiskers": 0}]},
            "pets.0.whiskers: input should be greater than 0, got 0",
        ),
        ({"owner": "x", "rooms": {"a": {"nam": 1}}}, "rooms.a.nam: unknown key; did you mean name?"),
        ({"owner": "x", "guest": {"bark": True}}, "guest.bark: unknown key; did you mean barks?"),
    ],
)
def test_one_sentence_with_the_field_as_it_was_written(content, expected):
    with pytest.raises(ValidationError) as caught:
        House.model_validate(content)
    assert sentence(caught.value, House) == expected
    assert sentence(caught.value, House, "house") == f"house.{expected}"


def test_nothing_near_lists_what_is_known():
    assert did_you_mean("x", ["aaa", "bbb"]) == "; known: aaa, bbb"
    assert did_you_mean("x", []) == ""
    assert did_you_mean("x", [f"name{i:02d}" for i in range(21)]).endswith("name18, name19, ...")
