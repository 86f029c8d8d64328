"""Where trials ran, and whether studies that are compared ran on the same hardware, software and code."""

import json
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd

from analysis.conditions.code_versions import Places, code_parts, mixed_parts
from analysis.tables.files import Tables
from analysis.tables.fixed import once
from analysis.tables.json_columns import read_versions
from analysis.tables.states import State

_OUTCOMES = (State.COMPLETE, State.PRUNED, State.DIVERGED)
"""States of trials that say something about their study."""
_PACKAGES = ("numpy", "timm", "segmentation-models-pytorch", "torchvision")
"""What a training computes with, beside torch."""
_SOFTWARE = (
    *("python", "torch", "cuda", "cudnn", "gpu_driver"),
    *("amp", "tf32", "deterministic_algorithms", "cudnn_deterministic", "cudnn_benchmark"),
)
_ROUNDING = "Times are not comparable at all, scores only up to rounding and nondeterminism."
_MEANING = {
    "hardware": _ROUNDING,
    "software": _ROUNDING,
    "code": "What ran on different code is not comparable.",
}
_SHOWN = 6


@dataclass(frozen=True)
class Mix:
    """Trials of one sweep ran on more than one kind of something.

    Attributes:
        kind: ``hardware``, ``software`` or ``code``.
        places: How many trials of each study ran where: by the name of the place, then by study.
        parts: The same by part of the code, where the parts are recorded: then ``places`` is only shown.
        differs: The modules that are not the same.
    """

    kind: str
    places: Mapping[str, Mapping[str, int]]
    parts: tuple[Places, ...] = ()
    differs: tuple[str, ...] = ()

    @property
    def sentence(self) -> str:
        """Which studies ran on what, and why it matters."""
        places = "; ".join(f"{place} ({_listed(studies)})" for place, studies in self.places.items())
        return f"Mixed {self.kind}: {places}. {self.remedy}{_MEANING[self.kind]}"

    @property
    def remedy(self) -> str:
        """Which modules differ, and what to do about it; empty where neither is known."""
        if not self.differs:
            return ""
        return (
            f"The versions differ in {', '.join(self.differs)}: put back the version of the earlier trials and train "
            "the later ones again in a new --dir, or train all of them on one version. "
        )

    @property
    def doubt(self) -> str:
        """The mix in a few words, for a warning."""
        return "mixed code: not comparable" if self.kind == "code" else f"mixed {self.kind}"

    def spans(self, studies: Iterable[str]) -> bool:
        """Whether the trials of these studies alone ran in more than one place."""
        named = set(studies)
        partitions = self.parts or (self.places,)
        return any(sum(bool(named & counts.keys()) for counts in places.values()) > 1 for places in partitions)


@once
def mixed(tables: Tables) -> list[Mix]:
    """What differs between the environments of the trials that say something; empty if all ran on the same.

    A training that was cut short and went on elsewhere counts where it ended.
    """
    environments = tables["environments"].drop_duplicates("environment_id").set_index("environment_id")
    trials = tables["trials"]
    ended = trials[trials["state"].isin(_OUTCOMES) & trials["environment_id"].isin(environments.index)]
    rows = [row for _, row in environments.loc[ended["environment_id"].unique()].iterrows()]
    names = {
        "hardware": [hardware(row) for row in rows],
        "software": _software_names(rows),
    }
    versions = code_parts(tables["sweeps"])
    if versions.empty:  # tables that were written before the parts of the code were distinguished
        names["code"] = [code(row) for row in rows]
    mixes = []
    for kind, named in names.items():
        place_of = {str(row.name): name for row, name in zip(rows, named, strict=True)}
        if len(set(named)) > 1:
            places: dict[str, dict[str, int]] = {}
            pairs = zip(ended["environment_id"].map(place_of), ended["study"], strict=True)
            for (place, study), count in Counter(pairs).items():
                places.setdefault(place, {})[study] = count
            mixes.append(Mix(kind, places))
    if not versions.empty:
        mixes += _mixed_code(ended.dropna(subset=["code_digest"]), versions)
    return mixes


def _mixed_code(trials: pd.DataFrame, versions: pd.DataFrame) -> list[Mix]:
    parts = mixed_parts(trials, versions)
    if not parts.by_part:
        return []
    partitions = tuple(parts.by_part.values())
    different = {json.dumps(list(places.values())): places for places in partitions}
    places = {place: studies for version in different.values() for place, studies in version.items()}
    return [Mix("code", places, partitions, parts.modules)]


def different_code(mixes: Iterable[Mix], study: str, other: str, other_name: str = "") -> list[str]:
    """Why two studies may not be compared, as a clause, if they ran on different code; empty if they did not.

    Args:
        mixes: From ``mixed``.
        study: One of them.
        other: The other one.
        other_name: What the clause calls the other one; by default its name.
    """
    return [
        f"{study} and {other_name or other} ran on different code. {mix.remedy}".strip().removesuffix(".")
        for mix in mixes
        if mix.kind == "code" and mix.spans({study, other})
    ]


def hardware(row: Mapping[str, Any] | pd.Series) -> str:
    """What computed, of a row of the table of environments: rows of the same hardware have the same name."""
    processes = int(value_of(row, "processes") or 1)
    times = f"{processes} x " if processes > 1 else ""
    if str(row["device"]).startswith("cuda"):
        return f"{times}{value_of(row, 'device_name') or 'GPU without a name'}"
    name = value_of(row, "cpu_name") or value_of(row, "device_name") or "CPU without a name"
    threads = int(row["num_threads"])
    return f"{times}{name}, {threads} thread{'' if threads == 1 else 's'}"


def software(row: Mapping[str, Any] | pd.Series) -> dict[str, str]:
    """What can change a number or a time, of a row of the table of environments: versions and settings by name."""
    packages = read_versions(row["versions_json"])
    facts = {name: value_of(row, name) for name in _SOFTWARE} | {name: packages.get(name) for name in _PACKAGES}
    return {name: str(value) for name, value in facts.items() if value is not None}


def code(row: Mapping[str, Any] | pd.Series) -> str:
    """Which version of the training code, of a row of the table of environments."""
    digest, commit = value_of(row, "code_digest"), value_of(row, "git_commit")
    if digest is not None:
        return f"code {digest[:10]}"
    if commit is not None:
        return f"commit {commit[:10]}{' with changes' if value_of(row, 'git_dirty') else ''}"
    return "code not recorded"


def value_of(row: Mapping[str, Any] | pd.Series, name: str) -> Any:
    """A value of a row; None where it is missing."""
    value = row.get(name)
    return None if value is None or pd.isna(value) else value


def _software_names(rows: list[pd.Series]) -> list[str]:
    """Each named by what differs; a fact that only some of them have, such as the version of CUDA, does not."""
    facts = [software(row) for row in rows]
    names = {name: None for values in facts for name in values}
    differing = [name for name in names if len({values[name] for values in facts if name in values}) > 1]
    return [
        ", ".join(f"{name} {values[name]}" for name in differing if name in values) or "the rest" for values in facts
    ]


def _listed(studies: Mapping[str, int]) -> str:
    counts = [f"{study} {count}" for study, count in studies.items()]
    more = f" and {len(counts) - _SHOWN} more studies" if len(counts) > _SHOWN else ""
    return f"trials: {', '.join(counts[:_SHOWN])}{more}"
