"""The simulated clock: workers that train what a policy asks for, one epoch in one unit of time."""

import heapq
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import count
from typing import Protocol

from search.tables import Params
from search.trainings import Trainings


@dataclass(frozen=True)
class Training:
    """What a worker is to train.

    Attributes:
        study: The name of its study.
        key: Names the training; the same as before where a training goes on from its checkpoint.
        params: The config.
        seed: 0 for the seed of the search, from 1 for fresh ones.
        begin: Epochs that it has behind it.
        until: The epoch after which it ends, unless the policy ends it earlier.
    """

    study: str
    key: str
    params: Params
    seed: int
    begin: int
    until: int


class Policy(Protocol):
    """A whole procedure: a search and a confirmation."""

    def next(self) -> Training | None:
        """What a free worker trains; none if nothing can start before another training ends, or nothing is left."""

    def report(self, key: str, epoch: int, score: float) -> bool:
        """An epoch has ended with a score in percent; returns whether the training goes on."""

    def ended(self, key: str) -> None:
        """A training has come to its end, or to that which `report` told it."""

    def chosen(self, study: str) -> Params | None:
        """The config that the procedure returns for a study, once nothing is left to train."""


@dataclass(frozen=True)
class Outcome:
    """What a procedure came to in one study.

    Attributes:
        chosen: The config that it returned.
        regret: What the best config is worth more than this one, in points of mIoU.
        epochs: Epochs that were trained, all workers together.
        time: Epochs that one worker could have trained until the procedure was done with all its studies.
    """

    chosen: Params
    regret: float
    epochs: int
    time: int


def simulate(policy: Policy, trainings: Mapping[str, Trainings], workers: int) -> dict[str, Outcome]:
    """Let workers train until the policy is done.

    Of reports at the same time, that of the training that began first comes first.

    Args:
        policy: The procedure.
        trainings: Those of every study that it searches, by its name.
        workers: Trainings at once.

    Returns:
        What came of each study.

    Raises:
        RuntimeError: If the policy returns no config.
    """
    running: list[tuple[int, int, int, Training]] = []
    """When the next epoch ends, which training began first, and which epoch it is."""
    now, epochs, order = 0, Counter[str](), count()
    while True:
        while len(running) < workers and (training := policy.next()) is not None:
            heapq.heappush(running, (now + 1, next(order), training.begin + 1, training))
        if not running:
            break
        now, began, epoch, training = heapq.heappop(running)
        epochs[training.study] += 1
        score = float(trainings[training.study].curve(training.params, training.seed)[epoch - 1])
        if policy.report(training.key, epoch, score) and epoch < training.until:
            heapq.heappush(running, (now + 1, began, epoch + 1, training))
        else:
            policy.ended(training.key)
    outcomes = {}
    for study, of_study in trainings.items():
        if (chosen := policy.chosen(study)) is None:
            raise RuntimeError(f"{type(policy).__name__} must return a config, got none after {epochs[study]} epochs")
        regret = max(0.0, of_study.best - of_study.worth(chosen))
        outcomes[study] = Outcome(chosen, regret, epochs[study], now)
    return outcomes
