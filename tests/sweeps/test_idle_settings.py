"""Settings that change nothing are said in the plan."""

import pytest

from sweeps.driver.idle_settings import idle_settings, rungs

HALVING = {"name": "halving", "grace": 2, "factor": 2}
LR = {"optimizer.lr": {"low": 0.001, "high": 0.1, "log": True}}


def said(fake, **changes):
    return list(idle_settings(fake.make_spec(**changes)))


def test_a_spec_whose_settings_all_count_has_no_remark(fake):
    scheduler = {"name": "halving", "grace": 1, "factor": 3}
    assert said(fake, scheduler=scheduler, confirm={"top": 4, "seeds": 2}, sampler={"startup": 3}) == []


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        (
            {"scheduler": {**HALVING, "grace": 6}},
            "scheduler.grace: 6 leaves no evaluation before the last of the 6 epochs",
        ),
        ({"scheduler": {**HALVING, "grace": 60}}, "so no trial is stopped early"),
        (
            {"scheduler": {**HALVING, "grace": 4}, "train": {"epochs": 6, "evaluate_every": 3}},
            "scheduler.grace: 4 leaves no evaluation before the last of the 6 epochs, evaluated every 3",
        ),
        ({"scheduler": {**HALVING, "factor": 5}}, "before 5 have entered it, and a study has at most 4 trials"),
        (
            {"scheduler": {"name": "median", "rivals": 4}},
            "scheduler.rivals: a trial is stopped only once 4 others have come as far, and a study has at most 4",
        ),
        (
            {"scheduler": {"name": "patience", "evaluations": 2}, "budget": {"trials": 1}, "confirm": {"top": 1}},
            "scheduler.name: patience never stops the best trial of a search, and a study has at most 1 trial,",
        ),
        ({"scheduler": {"name": "none", "grace": 3}}, "scheduler.grace: has no effect, because scheduler.name is none"),
        ({"budget": {"trials": 4, "epochs": 100}}, "budget.epochs: 100 is never reached, because budget.trials ends"),
        ({"budget": {"trials": 40, "epochs": 24}}, "budget.trials: 40 is never reached, because budget.epochs ends"),
        (
            {"budget": {"trials": 40, "epochs": 24}, "scheduler": HALVING},
            "budget.trials: 40 is reached only if early stopping saves epochs",
        ),
        (
            {"space": {"aux_weight": [0.1, 0.4]}, "studies": ["none"]},
            "the space holds 2 configs, fewer than the 4 trials",
        ),
        ({"confirm": {"top": 9}}, "confirm.top: 9 is more than the 4 configs that a study tries"),
        (
            {"sampler": {"startup": 4}},
            "gp learns from trials once there are 4, and a study has at most 4, so it never",
        ),
        ({"sampler": {"name": "random", "startup": 9}}, "sampler.startup: only tpe, gp, prior look at it"),
        (
            {"sampler": {"name": "grid", "options": {"points": {"optimizer.lr": 3, "aux_weight": 2}}}},
            "sampler.options.points.aux_weight: no study searches it",
        ),
        ({"studies": ["none"]}, "teacher: no study has a term that looks at it"),
        ({"space": {**LR, "aux_weight": [0.4]}}, "space.aux_weight: holds a single value"),
        (
            {
                "studies": [
                    "none",
                    {
                        "method": "kd",
                        "set": {"terms.pixel_kd.weight": 0},
                        "space": {"terms.pixel_kd.temperature": [1, 2]},
                    },
                ]
            },
            "kd: terms.pixel_kd.temperature: has no effect, because the weight of pixel_kd is 0",
        ),
        (
            {
                "studies": [
                    "none",
                    {"name": "two", "terms": [{"loss": "cross_entropy"}, {"loss": "pixel_kd", "weight": 0}]},
                ]
            },
            "two: terms.pixel_kd: is not computed, because its weight is 0",
        ),
        ({"train": {"epochs": 6, "views": 6}}, "train.views: 6 is not below the 6 epochs"),
        ({"train": {"epochs": 6, "ema": {"half_life": 1}}}, "train.ema.half_life: 1 gives the same as 0.46"),
        ({"train": {"epochs": 6, "schedule": {"warmup_epochs": 7}}}, "the learning rate never reaches optimizer.lr"),
        (
            {"train": {"epochs": 6, "optimizer": {"name": "adamw", "momentum": 0.8}}},
            "only optimizer.name: sgd looks at it",
        ),
        (
            {
                "space": {**LR, "schedule.power": {"low": 0.5, "high": 2}},
                "train": {"epochs": 6, "schedule": {"name": "cosine"}},
            },
            "only schedule.name: poly looks at it",
        ),
    ],
)
def test_a_setting_without_effect_is_said(fake, changes, sentence):
    matching = [remark for remark in said(fake, **changes) if sentence in remark]
    assert len(matching) == 1
    assert "\n" not in matching[0]


def test_a_weight_that_is_searched_counts(fake):
    space = {"terms.pixel_kd.weight": {"low": 0.1, "high": 9}, "terms.pixel_kd.temperature": [1, 2]}
    study = {"method": "kd", "set": {}, "space": space}
    assert not [remark for remark in said(fake, studies=["none", study]) if "pixel_kd" in remark]


def test_rungs_are_those_at_which_a_trial_can_be_stopped(fake, tmp_path):
    spec = fake.make_spec(scheduler=HALVING, studies=["none"], budget={"trials": 8})
    assert rungs(spec, spec.studies[0]) == [2, 4]
    state = fake.run(spec, tmp_path)
    assert {row.rung for row in state.decisions if row.rung is not None} == {2, 4}


def test_early_stopping_makes_room_for_more_trials_than_epochs_alone_would(fake):
    spec = {"budget": {"epochs": 24}, "sampler": {"startup": 4}, "confirm": {"top": 6}}
    assert len(said(fake, **spec)) == 2
    assert said(fake, **spec, scheduler=HALVING) == []
