import pytest

from kdtrain.errors import InputError
from sweeps.designs import ablation
from sweeps.spec import load_spec


def make(fake, method, **options):
    spec = fake.make_spec()
    content = spec.config_for(spec.study(method), {"optimizer.lr": 0.03}).model_dump(mode="json")
    return ablation("leave-one-out", {"config": content, "evidence": {}}, spec, **options)


def terms(spec):
    return {study.name: [term.loss for term in study.terms] for study in spec.studies}


def test_every_term_is_left_out_once(fake):
    spec = make(fake, "cskd")
    assert terms(spec) == {
        "reference": ["cross_entropy", "channel_wise", "cam_cka", "grid_pam_cka"],
        "without_channel_wise": ["cross_entropy", "cam_cka", "grid_pam_cka"],
        "without_cam_cka": ["cross_entropy", "channel_wise", "grid_pam_cka"],
        "without_grid_pam_cka": ["cross_entropy", "channel_wise", "cam_cka"],
        "none": ["cross_entropy"],
    }
    assert [(cell.study, cell.role, cell.factor, cell.level) for cell in spec.cells][:2] == [
        ("reference", "reference", None, None),
        ("without_channel_wise", "cell", "channel_wise", "off"),
    ]
    assert spec.baseline.name == "none"


def test_no_cell_is_without_a_loss_on_labels(fake):
    assert terms(make(fake, "csc_ace")) == {
        "reference": ["adaptive_cross_entropy", "csc"],
        "without_adaptive_cross_entropy": ["cross_entropy", "csc"],
        "without_csc": ["adaptive_cross_entropy"],
        "none": ["cross_entropy"],
    }


def test_the_control_is_not_trained_twice(fake):
    assert list(terms(make(fake, "cwd"))) == ["reference", "without_channel_wise"]


def test_the_recipe_is_that_of_the_config_and_the_seeds_are_new(fake):
    spec = make(fake, "cwd", seeds=4)
    config = spec.config_for(spec.study("reference"))
    assert (config.optimizer.lr, config.epochs, config.batch_size) == (0.03, 6, 4)
    assert spec.confirm_seeds == (10, 11, 12, 13)  # the config was chosen on 7, and confirmed on 8 and 9
    assert not any(spec.space_of(study) for study in spec.studies)


def test_an_ablation_is_a_spec_like_any_other(fake, tmp_path):
    spec = make(fake, "cskd")
    path = tmp_path / "ablation.yaml"
    path.write_text(spec.dump())
    assert load_spec(path) == spec
    state = fake.run(spec, tmp_path / "run")
    assert {trial.phase for trial in state.trials.values()} == {"confirm"}
    assert len(state.trials) == 5 * 2


def test_wrong_designs_are_refused(fake):
    spec = fake.make_spec()
    with pytest.raises(InputError, match="nothing to leave out"):
        make(fake, "none")
    with pytest.raises(InputError, match="did you mean leave-one-out"):
        ablation("leave-one-in", {}, spec)
