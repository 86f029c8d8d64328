"""Data sets of the hub of Hugging Face: Parquet, Arrow and tar files are fetched into the data root, and no code."""

import re
import shutil
from collections.abc import Callable
from pathlib import Path

from kdtrain.data.fetch import note_source
from kdtrain.data.shards.shard_files import ARCHIVES, HUB, HUB_NAME, TABLES, local_part
from kdtrain.errors import InputError, is_full, refused
from kdtrain.explain import first_line

CONVERTED = "refs/convert/parquet"
"""The revision in which the hub keeps a data set that it has converted to Parquet by itself."""
_NAME = re.compile(HUB_NAME + r"(?:@[\w./-]+)?")
_NAMES_OF_CLASSES = ("id2label.json", "classes.txt", "labels.txt")
_FILES = (*(f"*{suffix}" for suffix in (*TABLES, *ARCHIVES)), *_NAMES_OF_CLASSES, "README.md")


def fetch_from_hub(name: str, data_root: Path, tell: Callable[[str], None] = lambda sentence: None) -> Path:
    """Fetch the files of a data set; its folder appears once it is complete.

    Args:
        name: `hf:owner/name`, or `hf:owner/name@revision`.
        data_root: The folder of all data sets; made where it is missing.
        tell: Called with a sentence about each step.

    Returns:
        The folder `hf/owner/name` in the data root.

    Raises:
        InputError: If the name is none, the hub cannot be reached or has no such data set, or it has no such files.
        StorageError: If the disk is full or refuses.
    """
    if not name.startswith(HUB) or not _NAME.fullmatch(name.removeprefix(HUB)):
        raise InputError(f"a data set of the hub is written {HUB}owner/name or {HUB}owner/name@revision, got {name!r}")
    repository, _, revision = name.removeprefix(HUB).partition("@")
    target = data_root / local_part(f"{HUB}{repository}")
    if target.exists():
        tell(f"{HUB}{repository} is in {target} already; delete that folder to fetch it again")
        return target
    try:
        commit, building = _fetched(repository, revision or None, target)
        if not _has_shards(building) and not revision:
            tell(f"{HUB}{repository} has no such files; fetching those that the hub has made of it ({CONVERTED})")
            shutil.rmtree(building, ignore_errors=True)
            commit, building = _fetched(repository, CONVERTED, target)
        if not _has_shards(building):
            shutil.rmtree(building, ignore_errors=True)
            raise InputError(f"{name}: has no files that end with {', '.join((*TABLES, *ARCHIVES))}; give another one")
        building.rename(target)
        note_source(data_root, f"{HUB}{repository}", name, f"commit:{commit}")
    except OSError as error:
        raise refused(target, error) from error
    return target


def _fetched(repository: str, revision: str | None, target: Path) -> tuple[str, Path]:
    """Fetch the files of one state of a data set.

    Returns:
        Its commit, and a folder beside `target` of this commit alone, in which a broken download goes on.
    """
    from huggingface_hub import HfApi, snapshot_download

    try:
        commit = str(HfApi().dataset_info(repository, revision=revision).sha)
        folder = target.with_name(f".{target.name}.{commit}.part")
        snapshot_download(
            repository, repo_type="dataset", revision=commit, allow_patterns=list(_FILES), local_dir=folder
        )
    except Exception as error:  # the hub's errors are many, and so are those of the net
        if isinstance(error, OSError) and is_full(error):
            raise
        raise InputError(
            f"{HUB}{repository}: could not be fetched from the hub ({first_line(error).rstrip('.')}); check the name "
            f"and the net, set HF_TOKEN where it is not public, or put its files into {target} yourself"
        ) from error
    return commit, folder


def _has_shards(folder: Path) -> bool:
    return any(file.suffix in (*TABLES, *ARCHIVES) for file in folder.rglob("*"))
