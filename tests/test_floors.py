"""Who may import whom, between packages and between the parts of a package; `python tests/test_floors.py` draws it.

A part of a package is a folder or a file directly below it. Ray is imported in sweeps/launch alone.
"""

import ast
import functools
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
LAYERS = {  # from top to bottom: a part imports only parts of lower lines
    "sweeps": (
        "__main__ testing",
        "cli",
        "__init__",
        "sweep",
        "hours machine_facts run",
        "plan",
        "cost",
        "check study_plan",
        "designs launch show",
        "trackers",
        "calibrate student_costs",
        "rehearsals",
        "driver outcome",
        "attempt ledger",
        "packages spec store",
    ),
    "analysis": (
        "__init__",
        "report",
        "figures",
        "ablation search",
        "selection",
        "conditions stats",
        "tables",
        "extras",
        "errors formats",
    ),
    "kdtrain": (
        "testing",
        "__init__",
        "deploy",
        "code_digest loop",
        "config published teacher",
        "data methods models replay",
        "losses runtime space",
        "foreign local_path torch_version",
        "config_base errors explain field_docs lazy_names loss_forms names printable redact version",
    ),
}
FORBIDDEN = {
    "kdtrain": {"analysis", "sweeps", "ray", "optuna", "pandas", "pyarrow"},
    "kdtrain/data/shards": {"analysis", "sweeps", "ray", "optuna", "pandas"},  # pyarrow where a file is opened
    "analysis": {"kdtrain", "sweeps", "ray", "torch"},
    "sweeps": {"ray"},
    "sweeps/launch": set[str](),
}
FILES = sorted(path for package in LAYERS for path in (ROOT / package).rglob("*.py"))
MODULES = {".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path for path in FILES}
BLOCKED = """
import importlib, sys
from importlib.machinery import PathFinder
find = PathFinder.find_spec
def find_spec(name, *rest):
    return None if name.partition(".")[0] in {blocked!r} else find(name, *rest)
PathFinder.find_spec = find_spec
for name in {modules!r}:
    importlib.import_module(name)
"""


@functools.cache
def imports(path: Path) -> frozenset[str]:
    """Modules that a file imports, at its top or within functions; a relative import starts with a dot."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {name.name for name in node.names}
        elif isinstance(node, ast.ImportFrom):
            module = "." * node.level + (node.module or "")
            members = {f"{module}.{name.name}" for name in node.names}
            names |= members & MODULES.keys()
            if not members <= MODULES.keys():
                names.add(module)
        elif isinstance(node, ast.Call) and ast.unparse(node.func).rpartition(".")[2] == "import_module":
            names |= {word.value for word in node.args[:1] if isinstance(word, ast.Constant)}
    return frozenset(names)


def label(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def room_of(module: str) -> str:
    """The part of a module: `store` for `sweeps.store.lock`, `__init__` for a package itself."""
    return [*module.split("."), "__init__"][1]


def arrows(package: str) -> dict[str, set[str]]:
    """The parts of a package, each with the other parts of the package that it imports."""
    found: dict[str, set[str]] = {}
    for module, path in MODULES.items():
        if module.partition(".")[0] == package:
            targets = {room_of(name) for name in imports(path) if name.partition(".")[0] == package}
            found.setdefault(room_of(module), set()).update(targets - {room_of(module)})
    return found


def neighbors(package: str) -> set[str]:
    """The other packages that a package imports."""
    names = {
        name.partition(".")[0]
        for module, path in MODULES.items()
        if module.partition(".")[0] == package
        for name in imports(path)
    }
    return names & LAYERS.keys() - {package}


def heights(package: str) -> dict[str, int]:
    """The height of each part in the table."""
    return {part: height for height, line in enumerate(reversed(LAYERS[package])) for part in line.split()}


def picture() -> str:
    """The packages, their parts from top to bottom, and the parts that each part imports."""
    lines = []
    for package, table in LAYERS.items():
        drawn, below = arrows(package), sorted(neighbors(package))
        lines += [f"{package}/" + (f"  -> {', '.join(below)}" if below else "")]
        for part in (part for line in table for part in line.split() if part in drawn):
            lines += [f"  {part:<12}" + (f" -> {', '.join(sorted(drawn[part]))}" if drawn[part] else "")]
    return "\n".join(lines)


def test_packages_import_only_packages_below_them():
    assert {package: neighbors(package) for package in LAYERS} == {
        "sweeps": {"analysis", "kdtrain"},
        "analysis": set(),
        "kdtrain": set(),
    }


@pytest.mark.parametrize("package", LAYERS)
def test_every_room_stands_in_the_table_once(package):
    parts = [part for line in LAYERS[package] for part in line.split()]
    assert len(parts) == len(set(parts))
    assert arrows(package).keys() - set(parts) == set(), "a part that the table does not name"
    assert set(parts) - arrows(package).keys() <= {"testing"}, "a part that is not there"


@pytest.mark.parametrize("package", LAYERS)
def test_a_room_imports_only_rooms_below_it(package):
    level = heights(package)
    up = [
        f"{part} -> {target}"
        for part, below in arrows(package).items()
        for target in below
        if level[target] >= level[part]
    ]
    assert up == []


def test_imports_within_functions_and_by_name_count(tmp_path):
    file = tmp_path / "late.py"
    file.write_text(
        "def late():\n"
        "    import sweeps.run\n"
        "    from sweeps.store import lock, Missing\n"
        "    return importlib.import_module('sweeps.cli.app')\n"
    )
    assert imports(file) == {"sweeps.run", "sweeps.store", "sweeps.store.lock", "sweeps.cli.app"}


def test_the_picture_names_every_room_and_its_arrows():
    drawn = picture()
    assert drawn.startswith("sweeps/  -> analysis, kdtrain\n")
    assert "\n  spec" in drawn
    assert sum(line.startswith("  ") for line in drawn.splitlines()) == sum(len(arrows(package)) for package in LAYERS)


def test_there_are_files_on_every_floor():
    assert {label(path).split("/")[0] for path in FILES} == {"kdtrain", "analysis", "sweeps"}
    assert any(name.startswith("ray") for path in FILES for name in imports(path))


@pytest.mark.parametrize("path", FILES, ids=label)
def test_a_file_imports_only_what_its_floor_may(path):
    floor = max((floor for floor in FORBIDDEN if label(path).startswith(f"{floor}/")), key=len)
    found = imports(path)
    assert {name for name in found if name.partition(".")[0] in FORBIDDEN[floor]} == set()
    assert {name for name in found if name.startswith(".")} == set(), "imports are absolute"


def test_files_are_named_after_an_idea():
    vague = {"utils", "util", "utilities", "helpers", "helper", "common", "misc", "tools", "stuff"}
    assert [label(path) for path in FILES if vague & {path.stem, *path.stem.split("_"), path.parent.name}] == []


def modules(floor: str) -> list[str]:
    return [name for name in MODULES if name.partition(".")[0] == floor]


@pytest.mark.parametrize(
    ("floor", "blocked"),
    [("kdtrain", {"ray", "optuna", "pandas", "pyarrow"}), ("analysis", {"ray", "torch"})],
)
def test_a_floor_works_without_what_it_may_not_know(floor, blocked):
    code = BLOCKED.format(blocked=blocked, modules=modules(floor))
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_commands_start_without_the_library_of_networks():
    assert imported_by("import sweeps.cli", "numpy pandas pyarrow pydantic ray scipy timm torch torchvision") == []


def test_a_plan_starts_without_packages_that_it_does_not_need():
    code = (
        "import sweeps.calibrate, sweeps.designs.detectable, sweeps.driver.growth, sweeps.hours, sweeps.plan, "
        "sweeps.rehearsals, kdtrain.models.library"
    )
    assert imported_by(code, "matplotlib onnx pandas ray scipy.stats sklearn wandb") == []


def imported_by(code: str, names: str) -> list[str]:
    """Which of some modules are imported by Python code."""
    code += f"; import sys; print(*(name for name in {names.split()} if sys.modules.get(name)))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    return done.stdout.split()


if __name__ == "__main__":
    print(picture())
