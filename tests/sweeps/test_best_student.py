"""The trained weights of the chosen config: where `best.yaml` says they lie, and as a copy."""

from pathlib import Path

import pytest
import torch
import yaml
from called_command import called

from analysis import read_tables
from kdtrain.data import open_role, parse_data
from kdtrain.data.streets import CLASSES
from kdtrain.loop.evaluate import evaluate
from kdtrain.models import Network, build_network
from kdtrain.teacher import load_model, read_card, save_model
from sweeps.outcome.best_file import read_config
from sweeps.outcome.loaded import load_state
from sweeps.outcome.results import write_again
from sweeps.outcome.tabulate import write_tables
from sweeps.store.store import Store

NETWORK = Network(arch="FPN", encoder="tu-mobilenetv3_small_050", options={"decoder_pyramid_channels": 16})


@pytest.fixture
def sweep(fake, tmp_path, monkeypatch):
    """A finished sweep on fake trainings; a function that gives a trial a student, of other weights each time."""
    spec = fake.make_spec(studies=["none"], teacher=None, budget={"trials": 3}, confirm={"top": 2, "seeds": 3})
    fake.run(spec, tmp_path / "s")
    write_tables(tmp_path / "s")
    monkeypatch.chdir(tmp_path)

    def give(trial: str) -> str:
        net = build_network(NETWORK, 3, seed=len(given)).net
        given[trial] = save_model(
            Path("s") / "trials" / trial / "student",
            net,
            {"network": NETWORK, "classes": ("a", "b", "c"), "trained_on": "streets"},
        ).digest
        return given[trial]

    given: dict[str, str] = {}
    return give


def fresh_runs():
    """The trainings of the chosen config on fresh seeds, the highest score first."""
    tables = read_tables("s")
    chosen = tables["selections"][tables["selections"].chosen].iloc[0]
    trials = tables["trials"]
    runs = trials[(trials.config_id == chosen.config_id) & (trials.phase == "confirm")]
    return runs.sort_values("score", ascending=False), trials[trials.config_id == chosen.config_id]


def test_the_student_with_the_highest_score_on_fresh_seeds_is_copied(sweep, monkeypatch, capsys):
    fresh, all_runs = fresh_runs()
    assert len(fresh) >= 2
    digests = {trial: sweep(trial) for trial in all_runs.trial_id}
    code, said, errors = called(monkeypatch, capsys, "best", "s", "--student", "out")
    assert (code, errors) == (0, "")
    assert read_card(Path("out")).digest == digests[fresh.trial_id.iloc[0]]
    assert f"mIoU {100 * fresh.score.iloc[0]:.1f} on select" in said
    assert f"the highest of {len(fresh)} seeds; their mean is {100 * fresh.score.mean():.1f}" in said
    assert called(monkeypatch, capsys, "best", "s", "--student", "out")[0] == 0  # the same student


def test_best_yaml_says_where_the_student_lies(sweep, tmp_path, monkeypatch, capsys):
    fresh, _ = fresh_runs()
    digest = sweep(fresh.trial_id.iloc[0])
    code, _, _ = called(monkeypatch, capsys, "best", "s", "--out", "deep/best.yaml")
    assert code == 0
    named = yaml.safe_load(Path("deep/best.yaml").read_text())["student"]
    assert read_card(Path("deep") / named).digest == digest
    assert read_config(Path("deep/best.yaml"))[0].student == load_state(Store("s"))[0].student
    write_again(Store("s"), None)
    named = yaml.safe_load(Path("s/best.yaml").read_text())["student"]
    assert read_card(Path("s") / named).digest == digest


def test_a_student_of_the_search_serves_where_no_other_is_there(sweep, monkeypatch, capsys):
    _, all_runs = fresh_runs()
    digest = sweep(all_runs[all_runs.phase == "search"].trial_id.iloc[0])
    code, said, _ = called(monkeypatch, capsys, "best", "s", "--student", "out")
    assert code == 0
    assert read_card(Path("out")).digest == digest
    assert "seeds" not in said.splitlines()[0]


def test_without_a_student_the_error_says_how_to_get_one(sweep, monkeypatch, capsys):
    code, _, errors = called(monkeypatch, capsys, "best", "s", "--student", "out")
    assert code == 2
    assert "holds no trained student of the chosen config" in errors
    assert "kdsweep train" in errors
    assert not Path("out").exists()


def test_another_student_is_not_replaced_without_force(sweep, monkeypatch, capsys):
    fresh, _ = fresh_runs()
    sweep(fresh.trial_id.iloc[1])
    assert called(monkeypatch, capsys, "best", "s", "--student", "out")[0] == 0
    digest = sweep(fresh.trial_id.iloc[0])
    code, _, errors = called(monkeypatch, capsys, "best", "s", "--student", "out")
    assert code == 2
    assert "--force" in errors
    assert called(monkeypatch, capsys, "best", "s", "--student", "out", "--force")[0] == 0
    assert read_card(Path("out")).digest == digest


@pytest.mark.parametrize("quality", [0.0, 0.9])
def test_a_soup_is_taken_where_it_scores_better(fake, tmp_path, monkeypatch, capsys, quality):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("KDSWEEP_CACHE", str(tmp_path / "cache"))
    data = {"name": "streets", "size": [32, 64], "counts": {"train": 8, "select": 3, "test": 1}}
    changes = {"studies": ["none"], "teacher": None, "budget": {"trials": 1}, "confirm": {"top": 1, "seeds": 3}}
    spec = fake.make_spec(data=data, **changes)
    fake.run(spec, tmp_path / "s", fake.FakeTrain(quality=lambda config: quality))
    write_tables(tmp_path / "s")
    nets = [build_network(NETWORK, len(CLASSES), seed=seed).eval() for seed in range(3)]
    for trial, network in zip(fresh_runs()[0].trial_id, nets, strict=True):
        facts = {"network": NETWORK, "classes": CLASSES, "trained_on": "streets"}
        save_model(Path("s") / "trials" / trial / "student", network.net, facts)
    code, said, errors = called(monkeypatch, capsys, "best", "s", "--student", "out", "--soup")
    assert (code, errors) == (0, "")
    card, network = load_model(Path("out"))
    name = "encoder.model.conv_stem.weight"
    weights = [net.net.state_dict()[name].double() for net in nets]
    got = network.net.state_dict()[name].double()
    if quality:
        assert any(torch.equal(got, each) for each in weights)
        assert "the mean of their weights is not better" in said
    else:
        torch.testing.assert_close(got, sum(weights) / 3, rtol=1e-6, atol=1e-7)
        assert (card.source, card.role, len(card.members)) == ("soup", "select", 3)
        images = open_role(parse_data(data), "select", None, tmp_path / "cache")
        score = evaluate(network.logits, images, "select", 1, 1.0, torch.device("cpu")).miou
        assert card.miou == pytest.approx(score, abs=1e-6)
        assert f"soup of 3 seeds in out: mIoU {100 * score:.1f} on select" in said


def test_a_soup_needs_a_folder(sweep, monkeypatch, capsys):
    code, _, errors = called(monkeypatch, capsys, "best", "s", "--soup")
    assert code == 2
    assert "--soup: give the folder to write to" in errors
