"""What is said of a method beside the controls: whether it beats them, and a warning where one of them is above it."""

from collections.abc import Sequence

from analysis.formats import interval, missing, plural, signed
from analysis.report.line import Line, Mark
from analysis.report.wording import EQUIVALENT, NOT_SEPARATED, SEPARATED, Wording
from analysis.selection.control_contrasts import ControlContrast


def controls_line(contrasts: Sequence[ControlContrast], absent: Sequence[str] = ()) -> Line:
    """Every control with its difference to the method, its interval and its word, in the direction of the tables.

    Args:
        contrasts: Of one method or of several; one or more.
        absent: What the controls are called that the sweep lacks.
    """
    by_subject = {each.subject: [other for other in contrasts if other.subject == each.subject] for each in contrasts}
    parts = [f"Control minus {subject}: {'; '.join(map(_numbers, its))}." for subject, its in by_subject.items()]
    if absent:
        parts.append(f"Not run: {unsupported(absent)}.")
    return Line("Controls", " ".join(parts), controls_mark(contrasts, absent))


def unsupported(absent: Sequence[str]) -> str:
    """What may not be concluded without some controls, as a clause that begins with their names."""
    return f"{', '.join(absent)}; without {'it' if len(absent) == 1 else 'them'} a gain need not be distillation"


def controls_mark(contrasts: Sequence[ControlContrast], absent: Sequence[str] = ()) -> Mark:
    """Red if a control is above the method, amber if the method does not beat every control on enough seeds."""
    claims = [_said(contrast) for contrast in contrasts]
    if any(said is not None and said.worse for said in claims):
        return "red"
    beaten = all(said is not None and said.better and not said.few for said in claims)
    return "" if beaten and not absent else "amber"


def controls_clauses(contrasts: Sequence[ControlContrast]) -> list[str]:
    """What a sentence about a method says of its controls: those that are better first, those that it beats last.

    The numbers stand in the line *Controls*.
    """
    claims = [(each.name, _said(each)) for each in contrasts]
    judged = [(name, said) for name, said in claims if said is not None]
    kinds = (
        (f"{SEPARATED} from", ", and worse", [pair for pair in judged if pair[1].worse]),
        (f"{NOT_SEPARATED} from", "", [pair for pair in judged if pair[1].word == NOT_SEPARATED]),
        (f"{EQUIVALENT} to", "", [pair for pair in judged if pair[1].word == EQUIVALENT]),
        ("untested against", "", [pair for pair in claims if pair[1] is None]),
        (f"{SEPARATED} from", ", and better", [pair for pair in judged if pair[1].better]),
    )
    return [f"{word} {_listed([name for name, _ in its])}{side}{_fewest(its)}" for word, side, its in kinds if its]


def controls_warnings(contrasts: Sequence[ControlContrast]) -> list[str]:
    """A sentence for every control that is above the method, or has no score to be compared with."""
    sentences = []
    for each in contrasts:
        said = _said(each)
        if not each.seeds:
            sentences.append(f"{each.name} shares no seed with {each.subject}, so the gain may not be distillation")
        elif said is not None and said.worse:
            numbers = f"{signed(-each.difference)} points {interval(-each.high, -each.low)}"
            sentences.append(f"{each.name} beats {each.subject}: {numbers}{said.reservation}")
        elif each.difference < 0:
            why = "untested" if said is None else said.word
            higher = f"{each.name} is above {each.subject} on average: {signed(-each.difference)} points"
            sentences.append(f"{higher}, {why} over {plural(each.seeds, 'seed')}")
    return sentences


def _numbers(contrast: ControlContrast) -> str:
    """A control with its difference to the method."""
    if not contrast.seeds or missing(contrast.difference):
        return f"{contrast.name} shares no seed with it"
    said, seeds = _said(contrast), plural(contrast.seeds, "seed")
    mean = f"{contrast.name} {signed(-contrast.difference)} points"
    if said is None:
        return f"{mean} on average over {seeds}, untested"
    return f"{mean} {interval(-said.high, -said.low)}, {said.word}{said.reservation or f' over {seeds}'}"


def _said(contrast: ControlContrast) -> Wording | None:
    if contrast.word is None or missing(contrast.low):
        return None
    return Wording(contrast.word, contrast.difference, contrast.low, contrast.high, contrast.seeds)


def _fewest(claims: Sequence[tuple[str, Wording | None]]) -> str:
    """On how few seeds the weakest of some claims rests; empty if they are enough."""
    weakest = min((said for _, said in claims if said is not None), key=lambda said: said.seeds, default=None)
    return "" if weakest is None else weakest.reservation


def _listed(names: Sequence[str]) -> str:
    """Names as a sentence has them: ``a, b and c``."""
    return " and ".join(filter(None, (", ".join(names[:-1]), names[-1])))
