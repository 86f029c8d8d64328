"""The sampler `prior` and the priors of domains, in simulated worlds and in whole lives of sweeps."""

import numpy as np
import pytest
from test_search import trial

from analysis.ablation.effects import ablate
from analysis.report.verdict import verdict
from analysis.selection.compare import compare
from analysis.tables.files import read_tables
from kdtrain.errors import InputError
from kdtrain.space import Choice, Range, parse_domain
from sweeps.driver.idle_settings import idle_settings
from sweeps.driver.proposals import AllProposals, Proposals
from sweeps.driver.sampler import make_sampler, propose
from sweeps.driver.samplers.beliefs import Belief
from sweeps.driver.samplers.prior import PriorSampler
from sweeps.driver.samplers.ranking import Ranked
from sweeps.outcome.tabulate import write_tables
from sweeps.spec.paths import shares
from sweeps.spec.pulls import stand_in
from sweeps.spec.settings import Sampler
from sweeps.spec.spec import load_spec
from sweeps.study_plan import searched_in_words

LR = {"low": 0.001, "high": 0.1, "log": True}


@pytest.mark.parametrize(
    ("domain", "complaint"),
    [
        ({"low": 1, "high": 2, "prior": 3}, r"prior: must be a number from 1 to 2, got 3\.0"),
        ({"low": 1, "high": 2, "prior": None}, "prior: must be a number from 1 to 2, got None"),
        ({"low": 1, "high": 4, "integer": True, "prior": 2.5}, r"number that is whole from 1 to 4, got 2\.5"),
        ({"low": 1, "high": 2, "prior": True}, "prior: must be a number, got true"),
        ({"choices": ["a", None], "prior": "b"}, r"prior: must be one of \['a', None\], got 'b'"),
        ({"choices": [0, 1], "prior": False}, r"prior: must be one of \[0, 1\], got False"),
        ({"choices": ["a", "b"], "prior": None}, r"prior: must be one of \['a', 'b'\], got None"),
        ({"low": 1, "high": 2, "confidence": "sure"}, "confidence: .*'low', 'medium' or 'high'.*got 'sure'"),
    ],
)
def test_a_prior_that_the_domain_does_not_hold_is_refused(domain, complaint):
    with pytest.raises(InputError, match=complaint):
        parse_domain(domain)


def test_a_domain_keeps_what_is_given_and_no_more():
    assert parse_domain(LR).model_dump() == {**LR, "integer": False}
    without, null = parse_domain(["a", None]), parse_domain({"choices": ["a", None], "prior": None})
    assert (without.has_prior, null.has_prior) == (False, True)
    for domain in (without, null, parse_domain({**LR, "prior": 0.02, "confidence": "high"})):
        again = parse_domain(domain.model_dump(mode="json"))
        assert again == domain
        assert again.has_prior == domain.has_prior


def test_a_prior_stays_when_the_range_is_fitted_to_whole_numbers(fake):
    def spec(prior):
        return fake.make_spec(studies=["none"], space={"batch_size": {"low": 2, "high": 8, "prior": prior}})

    assert spec(6).space_of(spec(6).studies[0])["batch_size"] == Range(low=2, high=8, integer=True, prior=6)
    with pytest.raises(InputError, match=r"batch_size: prior: must be a number that is whole from 2 to 8, got 6\.5"):
        _ = spec(6.5).space_of(spec(6.5).studies[0])


@pytest.mark.parametrize(
    "belief",
    [
        Belief(Range(low=0, high=1)),
        Belief(Range(low=0, high=1), 0.9, 0.25),
        Belief(Range(low=0.01, high=1, log=True), 0.0, 0.125),
        Belief(Choice(choices=("a", "b", "c")), 0.5, 0.25),
        Belief(Range(low=1, high=3, integer=True), 0.5, 0.5),
    ],
)
def test_draws_follow_the_density(belief):
    places = (np.arange(6000) + 0.5) / 6000
    draws = np.array([belief.at(chance) for chance in places])
    expected, _ = np.histogram(places, 12, (0, 1), weights=[belief.density(place) for place in places])
    seen, _ = np.histogram(draws, 3 if isinstance(belief.domain, Choice) else 12, (0, 1))
    if isinstance(belief.domain, Choice):
        expected = expected.reshape(3, 4).sum(axis=1)
    assert seen / 6000 == pytest.approx(expected / 6000, abs=0.01)


def test_the_published_value_is_the_prior_where_none_is_given(fake):
    space = {
        "optimizer.lr": LR,
        "optimizer.momentum": {"low": 0.5, "high": 0.99, "prior": 0.8, "confidence": "low"},
        "optimizer.weight_decay": {"low": 0.01, "high": 0.1, "log": True},
    }
    spec = fake.make_spec(studies=["kd"], space=space, sampler={"name": "prior"})
    study = spec.studies[0]
    priors = {path: domain.prior for path, domain in spec.space_with_priors(study, stand_in).items()}
    published = spec.config_for(study)
    assert published.optimizer.weight_decay < 0.01
    assert priors["optimizer.lr"] == published.optimizer.lr
    assert priors["optimizer.momentum"] == 0.8
    assert priors["optimizer.weight_decay"] is None
    words = searched_in_words(spec, study)
    assert words["optimizer.lr"] == f"0.001 to 0.1, log, prior {published.optimizer.lr:g}"
    assert words["optimizer.momentum"] == "0.5 to 0.99, prior 0.8, low confidence"
    assert words["optimizer.weight_decay"] == "0.01 to 0.1, log, prior none"


def test_the_plan_says_that_the_pull_of_a_published_weight_is_known_later(fake):
    spec = fake.make_spec(studies=["kd"], units="pull", sampler={"name": "prior"})
    words = searched_in_words(spec, spec.studies[0])
    assert words["terms.pixel_kd.pull"].endswith(", prior of the published weight, once pulls are measured")
    assert "prior" not in str(searched_in_words(fake.make_spec(studies=["kd"]), spec.studies[0]))


def test_a_prior_that_no_sampler_looks_at_is_said(fake):
    space = {"optimizer.lr": {**LR, "prior": 0.02, "confidence": "high"}}
    said = list(idle_settings(fake.make_spec(space=space)))
    assert "space.optimizer.lr.prior: only the sampler prior looks at it, and the sampler is tpe" in said
    assert "space.optimizer.lr.confidence: only the sampler prior looks at it, and the sampler is tpe" in said
    assert not [each for each in idle_settings(fake.make_spec(space=space, sampler={"name": "prior"})) if "lr" in each]


def world(seed, shift):
    """The best place of four parameters, and a space whose priors lie `shift` away from it."""
    best = np.random.default_rng(seed).uniform(0.1, 0.9, 4)
    if shift is None:
        return best, {f"p{n}": Range(low=0, high=1) for n in range(4)}
    believed = np.where(best < 0.5, best + shift, best - shift).clip(0, 1).tolist()
    return best, {f"p{n}": Range(low=0, high=1, prior=believed[n]) for n in range(4)}


def regret(name, shift, trials, worlds=12, **options):
    """The mean distance in score between the best trial and the best place."""
    lost = 0.0
    for seed in range(worlds):
        best, space = world(seed, shift)
        sampler, told = make_sampler(Sampler(name=name, options=options)), []
        for number in range(trials):
            params = propose("s", space, sampler, seed, told, None, "s", trials)
            told.append(trial(number, params, 1 - sum((np.array(shares(space, params)) - best) ** 2)))
        lost += 1 - max(one.score for one in told)
    return lost / worlds


def test_a_good_prior_needs_fewer_trials_than_random_ones():
    assert regret("prior", 0.1, 8) < 0.5 * regret("random", None, 16)


def test_a_wrong_prior_is_left_soon():
    """The regret with a prior at the other end is at most 1.5 times that of random trials, and below it in the end."""
    assert regret("prior", 0.9, 3) > 1.5 * regret("random", None, 3)
    assert regret("prior", 0.9, 24) < 1.5 * regret("random", None, 24)
    assert regret("prior", 0.9, 48) < regret("random", None, 48)


def test_the_shares_of_the_sources_follow_the_evidence():
    space = {f"p{n}": Range(low=0, high=1, prior=0.1) for n in range(4)}
    sampler = PriorSampler(startup=6)

    def told(places):
        return Ranked(
            trial(number, {f"p{n}": place for n in range(4)}, 1 - abs(place - 0.9))
            for number, place in enumerate(places)
        )

    few = [share for _, share in sampler.sources(space, told([0.1] * 5))]
    assert few == [0.25, 0.75]
    everywhere, prior, incumbent = (share for _, share in sampler.sources(space, told([0.1, 0.3, 0.5, 0.7, 0.85, 0.9])))
    assert everywhere == 0.25
    assert prior + incumbent == pytest.approx(0.75)
    assert prior < 0.05


def test_the_config_of_all_priors_comes_first_and_once():
    space = {"x": Range(low=1, high=9, integer=True, prior=3), "layer": Choice(choices=("a", None), prior=None)}
    sampler = make_sampler(Sampler(name="prior"))
    first = propose("s", space, sampler, 1, [], None)
    assert first == {"x": 3, "layer": None}
    assert type(first["x"]) is int
    published = {"x": 5, "layer": "a"}
    assert propose("s", space, sampler, 1, [trial(0, published, 0.5)], published) == first
    assert propose("s", space, sampler, 1, [trial(0, first, 0.5)], None) != first


def test_a_diverged_or_stopped_trial_is_no_incumbent():
    space = {"x": Range(low=0, high=1)}
    told = [trial(n, {"x": 0.9 + n / 1000}, 0.9, "diverged") for n in range(10)]
    told += [trial(10 + n, {"x": 0.8 + n / 1000}, 0.9, "pruned") for n in range(3)]
    told += [trial(20 + n, {"x": 0.1 + n / 1000}, 0.5) for n in range(6)]
    *_, (incumbent, _) = PriorSampler(startup=6).sources(space, Ranked(told))
    assert incumbent.kept["x"] == 0.1


@pytest.mark.parametrize("random", [-0.1, 1.1, True, "a"])
def test_a_share_that_is_none_is_refused(random):
    with pytest.raises(InputError, match=r"random: must be a share from 0 to 1, got"):
        make_sampler(Sampler(name="prior", options={"random": random}))


def test_a_sweep_takes_priors_from_its_spec_and_goes_on_with_others(fake, tmp_path):
    def spec(**changes):
        return fake.make_spec(studies=["none"], confirm={"top": 0}, sampler={"name": "prior"}, **changes)

    fake.run(spec(space={"optimizer.lr": {**LR, "prior": 0.05}}, budget={"trials": 3}), tmp_path)
    state = fake.run(spec(space={"optimizer.lr": {**LR, "prior": 0.002}}, budget={"trials": 6}), tmp_path)
    rates = [one.params["optimizer.lr"] for one in state.of_study("none")]
    assert rates[1] == 0.05
    assert len(rates) == 6
    assert "prior 0.05 -> " in " ".join(one.detail for one in state.decisions)


RECIPE = {"optimizer.lr": Range(low=0, high=1), "terms.x.weight": Range(low=0, high=1)}


def draws(share, others, space=RECIPE, count=60):
    """How near to 0.9 the values of each parameter are drawn, before anything is known of the study itself."""
    tried, sampler = Proposals(space), make_sampler(Sampler(name="prior", options={"share": share}))
    tried.others = {str(number): Ranked(trials) for number, trials in enumerate(others)}
    drawn = [propose("s", space, sampler, seed, tried, None) for seed in range(count)]
    ranges = [path for path, domain in space.items() if isinstance(domain, Range)]
    return {path: sum(params[path] > 0.75 for params in drawn) / count for path in ranges}


def told(count, **params):
    return [trial(n, {"optimizer.lr": 0.9, "terms.x.weight": 0.9, **params}, 0.5) for n in range(count)]


def test_what_other_studies_have_learnt_about_the_recipe_counts_where_it_is_asked_for():
    assert draws(False, [told(6), told(6)]) == draws(True, [])
    shared = draws(True, [told(6), told(6)])
    assert shared["optimizer.lr"] > 0.4
    assert shared["terms.x.weight"] < 0.4
    assert draws(True, [told(3)]) == draws(True, [])  # too few of them have ended
    assert draws(True, [[trial(n, {"terms.x.weight": 0.9}, 0.5) for n in range(6)]]) == draws(True, [])
    only_terms = {"terms.x.weight": RECIPE["terms.x.weight"]}
    assert draws(True, [told(6)], only_terms) == draws(True, [], only_terms)


def test_a_study_that_does_not_search_a_parameter_shares_nothing_with_one_that_may_set_it_to_null():
    space = {**RECIPE, "schedule": Choice(choices=(None, "poly"))}
    assert draws(True, [told(6)], space) == draws(False, [], space)
    assert draws(True, [told(6, schedule=None)], space)["optimizer.lr"] > 0.4


def test_a_sweep_whose_studies_share_goes_on_as_one_left_alone_and_its_report_says_so(fake, tmp_path):
    def spec(share):
        sampler = {"name": "prior", "startup": 2, "options": {"share": share}}
        settings = {"budget": {"trials": 7}, "confirm": {"top": 1, "seeds": 2}}
        return fake.make_spec(studies=["none", "kd"], sampler=sampler, **settings)

    whole = fake.run(spec(True), tmp_path / "whole")
    state = fake.resumed(tmp_path / "cut", 40, lambda folder: fake.run(spec(True), folder))
    params = {trial.id: trial.params for trial in whole.trials.values()}
    assert {trial.id: trial.params for trial in state.trials.values()} == params
    alone = fake.run(spec(False), tmp_path / "alone")
    assert {trial.id: trial.params for trial in alone.trials.values()} != params
    sentence = "The searches shared what they learnt about the recipe, so studies are not independent."
    assert sentence in said(tmp_path / "whole")
    assert sentence not in said(tmp_path / "alone")


def said(sweep):
    write_tables(sweep)
    tables = read_tables(sweep)
    return verdict(tables, compare(tables), ablate(tables)).not_claimed


def test_a_search_learns_from_those_with_its_number_alone(fake, tmp_path):
    spec = fake.make_spec(studies=["none", "kd"], budget={"trials": 8}, repeats=2, sampler={"name": "random"})
    state = fake.run(spec, tmp_path)
    proposals = AllProposals(state, lambda study: spec.space_of(spec.study(study)))
    others = proposals.of_search("kd", 2).others
    assert {name: {one.search for one in trials} for name, trials in others.items()} == {"none": {2}}


def test_a_prior_may_be_set_on_the_command_line_also_of_a_list_of_choices(fake, tmp_path):
    (tmp_path / "s.yaml").write_text(
        fake.make_spec(studies=["none"], space={"optimizer.name": ["sgd", "adamw"]}).dump()
    )
    (tmp_path / "short.yaml").write_text(
        "{name: a, data: {name: streets}, studies: [none], budget: {trials: 3}, space: {optimizer.name: [sgd, adamw]}}"
    )
    for name in ("s.yaml", "short.yaml"):
        space = load_spec(tmp_path / name, {"space.optimizer.name.prior": "adamw"}).space
        assert space == {"optimizer.name": Choice(choices=("sgd", "adamw"), prior="adamw")}
    with pytest.raises(InputError, match=r"has no range optimizer\.lr to change"):
        load_spec(tmp_path / "short.yaml", {"space.optimizer.lr.prior": 0.02})
