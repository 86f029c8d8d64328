import json

import pytest

from kdtrain import InputError, TrainResult, train
from kdtrain.loop.held_out import measure
from kdtrain.loop.run_files import STUDENT


def test_a_saved_student_is_measured_as_its_training_did(make_config, machine, tmp_path):
    config = make_config(epochs=1)
    result = train(config, machine, workdir=tmp_path)
    again = measure(tmp_path / STUDENT, config, "select", machine)
    assert again.to_dict() == result.evaluation.to_dict()
    held_out = measure(tmp_path / STUDENT, config, "report", machine)
    assert (held_out.role, len(held_out.image_ids)) == ("report", 2)
    assert held_out.digest != again.digest
    with pytest.raises(InputError, match=r"must hold model\.json"):
        measure(tmp_path / "nowhere", config, "report", machine)


def test_a_training_and_a_later_measurement_evaluate_at_the_scale_of_the_config(make_config, machine, tmp_path):
    result = train(make_config(epochs=1, eval_scale=0.5), machine, workdir=tmp_path)
    at_half, at_full = (
        measure(tmp_path / STUDENT, make_config(epochs=1, eval_scale=scale), "select", machine) for scale in (0.5, 1.0)
    )
    assert result.evaluation.to_dict() == at_half.to_dict()
    assert at_half.to_dict() != at_full.to_dict()
    assert (result.student["input_height"], result.student["input_width"]) == (16, 24)


def test_a_result_carries_what_was_measured_and_older_ones_read(make_config, machine, tmp_path):
    result = train(make_config(epochs=1), machine, workdir=tmp_path)
    content = json.loads(json.dumps(result.to_dict()))
    assert TrainResult.from_dict(content).held_out is None
    assert TrainResult.from_dict({**content, "held_out": content["evaluation"]}).held_out.miou == result.evaluation.miou
    del content["held_out"]
    assert TrainResult.from_dict(content).held_out is None
