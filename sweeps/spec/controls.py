"""Which studies are controls: what a method must beat before its gain is called distillation."""

from collections.abc import Mapping, Sequence

from analysis.tables.states import Control
from analysis.tables.subject import subject_of
from kdtrain.config import TrainConfig
from kdtrain.methods import parse_term
from sweeps.spec.settings import Cell
from sweeps.spec.spec import SweepSpec


def control_kinds(spec: SweepSpec) -> dict[str, Control]:
    """The studies of a sweep that are controls, each with its kind.

    A study is a control if it says so (``control: true``), if a cell gives it that role, or by what it trains: the
    teacher's maps of other images (a placebo), or, in a sweep that distills, cross-entropy alone. The baseline of a
    comparison is none: every study is compared with it anyway. In an ablation the config that is taken apart is none.
    """
    configs = {study.name: spec.config_for(study) for study in spec.studies}
    usual = _usual(configs)
    roles = {cell.study for cell in spec.cells if cell.role == "control"}
    subjects = {_subject(cells) for cells in _designs(spec)}
    kinds = {}
    for study in spec.studies:
        config, is_subject = configs[study.name], study.name in subjects
        kind = _kind(config, usual)
        if study.control is True or (study.name in roles and not is_subject):
            kinds[study.name] = kind or Control.OTHER
        elif study.control is None and not is_subject and kind and _alone(config) and _inferred(spec, study.name):
            kinds[study.name] = kind
    return kinds


def _inferred(spec: SweepSpec, name: str) -> bool:
    """Whether what a study trains is enough to make it a control: it stands beside a config with a teacher."""
    if spec.purpose == "search":
        if spec.baseline is not None and name == spec.baseline.name:
            return False
        return any(_distills(spec.config_for(study)) for study in spec.studies)
    beside = (cells for cells in _designs(spec) if name in {cell.study for cell in cells})
    return any(_distills(spec.config_for(spec.study(subject))) for subject in map(_subject, beside) if subject)


def _subject(cells: Sequence[Cell]) -> str | None:
    return subject_of((cell.study, cell.role, cell.levels or {}) for cell in cells)


def _designs(spec: SweepSpec) -> list[list[Cell]]:
    designs: dict[str | None, list[Cell]] = {}
    for cell in spec.cells:
        designs.setdefault(cell.design, []).append(cell)
    return list(designs.values())


def _usual(configs: Mapping[str, TrainConfig]) -> int:
    """The epochs that a method is trained for: of the first study that distills."""
    taught = (config.epochs for config in configs.values() if _distills(config))
    return next(taught, max(config.epochs for config in configs.values()))


def _alone(config: TrainConfig) -> bool:
    """Whether the losses of a config without a teacher are cross-entropy as it is, but for weight and smoothing."""
    plain = parse_term({"loss": "cross_entropy"}).model_dump()
    free = {"name", "weight", "pull", "smoothing"}
    terms = [term.model_dump() for term in config.active_terms]
    return config.uses_teacher or all(
        term.get(field) == value for term in terms for field, value in plain.items() if field not in free
    )


def _distills(config: TrainConfig) -> bool:
    return config.uses_teacher and config.teacher_order == "own"


def _kind(config: TrainConfig, usual_epochs: int) -> Control | None:
    """What a config is a control for by what it trains; None if it is none."""
    if config.uses_teacher:
        return None if _distills(config) else Control.PLACEBO
    if any(term.loss != "cross_entropy" for term in config.active_terms) or config.epochs < usual_epochs:
        return None
    if any(getattr(term, "smoothing", 0.0) > 0 for term in config.active_terms):
        return Control.SMOOTHED
    return Control.EQUAL_TIME if config.epochs > usual_epochs else Control.NONE
