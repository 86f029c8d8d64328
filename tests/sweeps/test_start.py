"""The command line starts without the large packages: what a command needs is imported when it runs."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import analysis
import kdtrain
from sweeps import Sweep
from sweeps.cli import ablate
from sweeps.cli.app import COMMANDS
from sweeps.designs import DESIGNS
from sweeps.outcome.stale import mark_results
from sweeps.outcome.tabulate import write_tables

OLD_SWEEPS = Path(__file__).with_name("old_sweeps")
LARGE = ("torch", "numpy", "scipy", "pandas", "pyarrow", "matplotlib", "duckdb", "optuna", "ray", "PIL")
CALL = """
import sys
from sweeps.cli.app import app
for arguments in {calls!r}:
    try:
        app(arguments, standalone_mode=False, prog_name="kdsweep")
    except Exception as error:
        print(type(error).__name__, file=sys.stderr)
print([name for name in {large!r} if name in sys.modules], file=sys.stderr)
"""


@pytest.mark.parametrize("last", ["--help", "--no-such-option"])
def test_help_and_wrong_options_load_no_large_package(last):
    calls = [[last], *([*words.split(), last] for words in COMMANDS)]
    ran = subprocess.run([sys.executable, "-c", CALL.format(calls=calls, large=LARGE)], capture_output=True, text=True)
    errors = ran.stderr.splitlines()
    assert errors[-1] == "[]"
    assert len(errors) == 1 + (len(calls) if last != "--help" else 0)
    assert ran.stdout.count("Usage") == (len(calls) if last == "--help" else 0)


@pytest.mark.parametrize("options", [[], ["--csv"]])
def test_a_query_loads_neither_torch_nor_pandas(fake, tmp_path, options):
    fake.run(fake.make_spec(studies=["none"], budget={"trials": 2}, confirm={"top": 1, "seeds": 1}), tmp_path)
    write_tables(tmp_path)
    sql = "select phase, count(*) n, max(started_at) from trials group by phase order by phase"
    call = CALL.format(calls=[["query", str(tmp_path), sql, *options]], large=(*LARGE, "pyarrow.dataset"))
    ran = subprocess.run([sys.executable, "-c", call], capture_output=True, text=True)
    assert re.search(r"search\W+2\W+20\d\d-", ran.stdout)
    assert ran.stderr.splitlines() == ["['numpy', 'pyarrow', 'duckdb']"]


@pytest.mark.parametrize("call", [["methods"], ["methods", "cskd"], ["methods", "holistic"]])
def test_methods_are_described_without_a_large_package(call):
    ran = subprocess.run([sys.executable, "-c", CALL.format(calls=[call], large=LARGE)], capture_output=True, text=True)
    assert "weight" in ran.stdout
    assert ran.stderr.splitlines() == ["[]"]


def test_the_status_of_an_unfinished_sweep_loads_neither_torch_nor_pandas(tmp_path):
    shutil.copytree(OLD_SWEEPS / "killed", tmp_path / "killed")
    call = CALL.format(calls=[["status", str(tmp_path / "killed")]], large=LARGE)
    ran = subprocess.run([sys.executable, "-c", call], capture_output=True, text=True)
    assert "not running here" in ran.stdout
    assert ran.stderr.splitlines() == ["['numpy', 'pyarrow', 'PIL']"]


@pytest.mark.parametrize(
    "call",
    [["best"], ["report"], ["report", "--text"], ["tables"], ["query", "select count(*) from trials"]],
    ids=" ".join,
)
def test_what_reads_a_finished_sweep_loads_neither_torch_nor_statistics_that_it_does_not_use(tmp_path, call):
    shutil.copytree(OLD_SWEEPS / "finished", tmp_path / "finished")
    large = ("torch", "scipy.stats", "statsmodels", "sklearn", "optuna", "ray")
    command, *rest = call
    ran = subprocess.run(
        [sys.executable, "-c", CALL.format(calls=[[command, str(tmp_path / "finished"), *rest]], large=large)],
        capture_output=True,
        text=True,
    )
    assert ran.stdout
    assert ran.stderr.splitlines() == ["[]"]


def test_the_status_of_a_finished_sweep_reads_what_its_end_wrote(fake, tmp_path):
    spec = fake.make_spec(studies=["none", "kd"], budget={"trials": 1}, confirm={"top": 1, "seeds": 1})
    fake.run(spec, tmp_path)
    sweep = Sweep.open(tmp_path)
    before = str(sweep.status).splitlines()[-1]
    sweep.report()
    ran = subprocess.run(
        [sys.executable, "-c", CALL.format(calls=[["status", str(tmp_path)]], large=LARGE)],
        capture_output=True,
        text=True,
    )
    assert ran.stderr.splitlines() == ["['numpy', 'pyarrow', 'PIL']"]
    assert before[:60] in ran.stdout
    best = tmp_path / "best.yaml"
    best.write_text(re.sub("(headline: ['\"]?)", r"\1Not ", best.read_text()))
    assert "verdict: Not " in str(sweep.status)
    mark_results(sweep.store)
    assert "verdict: Not " not in str(sweep.status)


@pytest.mark.parametrize(
    "command", [["plan"], ["run", "--dir", "nowhere"], ["data", "check"], ["teacher", "fit", "--dir", "nowhere"]]
)
def test_a_mistake_in_a_spec_is_said_before_torch_is_loaded(tmp_path, command):
    spec = tmp_path / "spec.yaml"
    spec.write_text("name: mine\ndata: {name: streets}\nstudies: [none, cwdd]\nbudget: {trials: 2}\n")
    call = CALL.format(calls=[[*command, str(spec)]], large=("torch", "pandas", "ray", "optuna"))
    ran = subprocess.run([sys.executable, "-c", call], capture_output=True, text=True, cwd=tmp_path)
    assert ran.stderr.splitlines() == ["InputError", "[]"]


def test_the_help_of_an_ablation_names_all_designs():
    assert tuple(DESIGNS) == ablate._DESIGNS


@pytest.mark.parametrize("package", [kdtrain, analysis])
def test_names_of_a_package_are_there_when_they_are_used(package):
    assert all(getattr(package, name) is not None for name in package.__all__)
    assert set(package.__all__) <= set(dir(package))
    with pytest.raises(AttributeError, match="no_such_name"):
        _ = package.no_such_name
