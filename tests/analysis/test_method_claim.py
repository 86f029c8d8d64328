"""The claim about methods: the search is the unit, and only seeds that did not choose count."""

import json

import numpy as np
import pytest

from analysis.errors import AnalysisError
from analysis.search.method_claim import ONE_SEARCH, method_claim, method_sentence


def searched(empty_sweep, seed=0, repeats=1, gain=0.05, finished=True, luck=0.004, **fields):
    """Two studies, each searched so many times, with one finalist on three fresh seeds for each search."""
    rng = np.random.default_rng(seed)
    made = empty_sweep(seed=seed, confirm_seeds=3, finished=finished, **fields)
    for study, level in (("none", 0.40), ("cwd", 0.40 + gain)):
        made.study(study, is_baseline=study == "none", repeats=repeats)
        for search in range(1, repeats + 1):
            config = made.trial(study, level + 0.02, seed=seed, search=search)
            its = level + rng.normal(0, luck)
            for fresh in (seed + 1, seed + 2, seed + 3):
                made.trial(study, float(its + rng.normal(0, 0.004)), seed=fresh, of=config, search=search)
    return made


def test_one_search_does_not_measure_its_luck(empty_sweep):
    result = method_claim([searched(empty_sweep).tables()])
    assert result.sentence == ONE_SEARCH
    assert result.frame["word"].isna().all()
    two = method_claim([searched(empty_sweep, repeats=2).tables()])
    assert two.sentence == "2 searches per method, a test takes 3: nothing is claimed about methods"
    assert two.luck.sd >= 0
    assert two.noise.low < two.noise.sd < two.noise.high


@pytest.mark.parametrize("sweeps", [1, 3])
def test_repeats_of_one_sweep_and_several_sweeps_are_judged_alike(empty_sweep, sweeps):
    repeats = {1: 3, 3: 1}[sweeps]
    tables = [searched(empty_sweep, 100 * place, repeats).tables() for place in range(sweeps)]
    result = method_claim(tables)
    (row,) = result.frame.to_dict("records")
    assert (row["study"], row["searches"], row["word"]) == ("cwd", 3, "separated")
    assert row["low"] < row["difference"] < row["high"]
    assert row["difference"] == pytest.approx(0.05, abs=0.02)
    assert result.sentence.startswith("on 3 searches per method alone, separated from the baseline: cwd (+")


def test_sweeps_with_repeats_count_every_search(empty_sweep):
    result = method_claim([searched(empty_sweep, seed, repeats=3).tables() for seed in (0, 100)])
    assert result.frame["searches"].tolist() == [6]
    assert "alone" not in result.sentence


def test_the_sentence_of_a_sweep_has_both_spreads_with_intervals_once_it_has_finished(empty_sweep):
    sentence = method_sentence(searched(empty_sweep, repeats=3).tables())
    assert "the luck of a search spreads by 0." in sentence
    assert "a score over seeds spreads by 0." in sentence
    assert sentence.count("[") == 3
    assert method_sentence(searched(empty_sweep).tables()) == f"O{ONE_SEARCH[1:]}."
    assert method_sentence(searched(empty_sweep, repeats=3, finished=False).tables()) == ""


def test_final_seeds_of_the_chosen_config_are_not_mixed_with_seeds_that_confirm(empty_sweep):
    """After a freeze only some configs have final seeds: whoever has them would be judged by other scores."""
    before = searched(empty_sweep, repeats=3)
    plain = method_claim([before.tables()]).frame
    for seed in (900, 901):
        before.trial("cwd", 0.1, seed=seed, of="cwd-0", phase="final")
    frozen = method_claim([before.tables()]).frame
    assert frozen["difference"].iloc[0] == plain["difference"].iloc[0]


def test_a_study_without_parameters_needs_one_search(empty_sweep):
    made = searched(empty_sweep, repeats=3)
    for row in made.rows["studies"]:
        row["searched_parameters"] = int(row["study"] == "none")
    made.rows["trials"] = [row for row in made.rows["trials"] if row["study"] == "none" or row["search"] == 1]
    row = method_claim([made.tables()]).frame.iloc[0]
    assert (row["searches"], row["word"]) == (1, "separated")


def test_unequal_noise_is_told_and_scored_on_seeds_that_did_not_choose(empty_sweep):
    """Two finalists of each search, of which the noisy method's better one was lucky."""
    rng = np.random.default_rng(0)
    made = empty_sweep(confirm_top=2, confirm_seeds=4)
    for study, noise in (("none", 0.001), ("cwd", 0.03)):
        made.study(study, is_baseline=study == "none", repeats=3)
        for search in (1, 2, 3):
            for screen in (0.5, 0.6):
                config = made.trial(study, screen, search=search)
                for seed in (11, 12, 13, 14):
                    made.trial(study, 0.4 + noise * float(rng.normal()), seed=seed, of=config, search=search)
    claim = method_claim([made.tables()])
    assert claim.notes[0].startswith("The noise of seeds is not alike in all methods")
    assert claim.frame["word"].iloc[0] != "separated"
    screened = [row for row in made.rows["trials"] if row["study"] == "cwd" and row["phase"] == "search"]
    better = {row["trial_id"] for row in screened if row["score"] == 0.6}
    scores = [row["score"] for row in made.rows["trials"] if row["candidate_of"] in better]
    assert claim.frame["mean"].iloc[0] == pytest.approx(np.mean(scores))


def test_a_refused_comparison_is_refused_over_many_searches_too(empty_sweep):
    made = searched(empty_sweep, repeats=3)
    made.rows["studies"][0]["searched_parameters"] = 0
    claim = method_claim([made.tables()])
    assert claim.frame["p_holm"].isna().all()
    assert claim.frame["study"].tolist() == ["cwd"]


def test_a_difference_within_what_matters_is_equivalent_or_not_separated(empty_sweep):
    spec = json.dumps({"smallest_effect": 10})
    row = method_claim([searched(empty_sweep, repeats=5, spec_json=spec).tables()]).frame.iloc[0]
    assert row["word"] == "equivalent"
    assert row["p_holm"] < 0.05


def test_the_same_sweep_twice_is_no_second_sweep(empty_sweep):
    tables = searched(empty_sweep).tables()
    with pytest.raises(AnalysisError, match="got seed 0 twice"):
        method_claim([tables, tables])


def test_sweeps_that_ask_different_things_are_not_pooled(empty_sweep):
    specs = [json.dumps({"budget": {"trials": trials}}) for trials in (3, 6)]
    made = [searched(empty_sweep, seed, spec_json=specs[seed]).tables() for seed in (0, 1)]
    with pytest.raises(AnalysisError, match="the same 'budget', got different ones"):
        method_claim(made)


def test_no_sweep_is_one_sentence():
    with pytest.raises(AnalysisError, match="at least one"):
        method_claim([])
