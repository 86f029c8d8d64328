"""A mistake in a spec is blamed on the user's own key, where it stands; names and numbers follow one rule each."""

from functools import partial

import pytest

from kdtrain.config import TrainConfig
from kdtrain.errors import InputError
from kdtrain.methods.base import Method
from sweeps.spec.spec import parse_spec

WEIGHT = "terms.channel_wise.weight"
FIT = {"network": {"arch": "FPN"}, "epochs": 2}


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"studys": ["none"], "studies": ...}, "studys: unknown key; did you mean studies?"),
        ({"budgets": {"trials": 2}, "budget": ...}, "budgets: unknown key; did you mean budget?"),
        ({"studies": [{"methd": "cwd"}]}, "studies.0.methd: unknown key; did you mean method?"),
        (
            {"train": {"batchsize": 8}, "teacher": {"fit": FIT}},
            "train.batchsize: unknown key; did you mean batch_size?",
        ),
        (
            {"train": {"optimizer": {"lrr": 8}}, "teacher": {"fit": FIT}},
            "train.optimizer.lrr: unknown key; did you mean lr?",
        ),
        ({"teacher": {"fit": {**FIT, "batchsize": 8}}}, "teacher.fit.batchsize: unknown key"),
        (
            {"teacher": {"fit": {"network": {"archh": "FPN"}}}},
            "teacher.fit.network.archh: unknown key; did you mean arch?",
        ),
        ({"teacher": {"fit": {"networks": {"arch": "FPN"}}}}, "fit.networks: unknown key; did you mean network?"),
        ({"space": {"optimizer.lrr": [1, 2]}}, "space.optimizer.lrr: optimizer has no lrr; did you mean lr?"),
        ({"space": {"optimizer.lr": [-1, 2]}}, "space.optimizer.lr: input should be greater than 0, got -1"),
        (
            {"studies": [{"name": "a", "method": "cwd", "set": {WEIGHT: -3}}]},
            f"studies.a.set.{WEIGHT}: Input should be greater than or equal to 0, got -3",
        ),
        (
            {"studies": [{"name": "a", "method": "cwd", "space": {WEIGHT: [-3, 3]}}]},
            f"studies.a.space.{WEIGHT}: Input should be greater than or equal to 0, got -3",
        ),
        (
            {"studies": [{"name": "a", "method": "cwd", "set": {"terms.chanel_wise.weight": 3}}]},
            "studies.a.set.terms.chanel_wise.weight: terms has no chanel_wise; did you mean channel_wise?",
        ),
        (
            {"studies": [{"name": "a", "method": "none", "set": {"optimizer": {"lr": 0.1}}}]},
            "studies.a: optimizer is both set and searched",
        ),
        ({"studies": "none"}, "studies: input should be a list, got 'none'"),
        ({"train": ["epochs"]}, "train: input should be a mapping"),
    ],
)
def test_a_mistake_is_blamed_on_the_key_that_the_user_wrote(fake, changes, words):
    content = {key: value for key, value in (fake.content() | changes).items() if value is not ...}
    with pytest.raises(InputError) as caught:
        parse_spec(content)
    assert words in str(caught.value)


@pytest.mark.parametrize(
    "changes",
    [
        {"seed": True},
        {"train": {"optimizer": {"lr": True}}},
        {"student": {"arch": "FPN", "encoder": "resnet18", "mean": [0.5, True, 0.5]}},
        {"space": {"optimizer.lr": {"low": False, "high": 0.1}}},
        {"space": {"optimizer.lr": [0.1, True]}},
    ],
)
def test_true_and_false_are_no_numbers(fake, changes):
    with pytest.raises(InputError, match=r"must be a number, got (true|false)"):
        parse_spec(fake.content(**changes))


@pytest.mark.parametrize(
    ("field", "value", "words"),
    [
        ("seed", 2**64, "seed: input should be less than or equal to 4503599627370496"),
        ("seed", -1, "seed: input should be greater than or equal to 0"),
        ("retries", 10**12, "retries: input should be less than or equal to 1000000000"),
        ("budget", {"trials": 10**12}, "budget.trials: input should be less than or equal to 1000000000"),
        ("train", {"data_seed": 2**63}, "train.data_seed: input should be less than or equal to 9007199254740992"),
        ("train", {"epochs": 10**12}, "train.epochs: input should be less than or equal to 1000000000"),
        ("confirm", {"seeds": 10**12}, "confirm.seeds: must be a whole number from 0 to 10^9"),
    ],
)
def test_a_number_that_is_too_large_is_refused_when_the_spec_is_read(fake, field, value, words):
    with pytest.raises(InputError) as caught:
        parse_spec(fake.content(**{field: value}))
    assert words in str(caught.value)
    assert parse_spec(fake.content(seed=2**52)).confirm_seeds[0] == 2**52 + 1
    assert TrainConfig(seed=2**53).seed == 2**53


@pytest.mark.parametrize(
    "name",
    ["", "x" * 201, "x" * 300, "a/b", "..", ".", ".x", "-x", "a\0b", "a b", "a\nb", "é", "[x]", "٣", "~", "a\x1b[1m"],
)
@pytest.mark.parametrize("place", ["sweep", "study", "method"])
def test_a_name_follows_one_rule(fake, name, place):
    changes = {"name": name} if place == "sweep" else {"studies": ["none", {"name": name, "method": "cwd"}]}
    make = partial(Method, name, "", "", ()) if place == "method" else partial(parse_spec, fake.content(**changes))
    with pytest.raises(InputError, match=r"a name (has at most 200|begins with a letter or digit and holds)") as caught:
        make()
    message = str(caught.value)
    assert message.startswith({"sweep": "name: ", "study": "studies.1.name: ", "method": "method: "}[place])
    assert message.isascii()
    assert message.isprintable()


def test_a_name_of_200_characters_and_points_is_allowed(fake):
    spec = parse_spec(fake.content(name="x" * 200, studies=["none", {"name": "1_a.b+c-", "method": "cwd"}]))
    assert spec.studies[1].name == "1_a.b+c-"


def test_one_watcher_or_note_needs_no_list(fake):
    spec = parse_spec(fake.content(watchers="live_page", notes="a remark"))
    assert [watcher.name for watcher in spec.watchers] == ["live_page"]
    assert spec.notes == ("a remark",)
    assert parse_spec(fake.content(watchers={"name": "live_page"})).watchers == spec.watchers
