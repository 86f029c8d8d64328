"""The third-party objects of a recorded sweep, as its ledger describes them: commands that only read import nothing.

A sweep records of every third-party method its terms and ranges, of every loss whether it needs a teacher, and of the
data set whether it has a role test: all that readers of the sweep use. From that, stand-ins are made.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from kdtrain.methods import Method
    from sweeps.spec.spec import SweepSpec

Facts = Mapping[str, Any]
"""`methods`, `losses` and `data`, each by name."""


def facts_of(spec: "SweepSpec") -> Facts | None:
    """What readers of a sweep need to know of its third-party objects; None if it has none."""
    from kdtrain.data import DATA_SETS
    from kdtrain.methods import METHODS, TERMS, get_method

    names = (study.method for study in spec.studies if study.method is not None)
    methods = {name: get_method(name) for name in names if name not in METHODS}
    terms = [term for study in spec.studies for term in spec.base_terms(study)]
    facts = {
        "methods": {name: _method_facts(method) for name, method in methods.items()},
        "losses": {term.loss: {"needs_teacher": term.needs_teacher} for term in terms if term.loss not in TERMS},
        "data": {} if spec.data.name in DATA_SETS else {spec.data.name: {"has_test": spec.data.has_test}},
    }
    return facts if any(facts.values()) else None


def guessed_facts(spec: Mapping[str, Any], configs: Mapping[str, Mapping[str, Any]], params: Facts) -> Facts:
    """The same for a sweep of an earlier version, which did not record it: what its trials show.

    Args:
        spec: In plain values.
        configs: A trial's config by study.
        params: By study, the values of every searched parameter that trials had.
    """
    from kdtrain.methods import METHODS

    methods, losses = {}, {}
    for study in spec["studies"]:
        config = configs.get(study["name"], {"terms": [METHODS["none"].terms[0].model_dump(mode="json")]})
        for term in config["terms"]:
            losses[term["loss"]] = {"needs_teacher": config.get("teacher") is not None}
        searched = {
            path.removeprefix("terms."): list(values)
            for path, values in params.get(study["name"], {}).items()
            if path.startswith("terms.") and path not in spec["space"]
        }
        methods[study["method"]] = {"name": study["name"], "title": study["method"], "terms": config["terms"]} | {
            "citation": "",
            "search": searched,
        }
    return {"methods": methods, "losses": losses, "data": {}}


class Recorded:
    """Makes stand-ins, for `kdtrain.foreign.reading`."""

    def __init__(self) -> None:
        self._facts: dict[str, dict[str, Any]] = {"methods": {}, "losses": {}, "data": {}}

    def learn(self, facts: Facts) -> None:
        """Take in what a ledger says."""
        for kind, by_name in facts.items():
            self._facts.setdefault(kind, {}).update(by_name)

    def __call__(self, group: str, name: str) -> object:
        """The stand-in of an object."""
        from sweeps.spec.stand_ins import stand_in

        return stand_in(group, name, self._facts)


def _method_facts(method: "Method") -> Facts:
    return {
        "name": method.name,
        "title": method.title,
        "citation": method.citation,
        "terms": [term.model_dump(mode="json") for term in method.terms],
        "search": {path: domain.model_dump(mode="json") for path, domain in method.search.items()},
        "published": [term.model_dump(mode="json") for term in method.published],
        "pulls": {name: domain.model_dump(mode="json") for name, domain in method.pulls.items()},
    }
