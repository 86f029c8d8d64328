"""The pulls of a sweep: which have to be measured before the first trial, and the weights that they make."""

from kdtrain.loop.calibration import Calibration
from kdtrain.methods import options_of
from sweeps.driver.open_sweep import OpenSweep
from sweeps.ledger import sweep_events
from sweeps.ledger.event_base import Content
from sweeps.spec.calibrations import Measurement, calibrations, check_measured, lines_about, ratios
from sweeps.spec.paths import Space
from sweeps.spec.pulls import Ratio


class MeasuredPulls:
    """The pulls at weight 1 of a sweep's terms.

    Args:
        sweep: The sweep.
    """

    def __init__(self, sweep: OpenSweep) -> None:
        self._sweep = sweep
        self._ratio: Ratio | None = None

    @property
    def ratio(self) -> Ratio:
        """The pulls at weight 1 that are measured so far."""
        if self._ratio is None:
            self._ratio = ratios(self._sweep.spec, self._sweep.teacher, self._sweep.state.pulls)
        return self._ratio

    def space_of(self, study: str) -> Space:
        """What a study searches, with priors."""
        return self._sweep.spec.space_with_priors(self._sweep.spec.study(study), self.ratio)

    def to_measure(self) -> list[Measurement]:
        """See `Driver.pulls_to_measure`."""
        pulls = self._sweep.state.pulls
        lacking = (each.without(pulls) for each in calibrations(self._sweep.spec, self._sweep.teacher))
        return [measurement for measurement in lacking if measurement.terms]

    def measured(self, measurement: Measurement, calibration: Calibration) -> None:
        """A calibration is made."""
        config = measurement.config
        terms: list[Content] = [
            {"options": options_of(term), "lengths": list(calibration.lengths[key])}
            for key, term in measurement.terms.items()
        ]
        steps, task = list(calibration.steps), list(calibration.task)
        content = config.model_dump(mode="json")
        self._sweep.append(sweep_events.PullsMeasured(content, config.config_id, steps, task, terms))
        self._ratio = None

    def lines(self) -> list[str]:
        """See `Driver.lines_about_pulls`."""
        return lines_about(self._sweep.spec, self._sweep.teacher, self._sweep.state.pulls)

    def check(self) -> None:
        """See `Driver.check_pulls`."""
        check_measured(self._sweep.spec, self.ratio)
