"""Matching markets: plain solvers beside the arrays, all lies of three proposers, and what is known about random markets."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.integrate import quad
from scipy.optimize import linear_sum_assignment

from societas import ActError, Game, play, policy
from societas.envs.core import assignment
from societas.envs.core.arrays import align, select
from societas.envs.markets.matching_market import PROCEDURES, MatchingMarket
from societas.testing import check_game

VARIANTS: list[dict[str, Any]] = [
    {},
    {"procedure": "top trading cycles", "common": 0.5, "pairs": 4},
    {"procedure": "immediate acceptance", "markets": 3},
    {"procedure": "immediate acceptance", "common": 0.6, "public": True},
    {"procedure": "decentralised", "markets": 2},
    {"procedure": "decentralised", "common": 0.5, "public": True, "pairs": 2, "offers": 1},
]
DEFERRED, TRADING, IMMEDIATE, DECENTRALISED = PROCEDURES
ORDERS = list(itertools.permutations(range(3)))


# ---- plain solvers, one market at a time ---------------------------------------------------------------------------

Ranks = Sequence[Sequence[int]]


def deferred(ranks: Ranks, lines: Ranks) -> tuple[list[int], int]:
    """Gale and Shapley's procedure, one proposal after the other: the seat of each, and the number of proposals."""
    n = len(ranks)
    wish = [sorted(range(n), key=lambda j, i=i: ranks[i][j]) for i in range(n)]
    holds: dict[int, int] = {}
    free, made = list(range(n)), 0
    while free:
        i = free.pop()
        j, made = wish[i].pop(0), made + 1
        other = holds.get(j)
        if other is not None and lines[j][other] < lines[j][i]:
            free.append(i)
            continue
        holds[j] = i
        if other is not None:
            free.append(other)
    seat = [0] * n
    for j, i in holds.items():
        seat[i] = j
    return seat, made


def trading(ranks: Ranks, lines: Ranks) -> list[int]:
    """Top trading cycles, one cycle after the other."""
    n = len(ranks)
    seat, left, open_ = [0] * n, set(range(n)), set(range(n))
    while left:
        path = [min(left)]
        while True:
            j = min(open_, key=lambda j: ranks[path[-1]][j])
            i = min(left, key=lambda i, j=j: lines[j][i])
            if i in path:
                cycle = path[path.index(i) :]
                break
            path.append(i)
        given_ = {i: min(open_, key=lambda j, i=i: ranks[i][j]) for i in cycle}
        for i, j in given_.items():
            seat[i] = j
        left, open_ = left - set(given_), open_ - set(given_.values())
    return seat


def immediate(ranks: Ranks, lines: Ranks) -> list[int]:
    """Immediate acceptance, one place in the rankings after the other."""
    n = len(ranks)
    seat: dict[int, int] = {}
    for place in range(n):
        for j in set(range(n)) - set(seat.values()):
            asking = [i for i in range(n) if i not in seat and ranks[i][j] == place]
            if asking:
                seat[min(asking, key=lambda i, j=j: lines[j][i])] = j
    return [seat[i] for i in range(n)]


def meeting(ranks: Ranks, lines: Ranks, offers: int) -> list[int]:
    """Offers to the best who is free, taken for good by the best who offers; n for nobody."""
    n = len(ranks)
    seat: dict[int, int] = {}
    for _ in range(offers):
        open_ = set(range(n)) - set(seat.values())
        asked: dict[int, list[int]] = {}
        for i in range(n):
            if i not in seat:
                asked.setdefault(min(open_, key=lambda j, i=i: ranks[i][j]), []).append(i)
        for j, who in asked.items():
            seat[min(who, key=lambda i, j=j: lines[j][i])] = j
    return [seat.get(i, n) for i in range(n)]


SOLVERS: dict[str, Callable[[Ranks, Ranks, int], list[int]]] = {
    DEFERRED: lambda ranks, lines, offers: deferred(ranks, lines)[0],
    TRADING: lambda ranks, lines, offers: trading(ranks, lines),
    IMMEDIATE: lambda ranks, lines, offers: immediate(ranks, lines),
    DECENTRALISED: meeting,
}


def is_stable(seat: Sequence[int], ranks: Ranks, lines: Ranks) -> bool:
    sits = {j: i for i, j in enumerate(seat)}
    pairs = itertools.product(range(len(seat)), repeat=2)
    return not any(ranks[i][j] < ranks[i][seat[i]] and lines[j][i] < lines[j][sits[j]] for i, j in pairs)


# ---- playing by hand -----------------------------------------------------------------------------------------------


def tastes(ranks: Any, lines: Any) -> Any:
    """Return the draws of markets (worlds, n, n) whose tastes have such ranks: each value is its expectation given its rank."""
    n = ranks.shape[-1]
    return np.concatenate([(n - table.reshape(len(table), -1)) / (n + 1) for table in (ranks, lines)], axis=-1)


def run(
    game: MatchingMarket, u: Any, lie: Sequence[int] | None = None, level: str = "equilibrium"
) -> tuple[Any, Any, Any]:
    """Play a level from given draws: rewards of proposers, welfare, measures. Proposer 0 asks as if others were worth to it
    what ``lie`` says: receiver j what receiver lie[j] is."""
    state, live = game.start(u), np.ones(len(u), dtype=bool)
    paid, welfare = np.zeros((len(u), game.pairs)), np.zeros(len(u))
    part: Any = {"proposer": game.truth, "receiver": game.takes}
    if game.public:
        part = game.benchmarks().levels[level].play
    for _ in range(game.horizon):
        seen = game.view(state)
        acts = {role.name: part[role.name](seen[role.name]) for role in game.roles}
        if lie is not None:
            worth = seen["proposer"]["worth"]
            told = game.truth(
                {**seen["proposer"], "worth": np.concatenate([worth[:, :1, list(lie)], worth[:, 1:]], axis=1)}
            )
            acts["proposer"] = {
                name: np.concatenate([told[name][:, :1], acts["proposer"][name][:, 1:]], axis=1) for name in told
            }
        acts = {role.name: {f.name: acts[role.name][f.name] for f in role.acts} for role in game.roles}
        outcome = game.step(state, acts, u)
        paid += outcome.rewards["proposer"] * live[:, None]
        welfare += outcome.welfare * live
        state = select(live, outcome.state, state)
        live = live & ~outcome.done
    assert not live.any()
    return paid, welfare, game.measures(state)


def all_profiles() -> tuple[Any, Any]:
    """All ordinal tastes of three pairs, (7776, 3, 3) twice, but that of proposer 0, who likes receivers in their order."""
    orders = np.argsort(np.array(ORDERS), axis=-1)
    index = np.array(list(itertools.product(range(6), repeat=5)))
    ranks = np.concatenate([np.broadcast_to(np.arange(3), (len(index), 1, 3)), orders[index[:, :2]]], axis=1)
    return ranks, orders[index[:, 2:]]


PROFILES = all_profiles()


# ---- the procedures, against plain solvers ------------------------------------------------------------------------


@settings(max_examples=60, deadline=None)
@given(st.integers(2, 6), st.sampled_from(PROCEDURES), st.integers(1, 4), st.booleans(), st.integers(0, 10**6))
def test_matchings_are_those_of_plain_solvers(n: int, procedure: str, offers: int, alike: bool, seed: int) -> None:
    common = 0.7 if alike and procedure in PROCEDURES[:2] else 0.0
    game = MatchingMarket(n, procedure, common=common, offers=offers)
    rng = np.random.default_rng(seed)
    u = rng.random((4, game.draws))
    drawn = game.open(u)
    wants, likes = drawn["wants"], drawn["likes"]
    paid, welfare, found = run(game, u, level="equilibrium")
    for world in range(len(u)):
        ranks, lines = (np.argsort(np.argsort(-t[world], axis=-1), axis=-1) for t in (wants, likes))
        seat = SOLVERS[procedure](ranks.tolist(), lines.tolist(), offers)
        mine = [wants[world, i, j] if j < n else 0.0 for i, j in enumerate(seat)]
        theirs = [likes[world, j, i] for i, j in enumerate(seat) if j < n]
        np.testing.assert_allclose(paid[world], mine)
        assert welfare[world] == pytest.approx(sum(mine) + sum(theirs))
        joint = wants[world] + likes[world].T
        best = joint[linear_sum_assignment(joint, maximize=True)].sum()
        assert found["efficiency"][world] == pytest.approx(welfare[world] / best)
        assert found["matched"][world] == pytest.approx(len(theirs) / n)
        place = [ranks[i, j] + 1 if j < n else n + 1 for i, j in enumerate(seat)]
        assert found["proposer_rank"][world] == pytest.approx(np.mean(place))
        sits = {j: i for i, j in enumerate(seat)}
        place = [lines[j, sits[j]] + 1 if j in sits else n + 1 for j in range(n)]
        assert found["receiver_rank"][world] == pytest.approx(np.mean(place))
        blocks = sum(
            wants[world, i, j] > mine[i] and likes[world, j, i] > (likes[world, j, sits[j]] if j in sits else 0.0)
            for i in range(n)
            for j in range(n)
        )
        assert found["blocking"][world] == blocks and found["stable"][world] == (blocks == 0)
        assert found["honest"][world] == 1.0


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 9), st.integers(0, 10**6))
def test_the_heaviest_assignment(n: int, seed: int) -> None:
    weights = np.random.default_rng(seed).normal(size=(3, n, n))
    seat = assignment.heaviest(weights)
    for one, mine in zip(weights, seat, strict=True):
        rows, columns = linear_sum_assignment(one, maximize=True)
        assert sorted(mine.tolist()) == list(range(n))
        assert one[np.arange(n), mine].sum() == pytest.approx(one[rows, columns].sum())
    np.testing.assert_array_equal(assignment.heaviest(weights[0]), seat[0])


# ---- truth ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("procedure", [DEFERRED, TRADING])
def test_truth_is_dominant(procedure: str) -> None:
    """No lie of proposer 0 helps it in any of the 7,776 markets, whatever the two others report."""
    game, u = MatchingMarket(3, procedure), tastes(*PROFILES)
    truth = run(game, u)[0][:, 0]
    for lie in ORDERS[1:]:
        other = run(game, u, lie)[0][:, 0]
        assert (other <= truth + 1e-12).all()
        assert (other < truth - 1e-12).any()


@pytest.mark.parametrize("procedure", [IMMEDIATE, DECENTRALISED])
@pytest.mark.parametrize("offers", [1, 2, 3])
def test_lies_pay_if_one_knows_the_others_and_not_otherwise(procedure: str, offers: int) -> None:
    """Some lies help in some markets; on average over what one cannot know, none makes any good outcome more likely."""
    game, u = MatchingMarket(3, procedure, offers=offers), tastes(*PROFILES)
    truth, gained = run(game, u)[0][:, 0], np.zeros(len(u), dtype=bool)
    for lie in ORDERS[1:]:
        other = run(game, u, lie)[0][:, 0]
        gained |= other > truth + 1e-12
        for value in (0.25, 0.5, 0.75):
            assert (other >= value - 1e-12).mean() <= (truth >= value - 1e-12).mean() + 1e-12
    assert 0.05 < gained.mean() < 0.35


@pytest.mark.parametrize("n", [4, 6])
def test_an_early_place_in_the_ranking_is_worth_more(n: int) -> None:
    """So that with tastes that nobody can guess each puts what it wants most first, under immediate acceptance."""
    game = MatchingMarket(n, IMMEDIATE)
    rng = np.random.default_rng(n)
    ranks = np.argsort(rng.random((5_000, n, n)), axis=-1)
    lines = np.argsort(rng.random((5_000, n, n)), axis=-1)
    got = run(game, tastes(ranks, lines))[0]
    shares = [(np.abs(got - (n - k) / (n + 1)) < 1e-9).mean() for k in range(n)]
    assert shares == sorted(shares, reverse=True) and sum(shares) == pytest.approx(1.0)


def test_a_lie_that_pays_under_immediate_acceptance() -> None:
    """Proposer 0 wants 0, 1, 2; the two others are wanted more at 0 and at 1: asking for 0 it ends with 2, for 1 it gets it."""
    ranks, lines = np.array([[[0, 1, 2], [0, 1, 2], [0, 1, 2]]]), np.array([[[2, 0, 1], [1, 2, 0], [0, 1, 2]]])
    u, lie = tastes(ranks, lines), (1, 0, 2)
    assert run(MatchingMarket(3, IMMEDIATE), u)[0][0, 0] == 0.25
    assert run(MatchingMarket(3, IMMEDIATE), u, lie)[0][0, 0] == 0.5
    for procedure in (DEFERRED, TRADING):
        honest = run(MatchingMarket(3, procedure), u)[0][0, 0]
        assert run(MatchingMarket(3, procedure), u, lie)[0][0, 0] <= honest


@settings(max_examples=25, deadline=None)
@given(st.integers(0, len(PROFILES[0]) - 1))
def test_equilibria_of_immediate_acceptance_are_the_stable_matchings(number: int) -> None:
    """Ergin and Sonmez 2006, theorem 1: by all 216 triples of reports, and all six matchings."""
    ranks, lines = PROFILES[0][number], PROFILES[1][number]
    reports = np.argsort(np.array(ORDERS), axis=-1)
    index = np.array(list(itertools.product(range(6), repeat=3)))
    game = MatchingMarket(3, IMMEDIATE, public=True)
    u = np.broadcast_to(tastes(ranks[None], lines[None]), (216, game.draws))
    outcome = game.step(game.start(u), {"proposer": {"rank": reports[index] + 1}}, u)
    seats = outcome.state.memory["proposer"].reshape(6, 6, 6, 3)
    paid = outcome.rewards["proposer"].reshape(6, 6, 6, 3)
    best = [paid[..., i].max(axis=i, keepdims=True) for i in range(3)]
    nash = np.all([paid[..., i] >= best[i] - 1e-12 for i in range(3)], axis=0)
    stable = {seat for seat in ORDERS if is_stable(seat, ranks.tolist(), lines.tolist())}
    assert {tuple(seat) for seat in seats[nash].tolist()} == stable


@pytest.mark.parametrize("procedure", [IMMEDIATE, DECENTRALISED])
@pytest.mark.parametrize("offers", [1, 3])
def test_no_lie_pays_where_tastes_are_public(procedure: str, offers: int) -> None:
    game = MatchingMarket(3, procedure, 0.5, public=True, offers=offers)
    u = np.random.default_rng(3).random((500, game.draws))
    paid, welfare, found = run(game, u)
    assert (found["stable"] == 1).all()
    for lie in ORDERS:
        assert (run(game, u, lie)[0][:, 0] <= paid[:, 0] + 1e-12).all()
    first = run(game, u, level="first_best")
    np.testing.assert_allclose(first[2]["efficiency"], 1.0)
    assert (first[1] >= welfare - 1e-12).all() and first[1].mean() > welfare.mean()
    honest = run(game, u, level="truth")[0]
    assert max((run(game, u, lie, level="truth")[0][:, 0] - honest[:, 0]).max() for lie in ORDERS) > 0.05


# ---- what is known about random markets ---------------------------------------------------------------------------


def close_to(game: MatchingMarket, level: str, exact: float) -> None:
    """A simulated level is within four standard errors of a closed form, and these are small."""
    mean, error = game.levels[level]
    assert error < 0.005 * game.pairs
    assert mean == pytest.approx(exact, abs=4 * error)


@pytest.mark.parametrize("procedure", PROCEDURES)
def test_levels_of_three_pairs_are_those_of_all_markets(procedure: str) -> None:
    """Expected values given ranks are (4 - rank) / 4, so that the mean over the 7,776 markets is exact."""
    game = MatchingMarket(3, procedure)
    close_to(game, "equilibrium", float(run(game, tastes(*PROFILES))[1].mean()))
    close_to(game, "stable", float(run(MatchingMarket(3), tastes(*PROFILES))[1].mean()))
    assert game.benchmarks().baseline.value == 3.0  # type: ignore[union-attr]


@pytest.mark.parametrize("n", [2, 3])
def test_trading_cycles_are_a_random_dictatorship(n: int) -> None:
    """Knuth 1996: with random lines the mean rank is (n + 1) / n (H_(n + 1) - 1)."""
    ranks, lines = PROFILES if n == 3 else two_pairs()
    found = run(MatchingMarket(n, TRADING), tastes(ranks, lines))[2]
    expected = (n + 1) / n * (sum(1 / k for k in range(1, n + 2)) - 1)
    assert found["proposer_rank"].mean() == pytest.approx(expected)


def two_pairs() -> tuple[Any, Any]:
    orders = np.array([[0, 1], [1, 0]])
    index = np.array(list(itertools.product(range(2), repeat=4)))
    return orders[index[:, :2]], orders[index[:, 2:]]


def test_proposals_of_three_pairs() -> None:
    """The mean rank of partners is that of proposals by the plain procedure, below H_n (Wilson 1972); and sides differ."""
    ranks, lines = PROFILES
    found = run(MatchingMarket(3), tastes(ranks, lines))[2]
    made = [deferred(r, line)[1] for r, line in zip(ranks.tolist(), lines.tolist(), strict=True)]
    assert found["proposer_rank"].mean() * 3 == pytest.approx(np.mean(made))
    assert found["proposer_rank"].mean() < 1 + 1 / 2 + 1 / 3
    assert found["receiver_rank"].mean() > found["proposer_rank"].mean() + 0.1
    assert (found["stable"] == 1).all()


def test_stable_matching_is_the_best_for_all_proposers_and_the_worst_for_receivers() -> None:
    ranks, lines = (table[::97] for table in PROFILES)
    paid = run(MatchingMarket(3), tastes(ranks, lines))[0]
    for i, (one, line) in enumerate(zip(ranks.tolist(), lines.tolist(), strict=True)):
        for seat in ORDERS:
            if is_stable(seat, one, line):
                assert all(paid[i, p] >= (3 - one[p][seat[p]]) / 4 for p in range(3))


@pytest.mark.parametrize("n", [2, 3, 5])
def test_one_round_of_offers(n: int) -> None:
    """n balls in n boxes: welfare is n - n (1 - 1 / n)^n / (n + 1), less than what a lot makes; 1 - (1 - 1 / n)^n are matched."""
    game = MatchingMarket(n, DECENTRALISED, offers=1)
    empty = (1 - 1 / n) ** n
    close_to(game, "equilibrium", n - n * empty / (n + 1))
    assert game.benchmarks().equilibrium.value == pytest.approx(n - n * empty / (n + 1))
    done = play(game, {role.name: policy("equilibrium") for role in game.roles}, worlds=20_000, seed=3)
    error = done.measures["matched"].std() / math.sqrt(20_000)
    assert done.measures["matched"].mean() == pytest.approx(1 - empty, abs=4 * error)


def test_first_best_of_two_pairs() -> None:
    """The better of two sums of four uniforms each: 2 + E|s - 4| / 2, with s the sum of eight (Irwin and Hall)."""

    def density(x: float) -> float:
        return sum((-1) ** k * math.comb(8, k) * max(x - k, 0.0) ** 7 for k in range(9)) / math.factorial(7)

    spread = 2 * quad(lambda x: (4 - x) * density(x), 0.0, 4.0)[0]
    close_to(MatchingMarket(2), "best", 2 + spread / 2)


def test_those_who_want_the_same_leave_nothing_to_align() -> None:
    marks = MatchingMarket(4, common=1.0).benchmarks()
    assert marks.first_best.value == marks.equilibrium.value == 4.0
    with pytest.raises(ValueError, match="alignment: first_best"):
        marks.alignment(np.array(4.0))


def test_more_rounds_of_offers_and_tastes_that_differ_help() -> None:
    values = [MatchingMarket(4, DECENTRALISED, offers=k).benchmarks().equilibrium.value for k in (1, 2, 3, 4, 9)]
    assert values[:4] == sorted(values[:4]) and values[3] == values[4]
    game = MatchingMarket(4, DECENTRALISED, offers=4)
    done = play(game, {role.name: policy("equilibrium") for role in game.roles}, worlds=500, seed=1)
    assert (done.measures["matched"] == 1).all()
    by_common = [MatchingMarket(4, common=c).benchmarks().equilibrium.value for c in (0.0, 0.3, 0.6, 1.0)]
    assert by_common == sorted(by_common, reverse=True)
    worst = [run(MatchingMarket(3, p), tastes(*PROFILES))[2]["blocking"].mean() for p in (DEFERRED, TRADING, IMMEDIATE)]
    assert worst[0] == 0 < worst[1] and worst[2] > 0


# ---- the game ------------------------------------------------------------------------------------------------------


@settings(max_examples=40, deadline=None)
@given(st.integers(2, 5), st.sampled_from(PROCEDURES), st.integers(1, 3), st.integers(0, 10**6), st.booleans())
def test_nobody_has_two_partners_or_is_paid_for_none(
    n: int, procedure: str, markets: int, seed: int, same: bool
) -> None:
    """Whatever is ranked, offered and taken, ties and void offers included: each is worth to its partner what it is."""
    game = MatchingMarket(n, procedure, markets=markets)
    rng, worlds = np.random.default_rng(seed), 8
    u = rng.random((worlds, game.draws))
    state, live, fresh = game.start(u), np.ones(worlds, dtype=bool), np.ones(worlds, dtype=bool)
    for _ in range(game.horizon):
        acts: dict[str, Any] = {}
        for role in game.roles:
            parts = {f.name: rng.integers(f.space.low, f.space.high + 1, (worlds, n, *f.shape)) for f in role.acts}
            acts[role.name] = {k: v * 0 + v.min() if same else v for k, v in parts.items()}
        before = state
        outcome = game.step(state, acts, u := rng.random((worlds, game.draws)))
        closed = outcome.state.memory["closed"] > before.memory["closed"]
        mate, back = outcome.state.memory["proposer"], outcome.state.memory["receiver"]
        for world in np.flatnonzero(closed & live):
            for i, j in enumerate(mate[world]):
                assert j == n or back[world, j] == i
            assert (mate[world] < n).sum() == (back[world] < n).sum()
        if not game.decentralised:
            wants, likes = game.view(before)["proposer"]["worth"], before.nature["likes"]
            paid = np.take_along_axis(wants, mate[..., None], axis=-1)[..., 0]
            np.testing.assert_allclose(outcome.rewards["proposer"], paid)
            theirs = np.take_along_axis(likes, back[..., None], axis=-1)[..., 0]
            np.testing.assert_allclose(outcome.welfare, paid.sum(axis=-1) + theirs.sum(axis=-1))
        else:
            total = outcome.rewards["proposer"].sum(axis=-1) + outcome.rewards["receiver"].sum(axis=-1)
            np.testing.assert_allclose(outcome.welfare, total)
            got, gave = (outcome.rewards[side] > 0 for side in ("proposer", "receiver"))
            np.testing.assert_array_equal(got.sum(axis=-1), gave.sum(axis=-1))
        state = select(live, outcome.state, state)
        live = live & ~outcome.done
    assert not live.any() and align(fresh, u).all()
    assert (state.memory["closed"] == markets).all()


def test_who_is_taken_is_seen_and_offers_to_them_are_void() -> None:
    game = MatchingMarket(3, DECENTRALISED, offers=3)
    u = np.random.default_rng(0).random((1, game.draws))
    none = np.zeros((1, 3), dtype=int)
    state = game.step(game.start(u), {"proposer": {"offer": none}, "receiver": {"take": none}}, u).state
    assert game.view(state)["receiver"]["asked"].tolist() == [[[1, 1, 1], [0, 0, 0], [0, 0, 0]]]
    outcome = game.step(state, {"proposer": {"offer": none}, "receiver": {"take": none + 1}}, u)
    seen = game.view(outcome.state)
    assert seen["proposer"]["taken"][0, 0].tolist() == [1, 3, 3] and (seen["proposer"]["left"] == 2).all()
    assert outcome.rewards["proposer"][0, 1] == game.open(u)["wants"][0, 1, 0]
    state = game.step(outcome.state, {"proposer": {"offer": none}, "receiver": {"take": none}}, u).state
    assert (game.view(state)["receiver"]["asked"] == 0).all()
    after = game.step(state, {"proposer": {"offer": none}, "receiver": {"take": none}}, u)
    assert after.welfare == 0 and not after.done
    np.testing.assert_array_equal(game.view(after.state)["proposer"]["worth"], seen["proposer"]["worth"])


def test_tastes_are_private_unless_public() -> None:
    (proposer,) = MatchingMarket().roles
    assert [field.name for field in proposer.sees] == ["round", "worth", "partner"]
    game = MatchingMarket(2, public=True)
    u = np.random.default_rng(0).random((5, game.draws))
    seen, drawn = game.view(game.start(u))["proposer"], game.open(u)
    np.testing.assert_array_equal(seen["to_proposers"][:, 1].reshape(5, 2, 2), drawn["wants"])
    np.testing.assert_array_equal(seen["to_receivers"][:, 0].reshape(5, 2, 2), drawn["likes"])
    np.testing.assert_array_equal(seen["worth"], drawn["wants"])


def test_the_rules_say_how_partners_are_found() -> None:
    for procedure, words in zip(
        PROCEDURES, ("until nobody is refused", "On each cycle", "for good", "a round"), strict=True
    ):
        assert words in MatchingMarket(procedure=procedure).about.replace("2 rounds", "a round")
    assert "0.3 times a number that is the same for all" in MatchingMarket(common=0.3).about
    assert "Everyone sees all these numbers" in MatchingMarket(public=True).about
    assert "There are 4 markets" in MatchingMarket(markets=4).about


@pytest.mark.parametrize("variant", VARIANTS, ids=str)
def test_examined(variant: dict[str, Any]) -> None:
    check_game(MatchingMarket(**variant))


def test_arrays(examine_arrays: Callable[[Game], None]) -> None:
    examine_arrays(MatchingMarket(procedure=DECENTRALISED, public=True, common=0.2, markets=2))


@pytest.mark.parametrize("rank", [0, 4, math.nan, 1e9])
def test_acts_out_of_range_are_named(rank: float) -> None:
    wild = policy("callable", function=lambda seen: {"rank": seen["worth"] * 0 + rank}, batched=True)
    with pytest.raises(ActError, match="rank"):
        play(MatchingMarket(), {"proposer": wild}, worlds=2)


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"pairs": 1}, "pairs: a whole number from 2 to 8, got 1"),
        ({"procedure": "lot"}, "procedure: one of 'deferred acceptance', .*, got 'lot'"),
        ({"common": 1.5}, "common: a number from 0 to 1, got 1.5"),
        ({"public": 1}, "public: True or False, got 1"),
        ({"offers": 0}, "offers: a whole number from 1 to 64, got 0"),
        ({"markets": 0}, "markets: a whole number from 1 to 100000, got 0"),
        (
            {"procedure": IMMEDIATE, "common": 0.1},
            "common: 0 where tastes are private .*got 0.1: .* set public to True",
        ),
        ({"procedure": DECENTRALISED, "common": 1.0}, "common: 0 where tastes are private"),
    ],
)
def test_bad_parameters_are_named(wrong: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        MatchingMarket(**wrong)
