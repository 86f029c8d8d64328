"""The table alone as trainings: a proposal becomes the nearest config of the table that was not tried yet.

It has no model that could be wrong, but few configs and seeds: a check of what the surrogate says.
"""

import json

import numpy as np

from search.tables import Params, StudyTable, places


class Rows:
    """Trainings of the table; implements `search.trainings.Trainings`.

    Repetitions differ in the seed of the search, one of the two that all configs have. Fresh seeds are the others of
    the config, over again where more are asked for. What a config is worth is the mean over all its seeds.
    """

    def __init__(self, table: StudyTable, repetition: int) -> None:
        self.space, self.epochs, self.default = table.space, table.epochs, table.default
        self._curves, self._searched = table.curves, repetition % min(2, table.curves.shape[1])
        self._points = np.array([places(table.space, params) for params in table.configs])
        self._worth = np.nanmean(table.curves[:, :, -1], axis=1)
        self._row: dict[str, int] = {}
        self.best = float(self._worth.max())

    def curve(self, params: Params, seed: int) -> np.ndarray:
        """See `search.trainings.Trainings`."""
        row = self._at(params)
        fresh = [each for each in np.flatnonzero(~np.isnan(self._curves[row, :, 0])) if each != self._searched] or [
            self._searched
        ]
        return self._curves[row, self._searched if seed == 0 else fresh[(seed - 1) % len(fresh)]]

    def worth(self, params: Params) -> float:
        """See `search.trainings.Trainings`."""
        return float(self._worth[self._at(params)])

    def _at(self, params: Params) -> int:
        key = json.dumps(params)
        if key not in self._row:
            distances = ((self._points - places(self.space, params)) ** 2).sum(axis=1)
            tried = set(self._row.values())
            if len(tried) < len(distances):
                distances[list(tried)] = np.inf
            self._row[key] = int(np.argmin(distances))
        return self._row[key]
