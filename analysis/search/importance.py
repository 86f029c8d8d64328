"""Which searched parameters moved the score, and which did no more than a column of random numbers would.

Two answers from Optuna: *fANOVA* (Hutter et al. 2014), the share of the variation of a random forest that a parameter
explains by itself, and *PED-ANOVA* (Watanabe et al. 2023), how far its distribution among the best quarter differs from
that among all. Beside every parameter stands a probe: the same values, shuffled over the configs, so that they cannot
matter (as in Kursa & Rudnicki 2010). A parameter that does not beat all probes of all draws has not been shown to
matter.
"""

import inspect
import math
import warnings
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from analysis.errors import AnalysisError
from analysis.tables.domains import Choices, Domain, Range, Space
from analysis.tables.files import Tables
from analysis.tables.json_columns import read_spaces, read_value
from analysis.tables.states import Phase, State

if TYPE_CHECKING:
    import optuna


METHODS = ("fanova", "ped-anova")
_EVEN = frozenset({"random", "sobol", "grid"})
"""Samplers that go nowhere because scores were good."""
FEWEST = 40
"""Below this many configs the order of the parameters is chance."""
MOST = 200
"""Both methods look at this many configs at most, evenly spread: all of them would take minutes in a big sweep."""
TOP = 0.25
"""Share of the configs that PED-ANOVA calls the best: with the usual tenth they would be too few."""
COLUMNS = ["study", "name", "method", "value", "low", "high", "noise", "above_noise", "configs"]
_PROBE = "probe."
_TREES, _DEPTH = 16, 4


def importance(tables: Tables, study: str, draws: int = 19, replicates: int = 20, seed: int = 0) -> pd.DataFrame:
    """How much every searched parameter of one study matters, by two methods.

    Looks at complete search trials; a config that was run on several seeds counts once, with its mean. Scores far below
    the others (under Q1 - 1.5 IQR) are lifted to that bound: three collapsed trainings among sixty would otherwise
    decide the order. A parameter that only some configs have is left to PED-ANOVA, which knows how to treat it.

    Args:
        tables: The tables of a sweep.
        study: Its name.
        draws: How often the probes are shuffled for the noise floor; the values are means over these draws. Parameters
            without effect, taken together, beat the best probe of 19 draws by chance in one of 20 searches.
        replicates: Bootstrap replicates over configs for the intervals; 0 for none.
        seed: Of the forest, the probes and the bootstrap.

    Returns:
        Per parameter and method: ``study, name, method, value`` (share 0..1 of what all parameters and probes
        explain), ``low, high`` (90 % bootstrap interval around it), ``noise`` (the largest of all probes of all draws),
        ``above_noise`` (whether the interval, without replicates the value, is above it), ``configs``; largest value
        first. Numbers are missing where a method cannot tell. Empty below ``FEWEST`` configs, where the scatter plots
        are all there is; ``cautions`` says so.

    Raises:
        AnalysisError: There is no such study.
    """
    configs, space = searched(tables, study)
    if len(configs) < FEWEST or not space:
        return pd.DataFrame(columns=COLUMNS)
    rng = np.random.default_rng(seed)
    looked_at = spread(configs.assign(score=lifted(configs["score"])), MOST)
    drawn = [_shares(looked_at, space, rng) for _ in range(draws)]
    redrawn = [_shares(_resampled(looked_at, rng), space, rng) for _ in range(replicates)]
    frames = []
    for method in METHODS:
        values = pd.DataFrame([shares[method] for shares in drawn])
        again = pd.DataFrame([shares[method] for shares in redrawn], columns=values.columns)
        noise = float(values[[_probe(name) for name in space]].max().max())
        judged = pd.DataFrame({"value": values.mean(), **_interval(values.mean(), again)}).loc[list(space)]
        tested = judged["low"] if replicates else judged["value"]
        judged = judged.assign(method=method, noise=noise, above_noise=tested > noise, configs=len(looked_at))
        frames.append(judged.sort_values("value", ascending=False, kind="stable"))
    return pd.concat(frames).rename_axis("name").reset_index().assign(study=study)[COLUMNS]


def cautions(tables: Tables, study: str) -> list[str]:
    """What a reader has to know before looking at the importance of a study's parameters, one sentence each."""
    configs, space = searched(tables, study)
    if not space:
        return []
    if len(configs) < FEWEST:
        return [
            f"{study}: {len(configs)} complete configs; below {FEWEST} an order of the parameters is chance: "
            "look at the scatter plots."
        ]
    sentences = []
    samplers = set(tables["sweeps"]["sampler"])
    if learning := sorted(samplers - _EVEN):
        sentences.append(
            f"{study}: the sampler {learning[0]} went where scores were good, so that importance is biased; "
            "the sampler random would tell."
        )
    if len(configs) > MOST:
        sentences.append(f"{study}: importance looks at {MOST} of {len(configs)} configs, evenly spread.")
    if partly := [name for name in space if configs[name].isna().any()]:
        sentences.append(f"{study}: only some configs have {', '.join(partly)}; only PED-ANOVA judges that.")
    return sentences


def isolation(tables: Tables, study: str, name: str) -> pd.DataFrame:
    """How good the scores get in each part of a parameter's range, whatever the other parameters were.

    Buckets are of equal width on the range's own scale, about eight configs each; a choice is a bucket of its own. The
    best of a bucket grows with the number of its configs: compare buckets of similar ``n``, or the upper quartiles.

    Returns:
        One row per bucket with a config: ``label, low, high`` (ends, NaN for a choice that is no number), ``n``,
        ``best`` and ``upper`` (the upper quartile of the scores).

    Raises:
        AnalysisError: There is no such study, or it searches no such parameter.
    """
    configs, space = searched(tables, study)
    if name not in space:
        raise AnalysisError(
            f"name: must be a parameter that {study} searches ({', '.join(space) or 'none'}), got {name}"
        )
    present = configs.dropna(subset=name)
    domain, values = space[name], present[name]
    if isinstance(domain, Choices):
        numeric = all(isinstance(choice, int | float) for choice in domain.choices)
        rows = [
            (
                _label(choice),
                *((choice, choice) if numeric else (math.nan, math.nan)),
                present.loc[values == choice, "score"],
            )
            for choice in domain.choices
        ]
    else:
        ends = _ends(domain, int(np.clip(len(present) // 8, 3, 8)))
        place = np.clip(np.searchsorted(ends, values.to_numpy(float), side="right") - 1, 0, len(ends) - 2)
        pairs = enumerate(pairwise(ends))
        rows = [(f"{low:.2g} to {high:.2g}", low, high, present.loc[place == i, "score"]) for i, (low, high) in pairs]
    buckets = [
        {"label": label, "low": low, "high": high, "n": len(part), "best": part.max(), "upper": part.quantile(0.75)}
        for label, low, high, part in rows
        if len(part)
    ]
    return pd.DataFrame(buckets, columns=["label", "low", "high", "n", "best", "upper"])


def searched(tables: Tables, study: str) -> tuple[pd.DataFrame, Space]:
    """The complete search trials of a study, one row per config, and the space that they were drawn from.

    Returns:
        ``score`` (mean over seeds) and one column per parameter, missing where a config lacks it; the domain of every
        parameter as in the table ``studies``, a range widened to what was tried.

    Raises:
        AnalysisError: There is no such study.
    """
    spaces = read_spaces(tables)
    if study not in spaces:
        raise AnalysisError(f"study: must be one of {', '.join(spaces) or 'none'}, got {study}")
    trials = tables["trials"]
    mine = trials[(trials["study"] == study) & (trials["phase"] == Phase.SEARCH) & (trials["state"] == State.COMPLETE)]
    mine = mine[mine["score"].notna()]
    if mine.empty:
        return pd.DataFrame({"score": []}), {}
    params = tables["params"]
    rows = params[params["trial_id"].isin(mine["trial_id"]) & params["name"].isin(list(spaces[study]))]
    wide = rows.assign(value=rows["value_json"].map(read_value).astype(object)).pivot(
        index="trial_id", columns="name", values="value"
    )
    joined = mine[["trial_id", "config_id", "score"]].merge(wide, left_on="trial_id", right_index=True, how="left")
    names = [name for name in spaces[study] if name in wide]
    kinds: dict[str, Any] = {"score": "mean", **dict.fromkeys(names, "first")}
    configs = joined.groupby("config_id", sort=False).agg(kinds).reset_index(drop=True)
    return configs, {name: _widened(spaces[study][name], configs[name].dropna()) for name in names}


def lifted(scores: pd.Series) -> pd.Series:
    """Scores with collapsed ones lifted to Q1 - 1.5 IQR."""
    first, third = scores.quantile([0.25, 0.75])
    return scores.clip(lower=first - 1.5 * (third - first))


def spread(configs: pd.DataFrame, most: int) -> pd.DataFrame:
    """At most so many rows, evenly spread over all."""
    if len(configs) <= most:
        return configs
    return configs.iloc[np.linspace(0, len(configs) - 1, most).round().astype(int)]


def _interval(value: pd.Series, again: pd.DataFrame) -> dict[str, pd.Series]:
    """90 % of the replicates, moved so that their median is the value.

    A resampled config comes several times, which a forest takes for a pattern: the replicates are off, and their spread
    is what counts.
    """
    off = value - again.median()
    return {name: (again.quantile(share) + off).clip(0.0, 1.0) for name, share in (("low", 0.05), ("high", 0.95))}


def _widened(domain: Domain, values: pd.Series) -> Domain:
    return domain.widened(values) if isinstance(domain, Range) else domain


def _resampled(configs: pd.DataFrame, rng: np.random.Generator) -> pd.DataFrame:
    return configs.iloc[rng.integers(len(configs), size=len(configs))]


def _shares(configs: pd.DataFrame, space: Space, rng: np.random.Generator) -> dict[str, dict[str, float]]:
    """By method the share of every parameter and of fresh probes; NaN for what the method cannot judge."""
    import optuna

    configs = configs.assign(**{_probe(name): _shuffled(configs[name], rng) for name in space})
    space = {**space, **{_probe(name): domain for name, domain in space.items()}}
    names = tuple(space)
    if configs["score"].nunique() < 2:
        return {method: dict.fromkeys(names, math.nan) for method in METHODS}

    everywhere = [name for name in names if configs[name].notna().all()]
    shares = {}
    verbosity = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Optuna calls stable features experimental
            study = _as_optuna(configs, space)
            for method in METHODS:
                judged = everywhere if method == "fanova" else list(names)
                values = optuna.importance.get_param_importances(
                    study, evaluator=_evaluator(method, rng), params=judged
                )
                shares[method] = {name: float(values.get(name, math.nan)) for name in names}
    finally:
        optuna.logging.set_verbosity(verbosity)
    return shares


def _evaluator(method: str, rng: np.random.Generator) -> "optuna.importance.BaseImportanceEvaluator":
    from optuna.importance import FanovaImportanceEvaluator, PedAnovaImportanceEvaluator

    if method == "fanova":
        return FanovaImportanceEvaluator(n_trees=_TREES, max_depth=_DEPTH, seed=int(rng.integers(2**31)))
    parameters = inspect.signature(PedAnovaImportanceEvaluator).parameters
    quantile = "target_quantile" if "target_quantile" in parameters else "baseline_quantile"  # its name in Optuna 4
    options: dict[str, Any] = {quantile: TOP}
    return PedAnovaImportanceEvaluator(**options)


def _as_optuna(configs: pd.DataFrame, space: Space) -> "optuna.Study":
    """A study to be maximised (PED-ANOVA follows the direction only as long as it is given no target)."""
    import optuna

    distributions = {name: _distribution(domain) for name, domain in space.items()}
    study = optuna.create_study(direction="maximize")
    trials = []
    for row in configs.to_dict("records"):
        params = {name: row[name] for name in space if not _missing(row[name])}
        present = {name: distributions[name] for name in params}
        trials.append(optuna.trial.create_trial(value=float(row["score"]), params=params, distributions=present))
    study.add_trials(trials)
    return study


def _probe(name: str) -> str:
    return _PROBE + name


def _shuffled(values: pd.Series, rng: np.random.Generator) -> pd.Series:
    """The values in another order; those that are missing stay where they are."""
    present = np.flatnonzero(values.notna())
    shuffled = values.copy()
    shuffled.iloc[present] = values.iloc[rng.permutation(present)].to_numpy()
    return shuffled


def _distribution(domain: Domain) -> "optuna.distributions.BaseDistribution":
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    if isinstance(domain, Choices):
        return CategoricalDistribution(domain.choices)  # type: ignore[arg-type]  # plain values all
    if domain.integer:
        return IntDistribution(int(domain.low), int(domain.high), log=domain.log)
    return FloatDistribution(domain.low, domain.high, log=domain.log)


def _ends(domain: Range, buckets: int) -> np.ndarray:
    low, high = domain.low, domain.high
    if domain.integer and high - low < buckets:
        return np.arange(low, high + 2) - 0.5
    return np.geomspace(low, high, buckets + 1) if domain.log else np.linspace(low, high, buckets + 1)


def _missing(value: object) -> bool:
    return value is None or (isinstance(value, float) and math.isnan(value))


def _label(choice: object) -> str:
    return f"{choice:g}" if isinstance(choice, int | float) and not isinstance(choice, bool) else str(choice)
