"""Is a term needed beside the others, and does it help alone?"""

from sweeps.designs.arms import OFF, ON, Arm, Arms, Request, reference, without
from sweeps.designs.controls import FAMILY as CONTROLS

FAMILY = "terms"


def leave_one_out(request: Request) -> Arms:
    """The config, and once without each of its terms: what is lost where the others stay.

    Cross-entropy is never left out, and takes the place (and weight) of adaptive cross-entropy where that was the
    only loss on labels.
    """
    names = request.removable("leave-one-out")
    arms = [reference(request, FAMILY, dict.fromkeys(names, ON))]
    for name in names:
        levels = {term: OFF if term == name else ON for term in names}
        cell = {"factor": name, "level": OFF, "family": FAMILY, "levels": levels}
        arms.append(Arm(f"without_{name}", without(request.terms, {name}), cell=cell))
    return Arms(tuple(arms))


def add_one_in(request: Request) -> Arms:
    """Cross-entropy alone as the reference, and once with each term: what is gained where nothing else is.

    The whole config is a control. The gap to what leaving out loses is the terms' interaction.
    """
    names = request.removable("add-one-in")
    base = without(request.terms, names)
    cell: dict[str, object] = {"role": "reference", "family": FAMILY, "levels": dict.fromkeys(names, OFF)}
    arms = [Arm("none" if base == request.plain else "base", base, cell=cell)]
    for name in names:
        levels = {term: ON if term == name else OFF for term in names}
        cell = {"factor": name, "level": ON, "family": FAMILY, "levels": levels}
        arms.append(Arm(f"only_{name}", without(request.terms, set(names) - {name}), cell=cell))
    if len(names) > 1:
        cell = {"role": "control", "factor": "all", "level": ON, "family": CONTROLS}
        cell |= {"levels": dict.fromkeys(names, ON)}
        arms.append(Arm("reference", request.terms, cell=cell))
    return Arms(tuple(arms))
