"""Where the tables of a sweep lie, on a disk or in an object store, and what is said of one that does not read."""

import shlex
from pathlib import Path

from pyarrow import fs

from analysis.errors import AnalysisError
from analysis.tables.folder import FOLDER
from analysis.tables.schemas import SCHEMAS


def unreadable(sweep: str | Path, name: str, error: Exception) -> AnalysisError:
    """The error for a table whose file is damaged: which one, why, and what to do."""
    return AnalysisError(
        f"table {_shown(sweep, f'{FOLDER}/{name}.parquet')} does not read ({_reason(error)}): "
        f"rebuild it with `kdsweep tables {shlex.quote(str(sweep))}`"
    )


def locate(sweep: str | Path) -> tuple[fs.FileSystem, dict[str, str]]:
    """Where the tables of a sweep lie: the file system, and the path there of every table that exists.

    Raises:
        AnalysisError: There is no table at all, or the store does not answer.
    """
    system, root = _open(sweep)
    folder = f"{root}/{FOLDER}"
    try:
        names = {info.base_name for info in system.get_file_info(fs.FileSelector(folder, allow_not_found=True))}
    except (OSError, ValueError) as error:
        raise AnalysisError(f"{sweep} cannot be read ({_reason(error)})") from error
    if "trials.parquet" not in names:
        raise AnalysisError(
            f"no tables in {_shown(sweep, FOLDER)} (looked for trials.parquet): run "
            f"`kdsweep tables {shlex.quote(str(sweep))}` or give the folder of a sweep"
        )
    return system, {name: f"{folder}/{name}.parquet" for name in SCHEMAS if f"{name}.parquet" in names}


def _is_local(sweep: str | Path) -> bool:
    return "://" not in str(sweep)


def _shown(sweep: str | Path, key: str) -> str:
    return str(Path(sweep) / key) if _is_local(sweep) else f"{key} of {sweep}"


def _open(sweep: str | Path) -> tuple[fs.FileSystem, str]:
    """The file system of a sweep, and its path there."""
    if _is_local(sweep):
        return fs.LocalFileSystem(), str(sweep)
    try:
        system, root = fs.FileSystem.from_uri(str(sweep))
    except (OSError, ValueError, NotImplementedError) as error:
        raise AnalysisError(f"{sweep} cannot be opened ({_reason(error)})") from error
    return system, root.rstrip("/")


def _reason(error: Exception) -> str:
    return str(error).splitlines()[0] if str(error) else type(error).__name__
