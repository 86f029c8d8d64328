"""The two stages of a training in a sweep: a setting of a study, searched, and said where it changes nothing."""

from pathlib import Path

import pytest
import yaml
from called_command import called
from small_encoders import dinov2, saved

from sweeps import Sweep, SweepSpec
from sweeps.driver.idle_settings import idle_settings
from sweeps.spec.calibrations import calibrations

TWO = {"name": "two", "method": "fitnet", "set": {"stages.features": 0.3}}
SEARCHED = {"name": "searched", "method": "fitnet", "space": {"stages.features": {"low": 0.1, "high": 0.5}}}
ONE = ["none", "fitnet"]
TRAIN = {"epochs": 6, "batch_size": 4}


def test_a_study_of_two_stages_beside_one_of_one(fake):
    spec = fake.make_spec(studies=["none", "fitnet", TWO, SEARCHED])
    stages = {study.name: spec.config_for(study).stages.features for study in spec.studies}
    assert stages == {"none": 0.0, "fitnet": 0.0, "two": 0.3, "searched": 0.0}
    study = spec.study("searched")
    assert spec.config_for(study, {**spec.typical(study), "stages.features": 0.25}).stages.features == 0.25
    assert not any("stages" in sentence for sentence in idle_settings(spec))


def test_studies_that_differ_in_stages_share_a_calibration(fake):
    one, both = (calibrations(fake.make_spec(units="pull", studies=studies)) for studies in (ONE, [*ONE, TWO]))
    assert [measurement.config.config_id for measurement in one] == [each.config.config_id for each in both]
    staged = calibrations(fake.make_spec(units="pull", studies=ONE, train={**TRAIN, "stages": {"features": 0.3}}))
    assert [measurement.config.config_id for measurement in staged] == [each.config.config_id for each in one]


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        (
            {"studies": ["none", {"name": "kd", "method": "kd", "set": {"stages.features": 0.3}}]},
            "stages.features: has no effect, because no term compares inner layers of student and teacher",
        ),
        (
            {
                "studies": [{"name": "two", "method": "fitnet", "set": {"stages.features": 0.5}}],
                "scheduler": {"name": "halving", "grace": 2, "factor": 2},
            },
            "stages.features: trials are compared after epoch 2, but the first stage lasts 3 epochs",
        ),
    ],
)
def test_stages_that_do_not_fit_the_sweep_are_said(fake, changes, sentence):
    assert sentence in " ".join(idle_settings(fake.make_spec(**changes)))


@pytest.mark.slow
def test_features_of_an_encoder_first_and_then_the_task(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("KDSWEEP_CACHE", str(tmp_path / "cache"))
    data = {"name": "streets", "size": [32, 64], "counts": {"train": 4, "select": 2, "test": 1}}
    saved(dinov2)
    Path("data.yaml").write_text(yaml.safe_dump({"data": data}))
    words = ("teacher", "import", "encoder", "--spec", "data.yaml", "--dir", "t")
    assert called(monkeypatch, capsys, *words)[0] == 0
    layer = {"terms.fitnet.teacher_layer": "features"}
    searched = {"stages.features": {"low": 0.3, "high": 0.7}}
    spec = {
        "name": "two-stages",
        "data": data,
        "teacher": {"path": "t"},
        "student": {"options": {"decoder_pyramid_channels": 32, "decoder_segmentation_channels": 32}},
        "train": {"epochs": 2, "batch_size": 2},
        "studies": ["none", {"name": "two", "method": "fitnet", "set": layer, "space": searched}],
        "space": {"optimizer.lr": {"low": 0.001, "high": 0.1, "log": True}},
        "budget": {"trials": 1},
        "confirm": {"top": 0},
    }
    sweep = Sweep(SweepSpec.model_validate(spec))
    sweep.run(inline=True)
    trials = sweep.tables["trials"]
    assert trials.state.tolist() == ["complete"] * 2
