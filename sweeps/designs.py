"""Ablations: from one config to the sweep that says what each part of it is worth."""

from collections.abc import Callable, Mapping
from typing import Any

from kdtrain.config import TrainConfig
from kdtrain.errors import InputError
from kdtrain.explain import meant
from kdtrain.methods import Term, parse_term
from sweeps.spec import Budget, Cell, Confirm, Scheduler, Study, SweepSpec

TASK_LOSSES = ("cross_entropy", "adaptive_cross_entropy")
"""Losses that learn from labels; a config keeps at least one of them."""
_SEEDS = 3
_OF_SPEC = {"data", "student", "teacher", "terms", "seed"}


def leave_one_out(config: TrainConfig, spec: SweepSpec) -> SweepSpec:
    """The config as reference, one study per term left out, and the student without a teacher as control.

    Cross-entropy is never left out, and takes the place (and weight) of adaptive cross-entropy where that was
    the only loss on labels. Nothing is searched. The seeds are others than those on which the config was
    chosen.

    Args:
        config: The config to take apart.
        spec: The sweep that it comes from, for the teacher, the resources and the number of seeds.

    Raises:
        InputError: If no term can be left out.
    """
    terms = config.active_terms
    removable = [term for term in terms if term.loss != "cross_entropy"]
    if not removable:
        raise InputError(
            "design leave-one-out: the config has cross-entropy alone, so that there is nothing to leave out"
        )
    plain = tuple(term for term in terms if term.loss == "cross_entropy") or (_cross_entropy(1.0),)
    without = {term: _without(terms, term) for term in removable}

    studies = [Study(name="reference", terms=terms, space={})]
    cells = [Cell(study="reference", role="reference")]
    for term, rest in without.items():
        name = f"without_{term.name}"
        studies.append(Study(name=name, terms=rest, space={}))
        cells.append(Cell(study=name, factor=term.name, level="off", family="terms"))
    if plain not in without.values():
        studies.append(Study(name="none", terms=plain, space={}, baseline=True))
        cells.append(Cell(study="none", role="control", family="terms"))
    return SweepSpec(
        name=f"{spec.name}-leave-one-out",
        data=config.data,
        student=config.student,
        teacher=spec.teacher,
        train=config.model_dump(mode="json", exclude=_OF_SPEC),
        studies=tuple(studies),
        budget=Budget(trials=1),
        scheduler=Scheduler(name="none"),
        confirm=Confirm(top=1, seeds=spec.confirm.seeds or _SEEDS),
        resources=spec.resources,
        retries=spec.retries,
        seed=spec.seed + spec.confirm.seeds,
        purpose="ablation",
        design="leave-one-out",
        cells=tuple(cells),
    )


DESIGNS: dict[str, Callable[[TrainConfig, SweepSpec], SweepSpec]] = {"leave-one-out": leave_one_out}


def ablation(design: str, content: Mapping[str, Any], spec: SweepSpec, seeds: int | None = None) -> SweepSpec:
    """The sweep of a design around a config.

    Args:
        design: A key of `DESIGNS`.
        content: A config's plain values, or those of a best.yaml, which has them under `config`.
        spec: The sweep that the config comes from.
        seeds: Fresh seeds per cell; as many as that sweep has where none is given.

    Raises:
        InputError: If there is no such design, or the config is not one.
    """
    if design not in DESIGNS:
        raise InputError(f"design: there is no {design!r}{meant(design, DESIGNS)}")
    inner = content.get("config", content)
    made = DESIGNS[design](TrainConfig.parse(inner), spec)
    confirm = made.confirm if seeds is None else Confirm(top=1, seeds=seeds)
    return made.model_copy(update={"confirm": confirm})


def _without(terms: tuple[Term, ...], left_out: Term) -> tuple[Term, ...]:
    rest = tuple(term for term in terms if term is not left_out)
    if any(term.loss in TASK_LOSSES for term in rest):
        return rest
    return (_cross_entropy(left_out.weight), *rest)


def _cross_entropy(weight: float) -> Term:
    return parse_term({"loss": "cross_entropy", "weight": weight})
