"""Ray Tune's ASHA scheduler with random search, at its defaults; it stops trials and pauses none."""

from types import SimpleNamespace

from ray.tune.schedulers import ASHAScheduler, TrialScheduler

from search.confirmed import Job
from search.tables import drawn
from search.trainings import Trainings, generator


class RayAsha:
    """Random search under Ray's scheduler; implements `search.confirmed.Search`."""

    def __init__(self, trainings: Trainings, seed: int) -> None:
        self._trainings, self._seed = trainings, seed
        self._scheduler = ASHAScheduler(time_attr="epoch", metric="score", mode="max", max_t=trainings.epochs)
        self._trials: dict[str, SimpleNamespace] = {}
        self._last: dict[str, dict[str, float]] = {}

    def ask(self) -> Job:
        """See `Search`."""
        key, trainings = str(len(self._trials)), self._trainings
        shares = generator("ray", self._seed, key).random(len(trainings.space))
        params = trainings.default if key == "0" and trainings.default else drawn(trainings.space, list(shares))
        self._trials[key] = SimpleNamespace(trial_id=key)
        self._scheduler.on_trial_add(None, self._trials[key])
        return Job(key, params, trainings.epochs)

    def tell(self, key: str, epoch: int, score: float) -> bool:
        """See `Search`."""
        self._last[key] = {"epoch": epoch, "score": score}
        if epoch == self._trainings.epochs:
            return True
        return self._scheduler.on_trial_result(None, self._trials[key], self._last[key]) == TrialScheduler.CONTINUE

    def ended(self, key: str) -> None:
        """See `Search`."""
        if self._last[key]["epoch"] == self._trainings.epochs:
            self._scheduler.on_trial_complete(None, self._trials[key], self._last[key])


def make(trainings: Trainings, seed: int) -> RayAsha:
    """Begin a search."""
    return RayAsha(trainings, seed)
