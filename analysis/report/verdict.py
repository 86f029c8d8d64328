"""The result of a sweep in a few sentences, and what cannot be concluded from the result."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from analysis.ablation.effects import ablate
from analysis.formats import each, missing, plural, points, share, signed
from analysis.report.ablation_verdict import ablation_verdict, parts_line
from analysis.report.cautions import budget, not_claimed, warnings
from analysis.report.control_lines import controls_clauses, controls_line, controls_mark, controls_warnings
from analysis.report.evidence_lines import DECIDES, what_would_decide
from analysis.report.front_lines import FRONT, front_line
from analysis.report.headline import Headline, Scene, Statement, before_the_freeze, rival_name, scene_of
from analysis.report.held_out import HeldOut, after_the_freeze, disagreements, held_out
from analysis.report.held_out import lines as held_out_lines
from analysis.report.line import Line, Mark, worst
from analysis.report.looks import looks
from analysis.report.trained_on import trained_on
from analysis.report.wording import NOT_SEPARATED, SEPARATED, Wording, missed, refusal, success, wording_of
from analysis.search.method_claim import method_sentence
from analysis.selection.compare import compare, teacher_miou
from analysis.selection.control_contrasts import ControlContrast, comparison_contrasts
from analysis.selection.final_seeds import selection_ended
from analysis.selection.finalists import finalists
from analysis.selection.stage import Stage
from analysis.stats.judge import NO_NOISE
from analysis.stats.seed_contrasts import smallest_effect
from analysis.stats.spread import spread
from analysis.stats.words import ENOUGH_SEEDS
from analysis.tables.files import Tables
from analysis.tables.fixed import fixed

DISAGREEMENT = "Selection and final seeds disagree"


@dataclass(frozen=True)
class Verdict:
    """The result in words. Page, best.yaml and the last line of commands all say it.

    Attributes:
        headline: One sentence.
        lines: Most important first.
        not_claimed: What cannot be concluded from the result.
        mark: How the headline is to be read; the color of the page.
        stage: What the headline rests on.
        said: The word of the headline with its numbers; None where it has none.
        decide: How many more seeds would decide, and the command; empty where enough have, and after a freeze.
    """

    headline: str
    lines: tuple[Line, ...]
    not_claimed: str
    mark: Mark = "amber"
    stage: Stage = Stage.SEARCH
    said: Wording | None = None
    decide: str = ""


def paragraph(words: Verdict) -> str:
    """The verdict in one paragraph of plain text.

    That is the headline, the best student below each of several limits, doubts, what would decide, and what is not
    claimed.
    """
    students = [f"{line.label}: {line.text}" for line in words.lines if line.label == FRONT]
    doubts = [f"{line.label}: {line.text}" for line in words.lines if line.mark == "red"]
    decide = [f"{DECIDES}: {words.decide}"] if words.decide else []
    claims = [f"Not claimed: {words.not_claimed}"] if words.not_claimed else []
    sentences = (" ".join(text.split()) for text in (words.headline, *students, *doubts, *decide, *claims))
    return " ".join(text if text.endswith((".", "!", "?")) else f"{text}." for text in sentences)


def verdict_of(tables: Tables) -> Verdict:
    """The result of a sweep, from its tables alone."""
    tables = fixed(tables)
    return verdict(tables, compare(tables), ablate(tables))


def verdict(
    tables: Tables, comparison: pd.DataFrame, ablation: pd.DataFrame, ranked: pd.DataFrame | None = None
) -> Verdict:
    """Put the comparison (or, in a sweep that is an ablation, its cells) into words.

    In an unfinished sweep no difference is called separated or equivalent: testing repeatedly until a difference is
    separated would turn chance into a result. Before a freeze the result is provisional, since the seeds that it rests
    on also chose the config; after it the final seeds have the word.

    Args:
        tables: The tables of a sweep.
        comparison: From ``compare``.
        ablation: From ``ablate``; may be empty.
        ranked: From ``finalists``, which is computed where it is not given.
    """
    finished = selection_ended(tables)
    spent = Line("Budget", budget(tables, comparison))
    so_far = "" if finished else f"{Headline.SO_FAR}: "
    if not comparison["chosen"].any():
        why = "no trial is complete" if not (comparison["n"] > 0).any() else "only controls are complete"
        headline = f"{so_far}{Headline.NO_RESULT}, because {why}"
        return Verdict(headline, (spent, warnings(tables, comparison)), "", "red")
    scene = scene_of(tables, comparison, finalists(tables) if ranked is None else ranked)
    winner, found = scene.winner, held_out(tables)
    selection = before_the_freeze(scene, finished)
    stage, statement = stated(scene, selection, found, finished)
    lines, decide = _lines(tables, scene, finished), ""
    if found is not None:
        lines = [*held_out_lines(found), *_disagreements(found, winner), *_as_selection(selection, lines)]
    if (students := front_line(tables)) is not None:
        lines = [students, *lines]
    headline, mark, said = statement.headline, statement.mark, statement.said
    contrasts: Sequence[ControlContrast] = comparison_contrasts(tables, comparison)
    compared, final = scene.compared, found is not None and bool(found.chosen.scores)
    ablating = len(ablation) > 0 and tables["sweeps"]["purpose"].iloc[0] == "ablation"
    if ablating:
        compared, final = set(ablation["cell"]), False
        words = ablation_verdict(tables, ablation, finished)
        headline, mark, said, contrasts = words.headline, words.mark, None, words.contrasts
        lines = [*words.lines, *(held_out_lines(found) if found is not None else ())]
        stage, decide = (Stage.PROVISIONAL if finished else Stage.RUNNING), words.decide
    else:
        lines += [parts_line(tables, ablation, finished)] if len(ablation) else []
        if contrasts:
            lines.append(controls_line(contrasts))
            by_selection = "; by the selection: " if stage is Stage.HELD_OUT else "; "
            headline = f"{headline}{by_selection}{'; '.join(controls_clauses(contrasts))}"
            mark = worst(mark, controls_mark(contrasts))
        if winner["confirmed"] and (methods := method_sentence(tables)):
            lines.append(Line("Methods", methods))
        if finished and said is not None:
            against = "" if scene.baseline is None else f" against the baseline {scene.baseline['study']}"
            decide = what_would_decide(tables, f"{statement.config}{against}", said.difference, said.word, said.seeds)
    mixed_up, severity = trained_on(tables, {*compared, *(each.control for each in contrasts)}, final)
    headline, mark = f"{headline}{mixed_up}", worst(mark, severity)
    doubts = warnings(tables, comparison, controls_warnings(contrasts), controls_mark(contrasts) == "red")
    seeds = int(comparison.loc[comparison["confirmed"].astype(bool), "n"].max()) if winner["confirmed"] else None
    lines += [Line(DECIDES, decide)] if decide else []
    searched = [] if ablating else [Line("Score in the search", *_in_the_search(winner))]
    lines += [*looks(tables, seeds if finished else None), *searched, spent, doubts]
    claims = not_claimed(tables, winner, comparison, finished, found)
    return Verdict(so_far + headline, tuple(lines), claims, mark, stage, said, decide)


def stated(scene: Scene, selection: Statement, found: HeldOut | None, finished: bool) -> tuple[Stage, Statement]:
    """The headline, and what it rests on.

    Args:
        scene: The rows of the selection.
        selection: The headline by the selection.
        found: What the final seeds say; None before a freeze.
        finished: Whether the selection has come to its end.
    """
    if not scene.winner["confirmed"] and found is None:
        return Stage.SEARCH, selection
    if not finished:
        return Stage.RUNNING, selection
    if found is None:
        headline = f"{Headline.PROVISIONAL}: {selection.headline[0].lower()}{selection.headline[1:]}"
        return Stage.PROVISIONAL, replace(selection, headline=headline)
    stage = Stage.PROVISIONAL if found.short else Stage.HELD_OUT
    return stage, after_the_freeze(found, selection, scene)


def _lines(tables: Tables, scene: Scene, finished: bool) -> list[Line]:
    """What the selection says."""
    winner, baseline = scene.winner, scene.baseline
    lines = [
        Line("Chosen", _chosen(scene)),
        Line("Against the baseline", *_against(tables, winner, baseline, finished)),
    ]
    if text := _spreads(winner):
        lines.append(Line("Spread", text, "amber" if winner["n"] < ENOUGH_SEEDS else ""))
    return lines


def _as_selection(selection: Statement, lines: list[Line]) -> list[Line]:
    """The lines of the selection, below those of the final seeds."""
    marked = [Line(f"Selection: {line.label[0].lower()}{line.label[1:]}", line.text, line.mark) for line in lines]
    return [Line("Before the freeze", f"The selection said: {selection.headline}."), *marked]


def _disagreements(found: HeldOut, winner: pd.Series) -> list[Line]:
    clauses, mark = disagreements(found, winner)
    text = "; ".join(clauses)
    return [Line(DISAGREEMENT, f"{text[0].upper()}{text[1:]}.", mark)] if clauses else []


def _chosen(scene: Scene) -> str:
    winner, rivals = scene.winner, scene.rivals
    seeds = f"its seeds scored {each(winner['scores'])} (mean {points(winner['mean'])}, n={winner['n']})"
    name = scene.named(winner)
    why = ""
    if len(rivals):
        tied = ", ".join(rival_name(row, winner) for _, row in rivals.iterrows())
        why = f" The cheapest of {len(rivals) + 1} configs within one standard error of the best; the others: {tied}."
    return f"{name[0].upper()}{name[1:]} of study {winner['study']}; {seeds}.{success(winner)}{why}"


def _spreads(winner: pd.Series) -> str:
    """The spread of the chosen config's seeds, and of the differences, with how sure that is."""
    parts = []
    for what, values in (("of its scores", winner["scores"]), ("of its differences", winner["differences"])):
        if len(values) > 1 and winner["confirmed"] and np.ptp(values) >= NO_NOISE:
            found = spread(float(np.std(values, ddof=1)), len(values) - 1)
            parts.append(f"{what} {points(found.sd)} [{points(found.low)}, {points(found.high)}]")
    seeds = plural(winner["n"], "seed")
    return f"Standard deviation over {seeds}: {', '.join(parts)} (brackets: 95 % intervals)." if parts else ""


def _against(tables: Tables, winner: pd.Series, baseline: pd.Series | None, finished: bool) -> tuple[str, Mark]:
    if baseline is None:
        return "This sweep has no baseline study, so no gain can be stated.", "amber"
    searched = (
        f"searched over {plural(baseline['searched_parameters'], 'parameter')}"
        if baseline["searched_parameters"]
        else "not searched"
    )
    name = f"{baseline['study']} ({searched})"
    if winner["is_baseline"]:
        return f"The chosen config is the baseline itself ({searched}).", ""
    if reason := refusal(winner):
        return f"The comparison with {name} is refused: {reason}.", "red"
    if not baseline["n"]:
        return f"The baseline {name} has no score on fresh seeds, so no difference is given.", "red"
    if missing(winner["difference"]):
        return f"No seed in common with the baseline {name}, so no difference is given.", "amber"
    gap, teacher = "", teacher_miou(tables)
    if not missing(winner["gap_closed"]):
        ends = "" if missing(winner["gap_low"]) else f", {share(winner['gap_low'])} to {share(winner['gap_high'])},"
        gap = f" That is {share(winner['gap_closed'])}{ends} of the gap to the teacher ({points(teacher)})."
    elif not missing(teacher):
        gap = f" The teacher ({points(teacher)}) is hardly above the baseline, if at all."
    seeds = f"; seed by seed {each(winner['differences'], sign=True)}" if len(winner["differences"]) else ""
    said = wording_of(winner) if finished else None
    if said is None:
        why = f" {Headline.NO_WORD.capitalize()}: {winner['withheld']}" if winner.get("withheld") else ""
        return f"{signed(winner['difference'])} points over {name}{seeds}.{gap}{why}", "amber"
    clause = said.clause(name)
    worth = f" The smallest difference that matters was declared as {points(smallest_effect(tables['sweeps']))} points."
    power = f"; {unseen}" if said.word == NOT_SEPARATED and not said.weakened and (unseen := missed(winner)) else ""
    power += f"; {said.weakened}" if said.weakened else ""
    decided = said.word == SEPARATED and not said.few
    return f"{clause[0].upper()}{clause[1:]}{seeds}{power}.{gap}{worth}", "" if decided else "amber"


def _in_the_search(winner: pd.Series) -> tuple[str, Mark]:
    if not winner["confirmed"]:
        return "The score is the one that chose the config, so it is too high by an unknown amount.", "red"
    if missing(winner["optimism"]):
        return "None: the config was not searched.", ""
    side = "below" if winner["optimism"] > 0 else "above"
    return (
        f"{points(winner['screen_score'])} on one seed, which chose the config; the mean over fresh seeds, "
        f"{points(winner['mean'])}, is {points(abs(winner['optimism']))} points {side} it."
    ), ""
