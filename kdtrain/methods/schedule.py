"""How the weight of a term changes while a training goes on. No source paper does this: all of it is inferred."""

import math
from typing import Literal

from pydantic import Field, model_validator

from kdtrain.config_base import Strict


class WeightSchedule(Strict):
    """A factor on a term's weight over the steps of a training; by default 1 throughout."""

    warmup: float = Field(default=0.0, ge=0, lt=1)
    """Share of the steps over which the factor rises linearly."""
    decay: Literal["none", "linear", "cosine"] = "none"
    """How the factor falls from there to 0 at `stop`."""
    stop: float = Field(default=1.0, gt=0, le=1)
    """Share of the steps after which the factor is 0 and the term is not computed."""

    @model_validator(mode="after")
    def _in_order(self) -> "WeightSchedule":
        if self.warmup >= self.stop:
            raise ValueError(f"warmup must end before stop, got warmup {self.warmup} and stop {self.stop}")
        return self

    def factor(self, step: int, steps: int) -> float:
        """The factor on the weight at `step` of `steps`, counted from 0."""
        warmup, progress = self.warmup * steps, step / steps
        if progress >= self.stop:
            return 0.0
        rise = min(1.0, (step + 1) / warmup) if warmup > 0 else 1.0
        fallen = max(0.0, progress - self.warmup) / (self.stop - self.warmup)
        match self.decay:
            case "linear":
                return rise * (1 - fallen)
            case "cosine":
                return rise * 0.5 * (1 + math.cos(math.pi * fallen))
        return rise
