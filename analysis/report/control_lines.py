"""What is said of a method beside the controls: whether it beats them, and a warning where one of them is above it."""

from collections.abc import Sequence

from analysis.formats import interval, missing, plural, signed
from analysis.report.line import Line, Mark
from analysis.report.wording import EQUIVALENT, Wording
from analysis.selection.control_contrasts import ControlContrast
from analysis.stats.judge import WORDS


def controls_text(contrasts: Sequence[ControlContrast]) -> str:
    """A clause for every control: ``against the placebo: better, +1.20 points [+0.40, +2.00], separated over 5 seeds``.

    Args:
        contrasts: Of one method or of several; one or more.
    """
    subjects = list(dict.fromkeys(contrast.subject for contrast in contrasts))
    parts = []
    for subject in subjects:
        clauses = [f"against {each.name}: {_clause(each)}" for each in contrasts if each.subject == subject]
        who = "The reference" if subject == "reference" else f"The config {subject}"
        parts.append(f"{who} {'; '.join(clauses)}")
    return "; ".join(parts)


def controls_line(contrasts: Sequence[ControlContrast], absent: Sequence[str] = ()) -> Line:
    """The line about the controls.

    Args:
        contrasts: One or more.
        absent: What the controls are called that the sweep lacks.
    """
    text = f"{controls_text(contrasts)}."
    if absent:
        text += f" Not run: {', '.join(absent)}; without them a gain need not be distillation."
    return Line("Controls", text, controls_mark(contrasts, absent))


def controls_mark(contrasts: Sequence[ControlContrast], absent: Sequence[str] = ()) -> Mark:
    """Red if a control is above the method, amber if the method does not beat every control on enough seeds."""
    claims = [_said(contrast) for contrast in contrasts]
    if any(said is not None and said.worse for said in claims):
        return "red"
    beaten = all(said is not None and said.better and not said.few for said in claims)
    return "" if beaten and not absent else "amber"


def controls_clause(contrasts: Sequence[ControlContrast]) -> str:
    """The controls at the end of a sentence about the method: those above it, those that it does not beat, the others.

    Begins with a semicolon.
    """
    claims = [(each.name, said) for each in contrasts for said in [_said(each)] if said is not None]
    worse = [said.clause(name) for name, said in claims if said.worse]
    undecided = [said.clause(name) for name, said in claims if not (said.worse or said.better)]
    untested = [f"untested against {each.name}" for each in contrasts if _said(each) is None]
    better = [f"{name}{_few(said)}" for name, said in claims if said.better]
    beaten = [f"{WORDS[0]} from {' and '.join(better)}, and better"] if better else []
    return "".join(f"; {part}" for part in (*worse, *undecided, *untested, *beaten))


def controls_warnings(contrasts: Sequence[ControlContrast]) -> list[str]:
    """A sentence for every control that is above the method, or has no score to be compared with."""
    sentences = []
    for each in contrasts:
        said = _said(each)
        if not each.seeds:
            sentences.append(f"{each.name} shares no seed with {each.subject}, so the gain may not be distillation")
        elif said is not None and said.worse:
            numbers = f"{signed(-each.difference)} points {interval(-each.high, -each.low)}"
            sentences.append(f"{each.name} beats {each.subject}: {numbers}{_few(said)}")
        elif each.difference < 0:
            why = "untested" if said is None else said.word
            higher = f"{each.name} is above {each.subject} on average: {signed(-each.difference)} points"
            sentences.append(f"{higher}, {why} over {plural(each.seeds, 'seed')}")
    return sentences


def _clause(contrast: ControlContrast) -> str:
    if not contrast.seeds or missing(contrast.difference):
        return "no seed in common"
    said, seeds = _said(contrast), plural(contrast.seeds, "seed")
    if said is None:
        return f"{signed(contrast.difference)} points on average over {seeds}, untested"
    if said.better or said.worse:
        how = f"on {seeds} alone" if said.few else f"over {seeds}"
        return f"{'better' if said.better else 'worse'}, {said.numbers}, {said.word} {how}"
    how = f"on {seeds} alone" if said.few and said.word == EQUIVALENT else f"over {seeds}"
    return f"{said.word}, {said.numbers} {how}"


def _said(contrast: ControlContrast) -> Wording | None:
    if contrast.word is None or missing(contrast.low):
        return None
    return Wording(contrast.word, contrast.difference, contrast.low, contrast.high, contrast.seeds)


def _few(said: Wording) -> str:
    return f" on {plural(said.seeds, 'seed')} alone" if said.few else ""
