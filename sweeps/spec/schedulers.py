"""The schedulers that a spec can name, each with settings of its own: how bad trials are stopped before their end."""

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal, get_args

from pydantic import BeforeValidator, Field, ValidationError
from pydantic_core import InitErrorDetails, PydanticCustomError

from kdtrain.config_base import Strict
from kdtrain.explain import did_you_mean
from sweeps.spec.settings import Count

Mode = Literal["stop", "pause"]
"""Whether a trial that is stopped at a rung goes on once it is among the best there, from its checkpoint."""


class NoScheduler(Strict):
    """Every trial is trained to its end. `grace` and `factor`, which earlier versions wrote, have no effect."""

    OFF: ClassVar[str] = "{name: none} to stop no trial early"
    audit: ClassVar[float] = 0.0
    name: Literal["none"] = "none"
    grace: Count = Field(default=1, ge=1)
    factor: Count = Field(default=3, ge=2)


class _Stopping(Strict):
    audit: float = Field(default=0.0, ge=0, le=1)
    """The share of the stopped trials that is trained to the end after the search, see `sweeps.driver.audit`."""
    grace: Count = Field(default=1, ge=1)
    """Epochs before a trial may be stopped: up to the first rung, where there are rungs."""


class _Rungs(_Stopping):
    factor: Count = Field(default=3, ge=2)
    """One in `factor` trials continues at every rung, and the rungs' epochs grow by this factor; with brackets it is
    also the ratio between the first rungs of two of them."""
    mode: Mode = "stop"
    """Whether a trial that is stopped at a rung goes on (`pause`) once it is among the best there."""


class Halving(_Rungs):
    """Asynchronous successive halving, see `sweeps.driver.asha`."""

    name: Literal["halving"] = "halving"


class Hyperband(_Rungs):
    """Asynchronous Hyperband: halving in brackets with different first rungs, see `sweeps.driver.hyperband`."""

    name: Literal["hyperband"] = "hyperband"


class Median(_Stopping):
    """The median stopping rule, see `sweeps.driver.median`."""

    name: Literal["median"] = "median"
    rivals: Count = Field(default=4, ge=1)
    """Other trials of the search that must have come as far before a trial may be stopped."""


class Patience(_Stopping):
    """A trial that no longer improves is stopped, see `sweeps.driver.patience`."""

    name: Literal["patience"] = "patience"
    evaluations: Count = Field(default=5, ge=1)
    """Evaluations in a row without a new best value of the trial, after which it is stopped."""


_Any = NoScheduler | Halving | Hyperband | Median | Patience
SCHEDULERS: Mapping[str, type[Strict]] = {kind.model_fields["name"].default: kind for kind in get_args(_Any)}
"""The settings of every scheduler, by its name."""


def _named(content: object) -> object:
    """The content with its name. A name that is not known, or a setting of another scheduler, is an error."""
    if not isinstance(content, Mapping):
        return content
    content = {"name": "none", **content}
    name = content["name"]
    kind = SCHEDULERS.get(name) if isinstance(name, str) else None
    if kind is None:
        raise _mistake("name", f"must be one of {', '.join(SCHEDULERS)}, got {name!r}", name)
    for field, value in content.items():
        if field not in kind.model_fields:
            allowed = [each for each in kind.model_fields if each != "name"]
            owners = [other for other, each in SCHEDULERS.items() if field in each.model_fields and other != "none"]
            text = f"is a setting of {' and '.join(owners)}, and the scheduler is {name}, which has "
            text += f"{', '.join(allowed)}; got {value!r}"
            raise _mistake(str(field), text if owners else f"unknown key{did_you_mean(str(field), allowed)}", value)
    return content


def _mistake(field: str, text: str, value: Any) -> ValidationError:
    details = InitErrorDetails(
        type=PydanticCustomError("value_error", "{text}", {"text": text}), loc=(field,), input=value
    )
    return ValidationError.from_exception_data("scheduler", [details])


Scheduler = Annotated[Annotated[_Any, Field(discriminator="name")], BeforeValidator(_named)]
"""The settings of a scheduler; the name says which settings there are."""
