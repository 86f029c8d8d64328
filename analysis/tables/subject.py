"""Which config an ablation takes apart."""

from collections.abc import Iterable, Mapping


def subject_of(cells: Iterable[tuple[str, str, Mapping[str, str]]]) -> str | None:
    """The config that a design takes apart: its reference, or, where that has every factor off, the cell with all on.

    Args:
        cells: Of every cell of the design its study, its role, and its level of every factor.
    """
    cells = list(cells)
    reference = next(((study, levels) for study, role, levels in cells if role == "reference"), None)
    if reference is None:
        return None
    study, levels = reference
    if set(levels.values()) != {"off"}:
        return study
    return next((study for study, _, levels in cells if set(levels.values()) == {"on"}), None)
