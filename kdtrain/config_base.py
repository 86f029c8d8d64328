"""The base of every config: frozen, and deaf to no misspelt key."""

from pydantic import BaseModel, ConfigDict


class Strict(BaseModel):
    """A config object: immutable, validated when made, unknown keys refused, finite numbers only."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", allow_inf_nan=False, validate_default=True, use_attribute_docstrings=True
    )
