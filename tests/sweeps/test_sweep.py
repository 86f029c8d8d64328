"""`sweeps.Sweep`: one object of Python for what the commands do; the notebooks in docs use it."""

import json
import shutil
from pathlib import Path

import pytest

from kdtrain.errors import InputError
from sweeps import Sweep
from sweeps.spec.strict_yaml import dump_yaml

OLD = Path(__file__).with_name("old_sweeps")
DOCS = Path(__file__).parents[2] / "docs"


def test_a_sweep_that_has_not_begun_shows_what_would_be_compared(fake, tmp_path):
    (tmp_path / "spec.yaml").write_text(dump_yaml(fake.content(name="mine", notes=["<b>"])))
    sweep = Sweep.from_yaml(tmp_path / "spec.yaml", tmp_path / "run", {"budget": {"trials": 7}})
    assert sweep.spec.budget.trials == 7
    shown = sweep._repr_html_()
    assert "not begun" in shown
    assert "7 trials" in shown
    for look in (lambda: sweep.status, lambda: sweep.tables, sweep.best, sweep.student, sweep.report):
        with pytest.raises(InputError, match="no sweep in"):
            look()
    assert not (tmp_path / "run").exists()


def test_the_folder_of_a_sweep_is_by_default_below_runs(fake, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert Sweep(fake.make_spec(name="mine")).store.local == tmp_path / "runs/mine"


def test_a_sweep_is_opened_from_its_folder(tmp_path):
    shutil.copytree(OLD / "finished", tmp_path / "five")
    sweep = Sweep.open(tmp_path / "five")
    assert "verdict:" in str(sweep.status)
    assert sweep._repr_html_().startswith("<pre")
    assert len(sweep.tables["trials"]) == 12
    assert sweep.best().terms
    with pytest.raises(InputError, match="there is no student of the chosen config"):
        sweep.student()
    report = sweep.report()
    assert Path(report).is_file()
    assert (tmp_path / "five/best.yaml").is_file()


@pytest.mark.slow
def test_the_notebooks_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("first-sweep.ipynb", "own-figure.ipynb"):
        names: dict[str, object] = {}
        for cell in json.loads((DOCS / name).read_text())["cells"]:
            if cell["cell_type"] == "code":
                exec("".join(cell["source"]), names)
    assert (tmp_path / "runs/first/report/index.html").is_file()
    assert (tmp_path / "fresh-seeds.png").is_file()
    assert tuple(names["by_seed"].columns) == ("cwd", "kd", "none")


@pytest.mark.parametrize("notebook", sorted(DOCS.glob("*.ipynb")), ids=lambda path: path.stem)
def test_notebooks_hold_no_outputs(notebook):
    cells = json.loads(notebook.read_text())["cells"]
    assert all(not cell["outputs"] and cell["execution_count"] is None for cell in cells if cell["cell_type"] == "code")
