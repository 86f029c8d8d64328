"""The policies that are replayed, by name.

A policy of the product is a mapping of fields of its spec; one of others names its module in `search.others`. Further
policies of the product can be given as YAML, see `__main__`.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from search.confirmation import MEAN, ONE_SE

TODAY = "tpe + halving"
"""The product before this benchmark: what all others are compared with."""


@dataclass(frozen=True)
class PolicyOfOurs:
    """A policy of the product.

    Attributes:
        fields: Of the spec, such as `sampler` and `scheduler`.
        rule: How a finalist is chosen, see `search.confirmation.choice`.
        together: Whether one sweep searches all studies of a task, so that they can share what they learn.
    """

    fields: Mapping[str, Any]
    rule: str = ONE_SE
    together: bool = False


@dataclass(frozen=True)
class PolicyOfOthers:
    """A policy of another package.

    Attributes:
        module: In `search.others`; its function `make(trainings, seed, **options)` returns a `search.confirmed.Search`.
        options: For that function.
    """

    module: str
    options: Mapping[str, Any] = field(default_factory=dict)


_HALVING = {"name": "halving", "grace": 2, "factor": 2}
_LATE = {"name": "halving", "grace": 4, "factor": 3}
"""Stops after a third of a training, or later, as `kdsweep init` writes it."""
_PAUSE = {**_HALVING, "mode": "pause"}
_TPE = {"name": "tpe", "startup": 6}
_GP = {"name": "gp", "startup": 4}


def _shared(sampler: Mapping[str, Any]) -> dict[str, Any]:
    return {**sampler, "options": {"share": True}}


OURS: dict[str, PolicyOfOurs] = {
    TODAY: PolicyOfOurs({"sampler": _TPE, "scheduler": _HALVING}),
    "tpe + halving, highest mean": PolicyOfOurs({"sampler": _TPE, "scheduler": _HALVING}, MEAN),
    "tpe": PolicyOfOurs({"sampler": _TPE, "scheduler": {"name": "none"}}),
    "random": PolicyOfOurs({"sampler": {"name": "random"}, "scheduler": {"name": "none"}}),
    "random + halving": PolicyOfOurs({"sampler": {"name": "random"}, "scheduler": _HALVING}),
    "sobol": PolicyOfOurs({"sampler": {"name": "sobol"}, "scheduler": {"name": "none"}}),
    "sobol + halving": PolicyOfOurs({"sampler": {"name": "sobol"}, "scheduler": _HALVING}),
    "cmaes + halving": PolicyOfOurs({"sampler": {"name": "cmaes"}, "scheduler": _HALVING}),
    "gp": PolicyOfOurs({"sampler": _GP, "scheduler": {"name": "none"}}),
    "tpe + hyperband": PolicyOfOurs({"sampler": _TPE, "scheduler": {"name": "hyperband"}}),
    "tpe + median": PolicyOfOurs({"sampler": _TPE, "scheduler": {"name": "median", "grace": 2}}),
    "tpe + halving, pause": PolicyOfOurs({"sampler": _TPE, "scheduler": _PAUSE}),
    "random + halving, pause": PolicyOfOurs({"sampler": {"name": "random"}, "scheduler": _PAUSE}),
    "prior + halving, pause": PolicyOfOurs({"sampler": {"name": "prior"}, "scheduler": _PAUSE}),
    "prior": PolicyOfOurs({"sampler": {"name": "prior"}, "scheduler": {"name": "none"}}),
    "prior + halving": PolicyOfOurs({"sampler": {"name": "prior"}, "scheduler": _HALVING}),
    "prior + hyperband": PolicyOfOurs({"sampler": {"name": "prior"}, "scheduler": {"name": "hyperband"}}),
    "gp + halving": PolicyOfOurs({"sampler": _GP, "scheduler": _HALVING}),
    "gp + halving, late": PolicyOfOurs({"sampler": _GP, "scheduler": _LATE}),
    "gp + hyperband": PolicyOfOurs({"sampler": _GP, "scheduler": {"name": "hyperband"}}),
    "gp + halving, highest mean": PolicyOfOurs({"sampler": _GP, "scheduler": _HALVING}, MEAN),
    "gp + halving, shared": PolicyOfOurs({"sampler": _shared(_GP), "scheduler": _HALVING}, together=True),
    "prior + halving, shared": PolicyOfOurs(
        {"sampler": _shared({"name": "prior"}), "scheduler": _HALVING}, together=True
    ),
}
_FAST = {"opt_maxiter": 15, "opt_skip_init_length": 20, "opt_skip_period": 8, "opt_nstarts": 1}
"""Syne Tune fits its Gaussian process anew at every eighth score, which takes a sixth of the time."""
OTHERS: dict[str, PolicyOfOthers] = {
    **{
        f"optuna {sampler} + {pruner}": PolicyOfOthers("optuna_pruners", {"sampler": sampler, "pruner": pruner})
        for sampler in ("random", "tpe", "gp")
        for pruner in ("hyperband", "halving")
    },
    "ray ASHA": PolicyOfOthers("ray_asha"),
    "syne-tune ASHA, stopping": PolicyOfOthers("syne_tune_schedulers", {"method": "ASHA", "type": "stopping"}),
    "syne-tune ASHA, promotion": PolicyOfOthers("syne_tune_schedulers", {"method": "ASHA", "type": "promotion"}),
    "syne-tune BOHB": PolicyOfOthers("syne_tune_schedulers", {"method": "BOHB", "type": "promotion"}),
    "syne-tune MOBSTER": PolicyOfOthers(
        "syne_tune_schedulers", {"method": "MOBSTER", "type": "promotion", "search_options": _FAST}
    ),
    "syne-tune Hyper-Tune": PolicyOfOthers("syne_tune_schedulers", {"method": "HyperTune", "search_options": _FAST}),
    "syne-tune DEHB": PolicyOfOthers("syne_tune_schedulers", {"method": "DEHB"}),
    "neps PriorBand": PolicyOfOthers("neps_brackets", {"method": "priorband"}),
    "neps PriorBand, asynchronous": PolicyOfOthers("neps_brackets", {"method": "priorband", "base": "async_hb"}),
    "neps Hyperband": PolicyOfOthers("neps_brackets", {"method": "hyperband"}),
    "smac multi-fidelity": PolicyOfOthers("smac_hyperband"),
}
