from typing import Annotated, ClassVar, Literal

import pytest
from pydantic import Field, ValidationError

from kdtrain.config_base import Strict
from kdtrain.explain import did_you_mean, first_line, kind_and_line, place_of, sentence


class Cat(Strict):
    name: Literal["cat"] = "cat"
    whiskers: int = Field(default=1, gt=0)


class Dog(Strict):
    name: Literal["dog"] = "dog"
    barks: bool = True


class Door(Strict):
    OFF: ClassVar[str] = "{lock: false} to leave it open"
    lock: bool = True
    lamp: str


class Shelf(Strict):
    books: tuple[str, ...] = Field(default=("a", "b"), min_length=2, max_length=3)
    cats: dict[str, Cat] = {}
    lamp: Dog | None = None
    owner: Cat = Cat()
    height: float = 1
    closed: bool = False
    door: Door = Door(lamp="on")


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


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ({"books": ["a"]}, "books: should have at least 2 items, got ['a']"),
        ({"books": list("abcd")}, "books: should have at most 3 items, got ['a', 'b', 'c', 'd']"),
        ({"books": "a"}, "books: input should be a list, got 'a'"),
        ({"cats": 1}, "cats: input should be a mapping, got 1"),
        (
            {"owner": None},
            "owner: input should be a mapping, got null; leave it out to take its default, or give some of its fields "
            "(name, whiskers)",
        ),
        (
            {"door": None},
            "door: input should be a mapping, got null; leave it out to take its default, or write {lock: false} to "
            "leave it open, or give some of its fields (lock, lamp)",
        ),
        ({"door": {"lamp": None}}, "door.lamp: input should be a valid string, got null"),
        ({"height": None}, "height: input should be a valid number, got null; leave it out to take its default"),
        ({"lamp": "x"}, "lamp: input should be a mapping, got 'x'"),
        ({"cats": {"a": {"whiskers": "many"}}}, "cats.a.whiskers: input should be a valid integer, got 'many'"),
        ({"cats": {1: {}}}, "cats.1: the key should be a valid string, got 1"),
        ({"height": "tall"}, "height: input should be a valid number, got 'tall'"),
        ({"closed": "maybe"}, "closed: input should be a valid boolean, got 'maybe'"),
    ],
)
def test_the_words_are_those_of_yaml_and_not_of_python(content, expected):
    with pytest.raises(ValidationError) as caught:
        Shelf.model_validate(content)
    assert sentence(caught.value, Shelf) == expected


def test_nothing_near_lists_what_is_known():
    assert did_you_mean("x", ["aaa", "bbb"]) == "; known: aaa, bbb"
    assert did_you_mean("x", []) == ""
    assert did_you_mean("x", [f"name{i:02d}" for i in range(21)]).endswith("name18, name19, ...")


def raised(code, file):
    """The error of some code in a file."""
    try:
        exec(compile(code, str(file), "exec"), {})
    except Exception as error:
        return error


def test_an_error_in_a_file_of_the_user_names_file_and_line(tmp_path):
    error = raised("\n\n1 / 0", tmp_path / "my_network.py")
    assert first_line(error) == "division by zero at my_network.py:3"
    assert kind_and_line(error) == "ZeroDivisionError: division by zero at my_network.py:3"


def test_an_error_below_a_file_of_the_user_names_the_users_line(tmp_path):
    error = raised("import json\njson.loads('{')", tmp_path / "my_data.py")
    assert place_of(error) == " at my_data.py:2"


def test_errors_of_this_project_and_errors_that_were_not_raised_name_no_place():
    assert place_of(ValueError("never raised")) == ""
    with pytest.raises(ValidationError) as error:
        Cat.model_validate({"whiskers": 0})
    error.value.__traceback__ = error.value.__traceback__.tb_next
    assert place_of(error.value) == ""
