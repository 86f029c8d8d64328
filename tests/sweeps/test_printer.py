"""Texts are printed as they are, and an output that goes away ends no sweep."""

import contextlib
import copy
import io
import os
import pty
import re
import signal
import subprocess
import sys
from pathlib import Path
from unittest.mock import MagicMock

import pytest
import yaml
from rich.console import Console
from rich.table import Table

import sweeps
from kdtrain import Machine
from kdtrain.printable import printable
from sweeps import run_sweep
from sweeps.cli import main
from sweeps.outcome.results import Results
from sweeps.show.printer import BROKEN_PIPE, OutputLostError, Printer, outlasting_output
from sweeps.spec.spec import parse_spec


def pipe_without_reader():
    reader, writer = os.pipe()
    os.close(reader)
    return os.fdopen(writer, "w")


def terminal_that_was_closed():
    ours, theirs = pty.openpty()
    os.close(ours)
    return os.fdopen(theirs, "w")


def full_disk():
    return open("/dev/full", "w")  # noqa: PTH123


def closed_file():
    file = io.StringIO()
    file.close()
    return file


LOST = [pipe_without_reader, terminal_that_was_closed, full_disk, closed_file]


@pytest.fixture
def on(monkeypatch):
    """Replace standard output for a test; what a file still holds is dropped at its end."""
    opened = []

    def replace(make):
        file = make()
        opened.append(file)
        monkeypatch.setattr(sys, "stdout", file)
        return file

    yield replace
    for file in opened:
        if not file.closed:
            with contextlib.suppress(OSError):
                os.dup2(os.open(os.devnull, os.O_WRONLY), file.fileno())


@pytest.mark.parametrize(
    ("text", "printed"),
    [
        ("/data/[2024]/[red]x[/red]", "/data/[2024]/[red]x[/red]"),
        ("[/] [bold", "[/] [bold"),
        (":smile: \\[x]", ":smile: \\[x]"),
        ("a\x1b[31mb\x1b]0;t\x07", "a\\x1b[31mb\\x1b]0;t\\x07"),
        ("a\rb\x08\x0b\x85\u2028\x00", "a\\rb\\x08\\x0b\\x85\\u2028\\x00"),
        ("x\udcffy\ud800", "x\\xffy\\ud800"),
        ("abc\u202egnp.exe", "abc\\u202egnp.exe"),
        ("é 你 👍", "é 你 👍"),
        ("two\nlines", "two\nlines"),
    ],
)
def test_a_text_is_printed_literally(text, printed, capsys):
    Printer().print(text)
    Printer(stderr=True).print(text)
    table = Table(text.replace("\n", " "))
    table.add_row(text.replace("\n", " "))
    Printer().print(table)
    out, err = capsys.readouterr()
    assert out.startswith(f"{printed}\n")
    assert err == f"{printed}\n"
    assert out.count(printed.split("\n")[-1].split(" ")[0]) >= 2
    assert printable(text, "\n") == printed


def test_only_the_printer_prints():
    root = Path(sweeps.__file__).parent
    printing = re.compile(r"(?<![\w.\"'`])(?:print|Console)\((?!record=True)|sys\.std(?:out|err)\.write")
    printers = sorted(path.name for path in root.rglob("*.py") if printing.search(path.read_text()))
    assert printers == ["printer.py"]


def test_a_text_for_programs_is_written_as_it_is(capsys):
    Printer().write("a,[b]\x1b\n")
    assert capsys.readouterr().out == "a,[b]\x1b\n"


def test_an_encoding_without_a_character_shows_its_escape(on):
    file = on(lambda: io.TextIOWrapper(io.BytesIO(), encoding="ascii"))
    Printer().print("– é")
    file.flush()
    assert file.buffer.getvalue() == b"\\u2013 \\xe9\n"


@pytest.mark.parametrize("make", LOST)
def test_an_output_that_is_gone_ends_what_only_prints(make, on):
    on(make)
    with pytest.raises(OutputLostError):
        Printer().print("x")


@pytest.mark.parametrize("make", LOST)
def test_an_output_that_is_gone_does_not_end_work_that_goes_on(make, on, capsys):
    file = on(make)
    with outlasting_output():
        for _ in range(3):
            Printer().print("x" * 10_000)
            print("y", file=sys.stdout, flush=True)
        print("to standard error", file=sys.stderr)
        assert sys.stdout.closed == file.closed
        copy.copy(sys.stdout)
    err = capsys.readouterr().err
    assert err.count("the output cannot be written") == 1
    assert "the work goes on without it" in err
    assert "to standard error" in err
    assert sys.stdout is file


def test_the_hang_up_of_a_terminal_does_not_end_work_that_goes_on():
    before = signal.getsignal(signal.SIGHUP)
    with outlasting_output():
        os.kill(os.getpid(), signal.SIGHUP)
        assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
        with outlasting_output():
            pass
        assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    assert signal.getsignal(signal.SIGHUP) is before


@pytest.mark.parametrize("make", [pipe_without_reader, full_disk])
@pytest.mark.parametrize("own", [True, False])
def test_a_sweep_whose_output_is_gone_runs_to_its_end(make, own, on, fake, monkeypatch, tmp_path, capsys):
    unchecked = MagicMock()
    unchecked.replay.on = lambda machine: machine
    monkeypatch.setattr("sweeps.run.train", fake.FakeTrain())
    monkeypatch.setattr("sweeps.run.conclude", lambda *arguments: Results("the report", None, None))
    monkeypatch.setattr("sweeps.run.check", lambda *arguments, **options: unchecked)
    data = {"name": "streets", "size": [32, 48], "counts": {"train": 2, "select": 1, "test": 1}}
    spec = parse_spec(fake.content(studies=["none"], budget={"trials": 2}, teacher=None, data=data))
    console = Console(file=make()) if own else None
    on(make)
    machine = Machine(cache=tmp_path)
    results = run_sweep(spec, tmp_path / "D", machine, inline=True, console=console, rehearsal=False)
    assert results.report == "the report"
    assert "the output cannot be written" in capsys.readouterr().err


def ended(monkeypatch, *words):
    monkeypatch.setattr(sys, "argv", ["kdsweep", *words])
    with pytest.raises(SystemExit) as caught:
        main()
    return caught.value.code


@pytest.mark.parametrize("words", [["methods"], ["methods", "cwd"], ["--version"]])
def test_a_command_whose_reader_has_gone_ends_without_a_word(words, on, monkeypatch, capsys):
    on(pipe_without_reader)
    assert ended(monkeypatch, *words) == BROKEN_PIPE
    assert capsys.readouterr().err == ""


def test_a_command_on_a_full_disk_says_so(on, monkeypatch, capsys):
    on(full_disk)
    assert ended(monkeypatch, "methods") == 1
    assert capsys.readouterr().err == "error: the output cannot be written: [Errno 28] No space left on device\n"


def test_a_command_without_standard_output_or_error_ends_in_order(monkeypatch):
    monkeypatch.setattr(sys, "stdout", None)
    monkeypatch.setattr(sys, "stderr", None)
    assert ended(monkeypatch, "--version") in (None, 0)
    assert ended(monkeypatch, "plan", "nothing.yaml") == 2


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["plan", "[red]x[/red].yaml"], "error: spec: [red]x[/red].yaml cannot be read: No such file or directory\n"),
        (
            ["plan", "a\x1b[31m\udcff.yaml"],
            "error: spec: a\\x1b[31m\\xff.yaml cannot be read: No such file or directory\n",
        ),
        (["plan"], "error: missing argument 'SPEC'; `kdsweep plan --help` lists what is allowed\n"),
        (
            ["predict", "d", "x.png", "--out", "o", "--window", "a", "b"],
            "error: invalid value for '--window': must be a whole number (the option takes 2 values); "
            "`kdsweep predict --help` lists what is allowed\n",
        ),
        (
            ["init", "--hours", "some"],
            "error: invalid value for '--hours': must be a number; `kdsweep init --help` lists what is allowed\n",
        ),
        (["plan", "--x[/]\x1b"], "error: no such option: --x[/]\\x1b; `kdsweep plan --help` lists what is allowed\n"),
    ],
)
def test_an_error_shows_what_the_user_wrote(words, message, monkeypatch, capsys):
    assert ended(monkeypatch, *words) == 2
    err = capsys.readouterr().err
    assert message in err
    assert err.count("\n") == 1


def test_a_spec_in_a_folder_with_brackets_is_named_whole(fake, monkeypatch, tmp_path, capsys):
    folder = tmp_path / "a [b] %20 #c"
    folder.mkdir()
    (folder / "s.yaml").write_text(yaml.safe_dump(fake.content(seedd=1)))
    assert ended(monkeypatch, "plan", str(folder / "s.yaml")) == 2
    assert f"error: {folder}/s.yaml: seedd: unknown key" in capsys.readouterr().err


@pytest.mark.slow
def test_a_real_sweep_outlives_its_terminal(fake, tmp_path):
    data = {"name": "streets", "size": [32, 48], "counts": {"train": 4, "select": 2, "test": 1}}
    confirm = {"top": 0, "final_seeds": 0}
    student = {"encoder": "tu-mobilenetv3_small_050"}
    content = fake.content(data=data, studies=["none"], teacher=None, confirm=confirm, student=student)
    (tmp_path / "s.yaml").write_text(yaml.safe_dump({**content, "train": {"epochs": 1, "batch_size": 2}}))
    words = [sys.executable, "-m", "sweeps", "run", "s.yaml", "--inline", "--dir", "D", "--no-rehearsal"]
    code = "import os, pty, sys; pid, fd = pty.fork()\n"
    code += f"if not pid: os.execv({sys.executable!r}, {words!r})\n"
    code += "while b'budget' not in os.read(fd, 4096): pass\n"
    code += "os.close(fd); sys.exit(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "KDSWEEP_CACHE": str(tmp_path / "cache")}
    assert subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=environment, timeout=600).returncode == 0
    assert (tmp_path / "D" / "best.yaml").is_file()


@pytest.mark.slow
def test_the_real_command_ends_without_a_word_when_its_reader_has_gone():
    command = f"{sys.executable} -m sweeps methods | head -1 > /dev/null; echo ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=True)
    assert (done.stdout.strip(), done.stderr) == (str(BROKEN_PIPE), "")
