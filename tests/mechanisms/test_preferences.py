"""Preferences: care, inequity aversion and identity change what players want, and nothing material."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from societas import Game, Mechanism, Unfit, Worlds, make, play, policy
from societas.envs.core import solve
from societas.envs.norms.matrix_game import MatrixGame
from societas.mechanisms.identity import Identity
from societas.mechanisms.inequity_aversion import InequityAversion
from societas.mechanisms.prosocial import Prosocial
from societas.mechanisms.sanction import Sanction
from societas.mechanisms.talk import Talk
from societas.testing import check_mechanism

PD = MatrixGame()
"""(R, S, T, P) = (3, 0, 5, 1)."""


def felt(game: Game, players: int = 2) -> Any:
    """What everyone gets in every cell of a one-shot game of two actions: (players, 2, 2, ...)."""
    cells = np.array(list(np.ndindex(*(2,) * players)))
    outcome = Worlds(game, len(cells)).step({"player": {"action": cells}})
    return outcome.rewards["player"].T.reshape((players, *(2,) * players))


def dilemmas() -> Any:
    """(P, S, R, T) with T > R > P > S."""
    numbers = st.lists(st.integers(-8, 8), min_size=4, max_size=4, unique=True).map(sorted)
    return numbers.map(lambda v: {"S": v[0], "P": v[1], "R": v[2], "T": v[3]})


def row(*rewards: float) -> MatrixGame:
    """Three players who get these payoffs whatever they do."""
    table = tuple(tuple(((v, v), (v, v)) for _ in range(2)) for v in rewards)
    return MatrixGame(table, ("cooperate", "defect"))


# ---- care ---------------------------------------------------------------------------------------------------------


@settings(max_examples=60, deadline=None)
@given(dilemmas(), st.floats(-1, 1))
def test_care_from_the_threshold_on_makes_cooperation_the_best_reply(pay: dict[str, int], weight: float) -> None:
    R, S, T, P = (pay[k] for k in "RSTP")
    against = (T - R) / (R - S), (P - S) / (T - P)  # who cooperates, who defects
    assume(weight != 0 and all(abs(weight - threshold) > 1e-6 for threshold in against))
    own = felt(MatrixGame.prisoners_dilemma(R, S, T, P) | Prosocial(weight))[0]
    assert [own[0, j] > own[1, j] for j in (0, 1)] == [weight > threshold for threshold in against]


def test_the_thresholds_of_axelrods_dilemma_are_two_thirds_and_a_quarter() -> None:
    for weight, equilibria in (
        (0.2, [(1, 1)]),
        (0.25, [(0, 1), (1, 0), (1, 1)]),  # cooperation is as good against who defects
        (0.5, [(0, 1), (1, 0)]),
        (2 / 3, [(0, 0), (0, 1), (1, 0)]),
        (0.7, [(0, 0)]),
    ):
        assert solve.pure_nash(felt(PD | Prosocial(weight)), 1e-9) == equilibria


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 99), st.floats(-1, 1))
def test_care_is_arithmetic_and_at_one_all_want_the_total(seed: int, weight: float) -> None:
    table = np.random.default_rng(seed).normal(size=(3, 2, 2, 2))
    game = MatrixGame(tuple(map(tuple, table.tolist())))
    others = table.sum(axis=0) - table
    np.testing.assert_allclose(felt(game | Prosocial(weight), 3), table + weight * others, atol=1e-12)
    total = felt(game | Prosocial(1.0), 3)
    assert (total == total[:1]).all()  # to the bit: they agree on everything
    best = np.unravel_index(total[0].argmax(), (2, 2, 2))
    assert tuple(map(int, best)) in solve.pure_nash(total)
    np.testing.assert_allclose(total[0], table.sum(axis=0), atol=1e-12)


def test_only_the_roles_that_care_do() -> None:
    base = make("HiddenAction", repetitions=3)
    both = {role: policy("random") for role in ("principal", "agent")}
    plain, caring = (play(game, both, worlds=20, seed=1) for game in (base, base | Prosocial(0.5, ("agent",))))
    np.testing.assert_array_equal(caring.returns["principal"], plain.returns["principal"])
    np.testing.assert_allclose(caring.returns["agent"], plain.returns["agent"] + 0.5 * plain.returns["principal"])


@settings(max_examples=25, deadline=None)
@given(st.floats(-1, 1).filter(lambda w: w == 0 or abs(w) > 1e-6), st.integers(0, 99))
def test_care_for_outsiders_weighs_welfare(weight: float, seed: int) -> None:
    """Firms whose customers gain too: one's own reward and the game's welfare, weighed against each other."""
    base = make("Quantity", firms=3, repetitions=2)
    cast = {"firm": policy("random")}
    plain = play(base, cast, worlds=4, seed=seed)
    caring = play(base | Prosocial(weight, outsiders=True), cast, worlds=4, seed=seed)
    expected = (1 - weight) * plain.returns["firm"] + weight * plain.welfare[:, None]
    np.testing.assert_allclose(caring.returns["firm"], expected, atol=1e-12)
    np.testing.assert_array_equal(caring.welfare, plain.welfare)
    among = play(base | Prosocial(weight), cast, worlds=4, seed=seed).returns["firm"]
    outside = plain.welfare - plain.returns["firm"].sum(axis=1)
    assert (outside > 0).all()
    np.testing.assert_allclose(
        caring.returns["firm"] - among, weight * np.repeat(outside[:, None], 3, axis=1), atol=1e-12
    )


def test_where_nobody_is_outside_it_makes_no_difference() -> None:
    for weight in (-0.5, 1.0):
        np.testing.assert_allclose(felt(PD | Prosocial(weight, outsiders=True)), felt(PD | Prosocial(weight)))


def test_care_for_outsiders_is_said_and_examined() -> None:
    base = make("Quantity", firms=2, repetitions=2)
    told = (base | Prosocial(0.5, outsiders=True)).rules("firm")
    assert "plus 0.5 times the sum of what all others get, those outside the game included." in told
    assert "plus 0.5 times the sum of what all others are paid." in (base | Prosocial(0.5)).rules("firm")
    check_mechanism(Prosocial(0.5, outsiders=True), base, null=Prosocial(0.0, outsiders=True), worlds=8)


def test_care_extends_to_what_institutions_within_pay() -> None:
    """A sanction of 1 and 3 within: the caring one who imposes it also feels the other's loss."""
    inner = PD | Sanction(cost=1.0, fine=3.0) | Prosocial(0.5)
    outer = PD | Prosocial(0.5) | Sanction(cost=1.0, fine=3.0)
    cast = {"player_0": policy("callable", function=lambda seen: {"punish": "player_1"})}
    for game, paid in ((inner, [-2.5, -3.5]), (outer, [-1.0, -3.0])):
        done = play(game, cast, keep=True)
        np.testing.assert_allclose(done.moments[1].rewards["player"], [paid])
        np.testing.assert_allclose(done.welfare, [6.0 - 4.0])


# ---- inequity aversion --------------------------------------------------------------------------------------------


def test_inequity_by_arithmetic() -> None:
    """10, 4 and 1 at alpha 0.5 and beta 0.25: guilt (6 + 9)/8; envy 6/4 and guilt 3/8; envy (9 + 3)/4."""
    own = felt(row(10, 4, 1) | InequityAversion(0.5, 0.25), 3)
    np.testing.assert_allclose(own[:, 0, 0, 0], [10 - 15 / 8, 4 - 6 / 4 - 3 / 8, 1 - 12 / 4])


@settings(max_examples=60, deadline=None)
@given(dilemmas(), st.floats(0, 4), st.floats(0, 1))
def test_guilt_from_the_threshold_on_makes_cooperation_an_equilibrium(
    pay: dict[str, int], alpha: float, beta: float
) -> None:
    R, S, T, P = (pay[k] for k in "RSTP")
    threshold = (T - R) / (T - S)
    assume(abs(beta - threshold) > 1e-6 and beta > 0)
    table = felt(MatrixGame.prisoners_dilemma(R, S, T, P) | InequityAversion(alpha, beta))
    assert (solve.regret(table, (0, 0)) < 1e-9) == (beta > threshold)
    assert solve.regret(table, (1, 1)) < 1e-9  # nobody wants to be the only one who cooperates


def test_the_threshold_of_axelrods_dilemma_is_two_fifths() -> None:
    for beta, regret in ((0.39, 0.05), (0.4, 0.0), (0.41, 0.0)):
        assert solve.regret(felt(PD | InequityAversion(0.0, beta)), (0, 0)) == pytest.approx(regret, abs=1e-12)


def test_a_round_is_judged_as_a_whole_at_its_end() -> None:
    """Two fishers: what was caught is paid in full; after the sanction, 10 - 3 is compared with 4 - 1, month by month."""
    base = make("Fishery", fishers=2, months=2) | Sanction(cost=1.0, fine=3.0)
    catch = {"fisher_0": 10, "fisher_1": 4}
    cast = {
        who: policy("callable", function=lambda seen, n=n: {"harvest": n, "punish": "fisher_0" if n == 4 else "nobody"})
        for who, n in catch.items()
    }
    done = play(base | InequityAversion(0.5, 0.25), cast, keep=True)
    expected = [[10, 4], [-3 - 0.25 * 4, -1 - 0.5 * 4]] * 2
    np.testing.assert_allclose([moment.rewards["fisher"][0] for moment in done.moments], expected)
    np.testing.assert_allclose(done.welfare, [2 * (14 - 4)])


def test_only_those_who_compare_themselves_feel_inequity() -> None:
    base = make("HiddenAction")
    with pytest.raises(Unfit, match="roles: at least 2 players must compare themselves, got agent_0"):
        _ = base | InequityAversion(roles=("agent",))
    cast = {"principal": policy("callable", function=lambda seen: {"pay": [4.0, 4.0]})}
    cast["agent"] = policy("callable", function=lambda seen: {"accept": "accept", "effort": "high"})
    plain = play(base, cast, worlds=50)
    averse = play(base | InequityAversion(0.5, 0.25), cast, worlds=50)
    profit, utility = plain.returns["principal"][:, 0], plain.returns["agent"][:, 0]
    gap = profit - utility
    assert (gap > 0).any() and (gap < 0).any()
    np.testing.assert_allclose(averse.returns["principal"][:, 0], profit - np.where(gap > 0, 0.25 * gap, -0.5 * gap))
    np.testing.assert_allclose(averse.returns["agent"][:, 0], utility - np.where(gap > 0, 0.5 * gap, -0.25 * gap))


# ---- identity -----------------------------------------------------------------------------------------------------


def test_members_side_with_their_group() -> None:
    """10 and 4 belong together, 1 to nobody: it is paid as before, and an outsider to them."""
    own = felt(row(10, 4, 1) | Identity([["player_0", "player_1"]], 0.5, 0.25), 3)  # type: ignore[arg-type]
    np.testing.assert_allclose(own[:, 0, 0, 0], [10 + 2 - 0.25, 4 + 5 - 0.25, 1])


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 99), st.floats(0.01, 1))
def test_a_group_of_all_is_care_for_all(seed: int, weight: float) -> None:
    game = MatrixGame(tuple(map(tuple, np.random.default_rng(seed).normal(size=(3, 2, 2, 2)).tolist())))
    one = felt(game | Identity((game.players,), weight), 3)
    np.testing.assert_allclose(one, felt(game | Prosocial(weight), 3), atol=1e-12)


@settings(max_examples=20, deadline=None)
@given(st.floats(0.01, 1), st.floats(0.01, 1))
def test_the_dilemma_is_solved_within_a_group_and_worse_between_two(weight: float, rivalry: float) -> None:
    assume(abs(weight - 2 / 3) > 1e-6)
    within = felt(PD | Identity((PD.players,), weight, rivalry))
    assert (solve.regret(within, (0, 0)) < 1e-9) == (weight > 2 / 3)
    between = felt(PD | Identity((("player_0",), ("player_1",)), weight, rivalry))
    np.testing.assert_allclose(between[0], np.array([[3, 0], [5, 1]]) - rivalry * np.array([[3, 5], [0, 1]]))
    assert solve.pure_nash(between) == [(1, 1)]  # defection gains more than without: T + rivalry (R - S) - R


def test_groups_by_role() -> None:
    base = make("HiddenAction")
    both = {role: policy("random") for role in ("principal", "agent")}
    plain, grouped = (play(game, both, worlds=20, seed=2) for game in (base, base | Identity(rivalry=0.5)))
    for one, other in (("principal", "agent"), ("agent", "principal")):
        np.testing.assert_allclose(grouped.returns[one], plain.returns[one] - 0.5 * plain.returns[other])


# ---- all of them --------------------------------------------------------------------------------------------------

NULLS: dict[Mechanism, Mechanism] = {
    Prosocial(-0.4): Prosocial(0.0),
    InequityAversion(0.9, 0.4): InequityAversion(0.0, 0.0),
}


@pytest.mark.parametrize("kind", [Prosocial(-0.4), InequityAversion(0.9, 0.4), Identity])
@pytest.mark.parametrize(
    "game",
    [
        make("Fishery", months=5),
        make("HiddenAction"),
        MatrixGame(repetitions=4),
        make("Relational", delta=0.3, repetitions=10),
        make("Fishery", months=3) | Talk(cost=0.25) | Sanction(),
    ],
    ids=lambda game: game.name,
)
def test_examined(kind: Any, game: Game) -> None:
    given = kind.suited(game) if isinstance(kind, type) else kind
    null = NULLS.get(given, Identity(given.groups, 0.0) if isinstance(given, Identity) else None)
    check_mechanism(given, game, null=null, worlds=16)


@settings(max_examples=15, deadline=None)
@given(st.floats(-1, 1), st.floats(0, 2), st.floats(0, 1), st.floats(0, 1), st.integers(0, 9))
def test_tastes_leave_welfare_and_measures_alone(
    weight: float, alpha: float, beta: float, rivalry: float, seed: int
) -> None:
    base = make("Fishery", months=4)
    halves = (("fisher_0", "fisher_1"), ("fisher_2", "fisher_3", "fisher_4"))
    game = base | InequityAversion(alpha, beta) | Identity(halves, abs(weight), rivalry) | Prosocial(weight)
    plain, under = (play(one, {"fisher": policy("random")}, worlds=8, seed=seed) for one in (base, game))
    np.testing.assert_array_equal(plain.welfare, under.welfare)
    for name, values in plain.measures.items():
        np.testing.assert_array_equal(values, under.measures[name])


def test_null_tastes_are_the_game_itself() -> None:
    for null in (Prosocial(0), InequityAversion(0, 0), Identity(weight=0)):
        assert (PD | null) is PD


def test_lists_are_read_as_tuples_and_keep_the_hash() -> None:
    groups: Any = [["player_0"], ["player_1"]]
    assert hash(Identity(groups)) == hash(Identity((("player_0",), ("player_1",))))
    roles: Any = ["player"]
    assert Prosocial(0.5, roles) == Prosocial(0.5, ("player",))
    assert hash(InequityAversion(roles=roles)) == hash(InequityAversion(roles=("player",)))


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        (lambda: Prosocial(1.5), "weight: a number from -1 to 1, got 1.5"),
        (lambda: Prosocial(roles=3), "roles: a list of distinct names, got 3"),  # type: ignore[arg-type]
        (lambda: InequityAversion(alpha=-1), "alpha: a number from 0 to inf, got -1"),
        (lambda: InequityAversion(beta=1.1), "beta: a number from 0 to 1, got 1.1"),
        (lambda: Identity(rivalry=-0.1), "rivalry: a number from 0 to 1, got -0.1"),
        (lambda: Identity("by name"), "groups: 'by role' or a list of lists of players, got 'by name'"),
        (lambda: Identity((("a", "b"), ("b",))), "nobody in two"),
        (lambda: Identity((("a",), ())), "no empty group"),
        (lambda: PD | Prosocial(roles=("fisher",)), "roles: MatrixGame has no role fisher; it has: player"),
        (lambda: PD | Identity((("player_0", "player_7"),)), "groups: MatrixGame has no player player_7"),
    ],
)
def test_bad_parameters_are_refused(wrong: Any, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        wrong()
