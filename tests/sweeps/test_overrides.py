"""Changes by dotted paths reach every field of a spec, also behind its short forms, and blame the path given."""

import pytest
import yaml

from kdtrain.errors import InputError
from kdtrain.space import Choice, Range
from sweeps.cli.options import changes_of
from sweeps.spec.overrides import parse_changed
from sweeps.spec.spec import load_spec, parse_spec

STUDIES = [
    "none",
    "cwd",
    {"name": "v1.5", "method": "cwd", "set": {"terms.channel_wise.weight": 2.0}},
    {"name": "own", "terms": [{"loss": "cross_entropy"}, {"loss": "channel_wise", "weight": 3}]},
]
WEIGHT = "terms.channel_wise.weight"
TEMPERATURE = "terms.channel_wise.temperature"


@pytest.fixture
def changed(fake, tmp_path):
    path = tmp_path / "spec.yaml"
    path.write_text(yaml.safe_dump({**fake.content(studies=STUDIES), "watchers": ["live_page"]}))
    return lambda *changes: load_spec(path, changes_of(list(changes)))


def of(spec, study):
    return spec.config_for(spec.study(study))


def test_one_end_of_a_range_is_changed(changed):
    before, after = changed(), changed("space.optimizer.lr.low=0.002")
    assert after.space == {"optimizer.lr": before.space["optimizer.lr"].model_copy(update={"low": 0.002})}


def test_a_range_is_added_whole(changed):
    spec = changed("space.optimizer.momentum={low: 0.5, high: 0.9}")
    assert spec.space["optimizer.momentum"] == Range(low=0.5, high=0.9)
    assert "optimizer.lr" in spec.space


def test_a_study_that_is_only_a_methods_name_is_changed(changed):
    spec = changed(f"studies.cwd.set.{TEMPERATURE}=2")
    assert of(spec, "cwd").terms[1].temperature == 2
    assert set(spec.study("cwd").study_space("weight", {})) == {WEIGHT}


def test_a_recommended_range_is_changed_and_the_others_stay(changed):
    before, after = (
        changed(),
        changed(f"studies.cwd.space.{WEIGHT}.low=1.5", f"studies.v1.5.space.{TEMPERATURE}=[1, 2]"),
    )
    was, now = (spec.study("cwd").study_space("weight", {}) for spec in (before, after))
    assert now[WEIGHT] == was[WEIGHT].model_copy(update={"low": 1.5})
    assert now[TEMPERATURE] == was[TEMPERATURE]
    assert after.study("v1.5").study_space("weight", {}) == {TEMPERATURE: Choice(choices=(1, 2))}


def test_a_name_with_a_point_is_one_name(changed):
    spec = changed(f"studies.v1.5.set.{WEIGHT}=7", "studies.v1.5.name=v2")
    assert of(spec, "v2").terms[1].weight == 7


def test_an_item_of_a_list_is_changed_by_index_and_by_name(changed):
    spec = changed("studies.0.name=plain", "studies.own.terms.1.weight=5", "watchers.live_page.options.every=3")
    assert spec.studies[0].name == "plain"
    assert of(spec, "own").terms[1].weight == 5
    assert spec.watchers[0].options == {"every": 3}
    assert of(changed("studies.own.terms.channel_wise.temperature=2"), "own").terms[1].temperature == 2


def test_a_field_that_the_spec_leaves_out_is_set(changed):
    spec = changed("train.optimizer.momentum=0.5", "confirm.top=1", "notes=[a=b]")
    assert of(spec, "none").optimizer.momentum == 0.5
    assert spec.notes == ("a=b",)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        (["train.batchsize=8"], "with train.batchsize changed: train.batchsize: unknown key; did you mean batch_size?"),
        (["trian.epochs=8"], "trian: unknown key; did you mean train?"),
        (["train.optimizer.lrr=8"], "train.optimizer.lrr: unknown key; did you mean lr?"),
        (["name.x=8"], "name.x: name is 'five', so it has no x"),
        (["studies.cwdd.set={}"], "studies.cwdd.set: the spec has no cwdd in studies to change; did you mean cwd?"),
        (["studies.9.name=a"], "studies.9.name: the spec has no 9 in studies"),
        (["studies.-1.name=a"], "studies.-1.name: the spec has no -1 in studies"),
        (["space.optimizer.momentum.low=0.1"], "space has no range optimizer.momentum to change"),
        (["space.optimizer.lr.lo=0.1"], "lo: unknown key; did you mean low?"),
        (["train..epochs=1"], "must be names with single points between them"),
        (["budget.trials=2", "budget.trials=3"], "--set: budget.trials is given twice"),
        (["budget={trials: 2}", "budget.trials=3"], "--set: budget.trials and budget change the same field"),
        (["budget.trials="], "--set budget.trials: the value is empty"),
        (["budget.trials={a"], "--set budget.trials is not YAML"),
        (["budget.trials=010"], "--set budget.trials: YAML 1.1 and YAML 1.2 read 010 differently"),
        (["name=runs #3"], "only up to the #"),
        (["=3"], "--set: must be FIELD=VALUE"),
        (["seed"], "--set: must be FIELD=VALUE"),
    ],
)
def test_a_change_that_is_wrong_is_blamed_on_its_own_path(changed, changes, words):
    with pytest.raises(InputError) as caught:
        changed(*changes)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_two_studies_of_one_method_are_told_apart_by_index(fake, tmp_path):
    path = tmp_path / "spec.yaml"
    twins = [{"name": name, "method": "cwd", "space": {}} for name in ("a", "b")]
    path.write_text(yaml.safe_dump(fake.content(studies=["none", *twins])))
    with pytest.raises(InputError, match="studies has 2 items called cwd; give its index"):
        load_spec(path, {"studies.cwd.set": {}})
    assert load_spec(path, {"studies.2.name": "c"}).studies[2].name == "c"


def test_a_mistake_of_the_file_is_not_blamed_on_a_change(fake, tmp_path):
    path = tmp_path / "spec.yaml"
    path.write_text(yaml.safe_dump(fake.content(seedd=3)))
    with pytest.raises(InputError, match=r"spec\.yaml: seedd: unknown key; did you mean seed\?"):
        load_spec(path, {"budget.trials": 2})


def test_a_recommended_range_is_that_of_the_sweeps_ranges(fake):
    ends = {"narrow": (10, 2), "wide": (50, 2), "wider": (50, 20)}
    for ranges, (kd, dice) in ends.items():
        content = fake.content(studies=["none", "kd", "dice_ce"], units="pull", ranges=ranges)
        for study, path, high in (("kd", "terms.pixel_kd.pull", kd), ("dice_ce", "terms.dice.pull", dice)):
            spec = parse_changed(parse_spec, content, {f"studies.{study}.space.{path}.low": 0.2}, "spec.yaml")
            assert spec.study(study).space[path] == Range(low=0.2, high=high, log=True)
