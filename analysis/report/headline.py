"""The headline of a sweep, from the table of its claims: which config, from which search, and what is known of it."""

from dataclasses import dataclass, replace
from enum import StrEnum

import numpy as np
import pandas as pd

from analysis.formats import plural, points, signed, text
from analysis.report.line import Mark
from analysis.report.wording import NOT_SEPARATED, SEPARATED, Wording, refusal, wording_of
from analysis.tables.files import Tables
from analysis.tables.states import Phase


class Headline(StrEnum):
    """Phrases of headlines beside the words of ``analysis.stats.judge``; docs/reading-a-report.md has them all."""

    NO_RESULT = "No result"
    SO_FAR = "So far"
    PROVISIONAL = "Provisional"
    HELD_OUT = "Held out"
    FEW = "seeds alone"
    NOT_CONFIRMED = "not confirmed"
    NOT_FINISHED = "no verdict before the sweep has finished"
    BASELINE_BEST = "Nothing beat the baseline"
    BASELINE_HELD = "Nothing is shown to beat the baseline"
    ONLY_STUDY = "no other study to compare it with"
    FIRST = "came out first"
    CHOSEN = "was chosen"
    TIED = "tied with"
    REFUSED = "not compared with the baseline"
    NO_WORD = "no verdict"
    ABLATION_SEPARATED = "separated from 0"
    ABLATION_NONE = "is separated from 0"
    ABLATION_NOT = "is not separated from 0"
    ABLATION_UNTESTED = "untested"
    ABLATION_NO_LOSS = "no cell is worse than the reference"
    ABLATION_UNJUDGED = "no effect is judged"
    ABLATION_UNPAIRED = "no cell shares a seed with its reference"


@dataclass(frozen=True)
class Statement:
    """The headline, and what is behind it.

    Attributes:
        headline: One sentence without a full stop.
        said: What it says of a config beside the baseline; None where it has no word.
        mark: How to read it: without a mark where the seeds decide, red where nothing may be concluded.
        config: The config that ``said`` compares with the baseline.
    """

    headline: str
    said: Wording | None = None
    mark: Mark = "amber"
    config: str = ""


@dataclass(frozen=True)
class Scene:
    """What a headline depends on: the rows of ``compare`` and ``finalists``, and the number of searches by study."""

    comparison: pd.DataFrame
    ranked: pd.DataFrame
    searches: dict[str, int]

    @property
    def winner(self) -> pd.Series:
        """The row of the chosen config."""
        return self.comparison[self.comparison["chosen"]].iloc[0]

    @property
    def baseline(self) -> pd.Series | None:
        """The row of the baseline."""
        rows = self.comparison[self.comparison["is_baseline"]]
        return rows.iloc[0] if len(rows) else None

    @property
    def methods(self) -> pd.DataFrame:
        """The rows that are no controls: the baseline, and what is compared with it."""
        return self.comparison[self.comparison["control"].isna()]

    @property
    def rivals(self) -> pd.DataFrame:
        """The other configs of the tie set, as rows of ``finalists``."""
        if "tie" not in self.ranked:
            return self.ranked.iloc[:0]
        return self.ranked[self.ranked["tie"].eq(True) & ~self.ranked["chosen"].eq(True)]

    @property
    def compared(self) -> set[str]:
        """The studies that the headline compares: the chosen one, the baseline, rivals; all if the baseline leads."""
        if self.baseline is None or self.winner["is_baseline"]:
            return set(self.methods["study"])
        return {self.winner["study"], self.baseline["study"], *self.rivals["study"]}

    def named(self, row: pd.Series) -> str:
        """A config and the search that it comes from: ``config cwd-1 (best of 3 trials, one search)``."""
        if not row["searched_parameters"] or not row["search_trials"]:
            return f"config {config_name(row)} (not searched)"
        searches = self.searches.get(str(row["study"]), 1)
        often = ", one search" if searches < 2 else f" in {searches} searches"
        return f"config {config_name(row)} (best of {plural(int(row['search_trials']), 'trial')}{often})"


def scene_of(tables: Tables, comparison: pd.DataFrame, ranked: pd.DataFrame) -> Scene:
    """What the headline of a sweep depends on.

    Args:
        tables: The tables of the sweep.
        comparison: From ``analysis.selection.compare.compare``.
        ranked: From ``analysis.selection.finalists.finalists``.
    """
    trials = tables["trials"]
    searched = trials[trials["phase"] == Phase.SEARCH]
    by_study = searched.groupby("study")["search"].nunique() if "search" in trials else pd.Series(dtype=int)
    return Scene(comparison, ranked, {str(study): int(count) for study, count in by_study.items()})


def config_name(row: pd.Series) -> str:
    """A config by the trial that proposed it, which has the name of its study; without one by its study."""
    return text(row["trial_id"]) or str(row["study"])


def before_the_freeze(scene: Scene, finished: bool) -> Statement:
    """The headline by the selection: on the seeds that also chose the config, which is why it is provisional."""
    winner = scene.winner
    name, mean = scene.named(winner), points(winner["mean"])
    if not winner["confirmed"]:
        seed = "the one seed of its search trial"
        return Statement(f"{name} leads with {mean} mIoU on {seed}; {Headline.NOT_CONFIRMED}", mark="red")
    if not finished:
        return Statement(f"{name} leads with {mean} mIoU {_on(winner)}; {Headline.NOT_FINISHED}")
    statement = _baseline_chosen(scene) if winner["is_baseline"] else _other_chosen(scene)
    compared = scene.comparison[scene.comparison["study"].isin(scene.compared)]
    all_failed = any(0 < row["n"] == len(row.get("failed_seeds", ())) for _, row in compared.iterrows())
    return replace(statement, mark="red") if statement.said is None and all_failed else statement


def _other_chosen(scene: Scene) -> Statement:
    winner, baseline, said = scene.winner, scene.baseline, wording_of(scene.winner)
    against = "" if baseline is None else f"the baseline {baseline['study']}"
    failed = _failed(scene)
    more = f"{failed}{_better_others(scene, said)}{_tied(scene)}"
    if said is not None:
        decided = said.word != NOT_SEPARATED and not said.few and not failed
        mark: Mark = "" if decided and not said.worse else "amber"
        return Statement(f"{scene.named(winner)} is {said.clause(against)}{more}", said, mark, config_name(winner))
    first = f"{scene.named(winner)} {_place(scene)}: {points(winner['mean'])} mIoU {_on(winner)}"
    if baseline is None:
        return Statement(first + (more or _alone(scene)))
    if refusal(winner):
        return Statement(f"{first}; {Headline.REFUSED} {baseline['study']}, see below{more}", mark="red")
    if not baseline["n"]:
        return Statement(f"{first}; {against} has no score on fresh seeds{more}", mark="red")
    if winner["difference"] == winner["difference"]:
        first += f"; {signed(winner['difference'])} points from {against}, {Headline.NO_WORD}{_why(winner)}"
    return Statement(f"{first}{more}")


def _baseline_chosen(scene: Scene) -> Statement:
    winner = scene.winner
    who = f"{winner['study']}, {scene.named(winner)}: {points(winner['mean'])} mIoU {_on(winner)}"
    others = scene.methods[~scene.methods["is_baseline"]]
    if others.empty:
        return Statement(f"Only the baseline {who}; {Headline.ONLY_STUDY}")
    claims = [(row, wording_of(row)) for _, row in others.iterrows()]
    if better := _better_others(scene, None):
        return Statement(f"The baseline {Headline.CHOSEN}, {who}{better}{_tied(scene)}")
    compared = [(row, said) for row, said in claims if said is not None]
    if not compared:
        why = f"; the others are {Headline.REFUSED}, see below" if all(refusal(row) for row, _ in claims) else ""
        first = others.iloc[0]
        silent = f"; {Headline.NO_WORD} on {scene.named(first)}{_why(first)}"
        silent += f"; nor on {len(others) - 1} more" if len(others) > 1 else ""
        return Statement(f"The baseline {_place(scene)}, {who}{why or silent}")
    if len(compared) == len(claims) and all(said.worse for _, said in compared):
        near, said = max(compared, key=lambda pair: pair[1].difference)
        worse = f"{SEPARATED} from it and worse{said.reservation}"
        several = f"all {len(claims)} others are {worse}, the nearest {config_name(near)}: {said.numbers}"
        nearest = several if len(claims) > 1 else f"{scene.named(near)} is {worse}: {said.numbers}"
        return Statement(
            f"{Headline.BASELINE_BEST} {who}; {nearest}", said, "amber" if said.few else "", config_name(near)
        )
    row, rival = max(((row, said) for row, said in compared if not said.worse), key=_difference, default=(None, None))
    if row is None or rival is None:  # all that were compared are worse, others were not compared
        row, rival = max(compared, key=_difference)
    return Statement(
        f"{Headline.BASELINE_HELD} {who}; {scene.named(row)} is {rival.clause('it')}", rival, config=config_name(row)
    )


def _difference(pair: tuple[pd.Series, Wording]) -> float:
    return pair[1].difference


def _better_others(scene: Scene, said: Wording | None) -> str:
    """Another config that is separated from the baseline and better, where the chosen one is not."""
    if said is not None and said.better:
        return ""
    winner = scene.winner
    claims = [(row, wording_of(row)) for _, row in scene.methods.iterrows() if row["study"] != winner["study"]]
    better = [(row, claim) for row, claim in claims if claim is not None and claim.better]
    if not better:
        return ""
    row, claim = max(better, key=_difference)
    more = f" (as {'are' if len(better) > 2 else 'is'} {len(better) - 1} more)" if len(better) > 1 else ""
    return f"; but {scene.named(row)} is {claim.clause('the baseline')}{more}"


def _tied(scene: Scene) -> str:
    """The rivals in the tie set, the nearest by name; the baseline has its own clause."""
    baseline = None if scene.baseline is None else scene.baseline["study"]
    rivals = [row for _, row in scene.rivals.iterrows() if row["study"] != baseline]
    if not rivals:
        return ""
    more = f" and {len(rivals) - 1} more" if len(rivals) > 1 else ""
    return f"; {Headline.TIED} {rival_name(rivals[0], scene.winner)}{more}"


def rival_name(rival: pd.Series, winner: pd.Series) -> str:
    """A config of the tie set with its mean difference to the chosen one, over the seeds of both."""
    scores = dict(zip(winner["seeds"], winner["scores"], strict=True))
    shared = [
        score - scores[seed] for seed, score in zip(rival["seeds"], rival["scores"], strict=True) if seed in scores
    ]
    difference = float(np.mean(shared)) if shared else rival["mean"] - winner["mean"]
    return f"{config_name(rival)} ({signed(difference)})"


def _failed(scene: Scene) -> str:
    """How many fresh seeds of the chosen config and of the baseline failed; empty where none did."""
    rows = {"it": scene.winner} | ({} if scene.baseline is None else {"the baseline": scene.baseline})
    failed = {name: len(row.get("failed_seeds", ())) for name, row in rows.items()}
    counts = [f"{count} of {rows[name]['n']} fresh seeds of {name}" for name, count in failed.items() if count]
    return f"; {' and '.join(counts)} failed" if counts else ""


def _place(scene: Scene) -> str:
    """Whether the chosen config has the highest mean, or is a cheaper one."""
    means = scene.comparison.loc[scene.comparison["n"] > 0, "mean"]
    return Headline.FIRST if scene.winner["mean"] >= means.max() else Headline.CHOSEN


def _alone(scene: Scene) -> str:
    return f"; {Headline.ONLY_STUDY}" if len(scene.comparison) == 1 else ""


def _why(row: pd.Series) -> str:
    """Why there is no verdict."""
    withheld = text(row.get("withheld")).rstrip(".")
    return f": {withheld}" if withheld else ""


def _on(row: pd.Series) -> str:
    return f"on {row['n']} fresh seeds" if row["n"] > 1 else "on one fresh seed"
