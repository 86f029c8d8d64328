"""The lookup of a term or a method by its name, built-in or third-party."""

from collections.abc import Iterable, Mapping
from typing import Annotated

from pydantic import BeforeValidator, SerializeAsAny, ValidationError
from pydantic_core import ErrorDetails

from kdtrain import foreign
from kdtrain.errors import InputError
from kdtrain.methods.base import Method, Term, default_name
from kdtrain.methods.registry import METHODS, TERMS


def find_term(loss: str) -> type[Term]:
    """The class of a loss: a key of `TERMS`, `package.module:Class`, or the name of an entry point.

    Raises:
        InputError: If there is no such class, or it is not a subclass of Term.
    """
    term = foreign.find_object(loss, TERMS, foreign.LOSSES, "loss", " in a term")
    if not (isinstance(term, type) and issubclass(term, Term)):
        raise InputError(f"the loss {loss!r} must be a subclass of kdtrain.methods.Term, got {foreign.kind_of(term)}")
    if (term.value, term.module, term.build) == (Term.value, Term.module, Term.build):
        raise InputError(f"the loss {loss!r} must define value, or module if it trains layers of its own, got neither")
    return term


def get_method(name: str) -> Method:
    """The method of a name: a key of `METHODS`, `package.module:NAME`, or the name of an entry point.

    Raises:
        InputError: If there is no such method, or it is not a Method.
    """
    method = foreign.find_object(name, METHODS, foreign.METHODS, "method")
    if not isinstance(method, Method):
        raise InputError(f"the method {name!r} must be a kdtrain.methods.Method, got {foreign.kind_of(method)}")
    return method


def parse_term(value: Mapping[str, object] | Term) -> Term:
    """Read a term as it stands in YAML: a mapping with `loss` and that loss's options.

    Raises:
        InputError: If the loss is unknown, an option is unknown, or a value is not allowed.
    """
    if isinstance(value, Term):
        return value
    if not isinstance(value, Mapping) or "loss" not in value:
        raise InputError(f"a term is a mapping with the key loss, one of {_listed(TERMS)}, got {value!r}")
    loss = value["loss"]
    if not isinstance(loss, str):
        raise InputError(f"unknown loss {loss!r} in a term: known are {_listed(TERMS)}")
    term = find_term(loss)
    name = value.get("name", default_name(loss))
    unknown = [str(key) for key in value if key not in term.model_fields]
    if unknown and term.model_config.get("extra") != "allow":
        raise InputError(f"term {name!r} has no option {', '.join(unknown)}: allowed are {_listed(term.model_fields)}")
    try:
        return term.model_validate(dict(value))
    except ValidationError as error:
        raise InputError(f"term {name!r}: " + "; ".join(_explained(e, term) for e in error.errors())) from None


AnyTerm = Annotated[SerializeAsAny[Term], BeforeValidator(parse_term)]
"""A field of a config which holds a term of any loss."""


def _explained(error: ErrorDetails, term: type[Term]) -> str:
    if error["loc"] == ("loss",):
        declared = term.model_fields["loss"].default
        return (
            f"loss: the class {term.__name__} calls itself {declared!r}, got {error['input']!r}; leave the field loss "
            f"out of the class, or offer the class as {declared!r} in the entry points {foreign.LOSSES}"
        )
    text = str(error["msg"]).removeprefix("Value error, ")
    where = ".".join(str(part) for part in error["loc"])
    return f"{where}: {text}, got {error['input']!r}" if where else text


def _listed(names: Iterable[str]) -> str:
    return ", ".join(names)
