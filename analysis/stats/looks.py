"""Looking more than once: how much of the allowed error the words of one look may spend.

Whoever grows a sweep until its words are welcome finds false ones: 14 % after looks at 3, 5, 8 and 12 seeds at 5 %
each (simulated). So the error is spent look by look (Lan & DeMets 1983): what all looks spend together never exceeds
what is allowed, whatever was seen in between, whichever configs were compared, and whether a further look was
planned or not. The sum of the parts bounds the error (Bonferroni), so no joint distribution is assumed.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from analysis.formats import missing

if TYPE_CHECKING:
    import pandas as pd

GROWTH = 1.6
"""Planned looks have so many times the seeds of the look before."""
LAST_STEP = 1.25
"""A planned look that comes so close to the last one is left out."""


@dataclass(frozen=True)
class Looks:
    """The looks before the present one. A share is a share of the allowed error, 0 to 1.

    Attributes:
        seeds: Seeds per finalist at each of them, ascending. A look at no more seeds than the look before it (other
            finalists, a corrected search) counts as one seed more.
        spent: The share that they have spent.
        most: The seeds of the last planned look; 0 where looks are not planned.
    """

    seeds: tuple[int, ...] = ()
    spent: float = 0.0
    most: int = 0

    @classmethod
    def unplanned(cls, seeds: Sequence[int]) -> "Looks":
        """Looks at so many seeds, none of which was planned."""
        looks = cls()
        for each in seeds:
            looks = looks.after(each)
        return looks

    def counted(self, seeds: int) -> int:
        """The seeds as which a look counts now."""
        return max(seeds, self.seeds[-1] + 1) if self.seeds else seeds

    def share(self, seeds: int) -> float:
        """The share that the words of a look at so many seeds may spend now.

        After an unplanned look at n seeds ``n / (n + 1)`` is spent in all, so something is left for every later look.
        Planned looks spend in proportion to the squares of their seeds, so most of it is left for the last one
        (O'Brien & Fleming 1979 spend in the same manner), which ends where an unplanned look would have.
        """
        now, before = self.counted(seeds), self.seeds[-1] if self.seeds else 0
        if now < 1:
            return 0.0
        if now > self.most:
            return now / (now + 1) - self.spent
        left = self.most / (self.most + 1) - self.spent
        return left * (now**2 - before**2) / (self.most**2 - before**2)

    def after(self, seeds: int) -> "Looks":
        """These looks and a look at so many seeds now."""
        return Looks((*self.seeds, self.counted(seeds)), self.spent + self.share(seeds), self.most)


NO_LOOKS = Looks()
ALPHA = 0.05
"""The chance of one wrong *separated* or more in a family of comparisons, over all looks together."""


def alpha_at(seeds: int, looks: Looks = NO_LOOKS, alpha: float = ALPHA) -> float:
    """The familywise error rate of the words at a look at so many seeds, after earlier looks."""
    return alpha * looks.share(seeds)


def planned_looks(first: int, most: int) -> tuple[int, ...]:
    """Seeds per finalist at the planned looks: each about ``GROWTH`` times the look before, the last at ``most``."""
    looks = [first]
    while looks[-1] < most:
        following = math.ceil(GROWTH * looks[-1])
        looks.append(most if following * LAST_STEP >= most else following)
    return tuple(looks)


def sentence(looks: Looks, seeds: int | None) -> str:
    """A sentence for readers about earlier looks; empty if there were none.

    Args:
        looks: The looks before the present one.
        seeds: Seeds per finalist at the present look; None if that is still ahead.
    """
    if not looks.seeds:
        return ""
    before = " and ".join(part for part in (", ".join(map(str, looks.seeds[:-1])), str(looks.seeds[-1])) if part)
    read = f"the words of this sweep were read before, at {before} seeds per finalist"
    number = len(looks.seeds) + 1
    if seeds is None:
        return f"{read}; {1 - looks.spent:.0%} of the allowed error is left for look {number} and all later ones"
    now = alpha_at(seeds, looks)
    return (
        f"look {number}: {read}, so the words of the selection may be wrong in at most {100 * now:.2g} instead of 5 of "
        "100 sweeps, and its intervals are wider"
    )


def looks_of(sweeps: "pd.DataFrame") -> Looks:
    """The looks at a sweep before the present one, from the table ``sweeps``; none in tables that do not tell them."""
    told = sweeps[sweeps["looks_spent"].notna()]
    if told.empty:
        return NO_LOOKS
    row = told.sort_values("looks_spent").iloc[-1]
    most = 0 if missing(row["looks_most"]) else int(row["looks_most"])
    return Looks(tuple(int(seeds) for seeds in row["looks"]), float(row["looks_spent"]), most)
