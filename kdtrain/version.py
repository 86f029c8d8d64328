"""The version of this software: stated in `pyproject.toml`, read here, and nowhere else."""

import tomllib
from importlib import metadata
from pathlib import Path


def _read() -> str:
    """The installed version; that of the source tree where nothing is installed."""
    try:
        return metadata.version("kdsweep")
    except metadata.PackageNotFoundError:
        pyproject = Path(__file__).parents[1] / "pyproject.toml"
        if not pyproject.is_file():
            return "unknown"
        return str(tomllib.loads(pyproject.read_text(encoding="utf-8"))["project"]["version"])


__version__ = _read()
