"""The third-party objects of a recorded sweep, as its ledger describes them: commands that only read import nothing.

A sweep records of every third-party method its terms and ranges, of every loss whether it needs a teacher, and of the
data set whether it has a role test: all that readers of the sweep use. From that, stand-ins are made.
"""

from collections.abc import Mapping
from typing import Any

from pydantic import ConfigDict
from torch import Tensor

from kdtrain import foreign
from kdtrain.data import DATA_SETS, DataSet
from kdtrain.methods import METHODS, TERMS, Method, Term, TermInput, get_method, parse_term
from kdtrain.space import Range, parse_domain
from sweeps.spec.spec import SweepSpec

Facts = Mapping[str, Any]
"""`methods`, `losses` and `data`, each by name."""


def facts_of(spec: SweepSpec) -> Facts | None:
    """What readers of a sweep need to know of its third-party objects; None if it has none."""
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


class RecordedTerm(Term):
    """Stands for a third-party loss: it keeps all of its options, and cannot be computed."""

    model_config = ConfigDict(extra="allow")

    def value(self, taps: TermInput) -> Tensor:
        """Raise an error."""
        raise NotImplementedError(f"{self.loss} was not imported, because the sweep is only read")


class RecordedTaskTerm(RecordedTerm):
    """The same for a loss that needs no teacher."""

    needs_teacher = False


class RecordedData(DataSet):
    """Stands for a third-party data set: it keeps all of its options, and cannot be opened."""

    model_config = ConfigDict(extra="allow")


class RecordedDataWithoutTest(RecordedData):
    """The same without a role test."""

    @property
    def has_test(self) -> bool:
        """There is no role `test`."""
        return False


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
        match group:
            case foreign.LOSSES:
                needs_teacher = self._facts["losses"].get(name, {}).get("needs_teacher", True)
                return RecordedTerm if needs_teacher else RecordedTaskTerm
            case foreign.DATA:
                has_test = self._facts["data"].get(name, {}).get("has_test", True)
                return RecordedData if has_test else RecordedDataWithoutTest
            case foreign.METHODS if name in self._facts["methods"]:
                return _method(self._facts["methods"][name])
        return None


def _method_facts(method: Method) -> Facts:
    return {
        "name": method.name,
        "title": method.title,
        "citation": method.citation,
        "terms": [term.model_dump(mode="json") for term in method.terms],
        "search": {path: domain.model_dump(mode="json") for path, domain in method.search.items()},
        "published": [term.model_dump(mode="json") for term in method.published],
        "pulls": {name: domain.model_dump(mode="json") for name, domain in method.pulls.items()},
    }


def _method(facts: Facts) -> Method:
    search = {path: parse_domain(domain) for path, domain in facts["search"].items()}
    terms, published = (tuple(parse_term(term) for term in facts.get(key, ())) for key in ("terms", "published"))
    pulls = {name: Range.model_validate(domain) for name, domain in facts.get("pulls", {}).items()}
    return Method(facts["name"], facts["title"], facts["citation"], terms, search, published=published, pulls=pulls)
