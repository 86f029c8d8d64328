"""The table of costs: what the students of a sweep with a target cost to run."""

import json
from collections.abc import Iterator

from sweeps.ledger.state import SweepState
from sweeps.spec.spec import SweepSpec


def cost_rows(state: SweepState, spec: SweepSpec) -> Iterator[dict[str, object]]:
    """The rows of the table `costs`, without their sweep; none for a sweep without a target."""
    for network, cost in state.costs.items():
        speed = {} if cost.speed is None else cost.speed.model_dump(exclude={"student"})
        if "median_ms" in speed:
            speed["latency_ms"] = speed.pop("median_ms")
        yield {
            "network_json": json.dumps(json.loads(network), sort_keys=True),
            "params": cost.params,
            "macs": cost.macs,
            **speed,
            "within": spec.target is None or spec.target.excess(cost) is None,
        }
