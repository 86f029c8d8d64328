"""Methods against a baseline from several searches of each: a model of the luck of a search and the noise of a seed.

``score = method + luck (of a search of the method) + noise (of a seed)``. The unit of evidence is the search: the
variance of a difference of methods is the variance of the means of their searches.
"""

from collections.abc import Collection
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy import special

from analysis.stats.judge import NO_NOISE
from analysis.stats.spread import Spread, spread
from analysis.stats.step_down import sidak

ENOUGH_SEARCHES = 3
"""Searches that a method and the baseline need for a test: with two, the spread is known by one number each."""
UNEQUAL = 0.2
"""Below this p-value of the test of equal luck every method is judged by the spread of its own searches."""
BY_SEED = 0.05
"""Below this p-value the seeds are taken to favor methods, and the variance of that is added."""
_LEAST = 0.5
"""A variance is at least this share of what the seeds alone explain."""
_ROUNDS = 4
_REST = 4.0
"""Degrees of freedom of the noise that weights the test of favored seeds, in those of one method (simulated)."""
_DRAWS = 4000
_GRID = 1000
NAN = float("nan")


@dataclass(frozen=True)
class SearchContrasts:
    """Methods against the baseline, with the search as the unit. Scores and differences are fractions 0..1.

    Attributes:
        frame: One row per method, the baseline first: ``study, searches, mean, search_sd`` (standard deviation of the
            means of its searches), ``seed_sd`` (of the scores of one config over seeds), ``difference, se, df, low,
            high, p, p_adjusted, separated``; the last eight are empty for the baseline and where a test is not
            possible.
        luck: Spread of the true quality of what searches of one method return, pooled over the methods.
        noise: Spread of a score over seeds, pooled over the methods.
        equal_noise: p-value of the hypothesis that the noise of seeds is alike in all methods; NaN if it cannot be
            tested.
        equal_luck: p-value of the hypothesis that the luck spreads alike in all methods; NaN if it cannot be tested.
        pooled: Whether the spread of the luck is pooled over the methods; otherwise each method is judged by its own.
        by_seed: Whether seeds favor methods, so that the variance of that was added.
    """

    frame: pd.DataFrame
    luck: Spread
    noise: Spread
    equal_noise: float
    equal_luck: float
    pooled: bool
    by_seed: bool


@dataclass(frozen=True)
class _Method:
    """What is needed of one method."""

    searches: int
    mean: float
    between: float
    """Variance of the means of its searches; NaN for one."""
    seeds: float
    """Variance of the mean of a search that the seeds explain; 0 where it is not measured."""
    seeds_df: int
    noise: float
    """Variance of a score over seeds; NaN where it is not measured."""
    by_seed: np.ndarray
    """Mean over the searches of what each seed adds (S,); NaN for a seed that no search has."""
    copies: float
    """How many searches share the trainings of a config: 1 where every search returned another config."""
    searched: bool
    """Whether there is anything to search: a method without parameters has no luck."""

    @property
    def distinct(self) -> float:
        """Share of the pairs of searches that returned two configs: what seeds add to the spread of the searches."""
        return 1 - (self.copies - 1) / (self.searches - 1) if self.searches > 1 else 1.0

    @property
    def measures_luck(self) -> bool:
        """Whether the spread of its searches can be seen."""
        return self.searched and self.searches > 1


def search_contrasts(
    scores: pd.DataFrame, baseline: str, confidence: float = 0.95, unsearched: Collection[str] = ()
) -> SearchContrasts:
    """The difference of every method to the baseline, from several searches of each.

    The luck of a search is taken to spread alike in all methods (estimated by moments, each method weighted by its
    precision), the noise of seeds is of each method its own; Satterthwaite's degrees of freedom. Two tests guard
    this: where the luck spreads unequally (p below ``UNEQUAL``) each method is judged by the spread of its own
    searches (Welch), never by less than the pooled one; where seeds favor methods, the variance of that is added.
    What a seed adds to every search alike cancels. Searches of the same number have nothing in common.

    Args:
        scores: Columns ``study, search, seed, score``, one score per search and seed; rows without a score are left
            out. An optional column ``config`` says which searches of a study returned the same config: these share
            their trainings.
        baseline: The study that the others are compared with.
        unsearched: Studies without a parameter to search: one search of them is enough, and has no luck.
        confidence: Of the intervals; the rest is the familywise error rate.
    """
    studies, values, configs = _by_search(scores, baseline)
    methods = [
        _method(table, config, study not in unsearched)
        for study, table, config in zip(studies, values, configs, strict=True)
    ]
    luck, weights = _luck(methods)
    noise = _noise(methods)
    equal, equal_noise = _equal_luck(methods, luck), _equal_noise(methods)
    pooled = not equal < UNEQUAL
    favor, favor_df, p_favor = _seeds_favor(methods)
    by_seed = p_favor < BY_SEED
    rows: list[tuple[float, float, float]] = []
    for method in methods[1:]:
        if not (_enough(method) and _enough(methods[0])):
            rows.append((method.mean - methods[0].mean, NAN, NAN))
            continue
        variance, df = _variance(methods, method, luck, weights)
        if not pooled:
            own, own_df = _own_variance(method, methods[0])
            variance, df = max(own, variance), own_df
        if by_seed:
            added = 2 * favor
            total = variance + added
            df = total**2 / (variance**2 / df + added**2 / favor_df)
            variance = total
        rows.append((method.mean - methods[0].mean, float(np.sqrt(variance)), df))
    difference, se, freedom = np.array(rows, dtype=float).reshape(-1, 3).T
    se = np.where(se < NO_NOISE, np.nan, se)
    p = 2 * special.stdtr(freedom, -np.abs(difference) / se)
    joint = _joint(methods, luck, se, freedom, p) if pooled and not by_seed else None
    adjusted, levels = sidak(p, 1 - confidence, flipped=joint)
    half = special.stdtrit(freedom, 1 - levels / 2) * se
    tested = {"difference": difference, "se": se, "df": freedom, "low": difference - half, "high": difference + half}
    tested |= {"p": p, "p_adjusted": adjusted}
    frame = pd.DataFrame(
        {
            "study": studies,
            "searches": [method.searches for method in methods],
            "mean": [method.mean for method in methods],
            "search_sd": np.sqrt([method.between for method in methods]),
            "seed_sd": np.sqrt([method.noise for method in methods]),
            **{name: np.concatenate([[NAN], column]) for name, column in tested.items()},
        }
    )
    frame = frame.assign(separated=frame["p_adjusted"] < 1 - confidence)
    return SearchContrasts(frame, _luck_interval(methods, luck), noise, equal_noise, equal, pooled, bool(by_seed))


def _enough(method: _Method) -> bool:
    return method.searches >= ENOUGH_SEARCHES or (method.searches > 0 and not method.searched)


def _by_search(scores: pd.DataFrame, baseline: str) -> tuple[list[str], list[np.ndarray], list[list[object]]]:
    """The studies, the baseline first; the scores of each (R, S), NaN where a search lacks a seed; and its configs."""
    scored = scores[scores["score"].notna()]
    if "config" not in scored:
        scored = scored.assign(config=scored["search"])
    seeds = {seed: place for place, seed in enumerate(sorted(scored["seed"].unique()))}
    grouped = {str(study): rows for study, rows in scored.groupby("study", sort=False)}
    studies = [baseline, *(study for study in grouped if study != baseline)]
    values, configs = [], []
    for study in studies:
        rows = grouped.get(study, scored.iloc[:0])
        searches = {search: place for place, search in enumerate(dict.fromkeys(rows["search"]))}
        table = np.full((len(searches), len(seeds)), np.nan)
        places = ([searches[search] for search in rows["search"]], [seeds[seed] for seed in rows["seed"]])
        table[places] = rows["score"].to_numpy(dtype=float)
        values.append(table)
        configs.append(rows.drop_duplicates("search")["config"].tolist())
    return studies, values, configs


def _method(table: np.ndarray, configs: list[object], searched: bool) -> _Method:
    searches = len(table)
    if not searches:
        return _Method(0, NAN, NAN, 0.0, 0, NAN, np.full(table.shape[1], np.nan), 1.0, searched)
    present = np.isfinite(table)
    means = np.nanmean(table, axis=1)
    counts = present.sum(0)
    added = np.where(counts > 0, np.nansum(table - means[:, None], axis=0) / np.maximum(counts, 1), np.nan)
    once = [configs.index(config) == place for place, config in enumerate(configs)]
    squares, df = _residual((table - means[:, None])[once], present[once])
    noise = squares / df if df > 0 else NAN
    return _Method(
        searches=searches,
        mean=float(means.mean()),
        between=float(means.var(ddof=1)) if searches > 1 else NAN,
        seeds=noise * float((1 / present.sum(1)).mean()) if df > 0 else 0.0,
        seeds_df=df,
        noise=noise,
        by_seed=added,
        copies=sum(configs.count(config) for config in configs) / searches,
        searched=searched,
    )


def _residual(centered: np.ndarray, present: np.ndarray) -> tuple[float, int]:
    """Squares that neither the searches nor the seeds of a method explain, and their degrees of freedom."""
    searches, seeds = centered.shape
    if searches == 1:  # what the seeds add to all searches cannot be told from noise
        return float(np.nansum(centered**2)), int(present.sum()) - 1
    if present.all():
        rest = centered - centered.mean(0)
        return float((rest**2).sum()), (searches - 1) * (seeds - 1)
    rows, columns = np.nonzero(present)
    design = np.hstack([np.eye(searches)[rows], np.eye(seeds)[columns]])
    solution, _, rank, _ = np.linalg.lstsq(design, centered[rows, columns], rcond=None)
    return float(((centered[rows, columns] - design @ solution) ** 2).sum()), int(len(rows) - rank)


def _luck(methods: list[_Method]) -> tuple[float, np.ndarray]:
    """The variance of the luck (moments; below 0 where chance made it so), and the weight of every method in it."""
    freedom = np.array([method.searches - 1 if method.measures_luck else 0 for method in methods])
    if not freedom.any():
        return 0.0, np.zeros(len(methods))
    between = np.array([method.between if method.measures_luck else 0.0 for method in methods])
    seeds = np.array([method.seeds for method in methods])
    expected = seeds * [method.distinct for method in methods]
    weights = freedom / freedom.sum()
    luck = float(weights @ (between - expected))
    for _ in range(_ROUNDS):
        weights = freedom / (max(luck, 0.0) + seeds + NO_NOISE**2) ** 2
        weights = weights / weights.sum()
        luck = float(weights @ (between - expected))
    return luck, weights


def _variance(methods: list[_Method], method: _Method, luck: float, weights: np.ndarray) -> tuple[float, float]:
    """Of the difference of a method to the first one, with the pooled luck; and its degrees of freedom."""
    pair = [next(place for place, each in enumerate(methods) if each is method), 0]
    by_luck, by_seeds = np.zeros((2, len(methods)))
    for place in pair:
        by_luck[place] = methods[place].searched / methods[place].searches
        by_seeds[place] = methods[place].copies / methods[place].searches
    seeds = np.array([each.seeds for each in methods])
    least = float(by_seeds @ seeds)
    whole = max(luck, 0.0) * by_luck.sum() + least
    variance = max(luck * by_luck.sum() + least, _LEAST * least)
    distinct = np.array([each.distinct for each in methods])
    used = weights > 0
    freedom = np.array([max(each.searches - 1, 1) for each in methods])
    of_luck = 2 * (by_luck.sum() * weights * (max(luck, 0.0) + seeds * distinct)) ** 2 / freedom
    measured = np.array([max(each.seeds_df, 1) for each in methods])
    of_seeds = 2 * ((by_seeds - by_luck.sum() * weights * distinct) * seeds) ** 2 / measured
    error = float(of_luck[used].sum() + of_seeds.sum())
    return variance, 2 * whole**2 / error if error > 0 else float(max(freedom[used].sum(), 1))


def _joint(methods: list[_Method], luck: float, se: np.ndarray, df: np.ndarray, p: np.ndarray) -> np.ndarray | None:
    """p-values under the null hypothesis, drawn jointly (m, draws): all share the baseline and the spread (Dunnett).

    Rows of NaN for comparisons that are not tested.
    """
    if np.isfinite(se).sum() < 2:
        return None
    reference = methods[0]
    of_reference = max(luck, 0.0) * reference.searched / reference.searches
    of_reference += reference.seeds * reference.copies / reference.searches
    shared = np.sqrt(np.minimum(of_reference / np.where(np.isnan(se), np.inf, se) ** 2, 0.5))
    rng = np.random.default_rng(0)
    own, common = rng.standard_normal((len(se), _DRAWS)), rng.standard_normal(_DRAWS)
    normal = np.sqrt(1 - shared**2)[:, None] * own + shared[:, None] * common
    freedom = float(np.nanmin(df))
    t = np.abs(normal) / np.sqrt(rng.chisquare(freedom, _DRAWS) / freedom)
    grid = np.linspace(0, np.nanmax(t), _GRID)
    drawn = np.exp(np.interp(t, grid, np.log(2 * special.stdtr(freedom, -grid))))
    drawn[np.isnan(se)] = np.nan
    drawn[:, 0] = p
    return drawn


def _own_variance(method: _Method, reference: _Method) -> tuple[float, float]:
    """Of the difference of two methods, each by the spread of its own searches (Welch)."""
    parts, freedom = [], []
    for each in (method, reference):
        of_seeds = each.seeds * each.copies / each.searches
        parts.append(max(each.between / each.searches, of_seeds) if each.measures_luck else of_seeds)
        freedom.append(each.searches - 1 if each.measures_luck else max(each.seeds_df, 1))
    total = sum(parts)
    squares = sum(part**2 / df for part, df in zip(parts, freedom, strict=True))
    return total, total**2 / squares if squares > 0 else float(sum(freedom))


def _equal_luck(methods: list[_Method], luck: float) -> float:
    """Test of the spreads of the searches, each beside what luck and seeds make of it."""
    used = [method for method in methods if method.measures_luck]
    if len(used) < 2:
        return NAN
    freedom = np.array([method.searches - 1 for method in used], dtype=float)
    expected = np.array([max(luck, 0.0) + method.seeds * method.distinct for method in used])
    if (expected < NO_NOISE**2).any():
        return NAN
    return _bartlett(np.array([method.between for method in used]) / expected, freedom)


def _equal_noise(methods: list[_Method]) -> float:
    used = [method for method in methods if method.seeds_df > 0 and method.noise > NO_NOISE**2]
    if len(used) < 2:
        return NAN
    freedom = np.array([method.seeds_df for method in used], dtype=float)
    return _bartlett(np.array([method.noise for method in used]), freedom)


def _bartlett(variances: np.ndarray, freedom: np.ndarray) -> float:
    """p-value of the hypothesis that variances with so many degrees of freedom are alike (Bartlett 1937)."""
    ratio = variances / variances.mean() + NO_NOISE if variances.any() else np.ones(len(variances))
    total = freedom.sum()
    statistic = total * np.log((freedom @ ratio) / total) - freedom @ np.log(ratio)
    correction = 1 + ((1 / freedom).sum() - 1 / total) / (3 * (len(ratio) - 1))
    return float(special.chdtrc(len(ratio) - 1, statistic / correction))


def _seeds_favor(methods: list[_Method]) -> tuple[float, float, float]:
    """The variance that seeds which favor a method add to its mean, its degrees of freedom, and the test of it.

    DerSimonian and Laird's moments over the seeds that all methods have: a seed adds the same to every method, up to
    the noise; more than that is favor.
    """
    used = [method for method in methods if method.seeds_df > 0]
    nothing = 0.0, 1.0, 1.0
    if len(used) < 2 or not any(method.searches > 1 for method in used):
        return nothing
    added = np.array([method.by_seed for method in used])
    added = added[:, np.isfinite(added).all(0)]
    seeds = added.shape[1]
    noise = np.array([method.noise * method.copies / method.searches for method in used])
    if seeds < 2 or (noise < NO_NOISE**2).any():
        return nothing
    freedom = np.array([method.seeds_df for method in used], dtype=float)
    weights = np.where(freedom > 2, 1 - 2 / freedom, 1.0) / noise  # 1 / noise is too large on average
    added = added - added.mean(1, keepdims=True)
    middle = weights @ added / weights.sum()
    df = (len(used) - 1) * (seeds - 1)
    ratio = float((weights[:, None] * (added - middle) ** 2).sum()) / df
    rest = float(freedom.mean()) * _REST
    scale = (weights.sum() - (weights**2).sum() / weights.sum()) / (len(used) - 1)
    return max(0.0, (ratio - 1) / scale) / seeds, float(df), float(special.fdtrc(df, rest, ratio))


def _noise(methods: list[_Method]) -> Spread:
    used = [method for method in methods if method.seeds_df > 0]
    if not used:
        return Spread()
    freedom = np.array([method.seeds_df for method in used], dtype=float)
    variances = np.array([method.noise for method in used])
    pooled = float(freedom @ variances / freedom.sum())
    whole = (freedom @ variances**2) / freedom.sum()
    df = freedom.sum() * pooled**2 / whole if whole > 0 else freedom.sum()
    return spread(float(np.sqrt(pooled)), float(df))


def _luck_interval(methods: list[_Method], luck: float) -> Spread:
    """The spread of the luck, from the mean spread of the searches without what the seeds explain of it."""
    used = [method for method in methods if method.measures_luck]
    if not used:
        return Spread()
    freedom = np.array([method.searches - 1 for method in used], dtype=float)
    seeds = np.array([method.seeds * method.distinct for method in used])
    weights = freedom / freedom.sum()
    between, of_seeds = weights @ [method.between for method in used], weights @ seeds
    expected = max(luck, 0.0) + seeds
    df = (freedom @ expected) ** 2 / (freedom @ expected**2) if expected.any() else freedom.sum()
    measured = np.array([max(method.seeds_df, 1) for method in used], dtype=float)
    rest = of_seeds**2 / ((weights * seeds) ** 2 / measured).sum() if of_seeds > 0 else 1e9
    low = between / special.fdtri(df, rest, 0.975) - of_seeds
    high = between * df / special.chdtri(df, 0.975) - of_seeds
    sd, low_sd, high_sd = (float(np.sqrt(max(value, 0.0))) for value in (luck, low, high))
    return Spread(sd, low_sd, high_sd, float(df))
