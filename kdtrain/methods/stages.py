"""Two stages of a training: inner layers first, then the task. The share of the first stage is inferred."""

from pydantic import Field

from kdtrain.config_base import Strict


class Stages(Strict):
    """A first stage in which only the terms that compare inner layers of student and teacher are trained.

    By default there is one stage, and so it is in a training without such a term.
    """

    features: float = Field(default=0.0, ge=0, lt=1)
    """Share of the steps that the first stage takes."""
    features_after: bool = True
    """Whether the terms of the first stage go on in the second."""

    def factor(self, compares_features: bool, step: int, steps: int) -> float:
        """The factor on the weight of a term at `step` of `steps`, counted from 0.

        Args:
            compares_features: Whether the term compares inner layers.
            step: Finished steps.
            steps: Of the whole training.
        """
        if step / steps < self.features:
            return float(compares_features)
        return float(self.features == 0 or self.features_after or not compares_features)
