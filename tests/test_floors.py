"""Who may import whom: kdtrain and analysis nothing of ours, sweeps both, Ray only in sweeps/launch."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FILES = sorted(path for floor in ("kdtrain", "analysis", "sweeps") for path in (ROOT / floor).rglob("*.py"))
FORBIDDEN = {
    "kdtrain": {"analysis", "sweeps", "ray", "optuna", "pandas", "pyarrow"},
    "analysis": {"kdtrain", "sweeps", "ray", "torch"},
    "sweeps": {"ray"},
    "sweeps/launch": set[str](),
}
BLOCKED = """
import importlib, sys
from importlib.machinery import PathFinder
found = PathFinder.find_spec
def find_spec(name, *rest):
    return None if name.partition(".")[0] in {blocked!r} else found(name, *rest)
PathFinder.find_spec = find_spec
for name in {modules!r}:
    importlib.import_module(name)
"""


def imports(path: Path) -> set[str]:
    """Modules that a file imports, at its top or within functions; a relative import starts with a dot."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {name.name for name in node.names}
        elif isinstance(node, ast.ImportFrom):
            module = "." * node.level + (node.module or "")
            found |= {module} | {f"{module}.{name.name}" for name in node.names}
    return found


def named(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def test_there_are_files_on_every_floor():
    assert {named(path).split("/")[0] for path in FILES} == {"kdtrain", "analysis", "sweeps"}
    assert any(name.startswith("ray") for path in FILES for name in imports(path))


@pytest.mark.parametrize("path", FILES, ids=named)
def test_a_file_imports_only_what_its_floor_may(path):
    floor = max((floor for floor in FORBIDDEN if named(path).startswith(f"{floor}/")), key=len)
    found = imports(path)
    assert {name for name in found if name.partition(".")[0] in FORBIDDEN[floor]} == set()
    assert {name for name in found if name.startswith(".")} == set(), "imports are absolute"
    if path.parent != ROOT / "sweeps/cli":
        assert {name for name in found if f"{name}.".startswith("sweeps.cli.")} == set(), "nothing imports the commands"


def test_files_are_named_after_an_idea():
    vague = {"utils", "util", "utilities", "helpers", "helper", "common", "misc", "tools", "stuff"}
    assert [named(path) for path in FILES if vague & {path.stem, *path.stem.split("_"), path.parent.name}] == []


def modules(floor: str) -> list[str]:
    found = [".".join(path.relative_to(ROOT).with_suffix("").parts) for path in FILES]
    return [name.removesuffix(".__init__") for name in found if name.partition(".")[0] == floor]


@pytest.mark.parametrize(
    ("floor", "blocked"),
    [("kdtrain", {"ray", "optuna", "pandas", "pyarrow"}), ("analysis", {"ray", "torch"})],
)
def test_a_floor_works_without_what_it_may_not_know(floor, blocked):
    code = BLOCKED.format(blocked=blocked, modules=modules(floor))
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_commands_start_without_the_library_of_networks():
    code = "import sys, sweeps.cli; sys.exit(any(name in sys.modules for name in ('timm', 'torchvision', 'ray')))"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0
