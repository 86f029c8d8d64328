"""Whether more fresh seeds would decide an ablation: all its effects, instead of the best study's gain."""

import pandas as pd

from analysis.ablation.effects import ablate
from analysis.ablation.factorial import factorial_effects
from analysis.selection.decided import (
    Decision,
    at_the_most,
    by_chance,
    chance_of_a_word,
    final_alpha,
    said_of,
    with_silent,
)
from analysis.stats.looks import looks_of
from analysis.stats.power import first_step
from analysis.stats.seed_contrasts import smallest_effect
from analysis.stats.words import ENOUGH_SEEDS, WORDS
from analysis.tables.files import Tables


def decide_ablation(tables: Tables) -> Decision:
    """Read the words of an ablation as if it had finished now, and decide whether more seeds are trained.

    Success: every effect is separated from 0 or equivalent to it, on ``ENOUGH_SEEDS`` seeds or more. Futility: for none
    of the others is the chance of a word at the last planned look high enough, see ``analysis.selection.decided``. An
    effect whose word is withheld is not decided. Controls decide nothing where there is anything else.
    """
    sweeps = tables["sweeps"].assign(finished=True)
    cells = ablate({**tables, "sweeps": sweeps})
    seeds = int(cells["n"].max()) if len(cells) else 0
    effects = factorial_effects(tables).rename(columns={"effect": "cell"}).assign(n=seeds)
    said = (*said_of(cells, "cell"), *said_of(effects, "cell"))
    compared = cells[cells["low"].notna() | ((cells["withheld"] != "") & (cells["n"] > 0))]
    if compared.empty and not said:
        return Decision(False, "no cell shares its seeds with the reference, and more seeds do not help")
    is_control = compared["control"].notna()
    parts = compared[~is_control & ~compared["design"].isin(effects["design"])]
    if parts.empty and effects.empty:
        parts = compared
    open_parts, open_effects = parts[_is_open(parts)], effects[_is_open(effects)]
    decided = len(parts) - len(open_parts) + int(effects["low"].notna().sum()) - len(open_effects)
    if open_parts.empty and open_effects.empty and seeds >= ENOUGH_SEEDS:
        return Decision(False, f"all {decided} effects are separated from 0 or equivalent to it", said)
    most = int(sweeps["confirm_most"].iloc[0])
    if seeds >= most:
        return with_silent(at_the_most(most, said), open_parts, "cell")
    level = first_step(final_alpha(seeds, most, looks_of(sweeps)), max(1, len(said)))
    smallest = smallest_effect(sweeps)
    chances = [chance_of_a_word(each, most, smallest, level, either=True) for each in open_parts["differences"]]
    best = 1.0 if len(open_effects) or not chances else max(chances)
    what = f"{most} seeds would separate one more effect from 0, or show it equivalent"
    return with_silent(by_chance(best, what, said), open_parts, "cell")


def _is_open(rows: pd.DataFrame) -> pd.Series:
    """Which effects are not decided yet: not separated, or their word is withheld."""
    return (rows["low"].notna() & rows["word"].eq(WORDS[1])) | rows["withheld"].ne("")
