"""Whether the sentence on top of a report says what the rows below it say."""

import numpy as np
from world_rows.row import Row, Simulate
from world_rows.told import contradictions, told

TOPIC = "headline against table"


def contradicted(rho: float) -> Simulate:
    """Whether a headline contradicts its table, with up to five studies beside the baseline."""

    def simulate(rng: np.random.Generator, worlds: int) -> np.ndarray:
        return np.array([bool(contradictions(told(rng, rho, world % 6))) for world in range(worlds)])

    return simulate


ROWS = [
    Row(
        TOPIC,
        f"ties, refusals, missing seeds, frozen or not, 1 to 6 configs, correlation {rho} by seed",
        "headline contradicts table",
        contradicted(rho),
        most=0.0,
    )
    for rho in (0.0, 0.5, 0.95)
]
