import pytest
import yaml

from kdtrain.errors import InputError
from sweeps.driver.growth import growth
from sweeps.spec.settings import Resources
from sweeps.spec.spec import load_spec, parse_spec


def refused(fake, **changes):
    with pytest.raises(InputError) as caught:
        parse_spec(fake.content(**changes))
    message = str(caught.value)
    assert "\n" not in message
    return message


def test_a_spec_survives_its_yaml(fake, tmp_path):
    terms = [{"loss": "cross_entropy"}, {"loss": "channel_wise", "name": "mine", "weight": 2.5}]
    spec = fake.make_spec(
        studies=[
            "none",
            {"name": "own", "terms": terms, "space": {"terms.mine.temperature": [1.0, 2.0]}},
            {"name": "fixed", "method": "cwd", "set": {"terms.channel_wise.weight": 5.0}},
        ],
        scheduler={"name": "halving"},
    )
    path = tmp_path / "spec.yaml"
    path.write_text(spec.dump())
    assert load_spec(path) == spec
    assert load_spec(path).digest == spec.digest


def test_exponents_without_a_point_are_numbers(fake, tmp_path):
    text = yaml.safe_dump(fake.content()).replace("low: 0.001", "low: 1e-3").replace("high: 0.1", "high: 1e-1")
    path = tmp_path / "spec.yaml"
    path.write_text(text)
    assert load_spec(path) == fake.make_spec()


def test_overrides_reach_every_field(fake, tmp_path):
    path = tmp_path / "spec.yaml"
    path.write_text(yaml.safe_dump(fake.content()).replace("- none\n", "- method: none\n"))
    spec = load_spec(path, {"budget.trials": 2, "train.optimizer.lr": 0.05, "studies.none.name": "plain"})
    assert spec.budget.trials == 2
    assert spec.config_for(spec.studies[1]).optimizer.lr == 0.05
    assert "plain" in [study.name for study in spec.studies]
    with pytest.raises(InputError, match=r"studies\.nobody\.set: the spec has no nobody"):
        load_spec(path, {"studies.nobody.set": {}})


def test_a_methods_ranges_are_searched_by_default_and_can_be_replaced(fake):
    spec = fake.make_spec(
        studies=[
            "none",
            "cwd",
            {"name": "one", "method": "cwd", "space": {"terms.channel_wise.weight": [1.0, 2.0]}},
            {"name": "set", "method": "cwd", "set": {"terms.channel_wise.weight": 2.0}},
        ]
    )
    searched = {study.name: set(spec.space_of(study)) for study in spec.studies}
    assert searched == {
        "none": {"optimizer.lr"},
        "cwd": {"optimizer.lr", "terms.channel_wise.weight", "terms.channel_wise.temperature"},
        "one": {"optimizer.lr", "terms.channel_wise.weight"},
        "set": {"optimizer.lr", "terms.channel_wise.temperature"},
    }


def test_config_for_applies_what_is_set_and_what_was_chosen(fake):
    spec = fake.make_spec(
        studies=[{"name": "a", "method": "cwd", "set": {"student.encoder": "resnet18", "epochs": 9}}],
    )
    config = spec.config_for(spec.studies[0], {"terms.channel_wise.weight": 7.0}, seed=3, teacher="abc")
    assert (config.student.encoder, config.epochs, config.seed, config.teacher) == ("resnet18", 9, 3, "abc")
    assert config.terms[1].weight == 7.0
    assert config.batch_size == 4
    other = spec.config_for(spec.studies[0], {"terms.channel_wise.weight": 7.0}, seed=4, teacher="abc")
    assert other.config_id == config.config_id


def test_an_untaught_config_names_no_teacher(fake):
    spec = fake.make_spec()
    configs = [spec.config_for(spec.study("none"), teacher=digest) for digest in ("abc", "def")]
    assert configs[0].teacher is None
    assert configs[0].config_id == configs[1].config_id


def test_the_baseline_is_the_untaught_study_unless_told(fake):
    assert fake.make_spec(studies=["kd", "none"]).baseline.name == "none"
    marked = [{"method": "kd", "baseline": True}, "none"]
    assert fake.make_spec(studies=marked).baseline.name == "kd"
    assert fake.make_spec(studies=["kd"]).baseline is None


def test_the_teacher_is_trained_by_the_recipe_and_what_differs_from_it(fake):
    fit = {"network": {"encoder": "resnet18"}, "epochs": 20, "optimizer": {"lr": 0.1}}
    spec = fake.make_spec(teacher={"fit": fit}, train={"batch_size": 4, "optimizer": {"name": "adamw", "lr": 0.01}})
    config = spec.teacher_config
    assert (config.student.encoder, config.epochs, config.batch_size) == ("resnet18", 20, 4)
    assert (config.optimizer.name, config.optimizer.lr) == ("adamw", 0.1)
    assert [term.name for term in config.terms] == ["cross_entropy"]


def test_unknown_keys_are_refused_with_the_key_that_was_meant(fake):
    assert refused(fake, budgets={}) == "budgets: unknown key; did you mean budget?"
    assert refused(fake, budget={"trails": 3}) == "budget.trails: unknown key; did you mean trials?"
    assert refused(fake, data={"name": "streets", "sise": [1, 2]}).startswith(
        "data.sise: unknown key; did you mean size"
    )
    assert "train.epoch: unknown key; did you mean epochs?" in refused(fake, train={"epoch": 3})
    assert "train.optimizer.learning_rate: unknown key" in refused(fake, train={"optimizer": {"learning_rate": 1}})
    study = {"method": "kd", "sapce": {}}
    assert refused(fake, studies=["none", study]) == "studies.1.sapce: unknown key; did you mean space?"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"studies": ["none", "cdw"]}, "unknown method 'cdw'"),
        ({"studies": ["none", "none"]}, "the names must differ, but none comes twice"),
        ({"studies": []}, "studies: "),
        ({"studies": [{"name": "x"}]}, "give either method or terms"),
        ({"studies": [{"name": "a/b", "method": "none"}]}, "studies.0.name: "),
        ({"budget": {}}, "give trials, epochs or both"),
        ({"budget": {"trials": 0}}, "budget.trials: input should be greater than 0, got 0"),
        ({"space": {"optimizer.lr": {"low": 0.1, "high": 0.01}}}, "optimizer.lr: the range is empty"),
        ({"space": {"optimizer.lr": {"low": 0, "high": 1, "log": True}}}, "a log range must start above 0"),
        ({"space": {"optimizer.lr": 3}}, "optimizer.lr: a range is a list of choices or a mapping"),
        (
            {"space": {"optimizer.rl": [1, 2]}},
            "space.optimizer.rl: optimizer has no rl; did you mean lr?",
        ),
        ({"space": {"optimizer.lr": {"low": -1, "high": 1}}}, "space.optimizer.lr: "),
        ({"space": {"terms.pixel_kd.weight": [1, 2]}}, "terms has no pixel_kd"),
        ({"space": {"seed": [1, 2]}}, "seed is the same for all trials"),
        ({"space": {"epochs": [1, 2]}}, "epochs cannot be searched"),
        ({"train": {"seed": 3}}, "train.seed: belongs to the sweep"),
        ({"train": {"epochs": 0}}, "train.epochs: input should be greater than 0, got 0"),
        ({"teacher": None}, "pixel_kd needs a teacher, but the sweep has none"),
        ({"teacher": {}}, "teacher: give either fit"),
        ({"teacher": {"fit": {"epochs": 3}}}, "fit.network: is required"),
        (
            {"teacher": {"fit": {"network": {}, "epoch": 3}}},
            "teacher.fit.epoch: unknown key; did you mean epochs?",
        ),
        ({"space": {}}, "the baseline searches nothing while kd does"),
        ({"resources": {"gpu": 1.5}}, "resources.gpu: must be a fraction below 1 or a whole number"),
        ({"scheduler": {"name": "bogus"}}, "scheduler.name: must be one of none, halving, hyperband, median, patience"),
        ({"data": {"name": "imagenet"}}, "data: "),
    ],
)
def test_wrong_specs_are_refused_in_one_sentence(fake, changes, message):
    assert message in refused(fake, **changes)


def test_what_is_set_cannot_be_searched_too(fake):
    study = {"method": "cwd", "set": {"optimizer.lr": 0.1}}
    assert "studies.cwd: optimizer.lr is both set and searched" in refused(fake, studies=["none", study])


def test_a_spec_that_is_no_yaml_names_the_file(tmp_path):
    path = tmp_path / "spec.yaml"
    for text in ("a: [", "just words", ""):
        path.write_text(text)
        with pytest.raises(InputError, match=r"spec\.yaml"):
            load_spec(path)
    with pytest.raises(InputError, match="cannot be read"):
        load_spec(tmp_path / "missing.yaml")


def test_former_names_of_seeds_and_roles_give_the_same_spec(fake):
    content = fake.make_spec(confirm={"top": 1, "seeds": 1, "final_seeds": 2}).model_dump(mode="json")
    counts = content["data"]["counts"]
    former = {**content, "confirm": {"top": 1, "seeds": 1, "report_seeds": 2}}
    former["data"] = {**content["data"], "counts": {"train": counts["train"], "select": counts["select"]}}
    former["data"]["counts"]["report"] = counts["test"]
    old, new = parse_spec(former), parse_spec(content)
    assert (old, old.digest) == (new, new.digest)
    assert growth(former, new, "D") == []
    with pytest.raises(InputError, match="final_seeds and report_seeds are names of one field"):
        parse_spec({**content, "confirm": {"report_seeds": 1, "final_seeds": 1}})


@pytest.mark.parametrize(("gpu", "processes"), [(0, 1), (0.25, 1), (1, 1), (4, 4)])
def test_a_training_has_a_process_for_each_of_its_gpus(gpu, processes):
    assert Resources(gpu=gpu).processes == processes
