import numpy as np
import pandas as pd
import pytest
from scipy import stats

from analysis.stats.cell_means import cell_means


def test_intervals_are_those_of_a_t_test_of_the_cell_by_itself():
    rng = np.random.default_rng(0)
    cells = ["a", "a", "b", "b", "b", "c"]
    runs = pd.DataFrame({"cell": cells, "score": rng.normal(0.6, 0.01, len(cells))})
    means = cell_means(runs)
    for cell in ("a", "b"):
        theirs = stats.ttest_1samp(runs.loc[runs["cell"] == cell, "score"], 0).confidence_interval()
        assert means.loc[cell, ["low", "high"]].tolist() == pytest.approx(list(theirs))
    assert means.loc["c", "n"] == 1
    assert np.isnan(means.loc["c", ["low", "high"]].astype(float)).all()
