"""Taxes, sharing, subsidies and corrective charges: by hand, on average, and against what theory says of them."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from societas import Game, Mechanism, Policy, Unfit, make, mechanism, play, policy
from societas.envs.contracting.hidden_action import HiddenAction
from societas.envs.contracting.relational import Relational
from societas.envs.core.solve import pure_nash
from societas.envs.norms.fishery import Fishery
from societas.envs.norms.matrix_game import MatrixGame
from societas.mechanisms.pigou import Pigou
from societas.mechanisms.redistribute import Redistribute
from societas.mechanisms.sanction import Sanction
from societas.mechanisms.subsidy import Subsidy
from societas.mechanisms.tax import Tax
from societas.testing import check_mechanism

Numbers = np.ndarray[Any, Any]
C, D = 0, 1

GAMES: dict[str, Callable[[], Game]] = {
    "Fishery": lambda: Fishery(months=5),
    "HiddenAction": HiddenAction,
    "MatrixGame": lambda: MatrixGame(repetitions=4),
    "Relational": lambda: Relational(delta=0.3, repetitions=10),
    "Sanction": lambda: Fishery(months=3) | Sanction(cost=0.5),
}
NULLS: dict[type[Mechanism], Mechanism] = {
    Tax: Tax(rates=(0.0, 0.0), thresholds=(0.0, 5.0)),
    Redistribute: Redistribute(0.0),
    Subsidy: Subsidy("caught", 0.0),
    Pigou: Pigou("caught", 0.0),
}


def fishing(*catches: float) -> dict[str, Policy]:
    """Each fisher takes the same every month."""
    return {f"fisher_{i}": policy("callable", function=lambda seen, c=c: {"harvest": c}) for i, c in enumerate(catches)}


def table(game: Game, n: int = 2, actions: int = 2) -> Numbers:
    """Return the payoffs of a game of one round, by playing every cell of it."""
    found = np.zeros((n, *(actions,) * n))
    for cell in itertools.product(range(actions), repeat=n):
        state = game.start(np.full((1, game.draws), 0.5))
        outcome = game.step(state, {"player": {"action": np.array([cell])}}, np.full((1, game.draws), 0.5))
        assert outcome.done.all()
        found[(slice(None), *cell)] = outcome.rewards["player"][0]
    return found


def dominant(payoffs: Numbers, action: int, slack: float = 0.0) -> bool:
    """Say whether an action of player 0 is at least as good as any other, whatever the others do."""
    gain = payoffs[0] - payoffs[0][action]
    return bool((gain <= slack).all())


def trio(seed: int, rounds: int = 3) -> MatrixGame:
    payoffs: Any = np.random.default_rng(seed).integers(-5, 9, (3, 2, 2, 2)).tolist()
    return MatrixGame(payoffs, ("cooperate", "defect"), rounds)


def gini(x: Numbers) -> float:
    x = np.clip(np.asarray(x, dtype=float), 0.0, None)
    return float(np.abs(x[:, None] - x).sum() / (2 * len(x) * x.sum())) if x.sum() else 0.0


# ---- the tax by hand --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("rates", "thresholds", "income", "due"),
    [
        ((0.3,), (0.0,), 10.0, 3.0),
        ((0.3,), (4.0,), 10.0, 1.8),
        ((0.3,), (4.0,), 4.0, 0.0),
        ((0.1, 0.5), (0.0, 6.0), 10.0, 0.6 + 2.0),
        ((0.1, 0.2, 1.0), (5.0, 10.0, 20.0), 23.0, 0.5 + 2.0 + 3.0),
        ((0.1, 0.2, 1.0), (5.0, 10.0, 20.0), 12.0, 0.5 + 0.4),
        ((0.5, 0.0), (0.0, 2.0), 9.0, 1.0),
        ((0.3,), (0.0,), -7.0, 0.0),
    ],
)
def test_brackets_by_hand(rates: tuple[float, ...], thresholds: tuple[float, ...], income: float, due: float) -> None:
    assert Tax(rates=rates, thresholds=thresholds).due(np.array(income)) == pytest.approx(due, abs=1e-12)


def test_an_income_tax_shared_and_burnt_by_hand() -> None:
    """Catches of 4, 8, 12, 16, 20 tonnes; 10% from 5 and 50% from 10 owe 0, .3, 1.5, 3.5, 5.5: 10.8 in all."""
    catches, due = np.array([4, 8, 12, 16, 20.0]), np.array([0, 0.3, 1.5, 3.5, 5.5])
    base = Fishery(months=1)
    for revenue, back in (("shared", 2.16), ("all", 2.16), ("burnt", 0.0)):
        done = play(base | Tax("reward", (0.1, 0.5), (5, 10), revenue), fishing(*catches), worlds=2)
        np.testing.assert_allclose(done.returns["fisher"], [catches - due + back] * 2)
        np.testing.assert_allclose(done.measures["reward_tax_revenue"], 10.8)
        np.testing.assert_allclose(done.welfare, 60 - (10.8 if revenue == "burnt" else 0.0))
        np.testing.assert_allclose(done.measures["reward_tax_gini_before"], gini(catches))
        np.testing.assert_allclose(done.measures["reward_tax_gini_after"], gini(catches - due + back))


def test_a_tax_on_a_quantity_has_its_own_rate() -> None:
    done = play(Fishery(months=1) | Tax("caught", (2.0,), (10,)), fishing(4, 8, 12, 16, 20), worlds=1)
    np.testing.assert_allclose(done.returns["fisher"][0], np.array([4, 8, 12 - 4, 16 - 12, 20 - 20]) + 36 / 5)


def test_a_wealth_tax_takes_from_what_is_held_after_earlier_taxes() -> None:
    """Two fishers take 4 and 0 twice at 50%: 4, 0 -> 3, 1 -> 7, 1 -> 3.5 + 2, 0.5 + 2."""
    base = Fishery(fishers=2, capacity=10, months=2, collapse=0)
    done = play(base | Tax("wealth", (0.5,)), fishing(4, 0), worlds=1, keep=True)
    np.testing.assert_allclose([m.rewards["fisher"][0] for m in done.moments], [[3, 1], [2.5, 1.5]])
    assert done.measures["wealth_tax_revenue"] == pytest.approx(2 + 4)
    even = play(base | Tax("wealth", (1.0,)), fishing(4, 0), worlds=1)
    np.testing.assert_allclose(even.returns["fisher"], 4.0)
    burnt = play(base | Tax("wealth", (0.5,), revenue="burnt"), fishing(4, 0), worlds=1)
    np.testing.assert_allclose(burnt.returns["fisher"], [[(2 + 4) / 2, 0]])


def test_income_is_that_of_all_stages_of_a_round() -> None:
    """A catch of 10 less a sanction of 4 is taxed as 6, when the round is complete; who ends below zero pays nothing."""
    base = Fishery(fishers=2, months=1) | Sanction(cost=1.0, fine=4.0)
    game = base | Tax("reward", (0.5,), revenue="burnt")
    acts = {"harvest": [10, 0], "punish": [0, 1]}  # fisher_1 punishes fisher_0
    state, paid = game.start(np.full((1, game.draws), 0.5)), []
    for _ in range(2):
        outcome = game.step(
            state, {"fisher": {k: np.array([v]) for k, v in acts.items()}}, np.full((1, game.draws), 0.5)
        )
        state = outcome.state
        paid.append(outcome.rewards["fisher"][0])
    np.testing.assert_allclose(paid, [[10, 0], [-4 - 3, -1]])
    assert game.measures(state)["reward_tax_revenue"][0] == 3.0
    assert game.view(state)["fisher"]["reward_tax"].tolist() == [[3.0, 0.0]]


def test_some_roles_are_taxed_and_all_may_share() -> None:
    base = Relational(delta=0.0, repetitions=1)
    decide = {
        "principal": policy("callable", function=lambda s: {"salary": 0.8, "promise": 0, "required": 0, "bonus": 0}),
        "agent": policy("callable", function=lambda s: {"accept": "accept", "effort": 1.0}),
    }
    plain = play(base, decide)
    np.testing.assert_allclose([plain.returns["principal"][0, 0], plain.returns["agent"][0, 0]], [0.2, 0.3])
    under = play(base | Tax("reward", (0.5,), revenue="all", roles=("agent",)), decide)
    np.testing.assert_allclose([under.returns["principal"][0, 0], under.returns["agent"][0, 0]], [0.275, 0.225])
    burnt = play(base | Tax("salary", (0.25,), revenue="burnt", roles=("principal",)), decide)
    np.testing.assert_allclose([burnt.returns["principal"][0, 0], burnt.returns["agent"][0, 0]], [0.0, 0.3], atol=1e-12)
    np.testing.assert_allclose(plain.welfare - burnt.welfare, 0.2)
    with pytest.raises(Unfit, match="revenue: shared with nobody but agent_0"):
        _ = base | Tax(roles=("agent",))


# ---- inequality -------------------------------------------------------------------------------------------------------

catches = st.lists(st.integers(0, 20), min_size=5, max_size=5)


@settings(max_examples=15, deadline=None)
@given(catches, st.floats(0.01, 1.0), st.integers(1, 2))
def test_a_linear_tax_multiplies_the_gini_by_what_it_leaves(takes: list[int], rate: float, months: int) -> None:
    """Gini((1 - t) x + t mean) = (1 - t) Gini(x); and it is sharing by that share."""
    base = Fishery(months=months, collapse=0)
    done = play(base | Tax("reward", (rate,)), fishing(*takes), worlds=1)
    before, after = done.measures["reward_tax_gini_before"][0], done.measures["reward_tax_gini_after"][0]
    assert after == pytest.approx((1 - rate) * before, abs=1e-9)
    shared = play(base | Redistribute(rate), fishing(*takes), worlds=1)
    np.testing.assert_allclose(shared.returns["fisher"], done.returns["fisher"], atol=1e-9)


@settings(max_examples=30, deadline=None)
@given(catches, st.lists(st.floats(0, 1), min_size=3, max_size=3), st.lists(st.integers(0, 19), min_size=3, max_size=3))
def test_rising_rates_never_raise_the_gini(takes: list[int], rates: list[float], starts: list[int]) -> None:
    """Jakobsson 1976: nor do they change who has more."""
    assume(len(set(starts)) == 3 and any(rates))
    tax = Tax("reward", tuple(sorted(rates)), tuple(float(s) for s in sorted(starts)), "burnt")
    done = play(Fishery(months=1) | tax, fishing(*takes), worlds=1)
    assert done.measures["reward_tax_gini_after"][0] <= done.measures["reward_tax_gini_before"][0] + 1e-12
    left = done.returns["fisher"][0][np.argsort(takes)]
    assert (np.diff(left) >= -1e-12).all()


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 99), st.floats(0.01, 1.0), st.integers(0, 9))
def test_need_raises_the_least_to_a_common_level(seed: int, share: float, chance: int) -> None:
    """Every round: who is given something ends lowest, level with all who are; a loss is borne from the top likewise."""
    base = trio(seed)
    game = base | Redistribute(share, "need")
    plain = play(base, {"player": policy("random")}, worlds=6, seed=chance, keep=True)
    under = play(game, {"player": policy("random")}, worlds=6, seed=chance, keep=True)
    held = np.zeros((6, 3))
    for before, after in zip(plain.moments, under.moments, strict=True):
        pool = share * before.rewards["player"].sum(axis=-1)
        pooled = held + (1 - share) * before.rewards["player"]
        held = held + after.rewards["player"]
        got = held - pooled
        np.testing.assert_allclose(got.sum(axis=-1), pool, atol=1e-9)
        for world in range(6):
            sign = 1.0 if pool[world] >= 0 else -1.0
            assert (sign * got[world] >= -1e-9).all()
            some = sign * got[world] > 1e-9
            if some.any():
                level = held[world][some]
                np.testing.assert_allclose(level, (sign * held[world]).min() * sign, atol=1e-9)


def test_need_by_hand() -> None:
    """Takes of 0, 1, 2, 9, 18 at a half: 15 in the pool and 0, .5, 1, 4.5, 9 kept; 15 raises the first four to 5.25."""
    done = play(Fishery(months=1) | Redistribute(0.5, "need"), fishing(0, 1, 2, 9, 18), worlds=1)
    np.testing.assert_allclose(done.returns["fisher"], [[5.25, 5.25, 5.25, 5.25, 9.0]])
    np.testing.assert_allclose(done.measures["sharing_moved"], 5.25 + 4.25 + 3.25)


# ---- incentives -------------------------------------------------------------------------------------------------------

dilemmas = st.lists(st.integers(-20, 20), min_size=4, max_size=4, unique=True).map(sorted)


def dilemma(numbers: list[int]) -> tuple[MatrixGame, int, int, int, int]:
    S, P, R, T = numbers
    return MatrixGame.prisoners_dilemma(R, S, T, P), R, S, T, P


def test_full_sharing_makes_cooperation_dominant() -> None:
    base = MatrixGame.prisoners_dilemma()
    payoffs = table(base | Redistribute(1.0))
    assert payoffs.tolist() == [[[3, 2.5], [2.5, 1]]] * 2
    assert dominant(payoffs, C) and pure_nash(payoffs) == [(C, C)]
    assert pure_nash(table(base)) == [(D, D)]


@settings(max_examples=60, deadline=None)
@given(dilemmas, st.floats(0.01, 1.0))
def test_the_share_from_which_cooperation_is_dominant(numbers: list[int], share: float) -> None:
    base, R, S, T, P = dilemma(numbers)
    least = 2 * max(T - R, P - S) / (T - S)
    assume(abs(share - least) > 1e-6)
    assert dominant(table(base | Redistribute(share)), C) == (share > least)


@settings(max_examples=60, deadline=None)
@given(dilemmas, st.integers(1, 320), st.sampled_from(["others", "all"]))
def test_the_charge_from_which_cooperation_is_dominant(numbers: list[int], quarters: int, refund: str) -> None:
    """max(T - R, P - S) where the other gets it; twice that where half comes back. All numbers are exact in binary."""
    base, R, S, T, P = dilemma(numbers)
    rate = quarters / 4
    least = max(T - R, P - S) * (2 if refund == "all" else 1)
    assert dominant(table(base | Pigou("own", rate, "defect", refund)), C) == (rate >= least)


def test_the_charge_in_axelrods_dilemma() -> None:
    base = MatrixGame.prisoners_dilemma()  # (R, S, T, P) = (3, 0, 5, 1): max(T - R, P - S) = 2
    payoffs = table(base | Pigou("own", 2.0, "defect"))
    assert payoffs.tolist() == [[[3, 2], [3, 1]], [[3, 3], [2, 1]]]
    for refund, rate, equilibria in (
        ("others", 0.75, [(D, D)]),
        ("others", 1.5, [(C, D), (D, C)]),  # between P - S and T - R: chicken
        ("others", 2.25, [(C, C)]),
        ("all", 1.5, [(D, D)]),
        ("all", 3.75, [(C, D), (D, C)]),
        ("all", 4.25, [(C, C)]),
    ):
        assert pure_nash(table(base | Pigou("own", rate, "defect", refund))) == equilibria


@settings(max_examples=60, deadline=None)
@given(dilemmas)
def test_a_charge_equal_to_the_harm_makes_what_is_efficient_a_best_response(numbers: list[int]) -> None:
    """The harm of defecting on a cooperator is R - S: charged, cooperating is a best response iff T + S <= 2R."""
    base, R, S, T, _ = dilemma(numbers)
    payoffs = table(base | Pigou("own", float(R - S), "defect"))
    assert (payoffs[0, C, C] >= payoffs[0, D, C]) == (2 * R >= T + S)


@settings(max_examples=30, deadline=None)
@given(st.integers(2, 4), st.integers(1, 16), st.integers(1, 16))
def test_a_subsidy_equal_to_the_benefit_makes_private_and_social_gain_the_same(n: int, b: int, c: int) -> None:
    """Public good: contributing costs c and gives b/n to each. Of a subsidy paid by all, b, (n - 1)/n is a gain: b - c."""
    cells = itertools.product((C, D), repeat=n)
    payoffs = np.array([[b * cell.count(C) / n - c * (cell[i] == C) for i in range(n)] for cell in cells])
    base = MatrixGame(payoffs.T.reshape((n, *(2,) * n)).tolist(), ("contribute", "keep"))
    under = table(base | Subsidy("own", float(b), "contribute"), n)
    np.testing.assert_allclose(under[0][C] - under[0][D], b - c, atol=1e-9)
    welfare = table(base, n).sum(axis=0)
    np.testing.assert_allclose(under.sum(axis=0), welfare, atol=1e-9)
    np.testing.assert_allclose(welfare[C] - welfare[D], b - c, atol=1e-9)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 99), st.floats(0.1, 9.0))
def test_carrot_and_stick_are_the_same_where_the_money_goes_round(seed: int, rate: float) -> None:
    """A subsidy on one act paid by all is a charge on the other given to all, and (n - 1)/n of it given to the others."""
    base = trio(seed, 1)
    carrot = table(base | Subsidy("own", rate, "cooperate"), 3)
    np.testing.assert_allclose(table(base | Pigou("own", rate, "defect", "all"), 3), carrot, atol=1e-9)
    np.testing.assert_allclose(table(base | Pigou("own", rate * 2 / 3, "defect"), 3), carrot, atol=1e-9)


def test_charges_and_subsidies_on_a_quantity_by_hand() -> None:
    catches, base = np.array([4, 8, 12, 16, 20.0]), Fishery(months=1)
    total = catches.sum()
    for levy, expected in (
        (Pigou("caught", 0.5), 0.5 * catches + 0.5 * (total - catches) / 4),
        (Pigou("caught", 0.5, refund="all"), 0.5 * catches + 0.5 * total / 5),
        (Subsidy("caught", 0.25), 1.25 * catches - 0.25 * total / 5),
        (Subsidy("caught", 0.25, financed="outside"), 1.25 * catches),
    ):
        done = play(base | levy, fishing(*catches), worlds=1)
        np.testing.assert_allclose(done.returns["fisher"], [expected])
        assert done.welfare == total
    revenue = play(base | Pigou("caught", 0.5), fishing(*catches), worlds=1).measures["caught_charge_revenue"]
    assert revenue == 0.5 * total


# ---- budgets ----------------------------------------------------------------------------------------------------------

rates = st.lists(st.floats(0, 1), min_size=1, max_size=3)


@st.composite
def levies(draw: st.DrawFn) -> Mechanism:
    """A levy on rewards, wealth or the quantity of Fishery."""
    kind = draw(st.sampled_from(["tax", "share", "subsidy", "charge"]))
    rate = draw(st.floats(0.01, 1))
    if kind == "tax":
        steps = draw(rates)
        tax = Tax(
            draw(st.sampled_from(["reward", "wealth", "caught"])),
            tuple(steps),
            tuple(float(5 * i) for i in range(len(steps))),
            draw(st.sampled_from(["shared", "all", "burnt"])),
        )
        assume(any(steps))
        return tax
    if kind == "share":
        return Redistribute(rate, draw(st.sampled_from(["equal", "need"])))
    if kind == "subsidy":
        return Subsidy("caught", rate * 9)
    return Pigou("caught", rate * 9, refund=draw(st.sampled_from(["others", "all"])))


@settings(max_examples=40, deadline=None)
@given(st.lists(levies(), min_size=1, max_size=2), st.integers(0, 9))
def test_the_money_goes_round(stack: list[Mechanism], seed: int) -> None:
    """Over whole episodes in which the same is done: returns sum to welfare, which falls by what is burnt."""
    base: Game = Fishery(months=4, collapse=0)
    assume(len({(type(one), getattr(one, "base", "")) for one in stack}) == len(stack))
    game = base
    for one in stack:
        game = game | one
    plain = play(base, {"fisher": policy("random")}, worlds=8, seed=seed)
    done = play(game, {"fisher": policy("random")}, worlds=8, seed=seed)
    burnt = np.zeros(8)
    for one in stack:
        if isinstance(one, Tax) and one.revenue == "burnt":
            burnt = burnt + done.measures[f"{one.base}_tax_revenue"]
    np.testing.assert_allclose(done.returns["fisher"].sum(axis=-1), done.welfare, atol=1e-8)
    np.testing.assert_allclose(plain.welfare - done.welfare, burnt, atol=1e-8)
    for name, values in plain.measures.items():
        np.testing.assert_array_equal(values, done.measures[name])


def test_money_from_outside_is_declared() -> None:
    assert Subsidy("caught").budget == 0.0
    assert Subsidy("caught", financed="outside").budget is None


# ---- the examiner -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("game", GAMES)
@pytest.mark.parametrize("kind", [Tax, Redistribute, Subsidy, Pigou])
def test_examined(kind: type[Mechanism], game: str) -> None:
    base = GAMES[game]()
    check_mechanism(kind.suited(base), base, null=NULLS[kind], worlds=16)


@pytest.mark.parametrize("game", GAMES)
def test_examined_with_other_parameters(game: str) -> None:
    base = GAMES[game]()
    first = base.roles[0].name
    for levy in (
        Tax("wealth", (0.1, 0.5), (1.0, 4.0), "burnt"),
        Tax("reward", (0.4,), revenue="all", roles=(first,)),
        Redistribute(0.7, "need"),
    ):
        check_mechanism(levy, base, worlds=16)


def test_examined_on_top_of_each_other() -> None:
    base = Fishery(months=3) | mechanism("Talk", cost=0.25) | Tax("reward", (0.1, 0.5), (0.0, 10.0))
    for levy in (
        Tax("wealth", (0.1,)),
        Tax("caught", (0.5, 2.0), (5.0, 10.0), "burnt"),
        Redistribute(0.3, "need"),
        Pigou("caught", 0.5, refund="all"),
        Subsidy("caught", 0.5, financed="outside"),
    ):
        check_mechanism(levy, base, null=NULLS[type(levy)], worlds=16)
        base = base | levy
    check_mechanism(Sanction(), base, worlds=16)


def test_at_zero_it_is_the_game_itself() -> None:
    base = make("Fishery")
    for null in NULLS.values():
        assert base | null is base


# ---- what is said -----------------------------------------------------------------------------------------------------


def test_players_are_told_the_numbers() -> None:
    fishery, matrix = Fishery(), MatrixGame()
    for game, words in (
        (fishery | Tax("reward", (0.1, 0.5), (5, 10)), "10% of what is above 5 and up to 10, 50% of what is above 10"),
        (
            fishery | Tax("caught", (2.0,), revenue="burnt"),
            'her "caught": 2 for each unit that is above 0. The revenue',
        ),
        (
            fishery | Redistribute(0.25, "need"),
            "25% of what the round paid, gain or loss, into a pool that is given to",
        ),
        (matrix | Pigou("own", 2.0, "defect"), 'pays 2 if "own" is then "defect". What each pays is divided equally'),
        (fishery | Subsidy("caught", 0.5), 'paid 0.5 for each unit of "caught" (tonnes). All 5 players pay for it'),
    ):
        assert words in game.rules(game.roles[0].name)


def test_lists_are_taken_and_bad_parameters_refused() -> None:
    lists: Any = {"rates": [0.1, 0.2], "thresholds": [0, 5], "roles": ["fisher"]}
    assert hash(Tax(**lists)) == hash(Tax(rates=(0.1, 0.2), thresholds=(0.0, 5.0), roles=("fisher",)))
    one: Any = 3
    for wrong, words in (
        (lambda: Tax(rates=(1.5,)), r"rates\[0\]: a number from 0 to 1, got 1.5"),
        (lambda: Tax(rates=()), r"rates: a list of at least one number, got \(\)"),
        (lambda: Tax(rates=(0.1, 0.2)), "rates: one for each of the 1 thresholds, got 2"),
        (lambda: Tax(rates=(0.1, 0.2), thresholds=(5, 5)), "thresholds: each higher than the one before"),
        (lambda: Tax(thresholds=(-1,)), r"thresholds\[0\]: a number from 0 to"),
        (lambda: Tax(revenue="kept"), "revenue: one of 'shared', 'all', 'burnt', got 'kept'"),
        (lambda: Tax(roles=one), "roles: a list of distinct names, got 3"),
        (lambda: Redistribute(1.1), "share: a number from 0 to 1, got 1.1"),
        (lambda: Redistribute(by="merit"), "by: one of 'equal', 'need', got 'merit'"),
        (lambda: Subsidy("caught", -1.0), "rate: a number from 0 to 1e"),
        (lambda: Subsidy("caught", financed="none"), "financed: one of 'all', 'outside', got 'none'"),
        (lambda: Pigou("caught", refund="none"), "refund: one of 'others', 'all', got 'none'"),
        (lambda: Pigou("caught", roles=("fisher", "fisher")), "roles: a list of distinct names, got"),
    ):
        with pytest.raises(ValueError, match=words):
            wrong()


@pytest.mark.parametrize(
    ("game", "wrong", "words"),
    [
        ("Fishery", Tax("stock"), "fisher sees, but nobody can verify, 'stock' .verifiable: catches, caught."),
        ("Fishery", Tax("catch"), "fisher does not see 'catch'"),
        ("Fishery", Pigou("catches"), "'catches' of fisher is not her own quantity but one of each of fisher_0"),
        ("Fishery", Pigou("caught", option="much"), "option 'much' is not among the values of 'caught'"),
        ("MatrixGame", Subsidy("own"), "'own' of player is no number but one of \"cooperate\""),
        ("MatrixGame", Subsidy("own", option="betray"), "option 'betray' is not among the values of 'own'"),
        ("Fishery", Tax(roles=("farmer",)), "Fishery has no role farmer; it has: fisher"),
        ("HiddenAction", Redistribute(roles=("agent",)), "at least 2 players must share, got agent_0"),
    ],
)
def test_what_does_not_fit_says_why(game: str, wrong: Mechanism, words: str) -> None:
    with pytest.raises(Unfit, match=words):
        _ = make(game) | wrong


def test_no_verifiable_fact_no_suitable_charge() -> None:
    for kind in (Subsidy, Pigou):
        with pytest.raises(Unfit, match="nobody in HoldUp sees a single verifiable fact"):
            kind.suited(make("HoldUp"))
