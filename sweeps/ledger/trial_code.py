"""Which version of the training code a trial ran on, by part."""

from collections.abc import Mapping

from kdtrain.code_digest import digests_of, part_names, parts_of_package
from sweeps.ledger.state import SweepState
from sweeps.ledger.trial_record import TrialRecord

Digests = Mapping[str, str]
"""By part, the digest of its code."""


def code_digests(trial: TrialRecord, state: SweepState) -> Digests | None:
    """The code of a trial's last attempt; none where nothing of it is recorded.

    Versions of kdsweep that did not tell the parts of the code apart recorded one digest of the whole package with the
    environment. Where that state of the package is known to give the results of later code, the trial has the parts of
    that code; else each part is known by the digest of the package.
    """
    if trial.code is not None:
        return digests_of({part: dict(modules) for part, modules in state.codes[trial.code].items()})
    package = state.environments.get(trial.environment_id or "", {}).get("code_digest")
    if package is None:
        return None
    parts = parts_of_package(str(package)) or {}
    return {part: parts.get(part, f"package {package}") for part in part_names(trial.config)}
