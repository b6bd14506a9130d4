import numpy as np
import pytest

from societas.envs.contracting.multitask import Multitask
from societas.envs.markets.sealed_bid import SealedBid
from societas.envs.norms.fishery import Fishery
from societas.mechanisms import design
from societas.mechanisms.design.gradient import NotSmooth, rollout
from societas.mechanisms.pigou import Pigou
from societas.mechanisms.redistribute import Redistribute
from societas.mechanisms.tax import Tax
from societas.policies.callable import Callable
from societas.policies.random import Random


def near(found, answer):
    return found == pytest.approx(answer, rel=0.02)


SLOPE = {"principal": lambda x: {"slopes": [x["slope"]], "base": 0.5}}
WORKS = {"agent": {"effort": 0.2, "accept": "accept"}}


@pytest.mark.parametrize("start", [0.02, 0.95])
@pytest.mark.parametrize("way", ["implicit", "unrolled", "function"])
def test_slope_of_the_linear_contract(start, way):
    # Holmstrom and Milgrom 1987: 1 / (1 + r c s^2) = 1 / 2, surplus 1/4
    game = Multitask.linear()
    respond = {
        "implicit": design.Ascent(WORKS, worlds=4),
        "unrolled": design.Ascent(WORKS, unrolled=25, rate=0.4, worlds=2),
        "function": {
            "agent": Callable(
                lambda seen: {
                    "effort": game.response(seen["slopes"]),
                    "accept": game.accepts(seen["base"], seen["slopes"]),
                },
                batched=True,
            )
        },
    }[way]
    found = design.gradient(
        game, {"slope": (0.0, 1.0)}, designer=SLOPE, respond=respond, start={"slope": start}, worlds=8
    )
    assert near(found.parameters["slope"], 0.5) and near(found.objective.mean, 0.25)
    assert found.history[0].parameters["slope"] == pytest.approx(start) and len(found.history) < 20
    assert found.history[0].values[0] < 0.2


def test_charge_equals_marginal_harm(emissions):
    family = design.vary(emissions, Pigou("emitted"), {"rate": (0.0, 1.0)})
    found = design.gradient(family, respond=design.Ascent({"firm": {"emit": 0.5}}), start={"rate": 0.9}, worlds=1)
    assert near(found.parameters["rate"], 0.2) and near(found.objective.mean, 3 * 0.32)


def test_tax_best_for_the_less_skilled(workers):
    family = design.vary(workers, Tax("output", rates=(0.1,)), {"rates.0": (0.0, 1.0)})
    found = design.gradient(
        family,
        respond=design.Ascent({"worker": {"effort": 1.0}}),
        objective=lambda e: e.returns["worker"][:, 0],
        start={"rates.0": 0.05},
        worlds=1,
    )
    assert near(found.parameters["rates.0"], 6 / 7)
    k = 1 - (6 / 7) / 2
    assert near(found.objective.mean, k * (1 + 1.5 * 6 / 7) - k**2 / 2)


def test_gradient_through_a_game_parameter(emissions):
    # best at its least, the end of the range
    family = design.vary(emissions, None, {"harm": (0.05, 0.2)})
    found = design.gradient(family, respond=design.Ascent({"firm": {"emit": 0.5}}), worlds=1, start={"harm": 0.15})
    assert found.at_bounds == ("harm",) and found.parameters["harm"] == pytest.approx(0.05, abs=1e-6)
    assert found.objective.mean == pytest.approx(3 * (0.5 - 0.05 * 2), rel=1e-6)


def test_several_parameters_and_a_game_under_a_mechanism():
    # two tasks, one signal each: slopes 1 / (1 + r s^2) each; the contract is played under a tax that nobody pays
    game = Multitask(
        value=(1.0, 1.0), loadings=((1.0, 0.0), (0.0, 1.0)), noise=((0.5, 0.0), (0.0, 1.0)), max_base=2.0
    ) | Tax(rates=(1e-9,), roles=("principal",), thresholds=(100.0,), revenue="burnt")
    found = design.gradient(
        game,
        {"one": (0.0, 1.0), "two": (0.0, 1.0)},
        designer={"principal": lambda x: {"slopes": [x["one"], x["two"]], "base": 1.0}},
        respond=design.Ascent({"agent": {"effort": 0.1, "accept": "accept"}}, worlds=2),
        start={"one": 0.1, "two": 0.9},
        worlds=2,
    )
    assert near(found.parameters["one"], 1 / 1.5) and near(found.parameters["two"], 1 / 2)


def test_kinks_are_told(workers):
    # the worst off are best off at a rate of 2/3, where another begins to be the worst off: L-BFGS does not rest there
    family = design.vary(workers, Tax("output", rates=(0.1,)), {"rates.0": (0.0, 1.0)})
    ascent = design.Ascent({"worker": {"effort": 1.0}})
    with pytest.raises(NotSmooth, match="a jump or a kink"):
        design.gradient(family, respond=ascent, objective="least", start={"rates.0": 0.1}, worlds=1, budget=8)


def test_ascent_is_an_equilibrium(emissions):
    policies = design.Ascent({"firm": {"emit": 0.1}})(emissions)
    assert [p.acts["emit"] for p in policies.values()] == pytest.approx([1.0] * 3)
    alone = design.Ascent({"firm_1": {"emit": 0.1}})(emissions)
    assert alone.keys() == {"firm_1"}


def test_ascent_stays_within_bounds_and_search_takes_it(emissions):
    # beyond a charge of 1 nobody emits: the act is held at 0
    family = design.vary(emissions, Pigou("emitted"), {"rate": [0.2, 3.0]})
    found = design.search(family, respond=design.Ascent({"firm": {"emit": 0.5}}, worlds=1), worlds=1)
    assert [t.values[0] for t in found.history] == pytest.approx([0.96, 0.0], abs=1e-9)


def test_rollout_is_play():
    from societas.envs.core.episodes import play

    game, who = Fishery(months=6) | Redistribute(0.3), {"fisher": Random()}
    one, other = play(game, who, worlds=32, seed=4), rollout(game, who, worlds=32, seed=4)
    assert (other.welfare.numpy() == one.welfare).all() and (other.length.numpy() == one.length).all()
    np.testing.assert_allclose(other.returns["fisher"].numpy(), one.returns["fisher"], rtol=1e-12)
    assert other.measures.keys() == one.measures.keys()


def test_gradients_are_those_of_differences():
    # any smooth mechanism on any game: the return of one player under sharing, fixed acts
    from societas.mechanisms.design.gradient import _Smooth
    from societas.mechanisms.design.search import Task

    family = design.vary(Fishery(months=5), Redistribute(0.3), {"share": (0.0, 1.0)})
    options = {"worlds": 16, "seed": 1, "budget": 1, "watch": None}
    task = Task(
        family, None, {"fisher": Random()}, None, [(lambda e: e.returns["fisher"][:, 0] ** 2, "max")], **options
    )
    smooth = _Smooth(task, family, lambda e: e.returns["fisher"][:, 0] ** 2)
    for share in (0.2, 0.7):
        _, slope = smooth.slope({"share": share})
        assert slope == pytest.approx(smooth.differences({"share": share}, 1e-5), rel=1e-6) and slope[0] != 0.0


# ---- where it does not work: it says so ---------------------------------------------------------------------------------


def test_jumps_are_told():
    # a reserve that is just missed loses the sale: the derivative along the episodes is that of the price alone
    truth = {"bidder": Callable(lambda seen: {"bid": seen["signal"]}, batched=True)}
    family = design.vary(SealedBid(bidders=2), None, {"reserve": (0.0, 1.0)})
    with pytest.raises(
        NotSmooth, match="it has a jump or a kink, or the game does not follow the parameter; use search"
    ):
        design.gradient(family, respond=truth, objective="revenue", start={"reserve": 0.3}, worlds=8192)


def test_no_effect_is_told():
    family = design.vary(Fishery(months=3), Tax(), {"rates.0": (0.0, 1.0)})  # shared equally: welfare stays what it is
    with pytest.raises(NotSmooth, match="does not change with rates.0 at the start"):
        design.gradient(family, respond={"fisher": Random()}, worlds=16)


def test_whole_acts_are_told():
    # the harvest is a whole number that nobody can climb
    with pytest.raises(ValueError, match="acts: at least one real number that climbs"):
        design.Ascent({"fisher": {"harvest": 3}})(Fishery(months=3))


@pytest.mark.filterwarnings("ignore:Converting a tensor")
def test_numbers_taken_out_of_torch_are_told():
    # the game's measure of noise is made into a NumPy table
    family = design.vary(Multitask.linear(), None, {"noise.0.0": (0.1, 1.0)})
    with pytest.raises(NotSmooth, match="use search"):
        design.gradient(family, designer={"principal": lambda x: {"slopes": [0.5], "base": 0.1}},
                        respond={"agent": design.Constant({"accept": "accept", "effort": [0.3]})},
                        objective=lambda e: e.returns["agent"][:, 0], worlds=8)  # fmt: skip


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"game": lambda x: Fishery()}, TypeError, "a function of parameters cannot be followed"),
        ({"over": {"rates.0": range(1, 3)}}, ValueError, "over: real numbers"),
        ({"goal": "up"}, ValueError, "goal: one of"),
        ({"start": {"rates.0": 2.0}}, ValueError, "start: rates.0: a number from 0 to 1, got 2.0"),
    ],
)
def test_bad_input(change, error, message):
    given = {"game": design.vary(Fishery(), Tax(), {"rates.0": (0.0, 1.0)}), **change}
    with pytest.raises(error, match=message):
        design.gradient(given.pop("game"), given.pop("over", None), **given)


@pytest.mark.parametrize(
    ("acts", "message"),
    [
        ({"boss": {"effort": 0.1}}, "acts: .* has no role or player 'boss'"),
        ({"agent": {"effort": 99.0}}, "acts: effort: a number from 0 to"),
        ({"agent": {"zeal": 0.1}}, "zeal"),
    ],
)
def test_ascent_checks_its_acts(acts, message):
    with pytest.raises((ValueError, KeyError), match=message):
        design.Ascent(acts)(Multitask.linear())
