"""Tables of a sweep in a simulated world, for what reads tables: `compare`, `best`, the verdict."""

from collections.abc import Mapping, Sequence

from analysis.tables.files import Tables
from tests.analysis.conftest import Sweep

Scores = Mapping[str, Mapping[str, Sequence[float | None]]]
"""By study and config: one score per fresh seed, None where the training failed."""


def sweep_of(
    scores: Scores,
    screen: Mapping[str, float] | None = None,
    baseline: str = "none",
    first_seed: int = 101,
    teacher: float | None = None,
    state: str = "diverged",
    **fields: object,
) -> Sweep:
    """A finished sweep with a study per entry, every config trained on fresh seeds of which all have the same numbers.

    Args:
        scores: Of the fresh seeds.
        screen: Score of the search by config; the mean over fresh seeds by default.
        baseline: The study that is the baseline.
        first_seed: The first fresh seed; the others follow.
        teacher: Score of the teacher; None for a sweep without a teacher.
        state: The state of fresh seeds without a score.
        fields: Of the table ``sweeps``.
    """
    finalists = max(map(len, scores.values()))
    seeds = max(len(fresh) for configs in scores.values() for fresh in configs.values())
    made = Sweep(confirm_top=finalists, confirm_seeds=seeds, **fields)
    for study, configs in scores.items():
        made.study(study, is_baseline=study == baseline, budget_trials=len(configs))
        for config, fresh in configs.items():
            known = [score for score in fresh if score is not None]
            score = sum(known) / len(known) if known else 0.0
            origin = made.trial(study, (screen or {}).get(config, score), config_id=config)
            for seed, each in enumerate(fresh, first_seed):
                made.trial(study, each, seed=seed, of=origin, **({} if each is not None else {"state": state}))
    if teacher is not None:
        made.teacher(teacher)
    return made


def tables_of(scores: Scores, **options: object) -> Tables:
    """The tables of `sweep_of`."""
    return sweep_of(scores, **options).tables()  # type: ignore[arg-type]
