"""The median stopping rule: a trial is stopped whose best value is below the median of what its rivals had on average.

Golovin et al. 2017 (Google Vizier), section 3.2.2. Rivals are the other trials of the search that have come as far, and
count with the mean of their values up to this epoch. There, only completed trials are rivals; here, stopped and running
ones are, too, so that the rule works before the first trial is complete.
"""

from bisect import bisect_left
from collections.abc import Hashable, Mapping
from itertools import pairwise

from sweeps.driver.verdict import GO_ON, Curve, Lists, Needs, ScheduledTrial, StopsForGood, Verdict
from sweeps.spec import schedulers


class MedianRule(StopsForGood):
    """Stops a trial below the median of its rivals.

    Args:
        settings: Of the spec.
    """

    def __init__(self, settings: schedulers.Median) -> None:
        self._grace, self._rivals = settings.grace, settings.rivals
        words = f"a trial is stopped only once {settings.rivals} others have come as far"
        self.needs = Needs("rivals", settings.rivals + 1, words)

    def rungs(self, epochs: int, every: int = 1) -> list[int]:
        """See `sweeps.driver.scheduler.Scheduler`."""
        return list(range(self._grace, epochs))

    def delays(self, every: int = 1) -> Mapping[str, int]:
        """See `sweeps.driver.scheduler.Scheduler`."""
        return {"grace": self._grace}

    def words(self, rungs: list[int], epochs: int, every: int = 1) -> str:
        """See `sweeps.driver.scheduler.Scheduler`."""
        return f"from epoch {rungs[0]} on, below the median of {self._rivals} rivals or more"

    def places(self, trial: ScheduledTrial) -> Mapping[Hashable, float]:
        """See `sweeps.driver.scheduler.Scheduler`."""
        return running_averages(trial.curve)

    def judge(self, trial: ScheduledTrial, epoch: int, lists: Lists) -> Verdict:
        """See `sweeps.driver.scheduler.Scheduler`."""
        curve = trial.curve
        if epoch < self._grace or epoch not in curve:
            return GO_ON
        places, average = lists[epoch], running_averages(curve)[epoch]
        own, rivals = bisect_left(places, (average, -trial.number)), len(places) - 1
        if rivals < self._rivals:
            return GO_ON
        best = max(value for each, value in curve.items() if each <= epoch)
        lower, upper = (places[rank + (rank >= own)][0] for rank in ((rivals - 1) // 2, rivals // 2))
        middle = (lower + upper) / 2
        if best >= middle:
            return GO_ON
        kept = len(places) - bisect_left(places, middle, key=lambda place: place[0]) - (average >= middle)
        reason = f"its best value {best:.4g} is below {middle:.4g}, the median of {rivals} running averages"
        return Verdict("stop", epoch, rivals + 1, kept, f"{reason}, at epoch {epoch}")


def running_averages(curve: Curve) -> dict[Hashable, float]:
    """By epoch, from the first evaluated one to the last, the mean of the values up to then."""
    averages: dict[Hashable, float] = {}
    total = 0.0
    epochs = sorted(curve)
    for count, (epoch, following) in enumerate(pairwise([*epochs, max(epochs, default=0) + 1]), 1):
        total += curve[epoch]
        averages |= dict.fromkeys(range(epoch, following), total / count)
    return averages
