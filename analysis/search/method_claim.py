"""The claim about methods: is a method better than the baseline if both are searched again? Only whole searches tell.

The unit of evidence is the search: the ``repeats`` of one sweep, several sweeps with other search seeds, or both.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from analysis.errors import AnalysisError
from analysis.formats import interval, missing, points, signed
from analysis.selection.compare import compare
from analysis.selection.held_out_seeds import COLUMNS as SCORES
from analysis.selection.held_out_seeds import held_out_scores
from analysis.selection.searches import searches
from analysis.stats.judge import word_of
from analysis.stats.looks import looks_of
from analysis.stats.search_contrasts import ENOUGH_SEARCHES, UNEQUAL, SearchContrasts, search_contrasts
from analysis.stats.seed_contrasts import smallest_effect
from analysis.stats.spread import Spread
from analysis.stats.words import WORDS
from analysis.tables.files import Tables
from analysis.tables.json_columns import SpecField, read_spec
from analysis.tables.states import Phase

SEPARATED, NOT_SEPARATED, EQUIVALENT = WORDS
ONE_SEARCH = "one search per method; the luck of the search is not measured"
ENOUGH_FOR_A_BARE_WORD = 5
"""With fewer searches per method every sentence that says *separated* also says on how few."""
COLUMNS = ["study", "searches", "mean", "search_sd", "seed_sd", "difference", "low", "high", "p", "p_holm", "word"]


@dataclass(frozen=True)
class MethodClaim:
    """Methods against the baseline with the search as the unit.

    Attributes:
        frame: One row per study other than the baseline, with ``COLUMNS``: ``searches``, ``mean`` over them (fraction),
            ``search_sd`` (standard deviation of the means of the searches), ``seed_sd`` (of one score over seeds),
            ``difference, low, high`` (interval that agrees with ``p_holm``), ``p``, ``p_holm`` (adjusted by step-down
            Sidak), ``word`` (one of ``judge.WORDS``); the last six are empty where there are too few searches.
        baseline: The row of the baseline, without a difference; None where it has no score.
        luck: Spread of the true quality of what the searches of one method return, pooled over methods.
        noise: Spread of a score over seeds, pooled over methods.
        sentence: The claim in words, without a full stop.
        notes: What a reader has to know besides, one sentence each.
    """

    frame: pd.DataFrame
    baseline: pd.Series | None
    luck: Spread
    noise: Spread
    sentence: str
    notes: tuple[str, ...] = ()

    @property
    def searches(self) -> int:
        """Searches of the method that has most."""
        rows = [self.frame["searches"].max(), 0 if self.baseline is None else self.baseline["searches"]]
        return int(np.nanmax([0, *rows]))

    @property
    def spreads(self) -> str:
        """The luck of a search beside the noise of a seed, as a clause; empty where neither is measured."""
        clauses = [
            f"{what} spreads by {points(spread.sd)} [{points(spread.low)}, {points(spread.high)}]"
            for what, spread in (("the luck of a search", self.luck), ("a score over seeds", self.noise))
            if not missing(spread.sd)
        ]
        return ", ".join(clauses) + (" points (standard deviations with 95 % intervals)" if clauses else "")


def method_claim(sweeps: Sequence[Tables], confidence: float = 0.95) -> MethodClaim:
    """Does a method beat the baseline if both are searched again? A mixed model over searches and seeds.

    Every search gives the scores of its best finalist on the fresh seeds of the race, also after a freeze; none where
    it is refused to compare the study (see ``analysis.selection.refusals``). The best of several was lucky, the more so
    the noisier its method is: that cancels where the noise is alike. Where a test says that it is not, each search is
    scored on seeds that had no part in the choice (see ``analysis.selection.held_out_seeds``). The model is that of
    ``analysis.stats.search_contrasts``. With fewer than ``ENOUGH_SEARCHES`` searches of a method nothing is claimed.

    Args:
        sweeps: The tables of one sweep, or of several of the same spec with other search seeds.
        confidence: Of the intervals; the rest is the familywise error rate.

    Raises:
        AnalysisError: No sweep, two with the same seed, or sweeps that did not ask the same.
    """
    _independent(sweeps)
    refused = [_refused(tables) for tables in sweeps]
    scores = _joined(sweeps, refused, _winner_scores)
    baseline = next((str(name) for tables in sweeps for name in tables["sweeps"]["baseline"].dropna()), None)
    if baseline is None or scores.empty:
        return MethodClaim(_empty(sweeps, baseline), None, Spread(), Spread(), _too_few(0))
    studies = pd.concat([tables["studies"] for tables in sweeps])
    most = studies.groupby("study")["searched_parameters"].max()
    alpha = 1 - confidence
    share = _share(sweeps[0]) if len(sweeps) == 1 else 1.0
    smallest = max(smallest_effect(tables["sweeps"]) for tables in sweeps)
    unsearched = {str(study) for study in most.index[most == 0]}
    model = search_contrasts(scores, baseline, 1 - alpha * share, unsearched)
    if held_out := model.equal_noise < UNEQUAL:
        model = search_contrasts(_joined(sweeps, refused, held_out_scores), baseline, 1 - alpha * share, unsearched)
    adjusted = np.minimum(model.frame["p_adjusted"] / share, 1.0)
    frame = model.frame.assign(p_holm=adjusted)
    frame = frame.assign(word=_words(frame, smallest, alpha))
    names = [str(study) for study in studies["study"].drop_duplicates() if study != baseline]
    others = frame.iloc[1:].set_index("study").reindex(pd.Index(names, name="study")).reset_index()
    others = others.assign(searches=others["searches"].fillna(0).astype(int))[COLUMNS]
    return MethodClaim(
        frame=others,
        baseline=frame.iloc[0],
        luck=model.luck,
        noise=model.noise,
        sentence=_sentence(others, int(frame["searches"].iloc[0])),
        notes=tuple(_notes(model, held_out)),
    )


def method_sentence(tables: Tables) -> str:
    """The claim about methods of one sweep, as a sentence for its verdict; empty before the sweep has finished."""
    if not tables["sweeps"]["finished"].all():
        return ""
    if not (tables["studies"]["repeats"] > 1).any():
        return f"{ONE_SEARCH[0].upper()}{ONE_SEARCH[1:]}."
    claim = method_claim([tables])
    said = "; ".join(filter(None, [claim.sentence, claim.spreads]))
    return f"{said[0].upper()}{said[1:]}."


def search_scores(tables: Tables) -> pd.DataFrame:
    """What every search returned on seeds that did not choose it, of the studies that may be compared."""
    scores = held_out_scores(tables)
    return scores[~scores["study"].isin(_refused(tables))]


def _winner_scores(tables: Tables) -> pd.DataFrame:
    """The best finalist of every search on all of its fresh seeds."""
    rows = [
        (row["study"], row["search"], f"{row['config_id']} {sorted(row['seeds'])}", seed, score)
        for row in searches(tables).to_dict("records")
        if row["confirmed"]
        for seed, score in zip(row["seeds"], row["scores"], strict=True)
    ]
    return pd.DataFrame(rows, columns=SCORES).astype({"score": "float64"})


def _refused(tables: Tables) -> list[str]:
    """The studies that may not be compared with the baseline."""
    rows = compare(tables).to_dict("records")
    return [str(row["study"]) for row in rows if row["refused"] and not row["is_baseline"]]


def _joined(
    sweeps: Sequence[Tables], refused: Sequence[list[str]], scores_of: Callable[[Tables], pd.DataFrame]
) -> pd.DataFrame:
    """The scores of several sweeps without the studies refused in each, every search under a name of its own."""
    found = [scores_of(tables) for tables in sweeps]
    allowed = [each[~each["study"].isin(names)] for each, names in zip(found, refused, strict=True)]
    scores = pd.concat([each.assign(sweep=place) for place, each in enumerate(allowed)])
    named = scores["sweep"].astype(str) + "/" + scores["search"].astype(str)
    return scores.assign(search=named).reset_index(drop=True)


def _share(tables: Tables) -> float:
    """The part of the error that this look at a sweep may spend, see ``analysis.stats.looks``."""
    trials = tables["trials"]
    confirm = trials[trials["phase"] == Phase.CONFIRM]
    return looks_of(tables["sweeps"]).share(int(confirm.groupby(["study", "config_id"])["seed"].nunique().max()))


def _independent(sweeps: Sequence[Tables]) -> None:
    if not sweeps:
        raise AnalysisError("sweeps: the tables of at least one are needed, got none")
    rows = pd.concat([tables["sweeps"] for tables in sweeps])
    if len(twice := rows[rows.duplicated("seed")]):
        raise AnalysisError(f"sweeps: each must have another seed, got seed {twice['seed'].iloc[0]} twice")
    specs = [read_spec(text).fields for text in rows["spec_json"]]
    for field in SpecField:
        if any(fields[field] != specs[0][field] for fields in specs):
            raise AnalysisError(f"sweeps: all must have the same '{field}', got different ones")


def _empty(sweeps: Sequence[Tables], baseline: str | None) -> pd.DataFrame:
    names = [str(name) for tables in sweeps for name in tables["studies"]["study"] if name != baseline]
    return pd.DataFrame({"study": list(dict.fromkeys(names)), "searches": 0}, columns=COLUMNS)


def _words(frame: pd.DataFrame, smallest: float, alpha: float) -> pd.Series:
    words = [
        None if missing(p_holm) else word_of(difference, low, high, p_holm, smallest, alpha)
        for difference, low, high, p_holm in frame[["difference", "low", "high", "p_holm"]].to_numpy(dtype=float)
    ]
    return pd.Series(words, frame.index, dtype=object)


def _too_few(searches: int) -> str:
    if searches < 2:
        return ONE_SEARCH
    return f"{searches} searches per method, a test takes {ENOUGH_SEARCHES}: nothing is claimed about methods"


def _sentence(frame: pd.DataFrame, of_baseline: int) -> str:
    tested = frame[frame["word"].notna()]
    if tested.empty:
        return _too_few(max([of_baseline, *frame["searches"]]) if of_baseline else 0)
    counts = sorted({count for count in (of_baseline, *tested["searches"]) if count > 1})
    number = " to ".join(map(str, dict.fromkeys((counts[0], counts[-1]))))
    said = []
    for word in WORDS:
        if methods := [row for row in tested.to_dict("records") if row["word"] == word]:
            each = [
                f"{row['study']} ({signed(row['difference'])} {interval(row['low'], row['high'])})" for row in methods
            ]
            said.append(f"{word} {'to' if word == EQUIVALENT else 'from'} the baseline: {', '.join(each)}")
    alone = " alone" if counts[0] < ENOUGH_FOR_A_BARE_WORD and (tested["word"] == SEPARATED).any() else ""
    untested = [str(study) for study in frame.loc[frame["word"].isna(), "study"]]
    rest = f"; not tested: {', '.join(untested)}" if untested else ""
    return f"on {number} searches per method{alone}, {'; '.join(said)}{rest}"


def _notes(model: SearchContrasts, held_out: bool) -> list[str]:
    notes: list[str] = []
    several = model.frame["searches"].max() > 1
    if not several:
        return notes
    if held_out:
        notes.append(
            "The noise of seeds is not alike in all methods, and the best of several finalists is luckier where it is "
            "larger: each search stands by the finalist that led before the last round, scored on the seeds of that "
            "round alone."
        )
    if model.pooled:
        notes.append("The luck of a search is taken to spread alike in all methods, as far as its test can tell.")
    else:
        notes.append(
            f"The luck of a search does not spread alike in all methods (p = {model.equal_luck:.2g}): each is judged "
            "by the spread of its own searches."
        )
    if model.by_seed:
        notes.append("Some seeds favor some methods: fresh seeds are few, and that is part of the intervals.")
    return notes
