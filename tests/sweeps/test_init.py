"""`kdsweep init`: from a folder of images to a spec that `kdsweep plan` takes."""

import json
import re
import shlex
import subprocess
import sys

import pytest
import typer
from called_command import called
from data_kinds import as_coco, as_parquet, as_tar
from test_recognize import colors, fill, palette

from kdtrain.errors import InputError
from sweeps.designs.first_sweep import Answers, effort, spec_text
from sweeps.spec.spec import load_spec, parse_spec
from sweeps.spec.strict_yaml import parse_yaml

ANSWERS = Answers(
    "mine", {"name": "camvid"}, 367, (360, 480), True, None, "FPN", "resnet18", True, ("none", "cwd"), 8, 1, 16
)
INIT = ("--hours", 1, "--no-pretrained", "--gpus", 0)


def test_flags_give_a_spec_with_comments_and_the_next_command(tmp_path, monkeypatch, capsys):
    fill(tmp_path / "my data", "images", "labels", colors)
    file = tmp_path / "mine.yaml"
    code, out, err = called(monkeypatch, capsys, "init", file, "--data", tmp_path / "my data", *INIT)
    assert (code, err) == (0, "")
    assert shlex.split(out.splitlines()[-1]) == ["kdsweep", "plan", str(file), "--data", str(tmp_path / "my data")]
    spec = load_spec(file)
    assert spec.name == "mine"
    assert spec.teacher_config.student.encoder == "resnet50"
    assert [study.name for study in spec.studies] == ["none", "kd", "cwd", "cskd"]
    fields = [line for line in file.read_text().splitlines() if line[:1].isalpha()]
    before = file.read_text().split("\n")
    assert all("#" in line or before[before.index(line) - 1].startswith("#") for line in fields)


def test_random_weights_are_said_where_the_hub_does_not_answer(tmp_path, monkeypatch, capsys):
    def refuse(*given, **options):
        raise TimeoutError

    monkeypatch.delenv("KDSWEEP_WEIGHTS", raising=False)
    monkeypatch.setattr("socket.create_connection", refuse)
    fill(tmp_path / "mine", "images", "labels", colors)
    file = tmp_path / "mine.yaml"
    words = ("init", file, "--data", tmp_path / "mine", "--hours", 1, "--gpus", 0)
    code, out, _ = called(monkeypatch, capsys, *words)
    assert (code, load_spec(file).student.weights) == (0, "none")
    assert "does not answer, so encoders start from random weights; --pretrained takes" in " ".join(out.split())


@pytest.mark.parametrize(("make", "field"), [(as_parquet, "shards"), (as_tar, "shards"), (as_coco, "annotations")])
def test_every_form_of_data_gives_a_spec(tmp_path, monkeypatch, capsys, make, field):
    for role, numbers in {"train": range(60), "val": range(60, 64)}.items():
        make(tmp_path / "mine", role, numbers)
    file = tmp_path / "mine.yaml"
    code, _, err = called(monkeypatch, capsys, "init", file, "--data", tmp_path / "mine", *INIT)
    assert (code, err) == (0, "")
    places = getattr(load_spec(file).data, field)
    assert [type(getattr(places, role)) for role in ("train", "select")] == [type(places.train)] * 2
    assert f"  {field}:\n    train: {{" in file.read_text()


def test_what_is_not_given_is_asked_for_where_somebody_can_answer(tmp_path, monkeypatch, capsys):
    fill(tmp_path, "images", "labels", palette)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys.stdin, "isatty", lambda: True, raising=False)
    answers = {"Folder": str(tmp_path), "Student": "FPN/resnet18", "Teacher": "fit", "Hours": "2"}
    asked = []

    def prompt(question, default=None):
        asked.append(question.split()[0].strip(",:"))
        return answers[asked[-1]]

    monkeypatch.setattr(typer, "prompt", prompt)
    assert called(monkeypatch, capsys, "init", "--no-pretrained")[0] == 0
    assert asked == list(answers)
    assert load_spec("sweep.yaml").student.arch == "FPN"


def test_a_wrong_typed_student_is_named(tmp_path, monkeypatch, capsys):
    fill(tmp_path, "images", "labels", palette)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys.stdin, "isatty", lambda: True, raising=False)
    monkeypatch.setattr(typer, "prompt", lambda question, default=None: "Unet")
    code, _, err = called(monkeypatch, capsys, "init", "--data", ".", *INIT)
    assert (code, err.rstrip().rpartition(", ")[2]) == (2, "got Unet")


@pytest.mark.parametrize(
    ("words", "part"),
    [
        (["new.yaml"], "--data: is required"),
        (["old.yaml", "--data", "."], "old.yaml exists and is not replaced"),
        (["new.yaml", "--data", ".", "--teacher", "images", *INIT], "--teacher: images is not a teacher folder"),
        (["new.yaml", "--data", ".", "--columns", "image", *INIT], "--columns: must name two with a comma"),
        (["new.yaml", "--data", ".", "--student", "FPN", *INIT], "--student: must be ARCH/ENCODER"),
        (["new.yaml", "--data", ".", "--hours", "0.001", "--no-pretrained"], "--hours: must be at least"),
        (["new.yaml", "--data", ".", "--hours", "nan", "--no-pretrained"], "--hours: must be a number from"),
        (["new.yaml", "--data", ".", "--hours", "-1", "--no-pretrained"], "--hours: must be a number from"),
        (["new.yaml", "--data", ".", "--studies", "none,cwdd", *INIT], "--studies: unknown method 'cwdd'"),
        (["new.yaml", "--data", ".", "--studies", "", *INIT], "--studies"),
        (["new.yaml", "--data", ".", "--student", "Unet/resnet1", *INIT], "got 'resnet1'; did you mean resnet18?"),
        (["new.yaml", "--data", ".", "--student", "Unett/resnet18", *INIT], "got 'Unett'; did you mean Unet?"),
        (
            ["new.yaml", "--data", ".", "--student", "Unet/tu-resnet1", *INIT],
            "got 'tu-resnet1'; did you mean tu-resnet",
        ),
        (["new.yaml", "--data", ".", "--hours", "99999", "--no-pretrained"], "--hours: must be a number from"),
        (["new.yaml", "--data", "images/..", "--teacher", "nowhere", *INIT], "--teacher: nowhere is not a teacher"),
        (["new.yaml", "--data", "empty", *INIT], "which lacks images"),
        (["nowhere/new.yaml", "--data", "."], "there is no folder"),
        (["new.yaml", "--data", "nothing"], "there is no folder"),
    ],
)
def test_mistakes_are_one_sentence_and_write_nothing(tmp_path, monkeypatch, capsys, words, part):
    fill(tmp_path, "images", "labels")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "old.yaml").write_text("mine")
    (tmp_path / "empty").mkdir()
    code, _, err = called(monkeypatch, capsys, "init", *words)
    assert code == 2
    assert part in err
    assert err.count("\n") == 1
    assert not (tmp_path / "new.yaml").exists()
    assert (tmp_path / "old.yaml").read_text() == "mine"


@pytest.mark.parametrize(
    ("words", "part"),
    [
        (["--student", "FPN"], "--student: must be ARCH/ENCODER"),
        (["--teacher", "nowhere"], "--teacher: nowhere is not a teacher folder"),
        (["--studies", "none,cwdd"], "--studies: unknown method 'cwdd'"),
        (["--hours", "nan"], "--hours: must be a number from"),
        (["--data", "nothing", "--student", "FPN"], "there is no folder"),
    ],
)
def test_a_mistake_is_found_before_label_maps_are_read(tmp_path, monkeypatch, capsys, words, part):
    monkeypatch.setattr("kdtrain.data.recognize.recognize", lambda *_: pytest.fail("label maps are read"))
    monkeypatch.chdir(tmp_path)
    code, _, err = called(monkeypatch, capsys, "init", "new.yaml", "--data", ".", *INIT, *words)
    assert code == 2
    assert part in err


def test_the_hours_that_an_error_asks_for_are_enough():
    for images in range(100, 5000, 331):
        answers = Answers(**{**vars(ANSWERS), "images": images, "hours": 1e-3})
        with pytest.raises(InputError) as caught:
            effort(answers)
        hours = float(re.search(r"at least (\S+) on", str(caught.value))[1])
        assert effort(Answers(**{**vars(answers), "hours": hours})).epochs >= 3


def test_more_hours_give_more_epochs_and_the_search_two_thirds_of_them():
    few, many = (effort(Answers(**{**vars(ANSWERS), "hours": hours})) for hours in (1, 8))
    assert few.budget < many.budget
    for spent in (few, many):
        fresh = spent.top * spent.seeds * spent.epochs
        assert 0.5 < spent.budget / (spent.budget + fresh) < 0.85


@pytest.mark.parametrize("name", ["yes", "1e3", "a: b", "#ffffff", "null", "wörter", 'quo"te'])
def test_names_that_yaml_reads_as_something_else_stay_themselves(name):
    data = {"name": "folder", "classes": [name, "b"], "folders": {"train": {"images": "a", "labels": name}}}
    text = spec_text(Answers(**{**vars(ANSWERS), "data": data}))
    assert json.loads(json.dumps(parse_yaml(text, "spec")["data"]["classes"])) == [name, "b"]
    assert parse_spec(parse_yaml(text, "spec")).data.folders.train.labels == name


@pytest.mark.slow
def test_the_spec_passes_the_plan(tmp_path):
    fill(tmp_path, "images", "labels", colors)
    words = ["init", "mine.yaml", "--data", ".", *map(str, INIT), "--student", "FPN/tu-mobilenetv3_small_050"]
    for command in (words, ["plan", "mine.yaml", "--data", "."]):
        done = subprocess.run([sys.executable, "-m", "sweeps", *command], cwd=tmp_path, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
