"""What is only needed for some features need not be installed for the others, and says so where it is needed."""

import json
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from analysis.extras import EXTRAS, MissingExtraError, require
from analysis.tables.query import query

ROOT = Path(__file__).parents[1]
MODULES = sorted(module for packages in EXTRAS.values() for module in packages.values())
CALL = """
import sys
from importlib.machinery import PathFinder
find = PathFinder.find_spec
PathFinder.find_spec = lambda name, *rest: None if name.partition(".")[0] in {blocked!r} else find(name, *rest)
{code}
"""
COMMANDS = """
import contextlib, io, json
from sweeps.cli import main
for words in {commands!r}:
    sys.argv, out, err, code = ["kdsweep", *words], io.StringIO(), io.StringIO(), 0
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            main()
        except SystemExit as end:
            code = end.code or 0
    print(json.dumps([code, out.getvalue(), err.getvalue()]))
"""
NOT_IN_DEV = {"executorch"}
"""Extras that are large, and without which their tests are skipped."""
PAGES = ("analysis.figures", "analysis.report.sections", "analysis.report.paper")
"""Packages that draw with the extra `report`, and which nothing else imports."""
SPEC = """
name: bare
data: {name: streets, size: [32, 48], counts: {train: 4, select: 2, test: 1}, absent: []}
student: &small {arch: FPN, encoder: tu-mobilenetv3_small_050, options: {decoder_pyramid_channels: 32}}
teacher: {fit: {network: *small, epochs: 1}}
train: {epochs: 1, batch_size: 2}
studies: [none, kd]
space: {optimizer.lr: {low: 0.01, high: 0.1, log: true}}
budget: {trials: 2}
confirm: {top: 1, seeds: 1}
"""


def without_extras(code: str, cwd: Path = ROOT) -> subprocess.CompletedProcess[str]:
    """Run code in a fresh process that has none of the packages of `EXTRAS`."""
    words = [sys.executable, "-c", CALL.format(blocked=MODULES, code=code)]
    return subprocess.run(words, cwd=cwd, capture_output=True, text=True, check=False)


def test_pyproject_lists_each_package_under_its_extra():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    for extra, packages in EXTRAS.items():
        assert [name.partition(">=")[0] for name in extras[extra]] == list(packages)
        assert extra in NOT_IN_DEV or f"{extra}" in next(line for line in extras["dev"] if line.startswith("kdsweep["))
    required = {name.partition(">=")[0] for name in project["dependencies"]}
    assert required & {name for packages in EXTRAS.values() for name in packages} == set()


def test_what_is_missing_is_named_with_the_command_that_installs_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    monkeypatch.setitem(sys.modules, "sklearn", None)
    with pytest.raises(MissingExtraError) as several:
        require("report", "the report")
    assert str(several.value) == (
        "the report needs the packages matplotlib, scikit-learn, which are not installed: pip install 'kdsweep[report]'"
    )
    monkeypatch.setitem(sys.modules, "duckdb", None)
    with pytest.raises(
        MissingExtraError, match=r"^a query needs the package duckdb, which is not .*kdsweep\[query\]'$"
    ):
        query("nowhere", "select 1").__enter__()


def test_all_but_pages_imports_without_the_extras():
    paths = [path for package in ("analysis", "kdtrain", "sweeps") for path in (ROOT / package).rglob("*.py")]
    names = [".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__") for path in paths]
    pages = ("analysis.report.sweep_report", "analysis.report.comparison_report", "analysis.report.contents", *PAGES)
    rest = sorted(name for name in names if not name.startswith(pages) and not name.endswith("__main__"))
    done = without_extras(f"import importlib\nfor name in {rest!r}: importlib.import_module(name)")
    assert done.returncode == 0, done.stderr


def test_the_report_says_what_to_install():
    for page in ("sweep_report", "comparison_report"):
        done = without_extras(f"import analysis.report.{page}")
        line = done.stderr.splitlines()[-1]
        assert line.startswith("analysis.extras.MissingExtraError: the report needs the packages jinja2, matplotlib,")
        assert line.endswith("pip install 'kdsweep[report]'")


@pytest.mark.slow
def test_a_sweep_runs_and_is_read_without_the_extras(tmp_path):
    (tmp_path / "spec.yaml").write_text(SPEC)
    work = [["plan", "spec.yaml"], ["run", "spec.yaml", "--dir", "D", "--inline"], ["status", "D"]]
    work += [["status", "D", "--html"], ["tables", "D"], ["best", "D"], ["best", "D", "--freeze"]]
    refused = [["report", "D"], ["query", "D", "select 1"]]
    done = without_extras(COMMANDS.format(commands=[*work, *refused]), tmp_path)
    answers = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(answers) == len(work) + len(refused), done.stderr
    for words, (code, _, err) in zip(work, answers, strict=False):
        assert (code, err) == (0, ""), words
    assert "no report was written: the report needs the packages" in answers[1][1]
    assert "pip install 'kdsweep[report]', then kdsweep report D\n" in answers[1][1]
    for words, (code, out, err) in zip(refused, answers[len(work) :], strict=True):
        assert (code, out, err.count("\n")) == (2, "", 1), err
        assert err.endswith(f"pip install 'kdsweep[{words[0]}]'\n")
