"""The chosen config of a sweep, and `best.yaml`, which holds it for the next training."""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from analysis import read_tables
from analysis.search.front import finalists_below
from analysis.selection.finalists import finalists
from analysis.selection.select import select
from kdtrain import InputError, TrainConfig
from kdtrain.explain import did_you_mean
from sweeps.attempt.teacher_place import teacher_store
from sweeps.outcome.limit import require_limit
from sweeps.outcome.loaded import load_state
from sweeps.outcome.tabulate import short_frames
from sweeps.spec.overrides import parse_changed
from sweeps.spec.pulls import PULL, counterpart
from sweeps.spec.settings import TeacherSource
from sweeps.spec.spec import SweepSpec, is_spec, load_spec
from sweeps.spec.strict_yaml import dump_yaml, read_mapping
from sweeps.store.store import Store, open_store

TEACHER = "teacher"
"""The key of the teacher folder that the config was trained with, relative to the file."""
STUDENT = "student"
"""The key of the folder of a student that was trained with the config, relative to the file."""


def best_document(chosen: Mapping[str, Any], teacher: Store | None, student: Store | None, beside: Store) -> str:
    """The chosen config of a sweep as YAML, with its evidence.

    Args:
        chosen: From `analysis.report.best_evidence.best_evidence`.
        teacher: The teacher folder of the sweep.
        student: The folder of a trained student of the config, where there is one.
        beside: The folder of the file: on a disk, the paths of both are relative to it.
    """
    content: dict[str, object] = {"config": chosen["config"]}
    if teacher is not None and chosen["config"].get("teacher"):
        content[TEACHER] = _seen_from(beside, teacher)
    if student is not None:
        content[STUDENT] = _seen_from(beside, student)
    content["evidence"] = chosen["evidence"]
    return dump_yaml(content)


def _seen_from(folder: Store, other: Store) -> str:
    """The path of a folder from another one if both are on a disk, else its address."""
    if folder.local is None or other.local is None:
        return str(other)
    return os.path.relpath(str(other), str(folder))


def best_config(sweep: Store | Path | str, limit: float | None = None) -> TrainConfig:
    """The chosen config of a sweep, as it was trained; `kdsweep best` shows the same config with its evidence.

    Nothing is written. Of a sweep that still runs, the config is the best so far. To train it again, give its teacher:
    `train(best_config(D), Machine(teacher=D / "teacher"), workdir=...)`.

    Args:
        sweep: The folder `D` of the sweep, or a URI.
        limit: One of several limits of its target, below which the config is the best; none for the largest.

    Raises:
        InputError: If there is no sweep in the folder, its ledger is damaged, no trial is complete, or there is no such
            limit.
    """
    spec, state = load_state(open_store(sweep))
    tables = short_frames(state, spec)
    if limit is not None:
        require_limit(limit, tables, sweep)
    ranked = finalists(tables) if limit is None else finalists_below(tables, limit)
    if not ranked["chosen"].any():
        raise InputError(f"{sweep}: no trial is complete but of controls, so there is no best config; run the sweep on")
    return TrainConfig.parse(json.loads(ranked.iloc[0]["config_json"]))


def trial_config(sweep: str, trial_id: str) -> tuple[TrainConfig, Store | None]:
    """The config of one trial of a sweep, however it ended, and the teacher folder that it was trained with.

    Raises:
        InputError: If there is no sweep, its ledger is damaged, or it has no such trial.
    """
    store = Store(sweep)
    spec, state = load_state(store)
    trial = state.trials.get(trial_id)
    if trial is None:
        raise InputError(f"--trial: must be a trial of {sweep}, got {trial_id!r}{did_you_mean(trial_id, state.trials)}")
    config = TrainConfig.parse(trial.config)
    return config, teacher_store(spec, store) if config.teacher else None


def candidate(source: str, study: str | None) -> tuple[Mapping[str, Any], SweepSpec]:
    """The config that an ablation takes apart, in plain values, and the spec that it comes from.

    Args:
        source: The folder of a sweep, for its chosen config; or a spec, for the published one of a study.
        study: Of this study; by default the best one of a sweep that has a teacher, or the last one of a spec.

    Raises:
        InputError: If there is no such study, or it has no complete trial.
    """
    sweep = Store(source)
    if sweep.local is not None and not sweep.local.is_dir():
        spec = load_spec(source)
        names = [each.name for each in spec.studies]
        if study is not None and study not in names:
            raise InputError(f"{source}: unknown study {study!r}{did_you_mean(study, names)}")
        of = spec.study(study) if study else spec.studies[-1]
        if by_pull := [term.name for term in spec.config_for(of).terms if term.pull is not None]:
            raise InputError(
                f"{source}: the weight of {by_pull[0]} in the study {of.name} comes from a pull, which only a sweep "
                "measures; run the spec and give the folder of its sweep"
            )
        return spec.config_for(of).model_dump(mode="json"), spec
    spec, _ = load_state(sweep)
    teacher = teacher_store(spec, sweep)
    if teacher is not None:
        spec = spec.model_copy(update={"teacher": TeacherSource(path=str(teacher))})
    ranked = select(read_tables(source)).sort_values(["chosen", "rank"], ascending=[False, True])
    configs = [json.loads(row["config_json"]) for _, row in ranked.iterrows() if study in (None, row["study"])]
    if not configs:
        raise InputError(f"{source}: no trial{f' of the study {study}' if study else ''} is complete; run the sweep on")
    with_teacher = (config for config in configs if config["teacher"] is not None)
    return next(with_teacher, configs[0]), spec


def read_config(path: Path, changes: Mapping[str, Any] | None = None) -> tuple[TrainConfig, Store | None]:
    """A config from `best.yaml`, or from a file that is nothing but a config; and the teacher folder that it names.

    Args:
        path: The file.
        changes: Values that replace those of the config, by dotted path.

    Raises:
        InputError: If the file does not read, or holds no valid config.
    """
    changes = _in_weights(changes or {})
    content = read_mapping(path)
    if is_spec(content):
        raise InputError(
            f"{path}: is the spec of a sweep, which `kdsweep run` takes, but must be one training's config, such as "
            "best.yaml in the folder of a sweep"
        )
    if "config" not in content:
        return parse_changed(TrainConfig.parse, content, changes, str(path)), None
    if unknown := set(content) - {"config", TEACHER, STUDENT, "evidence"}:
        allowed = f"config, {TEACHER}, {STUDENT} and evidence"
        raise InputError(f"{path}: allowed keys are {allowed}, got {sorted(unknown)[0]}")
    named = content.get(TEACHER)
    teacher = Store(named if "://" in str(named) else path.parent / named) if named else None
    if not isinstance(content["config"], dict):
        raise InputError(f"{path}: config must be a mapping, got {content['config']!r}")
    return parse_changed(TrainConfig.parse, content["config"], changes, str(path)), teacher


def _in_weights(changes: Mapping[str, Any]) -> dict[str, Any]:
    """The changes of a single training, in which a changed weight has no pull any more.

    Raises:
        InputError: If a pull is among them.
    """
    changed = dict(changes)
    for path in changes:
        other = counterpart(path)
        if other is not None and path.endswith(f".{PULL}"):
            raise InputError(f"{path}: a pull becomes a weight only in a sweep; change {other}")
        if other is not None:
            changed[other] = None
    return changed
