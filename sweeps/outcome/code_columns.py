"""Which code trials ran on, for the tables: what gives the same results has the same name."""

import json
from collections.abc import Mapping
from dataclasses import dataclass

from kdtrain.code_digest import canonical, digest_of, part_names
from sweeps.ledger.state import SweepState
from sweeps.ledger.trial_code import code_digests


@dataclass(frozen=True)
class CodeColumns:
    """Columns of the tables.

    Attributes:
        code_digest: By trial, the name of the code that it ran on; none where nothing is recorded.
        code_json: For the table `sweeps`: by such a name, the `digest` of every part and its `modules`, as far as
            they are known; none where no trial has a name.
    """

    code_digest: Mapping[str, str | None]
    code_json: str | None


def code_columns(state: SweepState) -> CodeColumns:
    """The columns of a sweep."""
    names: dict[object, str | None] = {}
    versions: dict[str, dict[str, dict[str, object]]] = {}
    of_trial: dict[str, str | None] = {}
    for trial in state.trials.values():
        key = trial.code or (trial.environment_id, part_names(trial.config))
        if key not in names:
            digests = code_digests(trial, state)
            names[key] = None
            if digests is not None:
                parts = {part: canonical(part, digest) for part, digest in digests.items()}
                names[key] = name = digest_of(parts)
                modules = state.codes.get(trial.code or "", {})
                versions.setdefault(
                    name,
                    {part: {"digest": digest, "modules": modules.get(part, {})} for part, digest in parts.items()},
                )
        of_trial[trial.id] = names[key]
    return CodeColumns(of_trial, json.dumps(versions, sort_keys=True) if versions else None)
