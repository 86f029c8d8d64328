"""What a gain must be compared with before it is called distillation."""

from dataclasses import dataclass

from kdtrain.errors import InputError
from kdtrain.explain import did_you_mean
from kdtrain.methods import parse_term
from sweeps.designs.arms import Arm, Request

FAMILY = "controls"
NONE, EQUAL_TIME, PLACEBO, SMOOTHED = "none", "none_equal_time", "placebo", "smoothed"
KNOWN = {
    NONE: "cross-entropy alone",
    EQUAL_TIME: "cross-entropy alone, trained for as long as the reference takes",
    PLACEBO: "the reference, with what the teacher predicts for another image of the batch",
    SMOOTHED: "cross-entropy against smoothed labels",
}
DEFAULT = (NONE, EQUAL_TIME, PLACEBO)
_SMOOTHING = 0.1
"""As Szegedy et al. 2016."""


@dataclass(frozen=True)
class TimeRatio:
    """How much longer an epoch of the reference takes than one of cross-entropy alone, and where that is from."""

    value: float
    source: str


def controls(request: Request, names: tuple[str, ...], ratio: TimeRatio | None) -> tuple[list[Arm], list[str]]:
    """The arms of some controls, and notes for the reader of the results.

    Raises:
        InputError: If there is no such control.
    """
    for name in names:
        if name not in KNOWN:
            raise InputError(f"--controls: unknown control {name!r}{did_you_mean(name, KNOWN)}")
    arms, notes = [], []
    if NONE in names:
        arms.append(_arm(NONE, request))
    if EQUAL_TIME in names:
        if ratio is None:
            notes.append(
                "controls: cross-entropy at equal time is left out, because it is not known how much longer the "
                "reference takes; give --time-ratio, or the folder of a sweep in which both ran"
            )
        elif (epochs := round(request.config.epochs * ratio.value)) <= request.config.epochs:
            notes.append(
                f"controls: cross-entropy at equal time is left out, because the reference takes no longer: "
                f"{ratio.value:.2g} times as long ({ratio.source})"
            )
        else:
            arms.append(_arm(EQUAL_TIME, request, epochs=epochs))
            notes.append(
                f"controls: {EQUAL_TIME} trains {epochs} instead of {request.config.epochs} epochs, as an epoch of the "
                f"reference takes {ratio.value:.2f} times as long ({ratio.source})"
            )
    if PLACEBO in names and request.config.uses_teacher:
        if request.config.batch_size < 2:
            notes.append("controls: the placebo is left out, because a batch of one image has no other one")
        else:
            cell = {"role": "control", "factor": PLACEBO, "family": FAMILY}
            arms.append(Arm(PLACEBO, request.terms, {"teacher_order": "shuffled"}, cell))
    if SMOOTHED in names:
        smoothed = [{**term.model_dump(), "smoothing": _SMOOTHING} for term in request.plain]
        cell = {"role": "control", "factor": SMOOTHED, "family": FAMILY}
        arms.append(Arm(SMOOTHED, tuple(map(parse_term, smoothed)), {}, cell))
    return arms, notes


def _arm(name: str, request: Request, **changes: int) -> Arm:
    return Arm(name, request.plain, changes, {"role": "control", "factor": name, "family": FAMILY})
