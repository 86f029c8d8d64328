"""Trials are compared by the parts of the code that both executed."""

import json

from analysis.conditions.hardware import mixed


def codes(digests):
    """`code_json`: by code digest, the version of each part, each of one module."""
    return {
        name: {
            part: {"digest": f"{part} {version}", "modules": {f"kdtrain.{part}": version}}
            for part, version in parts.items()
        }
        for name, parts in digests.items()
    }


def with_code(sweep, code, **code_of_study):
    sweep.study("kd")
    sweep.trial("kd", 0.4)
    for trial in sweep.rows["trials"]:
        trial["code_digest"] = code_of_study.get(trial["study"])
    sweep.rows["sweeps"][0]["code_json"] = json.dumps(codes(code))
    return [mix for mix in mixed(sweep.tables()) if mix.kind == "code"]


def test_losses_of_their_own_are_no_difference(sweep):
    code = {"a": {"training": "1"}, "b": {"training": "1", "cwd": "1"}, "c": {"training": "1", "kd": "1"}}
    assert with_code(sweep, code, none="a", cwd="b", kd="c") == []


def test_what_two_studies_share_must_be_the_same(sweep):
    code = {"a": {"training": "1"}, "b": {"training": "2", "cwd": "1"}, "c": {"training": "1", "kd": "1"}}
    (mix,) = with_code(sweep, code, none="a", cwd="b", kd="c")
    assert mix.spans({"none", "cwd"})
    assert not mix.spans({"none", "kd"})
    assert "differ in kdtrain.training: put back" in mix.sentence
    assert mix.sentence.endswith("What ran on different code is not comparable.")


def test_a_changed_loss_touches_only_the_studies_that_compute_it(sweep):
    code = {"a": {"training": "1", "cwd": "1"}, "b": {"training": "1", "cwd": "2"}, "c": {"training": "1"}}
    (mix,) = with_code(sweep, code, cwd="a", kd="b", none="c")
    assert mix.spans({"cwd", "kd"})
    assert not mix.spans({"none", "cwd"})
    assert mix.differs == ("kdtrain.cwd",)


def test_code_that_was_recorded_as_a_whole_names_no_module(sweep):
    with_code(sweep, {"a": {"training": "1"}, "b": {"training": "2"}}, none="a", cwd="b")
    code = json.loads(sweep.rows["sweeps"][0]["code_json"])
    code["a"]["training"]["modules"] = {}
    sweep.rows["sweeps"][0]["code_json"] = json.dumps(code)
    (mix,) = (mix for mix in mixed(sweep.tables()) if mix.kind == "code")
    assert mix.spans({"none", "cwd"})
    assert mix.differs == ()


def test_one_study_on_one_version_of_every_part_is_not_mixed_in_itself(sweep):
    code = {
        "a": {"training": "1", "loss": "1"},
        "b": {"training": "2", "loss": "1"},
        "c": {"training": "1", "loss": "2"},
    }
    (mix,) = with_code(sweep, code, none="a", cwd="b", kd="c")
    assert [mix.spans({study}) for study in ("none", "cwd", "kd")] == [False] * 3
    assert mix.spans({"none", "cwd"})
    assert mix.spans({"none", "kd"})
