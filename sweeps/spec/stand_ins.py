"""What stands for third-party objects while a recorded sweep is only read."""

from typing import TYPE_CHECKING

from pydantic import ConfigDict

from kdtrain import foreign
from kdtrain.data import DataSet
from kdtrain.methods import Method, Term, parse_term
from kdtrain.space import Range, parse_domain
from sweeps.spec.recorded import Facts

if TYPE_CHECKING:
    from torch import Tensor

    from kdtrain.methods import TermInput


class RecordedTerm(Term):
    """Stands for a third-party loss: it keeps all of its options, and cannot be computed."""

    model_config = ConfigDict(extra="allow")

    def value(self, taps: "TermInput") -> "Tensor":
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


def stand_in(group: str, name: str, facts: Facts) -> object:
    """What stands for an object.

    Args:
        group: Its group, of those in `kdtrain.foreign`.
        name: Its name.
        facts: What the ledger says of such objects.
    """
    match group:
        case foreign.LOSSES:
            needs_teacher = facts["losses"].get(name, {}).get("needs_teacher", True)
            return RecordedTerm if needs_teacher else RecordedTaskTerm
        case foreign.DATA:
            has_test = facts["data"].get(name, {}).get("has_test", True)
            return RecordedData if has_test else RecordedDataWithoutTest
        case foreign.METHODS if name in facts["methods"]:
            return _method(facts["methods"][name])
    return None


def _method(facts: Facts) -> Method:
    search = {path: parse_domain(domain) for path, domain in facts["search"].items()}
    terms, published = (tuple(parse_term(term) for term in facts.get(key, ())) for key in ("terms", "published"))
    pulls = {name: Range.model_validate(domain) for name, domain in facts.get("pulls", {}).items()}
    return Method(facts["name"], facts["title"], facts["citation"], terms, search, published=published, pulls=pulls)
