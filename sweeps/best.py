"""`best.yaml`: the way from a finished sweep back to training, through a file."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from analysis import read_tables
from analysis.select import best
from kdtrain import InputError, TrainConfig
from sweeps.tabulate import load_state
from sweeps.teachers import teacher_folder

TEACHER = "teacher"
"""Where the file says which teacher folder the config was trained with, relative to the file."""


def best_document(sweep: Path, beside: Path) -> str:
    """The chosen config of a sweep as YAML, with its evidence.

    Args:
        sweep: The folder `D`, with its tables.
        beside: The folder that the file will lie in: the teacher is named relative to it.

    Raises:
        InputError: If no trial completed.
    """
    chosen = best(read_tables(sweep))
    spec, _ = load_state(sweep)
    folder = teacher_folder(spec, sweep)
    content: dict[str, Any] = {"config": chosen["config"]}
    if folder is not None and chosen["config"].get("teacher"):
        content[TEACHER] = os.path.relpath(folder.absolute(), beside.absolute())
    content["evidence"] = chosen["evidence"]
    return yaml.safe_dump(content, sort_keys=False, allow_unicode=True, width=120)


def read_config(path: Path) -> tuple[TrainConfig, Path | None]:
    """A config from `best.yaml`, or from a file that is nothing but a config; and the teacher folder that it names.

    Raises:
        InputError: If the file does not read, or holds no valid config.
    """
    content = read_mapping(path)
    if "config" not in content:
        return _parse(path, content), None
    unknown = set(content) - {"config", TEACHER, "evidence"}
    if unknown:
        raise InputError(f"{path}: unknown key {sorted(unknown)[0]}; known: config, {TEACHER}, evidence")
    teacher = path.parent / content[TEACHER] if content.get(TEACHER) else None
    return _parse(path, content["config"]), teacher


def read_mapping(path: Path) -> dict[str, Any]:
    """A YAML file that holds a mapping.

    Raises:
        InputError: If it does not.
    """
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise InputError(f"{path} is not YAML: {' '.join(str(error).split())}") from None
    if not isinstance(content, dict):
        raise InputError(f"{path} must hold a mapping")
    return content


def _parse(path: Path, content: Mapping[str, Any]) -> TrainConfig:
    try:
        return TrainConfig.parse(content)
    except InputError as error:
        raise InputError(f"{path}: {error}") from None
