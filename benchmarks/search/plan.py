"""How a procedure divides its epochs between the search and fresh seeds: the same for all policies."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Plan:
    """A budget, in full trainings of one study.

    Attributes:
        search: Full trainings that the search may spend.
        top: Configs that enter the confirmation; 0 for none.
        seeds: Fresh seeds per config on average.
    """

    search: int
    top: int
    seeds: int


def plan(budget: int) -> Plan:
    """A third of the budget goes to fresh seeds, as the documentation recommends, where two configs can have some."""
    fresh = budget // 3
    seeds = 2 if fresh >= 4 else 1
    top = fresh // seeds
    return Plan(budget - top * seeds, top, seeds) if top > 1 else Plan(budget, 0, 1)
