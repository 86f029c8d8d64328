import numpy as np
import pandas as pd
import pytest
import statsmodels.formula.api as smf

from analysis.stats.cell_means import cell_means


def test_intervals_are_those_of_the_model_with_one_mean_per_cell():
    rng = np.random.default_rng(0)
    cells = ["a", "a", "b", "b", "b", "c"]
    runs = pd.DataFrame({"cell": cells, "score": rng.normal(0.6, 0.01, len(cells))})
    theirs = smf.ols("score ~ C(cell) - 1", runs).fit()
    means = cell_means(runs)
    assert means["mean"].to_numpy() == pytest.approx(theirs.params.to_numpy())
    assert means[["low", "high"]].to_numpy() == pytest.approx(theirs.conf_int().to_numpy())
