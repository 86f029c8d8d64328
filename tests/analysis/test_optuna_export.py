import optuna
import pytest
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import TrialState

from analysis import AnalysisError
from analysis.search.optuna_export import export_optuna


@pytest.fixture
def exported(sweep, tmp_path):
    sweep.trial("cwd", None, state="pruned", params={"optimizer.lr": 0.5, "act": ["c", 1]}, curve=[0.2, 0.25])
    sweep.trial("cwd", None, reason="out of memory", params={"optimizer.lr": 0.01})
    sweep.trial("cwd", None, state="running", params={"optimizer.lr": 0.01})
    out = tmp_path / "out" / "study.journal"
    assert export_optuna(sweep.tables(), out) == {"none": 3, "cwd": 5}
    storage = JournalStorage(JournalFileBackend(str(out)))
    return out, optuna.load_study(study_name="hand-made/cwd", storage=storage)


def test_trials_keep_state_value_curve_and_times(exported):
    _, study = exported
    assert [trial.state for trial in study.trials] == [
        *[TrialState.COMPLETE] * 3,
        TrialState.PRUNED,
        TrialState.FAIL,
    ]
    assert study.best_value == 0.55
    assert study.best_trial.user_attrs["trial_id"] == "cwd-0"
    assert sorted(study.best_trial.user_attrs["fresh_scores"]) == [0.46, 0.50]
    pruned = study.trials[3]
    assert pruned.intermediate_values == {1: 0.2, 2: 0.25}
    assert pruned.value == 0.25
    assert pruned.datetime_start.tzinfo is None
    assert pruned.duration.total_seconds() == 20
    assert study.trials[4].user_attrs["reason"] == "out of memory"


def test_values_of_trials_are_their_scores_so_far(sweep, tmp_path):
    sweep.rows["sweeps"][0]["spec_json"] = '{"score": {"last": 2}}'
    sweep.trial("cwd", None, state="pruned", params={"optimizer.lr": 0.5}, curve=[0.2, 0.3, 0.5])
    export_optuna(sweep.tables(), tmp_path / "study.journal")
    storage = JournalStorage(JournalFileBackend(str(tmp_path / "study.journal")))
    pruned = optuna.load_study(study_name="hand-made/cwd", storage=storage).trials[3]
    assert pruned.intermediate_values == pytest.approx({1: 0.2, 2: 0.25, 3: 0.4})
    assert pruned.value == pytest.approx(0.4)


def test_ranges_are_widened_to_all_that_was_tried(exported):
    _, study = exported
    domains = study.trials[3].distributions
    assert (domains["optimizer.lr"].low, domains["optimizer.lr"].high) == (1e-4, 0.5)
    assert domains["act"].choices == ("a", "b", '["c", 1]')
    assert study.trials[3].params["act"] == '["c", 1]'


def test_a_file_that_is_there_is_left_alone(exported, tables):
    out, _ = exported
    content = out.read_bytes()
    with pytest.raises(AnalysisError, match="already there"):
        export_optuna(tables, out)
    assert out.read_bytes() == content
