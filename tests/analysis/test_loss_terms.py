"""What the loss terms came to."""

import pandas as pd
import pytest

from analysis.search.loss_terms import loss_terms
from analysis.tables.files import empty_tables


def metrics(trial, name, values):
    return [{"sweep_id": "s", "trial_id": trial, "epoch": epoch, "name": name, "value": v} for epoch, v in values]


def test_first_and_last_values_of_every_term():
    rows = [
        *metrics("kd-0", "term/pixel_kd/raw", [(2, 0.5), (1, 0.8)]),
        *metrics("kd-0", "term/pixel_kd/weighted", [(1, 1.6), (2, 1.0), (3, 0.0)]),
        *metrics("kd-0", "term/pixel_kd/gradient_share", [(1, 0.25), (4, 0.75)]),
        *metrics("kd-0", "term/task/raw", [(1, 2.0), (3, 1.0)]),
        *metrics("kd-0", "miou", [(1, 0.3)]),
        *metrics("other-0", "term/task/raw", [(1, 9.0)]),
    ]
    terms = loss_terms(pd.DataFrame(rows), {"kd-0": "kd"}).set_index("term")
    assert list(terms.index) == ["pixel_kd", "task"]
    assert set(terms["study"]) == {"kd"}
    kd = terms.loc["pixel_kd"]
    assert (kd["first"], kd["last"], kd["weighted"]) == (0.8, 0.5, 0.0)
    assert (kd["share_first"], kd["share_last"]) == pytest.approx((0.25, 0.75))
    assert terms.loc["task", ["weighted", "share_first"]].isna().all()


def test_sweeps_without_metrics_have_no_terms():
    assert loss_terms(empty_tables()["metrics"], {}).empty
