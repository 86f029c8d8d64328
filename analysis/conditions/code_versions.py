"""Which versions of the training code trials ran on, part by part, from ``code_json`` in the table ``sweeps``.

A training executes parts: the training loop, a data set, its losses. Two trials are comparable if every part that both
executed was the same for both; a part that only one of them executed says nothing.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

import pandas as pd

from analysis.tables.json_columns import read_code

Places = Mapping[str, Mapping[str, int]]
"""By version, how many trials of each study ran on it."""


@dataclass(frozen=True)
class MixedParts:
    """Parts of the code of which the trials ran on more than one version.

    Attributes:
        by_part: The versions of every such part.
        modules: What differs between the versions, by name.
    """

    by_part: dict[str, Places]
    modules: tuple[str, ...]


def code_parts(sweeps: pd.DataFrame) -> pd.DataFrame:
    """Columns ``code_digest, part, part_digest, module, module_digest``, one row per module of every part.

    The last two are null for a part of which only its digest is known. Empty for tables that were written before
    the parts of the code were recorded.
    """
    rows = [
        (code_digest, part, version.digest, module, module_digest)
        for text in sweeps["code_json"].dropna()
        for code_digest, parts in read_code(text).items()
        for part, version in parts.items()
        for module, module_digest in (version.modules or {None: None}).items()
    ]
    columns = ["code_digest", "part", "part_digest", "module", "module_digest"]
    return pd.DataFrame(rows, columns=columns, dtype=object).drop_duplicates()


def mixed_parts(trials: pd.DataFrame, code: pd.DataFrame) -> MixedParts:
    """The parts of which these trials ran on more than one version.

    Args:
        trials: Rows of the table ``trials``.
        code: From ``code_parts``.
    """
    counts = Counter(zip(trials["code_digest"], trials["study"], strict=True))
    used = code[code["code_digest"].isin({digest for digest, _ in counts})]
    versions = used.drop_duplicates(["code_digest", "part"])
    several = versions.groupby("part")["part_digest"].nunique()
    by_part: dict[str, Places] = {}
    modules: set[str] = set()
    for part in several.index[several > 1]:
        rows = versions[versions["part"] == part]
        places: dict[str, dict[str, int]] = {}
        for code_digest, part_digest in zip(rows["code_digest"], rows["part_digest"], strict=True):
            studies = places.setdefault(f"{part} {part_digest[:10]}", {})
            for (digest, study), count in counts.items():
                if digest == code_digest:
                    studies[study] = studies.get(study, 0) + count
        by_part[str(part)] = places
        modules |= _differing(used[used["part"] == part])
    return MixedParts(by_part, tuple(sorted(modules)))


def _differing(rows: pd.DataFrame) -> set[str]:
    """Modules that are not the same in all versions of one part, or that some versions lack."""
    one_each = rows.drop_duplicates(["part_digest", "module"])
    versions = one_each["part_digest"].nunique()
    by_module = one_each.dropna(subset=["module"]).groupby("module")["module_digest"].agg(["nunique", "size"])
    if one_each["module"].isna().any():  # a version that was recorded as a whole
        by_module = by_module.iloc[:0]
    return set(by_module.index[(by_module["nunique"] > 1) | (by_module["size"] < versions)])
