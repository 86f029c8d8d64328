"""A check that the packages `kdtrain`, `sweeps` and `analysis` are ours, and not modules of the user's of that name.

Python takes the first module of a name on its path, and the folder of a script, or the current folder, comes first: a
file `analysis.py` there hides our package. This file imports nothing of ours, so that it runs before anything else.
"""

import sys
from importlib.util import find_spec
from pathlib import Path

PACKAGES = ("kdtrain", "sweeps", "analysis")


def hidden_package() -> str | None:
    """One sentence about the first of our packages that another module hides; none if all are ours."""
    root = Path(__file__).resolve().parents[1]
    for name in PACKAGES:
        place = _place(name)
        if place is not None and place != root / name:
            kind = "file" if place.is_file() else "folder"
            return (
                f"the {kind} {place} hides kdsweep's package {name!r}, because Python finds it first: rename the "
                f"{kind}, or start Python from another folder and take {place.parent} out of PYTHONPATH"
            )
    return None


def in_ray_worker() -> bool:
    """Whether this process is a worker of Ray, which looks for modules in the driver's current folder first."""
    return bool(sys.argv) and Path(sys.argv[0]).name == "default_worker.py"


def find_ours_first() -> None:
    """Let Python find our packages before modules of the user's that have their names."""
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))


def _place(name: str) -> Path | None:
    """The folder of a package, or the file of a module, that Python would import."""
    if name in sys.modules and getattr(sys.modules[name], "__spec__", None) is None:
        return None
    spec = find_spec(name)
    if spec is None:
        return None
    if spec.submodule_search_locations:
        return Path(next(iter(spec.submodule_search_locations))).resolve()
    return Path(spec.origin).resolve() if spec.origin else None
