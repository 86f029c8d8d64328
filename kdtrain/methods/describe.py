"""Terms and methods as Markdown, for `kdsweep methods` and `docs/methods.md`."""

import inspect
from collections.abc import Collection, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from kdtrain import foreign
from kdtrain.errors import InputError
from kdtrain.explain import did_you_mean
from kdtrain.field_docs import field_docs
from kdtrain.foreign import available_names, installed, is_reference, load_foreign
from kdtrain.methods import METHODS, TERMS, find_term, get_method
from kdtrain.methods.base import Method, Term
from kdtrain.space import Choice, Domain

_COMMON = tuple(Term.model_fields)
_PREFACE = """# Terms and methods

Written from the code by `python -m kdtrain.methods.describe`; do not edit.

*Stated* stands in a paper, official code or log that was read; *secondary* in somebody else's description of it;
*inferred* is a decision made here, and a switch wherever it could be otherwise. A loss weighs as much as its
reduction: published weights belong to the reduction beside which they are published. Where a published reduction grows
or falls with the map or the batch, the default is one that does not, and the published terms stand below it (`units:
weight` of a spec takes these).

Every term has a `weight` (0 computes nothing), a `student_layer` and a `teacher_layer` (`logits`, `decoder` for what
feeds the classifier, `encoder.1` to `encoder.5`, `encoder.last` for the deepest stage, `aux`, or the name of a module;
several, separated by commas, give the mean over the pairs), and a `schedule` of its weight over the training: `warmup`
and `stop` as shares of the steps, `decay` none, linear or cosine (constant by default; inferred, no source paper
changes its weight).

In place of a weight a spec may give a `pull`: the length of the gradient of the weighted term with respect to all
weights of the student, divided by that of cross-entropy, as measured on an untaught training of the sweep. A pull of 1
is half of the gradient of both. Unlike a weight it means the same for all losses, reductions, maps and batches;
`docs/spec.md` has the rules. The last section has the pulls of all defaults.
"""


def page() -> str:
    """The whole page."""
    methods = "\n".join(describe_method(method) for method in METHODS.values())
    terms = "\n".join(describe_term(term) for term in TERMS.values())
    index = _table(("method", "what it is", "terms"), (_row(method) for method in METHODS.values()))
    pulls = Path(__file__).with_name("measured_pulls.md").read_text()
    return f"{_PREFACE}\n## Methods\n\n{index}\n\n{methods}\n## Terms\n\n{terms}\n## Pulls\n\n{pulls}".rstrip("\n")


def overview() -> list[tuple[str, str, str]]:
    """Name, title and terms with their weights, of every method."""
    return [_row(method) for method in METHODS.values()]


def describe(name: str) -> str:
    """A method with all its terms, or a term; ours or somebody else's.

    Raises:
        InputError: If there is neither.
    """
    if name in available_names(METHODS, foreign.METHODS):
        return _describe_with_terms(get_method(name))
    if name in available_names(TERMS, foreign.LOSSES):
        return describe_term(find_term(name))
    if not is_reference(name):
        names = [*available_names(METHODS, foreign.METHODS), *available_names(TERMS, foreign.LOSSES)]
        raise InputError(f"there is no method or term {name}{did_you_mean(name, names)}")
    if isinstance(method := load_foreign(name), Method):
        return _describe_with_terms(method)
    return describe_term(find_term(name))


def offers() -> list[tuple[str, str]]:
    """What installed packages offer, without importing it: `method my_kd`, and the module with its name."""
    groups: tuple[tuple[str, Collection[str], str], ...] = (
        ("method", METHODS, foreign.METHODS),
        ("term", TERMS, foreign.LOSSES),
    )
    return [
        (f"{kind} {name}", f"{point.module}:{point.attr}")
        for kind, ours, group in groups
        for name, point in installed(group).items()
        if name not in ours
    ]


def describe_method(method: Method) -> str:
    """One method: its recipe, what is worth searching, and where each piece comes from."""
    lines = [f"### {method.name}: {method.title}", ""]
    if method.citation:
        lines += [method.citation, ""]
    lines += [*map(_recipe, method.terms), ""]
    if method.published:
        lines += ["As published:", "", *map(_recipe, method.published), ""]
    if method.search:
        lines += [f"Worth searching: {_ranges(method.defaults('pull')[1])}.", ""]
    for ranges, pulls in method.former_pulls.items():
        former = {f"{name}.pull": pull for name, pull in pulls.items()}
        lines += [f"With `ranges: {ranges}`: {_ranges(former)}.", ""]
    if method.pulls:
        lines += [f"With `units: weight`: {_ranges(method.search)}.", ""]
    return "\n".join([*lines, *_facts(method.notes), *_blank_after(method.notes)])


def _recipe(term: Term) -> str:
    options = {name: value for name, value in _options(term) if name in term.model_fields_set}
    settings = ", ".join(f"{name} {_plain(value)}" for name, value in options.items())
    name = term.name if term.name == term.loss else f"{term.name} ({term.loss})"
    return f"- {_plain(term.weight)} × {name}{f': {settings}' if settings else ''}"


def _ranges(search: Mapping[str, Domain]) -> str:
    return "; ".join(f"`{path}` {describe_domain(domain)}" for path, domain in search.items())


def describe_term(term: type[Term]) -> str:
    """One term: its formula, source, options with defaults, and what is not as published."""
    default = term()
    lines = [f"### {default.loss}", "", inspect.getdoc(term) or "", "", f"    {term.formula}", "", term.source, ""]
    layers = "" if term.needs_teacher else " Needs no teacher."
    if term.needs_teacher and {default.student_layer, default.teacher_layer} != {"logits"}:
        layers = f" Layers: {default.student_layer} of the student, {default.teacher_layer} of the teacher."
    if layers:
        lines += [layers.strip(), ""]
    options = [(name, _plain(value), field_docs(term).get(name, "")) for name, value in _options(default)]
    if options:
        lines += [_table(("option", "default", ""), options), ""]
    lines += [*_facts(term.status), *_blank_after(term.status)]
    lines += [*(f"- Differs: {sentence}" for sentence in term.disagreements), *_blank_after(term.disagreements)]
    return "\n".join(lines)


def _describe_with_terms(method: Method) -> str:
    terms = {term.loss: type(term) for term in method.terms}
    return "\n".join([describe_method(method), *(describe_term(term) for term in terms.values())])


def describe_domain(domain: Domain) -> str:
    """A range in words."""
    if isinstance(domain, Choice):
        return "one of " + ", ".join(_plain(choice) for choice in domain.choices)
    return f"{domain.low:g} to {domain.high:g}" + (" (log)" if domain.log else "")


def _row(method: Method) -> tuple[str, str, str]:
    return method.name, method.title, " + ".join(f"{_plain(term.weight)} {term.name}" for term in method.terms)


def _options(term: Term) -> Iterator[tuple[str, Any]]:
    """The fields that make this term what it is, and its layers where they are not the usual ones."""
    for name, value in term:
        if name not in _COMMON or (name.endswith("_layer") and name in term.model_fields_set):
            yield name, value


def _facts(status: Mapping[str, str]) -> list[str]:
    return [f"- {piece}: {origin}" for piece, origin in status.items()]


def _blank_after(items: Iterable[Any]) -> list[str]:
    return [""] if items else []


def _table(header: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    lines = [header, tuple("---" for _ in header), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)


def _plain(value: Any) -> str:
    match value:
        case bool() | None:
            return {True: "yes", False: "no", None: "none"}[value]
        case float():
            return f"{value:g}"
    return str(value)


if __name__ == "__main__":
    print(page())
