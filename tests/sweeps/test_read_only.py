"""The sweep of another user, whose folder takes no files: all that only reads works, the rest says what to do."""

import errno
import os
from pathlib import Path

import pytest
import yaml
from called_command import called


@pytest.fixture
def sweep(fake, tmp_path, monkeypatch):
    """A finished sweep in a folder in which nothing can be written."""
    folder = tmp_path / "theirs"
    fake.run(fake.make_spec(studies=["none", "kd"], budget={"trials": 2}), folder)
    opened, made = Path.open, os.mkdir

    def refuse(path):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))

    def open_only(self, mode="r", *options, **more):
        if folder in self.parents and set(mode) & set("wxa+"):
            refuse(self)
        return opened(self, mode, *options, **more)

    def make(path, *options, **more):
        if folder in Path(path).parents:
            refuse(path)
        return made(path, *options, **more)

    monkeypatch.setattr(Path, "open", open_only)
    monkeypatch.setattr(os, "mkdir", make)
    monkeypatch.chdir(tmp_path)
    return folder


@pytest.fixture
def command(monkeypatch, capsys):
    def run(*words):
        return called(monkeypatch, capsys, *words)

    return run


def files(folder):
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def test_what_only_reads_works(sweep, command, tmp_path):
    before = files(sweep)
    code, out, err = command("best", sweep)
    assert (code, err) == (0, "")
    assert yaml.safe_load(out)["evidence"]["n"] == 2
    assert command("status", sweep)[0] == 0
    code, out, _ = command("query", sweep, "select count(*) n from trials", "--csv")
    assert (code, out.split()) == (0, ['"n"', "8"])
    assert command("best", sweep, "--out", tmp_path / "mine.yaml")[0] == 0
    assert command("report", sweep, "--out", tmp_path / "mine.html")[0] == 0
    assert (tmp_path / "mine.html").stat().st_size > 10_000
    assert command("status", sweep, "--html", "--out", tmp_path / "live.html")[0] == 0
    assert files(sweep) == before


@pytest.mark.parametrize(
    ("words", "remedy"),
    [
        (("report",), "give --out report.html to write elsewhere"),
        (("status", "--html"), "give --out live.html to write elsewhere"),
        (("tables",), "give this user the permission"),
        (("best", "--freeze"), "give this user the permission"),
    ],
)
def test_what_writes_says_what_to_do(sweep, command, words, remedy):
    before = files(sweep)
    code, _, err = command(words[0], sweep, *words[1:])
    assert code == 2
    assert err.startswith("error: ")
    assert err.count("\n") == 1
    assert "Permission denied" in err
    assert remedy in err or "ask its owner" in err
    assert files(sweep) == before


def test_a_report_at_a_chosen_place_is_the_report_of_the_sweep(fake, tmp_path, command):
    fake.run(fake.make_spec(studies=["none", "kd"], budget={"trials": 2}), tmp_path / "mine")
    assert command("report", tmp_path / "mine")[0] == 0
    assert command("report", tmp_path / "mine", "--out", tmp_path / "page.html")[0] == 0
    assert (tmp_path / "page.html").read_bytes() == (tmp_path / "mine" / "report" / "index.html").read_bytes()
