"""Sanctions of peers, pools and rules, exclusion, reputation, and an institution that says what is wrong."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from societas import Game, Mechanism, Policy, Unfit, make, play, policy
from societas.envs.contracting.hidden_action import HiddenAction
from societas.envs.contracting.relational import Relational
from societas.envs.core.solve import pure_nash
from societas.envs.norms.fishery import Fishery
from societas.envs.norms.matrix_game import MatrixGame
from societas.mechanisms.classifier import Classifier
from societas.mechanisms.contract import Contract
from societas.mechanisms.exclude import Exclude
from societas.mechanisms.graduated_sanction import GraduatedSanction
from societas.mechanisms.pool_sanction import PoolSanction
from societas.mechanisms.reputation import Reputation
from societas.mechanisms.rule import Rule
from societas.mechanisms.sanction import Sanction
from societas.mechanisms.talk import Talk
from societas.mechanisms.terms import Compensation
from societas.testing import check_mechanism

Host = np.ndarray[Any, Any]
C, D = 0, 1


def goods(players: int = 4, rounds: int = 1) -> MatrixGame:
    """The public goods game: giving costs 12 net of what comes back, and 8 among two."""
    return MatrixGame.public_goods(players, endowment=20, mpcr=0.4 if players > 2 else 0.6, rounds=rounds)


class Run:
    """What given acts lead to, step by step, in a game of one role; acts are {field: one value a player}."""

    def __init__(self, game: Game, *steps: dict[str, Any], worlds: int = 1, seed: int = 0) -> None:
        role = game.roles[0]
        draw = np.random.default_rng(seed).random
        state = game.start(draw((worlds, game.draws)))
        self.pay: list[Host] = []
        self.welfare: list[Host] = []
        self.seen: list[dict[str, Host]] = []
        for decided in steps:
            given_ = {f.name: np.zeros((worlds, role.count), dtype=int) for f in role.acts}
            given_ |= {name: np.broadcast_to(values, (worlds, role.count)) for name, values in decided.items()}
            outcome = game.step(state, {role.name: given_}, draw((worlds, game.draws)))
            state = outcome.state
            self.pay.append(outcome.rewards[role.name])
            self.welfare.append(outcome.welfare)
            self.seen.append(game.view(state)[role.name])
            np.testing.assert_allclose(self.pay[-1].sum(axis=-1), self.welfare[-1], atol=1e-9)
        self.measures = game.measures(state)
        self.done = outcome.done

    @property
    def total(self) -> Host:
        """Returns, (worlds, players)."""
        return np.asarray(np.sum(self.pay, axis=0))


def best_replies(game: Game, choices: dict[str, Any], field: str, rest: tuple[dict[str, Any], ...]) -> list[int]:
    """Return the acts (0 or 1) that are best for player 0, the others' being ``choices``."""
    returns = []
    for act in (0, 1):
        own = {name: [act, *values[1:]] if name == field else values for name, values in choices.items()}
        returns.append(Run(game, *rest, own).total[0, 0])
    return [act for act in (0, 1) if returns[act] >= max(returns) - 1e-9]


# ---- peers ----------------------------------------------------------------------------------------------------------


@settings(max_examples=25, deadline=None)
@given(st.lists(st.integers(-20, 20), min_size=4, max_size=4, unique=True), st.integers(0, 160))
def test_a_committed_punisher_deters_from_the_fine_T_less_R_on(payoffs: list[int], quarters: int) -> None:
    S, P, R, T = sorted(payoffs)
    fine = quarters / 4
    game = MatrixGame.prisoners_dilemma(R, S, T, P) | Sanction(cost=0.5, fine=fine)

    def punisher(seen: dict[str, Any]) -> dict[str, Any]:
        return {"action": "cooperate", "punish": "player_0" if seen["actions"][0] == "defect" else "nobody"}

    def other(action: str) -> Policy:
        return policy("callable", function=lambda seen: {"action": action})

    returns = {
        action: play(game, {"player_0": other(action), "player_1": policy("callable", function=punisher)}, keep=True)
        for action in ("cooperate", "defect")
    }
    gain = returns["defect"].returns["player"][0, 0] - returns["cooperate"].returns["player"][0, 0]
    assert gain == pytest.approx(T - R - fine)
    assert (gain < 0) == (fine > T - R)
    assert returns["defect"].returns["player"][0, 1] == S - 0.5


@pytest.mark.parametrize(("fine", "best"), [(11.9, [D]), (12.1, [C])])
def test_one_punisher_deters_in_the_public_goods_game(fine: float, best: list[int]) -> None:
    """Keeping gains 20 (1 - 0.4) = 12, whatever the others do."""
    for others in itertools.product((C, D), repeat=3):
        game = goods() | Sanction(cost=1.0, fine=fine)
        keep = [
            Run(game, {"action": [act, *others]}, {"punish": [0, act * 1, 0, 0]}).total[0, 0]  # player_0 is option 1
            for act in (C, D)
        ]
        assert [int(np.argmax(keep))] == best


def test_what_is_not_asked_for_is_as_it_was() -> None:
    game = goods() | Sanction()
    assert [stage.name for stage in game.stages] == ["act", "sanction"]
    assert [f.name for f in game.role("player").acts] == ["action", "punish"]
    assert game.draws == 0 and [m.name for m in game.reports][-1] == "sanctions"


def test_the_idle_are_sanctioned_by_hand() -> None:
    """1 and 2 sanction 0; 3 does not, and is idle; 0 did not either, but nobody else was sanctioned."""
    game = goods() | Sanction(cost=1.0, fine=3.0, second_order=True)
    assert [stage.name for stage in game.stages] == ["act", "sanction", "metasanction"]
    first = {"punish": [0, 1, 1, 0]}
    again = {"punish_idle": [4, 1, 3, 4]}  # 0 names 3; 1 names 0, 2 names herself, and so does 3: void
    run = Run(game, {"action": [1, 0, 0, 0]}, first, again)
    assert run.seen[1]["idle"][0].tolist() == [[0, 0, 0, 1]] * 4
    assert run.pay[1][0].tolist() == [-6.0, -1.0, -1.0, 0.0]
    assert run.pay[2][0].tolist() == [-1.0, 0.0, 0.0, -3.0]
    assert run.seen[2]["fined"][0].tolist() == [2, 0, 0, 1]
    assert run.measures["sanctions"] == [2.0] and run.measures["metasanctions"] == [1.0]
    both = Run(game, {}, {"punish": [2, 1, 0, 0]}, {"punish_idle": [3, 4, 0, 0]})
    assert both.seen[1]["idle"][0, 0].tolist() == [0, 0, 1, 1]
    assert both.pay[2][0].tolist() == [-1.0, -1.0, -3.0, -3.0]
    peace = Run(game, {}, {}, {"punish_idle": [2, 3, 4, 1]})
    assert (peace.pay[2] == 0).all() and (peace.seen[1]["idle"] == 0).all()


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 40), st.integers(0, 40))
def test_the_metanorm_makes_punishing_pay_from_fine_above_cost_on(cost: int, fine: int) -> None:
    """Player 2 punishes the defector, and who did not; player 1 then weighs the cost against the fine (Axelrod 1986)."""
    returns = {}
    for second in (False, True):
        game = goods(3) | Sanction(cost=cost / 4, fine=fine / 4, second_order=second)
        for punishes in (0, 1):
            again = ({"punish_idle": [0, 0, 0 if punishes else 2]},) if second else ()
            run = Run(game, {"action": [1, 0, 0]}, {"punish": [0, punishes, 1]}, *again)
            returns[second, punishes] = run.total[0, 1]
    assert returns[False, 0] - returns[False, 1] == pytest.approx(cost / 4)
    assert returns[True, 1] - returns[True, 0] == pytest.approx((fine - cost) / 4)


def test_sanctions_that_err_hit_the_others_evenly() -> None:
    """Player 1 means 3, and 4 means 0; with probability 0.3 each is one of the other three."""
    worlds, rate = 20_000, 0.3
    game = goods(5) | Sanction(cost=1.0, fine=1.0, error=rate)
    run = Run(game, {}, {"punish": [0, 4, 0, 0, 1]}, worlds=worlds, seed=2)
    hits = -run.pay[1] - np.array([0, 1, 0, 0, 1])
    assert (hits.sum(axis=1) == 2).all() and (run.measures["sanctions"] == 2).all()
    expected = np.array([1 - rate + rate / 3, rate / 3, 2 * rate / 3, 1 - rate + rate / 3, rate / 3])
    np.testing.assert_allclose(hits.mean(axis=0), expected, atol=4 * np.sqrt(0.5 / worlds))
    always = Run(goods(3) | Sanction(cost=0.0, error=1.0), {}, {"punish": [2, 0, 0]}, worlds=50)
    assert (always.pay[1] == [0, 0, -3]).all()  # neither the one meant nor the one who punishes: the third
    calm = Run(goods(3) | Sanction(error=1.0), {}, {"punish": [0, 2, 0]}, worlds=50)  # nobody; herself
    assert (calm.pay[1] == 0).all()


@settings(max_examples=20, deadline=None)
@given(
    st.lists(st.integers(0, 4), min_size=8, max_size=8),
    st.floats(0, 1),
    st.floats(0, 5),
    st.floats(0, 5),
    st.integers(0, 9),
)
@example([1, 1, 2, 0, 3, 4, 1, 3], 5e-324, 1.0, 3.0, 0)
def test_what_sanctions_cost_is_lost(named: list[int], error: float, cost: float, fine: float, seed: int) -> None:
    """Each sanction of either stage costs all together cost + fine, hit or miss (welfare: see Run)."""
    game = goods() | Sanction(cost=cost, fine=fine, second_order=True, error=error)
    run = Run(game, {}, {"punish": named[:4]}, {"punish_idle": named[4:]}, worlds=8, seed=seed)
    count = run.measures["sanctions"] + run.measures["metasanctions"]
    np.testing.assert_allclose(run.welfare[1] + run.welfare[2], -(cost + fine) * count, atol=1e-9)
    assert (run.seen[2]["fined"].sum(axis=-1) == count).all()


# ---- pool -----------------------------------------------------------------------------------------------------------


def keepers(**parameters: Any) -> PoolSanction:
    return PoolSanction("own", wrong=("keep",), **parameters)


@settings(max_examples=30, deadline=None)
@given(
    st.lists(st.booleans(), min_size=4, max_size=4),
    st.lists(st.booleans(), min_size=4, max_size=4),
    st.floats(0, 5),
    st.floats(0.1, 5),
    st.booleans(),
    st.booleans(),
)
def test_the_pool_by_arithmetic(
    joins: list[bool], keeps: list[bool], cost: float, fine: float, each: bool, second: bool
) -> None:
    game = goods() | keepers(cost=cost, fine=fine, per_contributor=each, second_order=second)
    run = Run(game, {"join": [int(j) for j in joins]}, {"action": [int(k) for k in keeps]})
    size = sum(joins) if each else int(any(joins))
    guilty = [k or (second and not j) for j, k in zip(joins, keeps, strict=True)]
    base = Run(goods(), {"action": [int(k) for k in keeps]}).total
    expected = base[0] - cost * np.array(joins) - fine * size * np.array(guilty)
    np.testing.assert_allclose(run.total[0], expected, atol=1e-9)
    np.testing.assert_allclose(run.seen[1]["pool_fined"][0], fine * size * np.array(guilty))
    assert run.measures["pool_payments"] == sum(joins)
    assert run.measures["pool_fines"] == (sum(guilty) if size else 0)


@pytest.mark.parametrize(("members", "best"), [(0, [D]), (2, [D]), (3, [C, D]), (4, [C])])
def test_a_pool_deters_once_it_is_large_enough(members: int, best: list[int]) -> None:
    """With a fine of 4 a member it takes more than 12 / 4 = 3 of them."""
    game = goods() | keepers(cost=1.0, fine=4.0)
    join = {"join": [int(i < members) for i in range(4)]}
    for others in itertools.product((C, D), repeat=3):
        assert best_replies(game, {"action": [0, *others]}, "action", (join,)) == best


def test_second_order_pools_are_stable_and_first_order_pools_are_not() -> None:
    """Who leaves the others' pool saves the cost, unless that is punished too (Sigmund et al. 2010)."""
    for second in (False, True):
        game = goods() | keepers(cost=1.0, fine=5.0, second_order=second)
        stay, leave = (Run(game, {"join": [own, 1, 1, 1]}, {}).total[0, 0] for own in (1, 0))
        assert leave - stay == pytest.approx(1.0 - (15.0 if second else 0.0))


# ---- graduated ------------------------------------------------------------------------------------------------------


def test_graduated_fines_by_hand() -> None:
    game = goods(2, rounds=5) | GraduatedSanction("own", wrong=("keep",), fine=1.0, step=2.0, most=6.0)
    acts = ([1, 0], [1, 1], [0, 0], [1, 1], [1, 1])
    run = Run(game, *({"action": a} for a in acts))
    plain = Run(goods(2, rounds=5), *({"action": a} for a in acts))
    fines = plain.total[0] - run.total[0]
    assert fines.tolist() == [1 + 3 + 5 + 6, 1 + 3 + 5]  # the fourth would be 7, and is capped
    assert [seen["penalty"][0].tolist() for seen in run.seen] == [[1, 0], [3, 1], [0, 0], [5, 3], [6, 5]]
    assert run.seen[-1]["record"][0, 0].tolist() == [4, 3]
    assert run.measures["offences"] == [0.7] and run.measures["penalties"] == [24.0]


def test_what_is_not_found_out_is_not_on_the_record() -> None:
    worlds, rounds, chance = 4000, 3, 0.4
    game = goods(2, rounds=rounds) | GraduatedSanction("own", wrong=("keep",), fine=2.0, step=1.0, detection=chance)
    run = Run(game, *[{"action": [1, 0]}] * rounds, worlds=worlds, seed=5)
    record = run.seen[-1]["record"][:, 0, 0]
    assert (run.seen[-1]["record"][:, 0, 1] == 0).all()
    fines = -run.total[:, 0] + Run(goods(2, rounds=rounds), *[{"action": [1, 0]}] * rounds).total[0, 0]
    np.testing.assert_allclose(fines, 2 * record + record * (record - 1) / 2)
    assert record.mean() == pytest.approx(rounds * chance, abs=4 * np.sqrt(rounds * 0.24 / worlds))
    assert (run.measures["offences"] == 0.5).all()


def test_repeaters_are_deterred_where_first_timers_are_not() -> None:
    """A fine of 6 that grows by 6: keeping gains 8, so that it pays once, and never again."""
    game = goods(2, rounds=2) | GraduatedSanction("own", wrong=("keep",), fine=6.0, step=6.0, most=50.0)
    table = {
        acts: Run(game, *({"action": [a, 0]} for a in acts)).total[0, 0] for acts in itertools.product((C, D), repeat=2)
    }
    assert table[D, C] - table[C, C] == pytest.approx(2.0) == table[C, D] - table[C, C]
    assert table[D, D] - table[D, C] == pytest.approx(-4.0)


def test_limits_bind_numbers() -> None:
    game = Fishery(months=1) | GraduatedSanction("caught", limit=10, fine=2.5)
    run = Run(game, {"harvest": [10, 11, 0, 12, 5]})
    assert run.total[0].tolist() == [10.0, 8.5, 0.0, 9.5, 5.0]


# ---- exclusion ------------------------------------------------------------------------------------------------------


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 100), st.integers(0, 100), st.integers(1, 3), st.booleans(), st.integers(0, 9))
def test_who_is_shut_out_has_no_influence(one: int, other: int, rounds: int, benefits: bool, seed: int) -> None:
    """Whatever she asks for while she is shut out, and whomever she names, all is the same, bit for bit."""
    game = Fishery(months=5) | Exclude(rounds=rounds, benefits=benefits)
    vote = {"exclude": [1, 1, 1, 1, 4]}  # three of the four others name fisher_0
    runs = []
    for wanted in (one, other):
        steps: list[dict[str, Any]] = [{"harvest": [9] * 5}, vote]
        for _ in range(rounds):
            steps += [{"harvest": [wanted, 30, 20, 10, 5]}, {"exclude": [wanted % 6, 0, 0, 0, 0]}]
        runs.append(Run(game, *steps, worlds=4, seed=seed))
    np.testing.assert_array_equal(runs[0].total, runs[1].total)
    np.testing.assert_array_equal(runs[0].seen[-2]["stock"], runs[1].seen[-2]["stock"])
    for k in range(rounds):
        assert (runs[0].pay[2 + 2 * k][:, 0] == 0).all()
        assert (runs[0].seen[2 * k + 1]["excluded"][:, :, 0] == rounds - k).all()
    assert (runs[0].seen[-2]["excluded"] == 0).all() and (runs[0].measures["exclusions"] == 1).all()


@pytest.mark.parametrize(
    ("players", "votes", "out"),
    [
        (2, [2, 0], 1),
        (2, [2, 1], None),  # each names the other: equally often
        (2, [1, 2], None),  # each names herself
        (3, [2, 0, 0], None),  # 1 of 2 others is no majority
        (3, [2, 0, 2], 1),
        (4, [4, 4, 0, 0], 3),  # 2 of 3 others
        (4, [3, 3, 1, 1], None),  # equally often
        (5, [5, 5, 0, 1, 0], None),  # 2 of 4 others
        (5, [5, 5, 5, 1, 1], 4),
    ],
)
def test_majorities(players: int, votes: list[int], out: int | None) -> None:
    game = goods(players, rounds=2) | Exclude(rounds=1, cost=0.5)
    run = Run(game, {}, {"exclude": votes})
    assert run.seen[1]["excluded"][0, 0].tolist() == [int(i == out) for i in range(players)]
    named = [vote not in (0, i + 1) for i, vote in enumerate(votes)]
    assert run.pay[1][0].tolist() == [-0.5 * n for n in named]


def test_who_is_shut_out_has_no_vote_and_is_not_counted() -> None:
    game = goods(4, rounds=3) | Exclude(rounds=2)
    steps = [
        {},
        {"exclude": [0, 1, 1, 1]},
        {},
        {"exclude": [2, 0, 2, 1]},
    ]  # player 0's vote and the vote for her are void
    run = Run(game, *steps)
    assert run.seen[3]["exclude_votes"][0, 0].tolist() == [0, 1, 0, 0]  # 1 of player 1's 2 others: not enough
    assert run.seen[3]["excluded"][0, 0].tolist() == [1, 0, 0, 0]
    again = Run(game, *steps[:3], {"exclude": [0, 0, 2, 2]})
    assert again.seen[3]["excluded"][0, 0].tolist() == [1, 2, 0, 0]


def test_benefits_are_withheld_and_lost_and_losses_stay() -> None:
    """Shut out of the public goods game player 0 gives; she would be paid 0.4 x 40 and the free rider 16 + 20."""
    steps: tuple[dict[str, Any], ...] = ({}, {"exclude": [2, 1, 1]}, {"action": [D, D, C]})
    for benefits, own in ((True, 16.0), (False, 0.0)):
        run = Run(goods(3, rounds=2) | Exclude(benefits=benefits), *steps)
        np.testing.assert_allclose(run.pay[2][0], [own, 36.0, 16.0])
    sour = MatrixGame((((-1, -4), (2, 1)), ((-1, 2), (-4, 1))), repetitions=2)
    run = Run(sour | Exclude(benefits=False), {}, {"exclude": [0, 1]}, {"action": [D, D]})
    assert run.pay[2][0].tolist() == [-4.0, 2.0]


# ---- reputation -----------------------------------------------------------------------------------------------------


def test_image_scoring_by_hand() -> None:
    """Up by 1 after a good act, down by 1 after a bad one, and never beyond 2 (Nowak and Sigmund 1998)."""
    game = MatrixGame(repetitions=6) | Reputation("own", good=("cooperate",), most=2)
    acts = ([0, 1], [0, 1], [0, 1], [1, 0], [1, 1], [0, 0])
    run = Run(game, *({"action": a} for a in acts))
    scores = [seen["reputation"][0, 0].tolist() for seen in run.seen]
    assert scores == [[1, -1], [2, -2], [2, -2], [1, -1], [0, -2], [1, -1]]
    assert run.measures["reputation"] == [0.0]


def judged(norm: str, well: bool, own: int, others_good: bool) -> int:
    """The norms as tables: standing by Sugden (1986), stern judging by Pacheco et al. (2006)."""
    if norm == "stern":
        return int(well == others_good)
    return 1 if well else 0 if others_good else own


@settings(max_examples=25, deadline=None)
@given(
    st.sampled_from(["standing", "stern"]),
    st.integers(2, 4).flatmap(
        lambda n: st.lists(st.lists(st.integers(0, 1), min_size=n, max_size=n), min_size=1, max_size=6)
    ),
)
def test_standing_and_stern_judging_follow_their_tables(norm: str, history: list[list[int]]) -> None:
    n = len(history[0])
    game = goods(n, rounds=len(history)) | Reputation("own", good=("give",), norm=norm)
    run = Run(game, *({"action": acts} for acts in history))
    good = [1] * n
    for acts, seen in zip(history, run.seen, strict=True):
        worthy = [2 * (sum(good) - good[i]) >= n - 1 for i in range(n)]
        good = [judged(norm, acts[i] == 0, good[i], worthy[i]) for i in range(n)]
        assert (seen["reputation"] == good).all()


def test_norms_differ_in_how_they_take_justified_defection() -> None:
    """Player 1 defects on a good player; then player 0 does to player 1 what was done to her."""
    first, second = {"action": [C, D]}, {"action": [D, C]}
    after = {}
    for norm in ("image", "standing", "stern"):
        game = MatrixGame(repetitions=2) | Reputation("own", good=("cooperate",), norm=norm)
        run = Run(game, first, second)
        after[norm] = run.seen[1]["reputation"][0, 0].tolist()
        before = run.seen[0]["reputation"][0, 0].tolist()
        assert before == ([1, -1] if norm == "image" else [1, 0])
    assert after == {"image": [0, 0], "standing": [1, 1], "stern": [1, 1]}
    mercy = {}
    for norm in ("standing", "stern"):
        game = MatrixGame(repetitions=2) | Reputation("own", good=("cooperate",), norm=norm)
        mercy[norm] = Run(game, first, {"action": [C, D]}).seen[1]["reputation"][0, 0].tolist()
    assert mercy == {"standing": [1, 0], "stern": [0, 0]}  # stern judging takes help for the bad as bad


@settings(max_examples=10, deadline=None)
@given(st.sampled_from(["image", "standing", "stern"]), st.booleans(), st.floats(0, 1), st.integers(0, 9))
def test_reputation_is_information_only(norm: str, public: bool, noise: float, seed: int) -> None:
    base = Fishery(months=4, collapse=0)
    blind = {"fisher": policy("callable", function=lambda seen: {"harvest": 17 + 5 * (seen["total"] % 3)})}
    plain = play(base, blind, worlds=8, seed=seed)
    game = base | Reputation("caught", limit=12, norm=norm, public=public, noise=noise)
    under = play(game, blind, worlds=8, seed=seed)
    np.testing.assert_array_equal(plain.returns["fisher"], under.returns["fisher"])
    np.testing.assert_array_equal(plain.welfare, under.welfare)
    for name, values in plain.measures.items():
        np.testing.assert_array_equal(values, under.measures[name])


@pytest.mark.parametrize("public", [True, False])
def test_errors_of_judgement(public: bool) -> None:
    """All errors are independent: one for each player judged, and where opinions are private each who judges."""
    worlds, noise = 20_000, 0.2
    game = MatrixGame() | Reputation("own", good=("cooperate",), norm="stern", noise=noise, public=public)
    seen = Run(game, {"action": [C, D]}, worlds=worlds, seed=1).seen[0]["reputation"]  # (worlds, seer, seen)
    wrong = seen != [1, 0]
    assert wrong.mean(axis=(0, 1)) == pytest.approx(noise, abs=4 * np.sqrt(0.16 / worlds))
    agree = (seen[:, 0] == seen[:, 1]).mean()
    assert agree == pytest.approx(1.0 if public else 0.8**2 + 0.2**2, abs=4 * np.sqrt(0.25 / worlds))
    assert game.role("player").sees[-1].verifiable == public


def test_private_opinions_judge_by_themselves() -> None:
    """Each opinion follows the norm from the opinions of the same player, whatever the others think."""
    game = goods(3, rounds=2) | Reputation("own", good=("give",), norm="stern", noise=0.3, public=False)
    draw = np.random.default_rng(3).random
    state = game.start(draw((400, game.draws)))
    for acts in ([0, 1, 0], [1, 0, 0]):
        old = game.view(state)["player"]["reputation"]
        u = draw((400, game.draws))
        state = game.step(state, {"player": {"action": np.tile(acts, (400, 1))}}, u).state
        new, errs = game.view(state)["player"]["reputation"], u.reshape(400, 3, 3) < 0.3
        worthy = 2 * (old.sum(axis=-1, keepdims=True) - old) >= 2
        np.testing.assert_array_equal(new, ((np.array(acts) == 0) == worthy) != errs)


def test_discriminators_starve_defectors() -> None:
    """Who gives to those with a score of 0 or more only is exploited once (Nowak and Sigmund 1998)."""
    rounds = 6
    game = MatrixGame.prisoners_dilemma(rounds=rounds) | Reputation("own", good=("cooperate",))
    discriminates = policy(
        "callable", function=lambda seen: {"action": "cooperate" if seen["reputation"][1] >= 0 else "defect"}
    )
    for action, expected in (("defect", [0 + 5, 5 + 5]), ("cooperate", [18, 18])):
        constant = policy("callable", function=lambda seen, action=action: {"action": action})
        done = play(game, {"player_0": discriminates, "player_1": constant})
        assert done.returns["player"][0].tolist() == expected


# ---- classifier -----------------------------------------------------------------------------------------------------


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(0, 15), min_size=5, max_size=5), st.integers(1, 12))
def test_a_least_value_is_the_other_side_of_a_limit(caught: list[int], least: int) -> None:
    """Of whole numbers: what is wrong by a least value of k is right by a limit of k - 1, and all are judged."""
    base = Fishery(months=2)
    wrong = [Rule("caught", least=least), Rule("caught", limit=least - 1)]
    after = base.step(base.start(np.zeros((1, 0))), {"fisher": {"harvest": np.array([caught])}}, np.zeros((1, 0))).state
    below, above = (np.asarray(rule.broken(base, base.view(after), ("fisher",)))[0] for rule in wrong)
    assert below.tolist() == [each < least for each in caught] and (below != above).all()
    run = Run(base | Reputation("caught", least=least), {"harvest": caught})
    assert run.seen[0]["reputation"][0, 0].tolist() == [1 if each >= least else -1 for each in caught]


def test_a_least_value_in_words() -> None:
    assert Rule("caught", least=2.5).text == "caught below 2.5"
    assert Rule("caught", least=2.5, sort="good").text == "caught of at least 2.5"
    assert "A good act is: caught of at least 3." in (Fishery() | Reputation("caught", least=3)).rules("fisher")


def test_labels_flip_with_the_institutions_mind() -> None:
    game = MatrixGame(repetitions=4) | Classifier("own", wrong=("defect",), changes=1.0)
    before = game.view(game.start(np.zeros((1, game.draws))))["player"]["label"]
    assert before.tolist() == [[2, 2]]  # none
    run = Run(game, *[{"action": [C, D]}] * 4)
    assert [seen["label"][0].tolist() for seen in run.seen] == [[0, 1], [1, 0], [0, 1], [1, 0]]
    assert (run.seen[-1]["labels"][0] == [[1, 0]] * 2).all()
    assert run.measures["mind_changes"] == [4.0] and run.measures["labelled_wrong"] == [0.5]


def test_labels_err_and_minds_change_as_often_as_is_said() -> None:
    worlds, rounds, accuracy, changes = 3000, 4, 0.9, 0.25
    game = MatrixGame(repetitions=rounds) | Classifier("own", wrong=("defect",), accuracy=accuracy, changes=changes)
    run = Run(game, *[{"action": [C, D]}] * rounds, worlds=worlds, seed=4)
    for k, seen in enumerate(run.seen):
        upright = (1 + (1 - 2 * changes) ** k) / 2  # changed an even number of times
        chance = upright * accuracy + (1 - upright) * (1 - accuracy)
        right = np.stack([seen["label"][:, 0] == 0, seen["label"][:, 1] == 1])
        assert right.mean() == pytest.approx(chance, abs=4 * 0.5 / np.sqrt(worlds))
    changed = run.measures["mind_changes"].mean()
    assert changed == pytest.approx(rounds * changes, abs=4 * np.sqrt(rounds * 0.1875 / worlds))


def labelled(theta: float, **parameters: Any) -> Game:
    """The prisoner's dilemma under a contract on what an institution calls right and wrong."""
    terms = Compensation(field="label", wrong="wrong", right="right", theta=theta)
    return MatrixGame() | Classifier("own", wrong=("defect",), **parameters) | Contract(terms)


@pytest.mark.parametrize(("theta", "equilibria"), [(0.5, [(D, D)]), (1.5, [(C, D), (D, C)]), (2.5, [(C, C)])])
def test_a_contract_on_labels_is_a_contract_on_acts_if_they_are_right(
    theta: float, equilibria: list[tuple[int, int]]
) -> None:
    """As in Christoffersen et al. (2022): chicken from P - S = 1 on, cooperation from T - R = 2 on."""
    table: Any = np.zeros((2, 2, 2))
    for cell in itertools.product((C, D), repeat=2):
        run = Run(labelled(theta), {"consent": [1, 1]}, {"action": cell})
        assert run.measures["agreed"] == [1.0]
        table[(slice(None), *cell)] = run.total[0]
    assert pure_nash(table) == equilibria


def test_errors_of_labels_weaken_the_contract() -> None:
    """Who defects on a cooperator pays theta (a^2 - (1 - a)^2) = theta (2a - 1) in expectation."""
    worlds, theta = 20_000, 3.0
    for accuracy in (0.9, 0.7):
        game = labelled(theta, accuracy=accuracy)
        run = Run(game, {"consent": [1, 1]}, {"action": [D, C]}, worlds=worlds, seed=6)
        gain = run.total[:, 0].mean() - 3.0  # cooperating pays R = 3, and nothing in expectation
        assert gain == pytest.approx(2.0 - theta * (2 * accuracy - 1), abs=4 * theta / np.sqrt(worlds))
        assert (gain < 0) == (accuracy == 0.9)


def test_labels_by_a_limit_reach_the_contract() -> None:
    terms = Compensation(field="label", wrong="wrong", right="right", theta=2.0)
    game = Fishery(months=1) | Classifier("caught", limit=10) | Contract(terms)
    run = Run(game, {"consent": 1}, {"harvest": [15, 10, 10, 12, 10]})
    assert run.total[0].tolist() == [15 - 6, 14, 14, 12 - 6, 14]


# ---- all of them ----------------------------------------------------------------------------------------------------

RULED: tuple[Any, ...] = (Classifier, GraduatedSanction, PoolSanction, Reputation)
GAMES: tuple[Game, ...] = (
    Fishery(months=5),
    HiddenAction(),
    MatrixGame(repetitions=4),
    Relational(delta=0.3, repetitions=10),
)


@pytest.mark.parametrize("game", GAMES, ids=lambda game: game.name)
@pytest.mark.parametrize("kind", [*RULED, Exclude, Sanction], ids=lambda kind: kind.__name__)
def test_examined_as_it_suits(kind: Any, game: Game) -> None:
    check_mechanism(kind.suited(game), game, worlds=12)


STACK = Fishery(months=3) | Talk(cost=0.25)
STACKED: tuple[tuple[Mechanism, Mechanism | None], ...] = (
    (Sanction(second_order=True, error=0.4), None),
    (
        PoolSanction("caught", limit=8, fine=0.5, second_order=True),
        PoolSanction("caught", limit=8, fine=0.0),
    ),
    (
        GraduatedSanction("caught", limit=8, detection=0.5),
        GraduatedSanction("caught", limit=8, detection=0.0),
    ),
    (Exclude(rounds=2, cost=0.1, benefits=False), Exclude(rounds=0)),
    (
        Reputation("caught", limit=8, norm="standing", public=False, noise=0.2),
        Reputation("caught", limit=8, norm="none"),
    ),
    (Reputation("caught", limit=8, noise=0.2), Reputation("caught", limit=8, norm="none", noise=0.5)),
    (Classifier("caught", limit=8, accuracy=0.8, changes=0.3), None),
    (Reputation("caught", least=8, norm="stern"), Reputation("caught", least=8, norm="none")),
)


@pytest.mark.parametrize(("given_", "null"), STACKED, ids=lambda m: type(m).__name__)
def test_examined_on_top_of_another(given_: Mechanism, null: Mechanism | None) -> None:
    check_mechanism(given_, STACK, null=null, worlds=12)


def test_examined_all_at_once() -> None:
    """Each on top of those before it: names of stages, fields and measures do not clash."""
    game: Game = Fishery(fishers=3, months=3)
    for layer, _ in (STACKED[1], STACKED[6], STACKED[2], STACKED[5], STACKED[3]):
        game = game | layer
    check_mechanism(STACKED[0][0], game, worlds=8, backends=("numpy",))


def test_exclusion_reaches_the_mechanisms_below_it_and_none_above() -> None:
    """Shut out of Sanction a player cannot punish; where Sanction is on top she can."""
    base = goods(3, rounds=2)
    vote, punish = {"exclude": [0, 1, 1]}, {"punish": [2, 0, 0]}
    assert (Run(base | Sanction() | Exclude(), {}, {}, vote, {}, punish).pay[4] == 0).all()
    assert Run(base | Exclude() | Sanction(), {}, vote, {}, {}, {}, punish).pay[5][0].tolist() == [-1.0, -3.0, 0.0]


def test_roles_that_are_not_held_to_a_rule_are_left_alone() -> None:
    game = HiddenAction(repetitions=2) | GraduatedSanction("answer", wrong=("refused",), fine=2.0, roles=("agent",))
    refuses = {"agent": policy("callable", function=lambda seen: {"accept": "refuse"})}
    done = play(game, refuses)
    assert done.returns["agent"][0, 0] == 1 - 2 + 1 - 3 and done.returns["principal"][0, 0] == 0
    assert "penalty" not in [f.name for f in game.role("principal").sees]
    assert [f.name for f in game.role("agent").sees][-2:] == ["record", "penalty"]


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        (lambda: Sanction(error=1.5), "error: a number from 0 to 1, got 1.5"),
        (lambda: Sanction(roles=3), "roles: a list of distinct names, got 3"),  # type: ignore[arg-type]
        (lambda: Exclude(rounds=-1), "rounds: a whole number from 0 to 1000000, got -1"),
        (lambda: Exclude(roles=("a", "a")), "roles: a list of distinct names, got"),
        (lambda: PoolSanction("own"), "wrong, limit: either the options of 'own' that are wrong, or a limit"),
        (lambda: PoolSanction("own", wrong=("a",), limit=1), r"got wrong=\('a',\) and limit=1"),
        (lambda: keepers(cost=-1.0), "cost: a number from 0 to inf, got -1.0"),
        (lambda: GraduatedSanction("own", limit=1, detection=2.0), "detection: a number from 0 to 1, got 2.0"),
        (lambda: GraduatedSanction("own", limit=float("nan")), "limit: a number from -inf to inf, got nan"),
        (lambda: GraduatedSanction("own", limit=1, most=-1.0), "most: a number from 0 to inf, got -1.0"),
        (lambda: Reputation("own"), "good, limit: either the options of 'own' that are good, or a limit"),
        (lambda: Reputation("own", limit=1, least=1), "or a limit if it is a number; got .* limit=1 and least=1"),
        (lambda: Reputation("own", ("cooperate",), least=1), "either the options of 'own' that are good, or a limit"),
        (lambda: Rule("own", least=float("nan")), "least: "),
        (
            lambda: Reputation("own", limit=1, norm="shun"),
            "norm: one of 'none', 'image', 'standing', 'stern', got 'shun'",
        ),
        (lambda: Reputation("own", limit=1, most=0), "most: a whole number from 1 to 1000000, got 0"),
        (lambda: Classifier("own", limit=1, accuracy=-0.1), "accuracy: a number from 0 to 1, got -0.1"),
    ],
)
def test_parameters_out_of_range_are_refused(wrong: Any, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        wrong()


@pytest.mark.parametrize(
    ("game", "given_", "words"),
    [
        ("MatrixGame", Sanction(error=0.1), "error: .* only among 3 players or more, got player_0, player_1"),
        (
            "MatrixGame",
            Sanction(second_order=True),
            "second_order: .* only among 3 players or more, got player_0, player_1",
        ),
        ("HiddenAction", Exclude(roles=("agent",)), "roles: at least 2 players must have a vote, got agent_0"),
        ("HiddenAction", Exclude(roles=("boss",)), "roles: HiddenAction has no role 'boss'; it has: principal, agent"),
        (
            "Fishery",
            Classifier("stock", limit=1),
            "field: 'stock' is not a single verifiable fact .*; there are: caught",
        ),
        ("Fishery", Classifier("catches", limit=1), "field: 'catches' is not a single verifiable fact"),
        ("Fishery", Classifier("caught", wrong=("much",)), "wrong: 'much' must be among the options of field 'caught'"),
        ("MatrixGame", PoolSanction("own", limit=1), "limit: field 'own' is one of .*; say in `wrong` which options"),
        ("MatrixGame", Reputation("own", limit=1), "limit: field 'own' is one of .*; say in `good` which options"),
        ("MatrixGame", Reputation("own", least=1), "least: field 'own' is one of .*; say in `good` which options"),
        ("MatrixGame", Reputation("own", good=("betray",)), "good: 'betray' must be among the options of field 'own'"),
        (
            "HiddenAction",
            PoolSanction("answer", ("refused",), roles=("agent",)),
            "a pool needs at least 2 players, got agent_0",
        ),
        ("HoldUp", Classifier("deal", ("none",), roles=("boss",)), "roles: HoldUp has no role 'boss'"),
    ],
)
def test_games_that_lack_something_are_refused(game: str, given_: Mechanism, words: str) -> None:
    with pytest.raises(Unfit, match=words):
        make(game) | given_


def test_lists_are_accepted_as_they_come_from_a_file() -> None:
    options: dict[str, Any] = {"wrong": ["defect"], "roles": ["player"]}
    for kind in (Classifier, GraduatedSanction, PoolSanction):
        assert kind("own", **options) == kind("own", wrong=("defect",), roles=("player",))
        hash(kind("own", **options))
    single: Any = "cooperate"
    assert Reputation("own", good=single).good == ("cooperate",)
