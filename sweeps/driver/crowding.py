"""Whether so many trials of a search run at once that most of them begin before any score is known."""

from sweeps.driver.allocation import all_searches, most_trials
from sweeps.driver.sampler import has_startup
from sweeps.spec.spec import SweepSpec

_CROWDED = 1 / 2
"""The share of a search's full trainings above which trials that run at once cost more epochs for the same regret, see
`benchmarks/search/README.md`."""


def crowding(spec: SweepSpec, at_once: int) -> str | None:
    """A sentence for a sweep whose searches run so many trials at once that they learn little from each other.

    Args:
        spec: The sweep.
        at_once: How many trials run at once; the searches of all studies share them.

    Returns:
        None where a search has enough trainings for its sampler to learn, or where the sampler learns nothing.
    """
    trials = [most_trials(spec, study) for study, _ in all_searches(spec) if spec.space_of(study)]
    searches, fewest = len(trials), min(trials, default=0)
    if not has_startup(spec.sampler.name) or fewest <= spec.sampler.startup:
        return None
    if at_once <= searches * fewest * _CROWDED:
        return None
    of_a_search = -(-at_once // searches)
    return (
        f"{at_once} trials at once, {of_a_search} of a search that has {fewest} full trainings: many begin before the "
        f"first score, so the sampler learns from few; resources.concurrent: {int(searches * fewest * _CROWDED)} "
        "takes longer and, in replays of real trainings, finds a better config with the same epochs"
    )
