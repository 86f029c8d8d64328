"""What a user has edited, or made with another command, is not overwritten without a word."""

import shutil
from pathlib import Path

import pytest
import yaml
from called_command import called

from kdtrain.models import Network
from kdtrain.models.build import build_network
from kdtrain.teacher import read_card, save_model
from sweeps.cli.output import teacher_output
from sweeps.store.folder_kinds import FolderKind, kinds_of, require_kind
from sweeps.store.store import Store
from tests.sweeps.conftest import content

FINISHED = Path(__file__).parent / "old_sweeps" / "finished"


@pytest.fixture
def command(monkeypatch, capsys):
    def run(*words):
        return called(monkeypatch, capsys, *words)

    return run


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    return Path(shutil.copytree(FINISHED, tmp_path_factory.mktemp("sweeps") / "finished"))


@pytest.fixture
def spec_file(tmp_path):
    path = tmp_path / "spec.yaml"
    path.write_text(yaml.safe_dump(content()))
    return path


@pytest.mark.parametrize("name", ["best", "ablate", "report"])
def test_an_edited_file_is_kept_unless_forced(command, finished, spec_file, tmp_path, monkeypatch, name):
    monkeypatch.setattr("analysis.report.comparison_report.comparison", lambda sweeps: "<html>a page</html>")
    out = tmp_path / "below" / "out.yaml"
    words = {
        "best": ("best", finished, "--out", out),
        "ablate": ("ablate", spec_file, "--study", "csc_ace", "--seeds", 1, "--out", out),
        "report": ("report", "--compare", finished, "--out", out),
    }[name]
    assert command(*words)[0] == 0
    written = out.read_text()
    assert command(*words)[0] == 0, "the same content again is no loss"
    out.write_text(written + "# my remark\n")
    code, _, err = command(*words)
    assert code == 2
    assert err.count("\n") == 1
    assert "exists and differs from what would be written; give another file, or --force to replace it" in err
    assert out.read_text().endswith("# my remark\n")
    assert command(*words, "--force")[0] == 0
    assert out.read_text() == written


def test_a_folder_in_place_of_a_file_is_one_sentence(command, finished, tmp_path):
    code, _, err = command("best", finished, "--out", tmp_path, "--force")
    assert (code, err.count("\n")) == (2, 1)
    assert "is a folder; give a file" in err


def test_an_export_is_replaced_only_if_forced(command, finished, tmp_path):
    command("tables", finished)
    out = tmp_path / "sweep.journal"
    assert command("export", "optuna", finished, "--out", out)[0] == 0
    assert "--force to replace it" in command("export", "optuna", finished, "--out", out)[2]
    assert command("export", "optuna", finished, "--out", out, "--force")[0] == 0


def made(folder, kind):
    """A folder of a kind, with the files by which it is known."""
    names = {"a sweep": "ledger/000000001.jsonl", "a training": "config.json", "a teacher": "model.json"}
    file = folder / names[kind]
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("{}")
    return folder


@pytest.mark.parametrize("there", list(FolderKind))
@pytest.mark.parametrize("words", ["run", "train", "teacher fit", "teacher import", "teacher ensemble"])
def test_a_folder_of_another_kind_is_refused(command, spec_file, tmp_path, words, there):
    wanted = {"run": FolderKind.SWEEP, "train": FolderKind.TRAINING}.get(words, FolderKind.TEACHER)
    if wanted is there:
        return
    folder = made(tmp_path / "there", there)
    if words == "teacher fit":
        spec_file.write_text(yaml.safe_dump(content(teacher={"fit": {"network": {}}})))
    best = tmp_path / "best.yaml"
    best.write_text(yaml.safe_dump({"config": {"data": {"name": "streets"}}}))
    arguments = {
        "run": [spec_file, "--inline"],
        "train": [best],
        "teacher fit": [spec_file],
        "teacher import": [best, "--spec", best],
        "teacher ensemble": [tmp_path, tmp_path],
    }[words]
    before = sorted(path.relative_to(folder) for path in folder.rglob("*"))
    code, _, err = command(*words.split(), *arguments, "--dir", folder)
    assert (code, err.count("\n")) == (2, 1)
    assert f"holds {there} and cannot become {wanted}; give another folder" in err
    assert sorted(path.relative_to(folder) for path in folder.rglob("*")) == before


def test_a_new_folder_and_one_of_the_kind_are_taken(tmp_path):
    require_kind(Store(tmp_path / "new"), FolderKind.SWEEP)
    for kind in FolderKind:
        folder = made(tmp_path / kind.replace(" ", "-"), kind)
        assert kinds_of(Store(folder)) == [kind]
        require_kind(Store(folder), kind)


def test_another_teacher_is_not_replaced(tmp_path):
    def save(folder, classes):
        network = Network(arch="FPN", encoder="resnet18")
        facts = {"network": network, "classes": classes, "trained_on": "streets"}
        save_model(folder, build_network(network, len(classes), bare=True), facts)

    folder = tmp_path / "teacher"
    with teacher_output(folder, False) as scratch:
        save(scratch, ("a", "b"))
    first = read_card(folder).digest
    with (
        pytest.raises(ValueError, match=f"holds the teacher {first} already"),
        teacher_output(folder, False) as scratch,
    ):
        save(scratch, ("a", "c"))
    assert read_card(folder).digest == first
    with teacher_output(folder, True) as scratch:
        save(scratch, ("a", "c"))
    assert read_card(folder).digest != first
    assert [path.name for path in tmp_path.iterdir()] == ["teacher"]


@pytest.mark.parametrize(
    "words",
    [
        *(("repair",), ("status",), ("status", "--html"), ("tables",), ("best",), ("best", "--freeze"), ("report",)),
        *(("query", "select 1"), ("export", "optuna"), ("ablate",)),
    ],
    ids=" ".join,
)
def test_a_command_about_a_sweep_makes_no_folder(command, tmp_path, monkeypatch, words):
    monkeypatch.chdir(tmp_path)
    gone = tmp_path / "gone"
    name, *rest = words
    order = (name, rest[0], gone) if name == "export" else (name, gone, *rest)
    code, _, err = command(*order)
    assert (code, err.count("\n")) == (2, 1)
    assert list(tmp_path.iterdir()) == []
