"""Indirect reciprocity: norms as published, invasion in closed form and by play, exact chains against enumeration."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from societas import Game, play, policy
from societas.envs.core.arrays import to_int
from societas.envs.norms.donor import ASSESSMENTS, CASES, Donor
from societas.testing import check_game

LEADING = tuple(f"L{i}" for i in range(1, 9))
ALWAYS, NEVER = (1, 1, 1, 1), (0, 0, 0, 0)
Bits = tuple[int, ...]


def follows(game: Donor, mutant: Bits | None = None) -> Any:
    """Return a policy that follows the norm; player 0 does what a mutant's actions say, ignorance taken for good."""
    level = game.benchmarks().others.get("norm")

    def act(seen: dict[str, Any]) -> dict[str, Any]:
        if game.norm == "image":
            own, other = to_int(seen["own_score"] >= 0), to_int(seen["recipient_score"] >= 0)
        else:
            own, other = seen["own_reputation"], to_int(seen["recipient_reputation"] > 0)
        case = 2 * (1 - own) + 1 - other
        if game.norm != "image":
            case = np.where(seen["recipient_reputation"] == 2, 0, case)
        give = np.asarray(game.actions)[case]
        if mutant is not None:
            give[..., 0] = np.asarray(mutant)[case[..., 0]]
        return {"give": give}

    assert level is None or level.play is not None
    return policy("callable", function=act, batched=True)


# ---- norms --------------------------------------------------------------------------------------------------------


def test_the_leading_eight_are_those_of_ohtsuki_and_iwasa() -> None:
    """Five bits are common to all; the three others, and only they, are free; L3 is simple standing, L6 stern judging."""
    at = {case: i for i, case in enumerate(CASES)}
    common = {
        ("good", "good", "gives"): 1,
        ("good", "good", "keeps"): 0,
        ("bad", "good", "gives"): 1,
        ("bad", "good", "keeps"): 0,
        ("good", "bad", "keeps"): 1,
    }
    every = {ASSESSMENTS[name] for name in LEADING}
    assert all(bits[at[case]] == bit for bits in every for case, bit in common.items())
    free = [("good", "bad", "gives"), ("bad", "bad", "gives"), ("bad", "bad", "keeps")]
    assert {tuple(bits[at[case]] for case in free) for bits in every} == set(itertools.product((0, 1), repeat=3))
    assert ASSESSMENTS["L3"] == (1, 0, 1, 1) * 2 and ASSESSMENTS["L6"] == (1, 0, 0, 1) * 2 == ASSESSMENTS["stern"]
    helpers = [name for name in LEADING if Donor(norm=name).actions == (1, 0, 1, 1)]  # the bad help the bad
    assert helpers == ["L1", "L2"] and Donor(norm="L3").actions == (1, 0, 1, 0) == Donor(norm="scoring").actions


@pytest.mark.parametrize("norm", LEADING)
@pytest.mark.parametrize("benefit", [1.5, 3.0, 10.0])
def test_the_leading_eight_are_stable_with_rare_errors(norm: str, benefit: float) -> None:
    """Not only against those who always or never give: against every other rule of action (Ohtsuki and Iwasa 2004)."""
    game = Donor(norm=norm, benefit=benefit, execution=0.005, assessment=0.005)
    for mutant in itertools.product((0, 1), repeat=4):
        resident, invader = game.invasion(mutant)
        if mutant == game.actions:
            assert invader == pytest.approx(resident, abs=1e-9)
        else:
            assert resident > invader
    resident, _ = game.invasion(ALWAYS)
    assert resident > 0.95 * (benefit - 1.0)  # and they cooperate


@pytest.mark.parametrize("benefit", [1.5, 3.0, 10.0])
def test_image_scoring_is_not(benefit: float) -> None:
    """Its followers lose their own reputation by refusing the bad: unconditional givers do better, and gifts dwindle."""
    game = Donor(norm="scoring", benefit=benefit, execution=0.005, assessment=0.005)
    resident, always = game.invasion(ALWAYS)
    assert always > resident
    assert resident == pytest.approx((benefit - 1.0) / 3 * 0.995, abs=0.01 * benefit)  # a third is good: m / (2m + e)


@settings(max_examples=60, deadline=None)
@given(st.floats(1.05, 20.0), st.floats(0.1, 5.0), st.floats(0.0, 1.0), st.sampled_from(["image", "scoring"]))
def test_discriminators_withstand_defectors_if_q_exceeds_cost_over_benefit(
    ratio: float, cost: float, q: float, norm: str
) -> None:
    """Nowak and Sigmund 1998: b - c against b (1 - q)."""
    game = Donor(norm=norm, benefit=ratio * cost, cost=cost, knowledge=q)
    resident, defector = game.invasion(NEVER)
    assert resident == pytest.approx(game.benefit - cost) and defector == pytest.approx(game.benefit * (1.0 - q))
    if abs(q - 1.0 / ratio) > 1e-6:
        assert (resident > defector) is (q > 1.0 / ratio)


@pytest.mark.parametrize(("q", "stable"), [(0.25, False), (0.42, True)])
def test_the_threshold_shows_in_play(q: float, stable: bool) -> None:
    """b = 3, c = 1: one defector among 23 who look at the score; c/b = 1/3."""
    game = Donor(24, 3.0, 1.0, "image", knowledge=q, repetitions=100)
    paid = play(game, {"player": follows(game, NEVER)}, worlds=250, seed=2).returns["player"]
    gap = paid[:, 1:].mean(axis=1) - paid[:, 0]
    error = gap.std() / math.sqrt(len(gap))
    assert (gap.mean() > 4 * error) if stable else (gap.mean() < -4 * error)


@pytest.mark.parametrize("norm", ["L6", "scoring"])
def test_mutants_in_the_long_run_against_play(norm: str) -> None:
    """40 players, one a mutant; the first 10 rounds are left out. One is donor in half the rounds, recipient in the others."""
    errors: dict[str, Any] = {"execution": 0.1, "assessment": 0.08, "knowledge": 0.9}
    games = [Donor(40, 3.0, 1.0, norm, repetitions=rounds, **errors) for rounds in (10, 40)]
    for mutant in (ALWAYS, NEVER):
        early, late = (play(g, {"player": follows(g, mutant)}, worlds=150, seed=5).returns["player"] for g in games)
        rate = 2.0 * (late - early)[:, 0] / 30.0
        resident, invader = games[0].invasion(mutant)
        assert rate.mean() == pytest.approx(invader, abs=0.05 + 4 * rate.std() / math.sqrt(150))
        assert abs(resident - invader) > 0.3  # the two are far enough apart to be told from each other


@pytest.mark.parametrize("norm", [*LEADING, "scoring"])
def test_residents_in_the_long_run_against_the_chain_of_a_large_group(norm: str) -> None:
    errors: dict[str, Any] = {"execution": 0.1, "assessment": 0.08, "knowledge": 0.9}
    early, late = (Donor(40, 3.0, 1.0, norm, repetitions=rounds, **errors).norm_gifts for rounds in (30, 40))
    resident, _ = Donor(40, 3.0, 1.0, norm, **errors).invasion(NEVER)
    assert 2.0 * (late - early) / (10 * 20) == pytest.approx(resident, abs=0.02)


# ---- the exact chain ----------------------------------------------------------------------------------------------


def enumerated(game: Donor) -> float:
    """Expected gifts of followers, over all pairings and errors, reputations kept player by player."""
    table, n = game.table, game.members
    assert table is not None
    orders = list(itertools.permutations(range(n)))
    states, gifts = {(1,) * n: 1.0}, 0.0
    for _ in range(game.repetitions):
        after: dict[tuple[int, ...], float] = {}
        for state, chance in states.items():
            for order in orders:
                branches = [(chance / len(orders), state)]
                for donor, recipient in zip(order[0::2], order[1::2], strict=False):
                    own, other = state[donor], state[recipient]
                    known = game.actions[2 * (1 - own) + 1 - other]
                    will = game.knowledge * known + (1 - game.knowledge)
                    grown = []
                    for p, now in branches:
                        for gift, pg in ((1, will * (1 - game.execution)), (0, 1 - will * (1 - game.execution))):
                            gifts += p * pg * gift
                            verdict = table[4 * (1 - own) + 2 * (1 - other) + 1 - gift]
                            for right, pr in ((True, 1 - game.assessment), (False, game.assessment)):
                                new = list(now)
                                new[donor] = verdict if right else 1 - verdict
                                grown.append((p * pg * pr, tuple(new)))
                    branches = grown
                for p, now in branches:
                    if p > 0.0:
                        after[now] = after.get(now, 0.0) + p
        states = after
    return gifts


@settings(max_examples=12, deadline=None)
@given(
    st.integers(2, 5),
    st.sampled_from([*LEADING, "scoring", (1, 0, 0, 0), (0, 1, 1, 0, 1, 1, 0, 1)]),
    st.sampled_from([0.0, 0.1, 0.4]),
    st.sampled_from([0.0, 0.2]),
    st.sampled_from([1.0, 0.6]),
)
def test_expected_gifts_against_enumeration(n: int, norm: Any, execution: float, assessment: float, q: float) -> None:
    game = Donor(n, norm=norm, execution=execution, assessment=assessment, knowledge=q, repetitions=2 if n > 4 else 3)
    assert game.norm_gifts == pytest.approx(enumerated(game), abs=1e-9)


def test_errors_cost_gifts_and_standing_recovers_from_them() -> None:
    reached = [Donor(norm="L3", assessment=m, repetitions=30).norm_gifts / 150 for m in (0.0, 0.02, 0.1, 0.3)]
    assert reached[0] == pytest.approx(1.0) and all(np.diff(reached) < 0)
    scoring = [Donor(norm="scoring", assessment=0.02, repetitions=t).norm_gifts / (5 * t) for t in (1, 10, 100)]
    assert scoring[0] == pytest.approx(1.0) and all(np.diff(scoring) < 0) and scoring[2] < 0.75 < reached[1]


# ---- the game -----------------------------------------------------------------------------------------------------


def pairing(game: Donor, worlds: int) -> np.ndarray[Any, Any]:
    """Return to whom each player gives, (worlds, n)."""
    u = np.random.default_rng(0).random((worlds, game.draws))
    return np.asarray(game.start(u).nature["recipient"])


@pytest.mark.parametrize("n", [2, 5, 6])
def test_pairs_are_drawn_evenly(n: int) -> None:
    recipient = pairing(Donor(n), 20_000)
    donors = recipient < n
    assert (donors.sum(axis=1) == n // 2).all()
    for row, gives in zip(recipient[:200], donors[:200], strict=True):
        chosen = row[gives]
        assert len(set(chosen)) == n // 2 and not gives[chosen].any()  # nobody is in two pairs
    for i, j in itertools.permutations(range(n), 2):
        assert (recipient[:, i] == j).mean() == pytest.approx(n // 2 / (n * (n - 1)), abs=0.015)


def walk(game: Donor, give: Callable[[int], Any], seed: int = 0) -> list[tuple[Any, Any, Any]]:
    """Play one world; return (recipient, what players see, outcome) of each round."""
    rng = np.random.default_rng(seed)
    state, found = game.start(rng.random(game.draws)), []
    for number in range(game.repetitions):
        seen, recipient = game.view(state)["player"], np.asarray(state.nature["recipient"])
        outcome = game.step(state, {"player": {"give": np.asarray(give(number))}}, rng.random(game.draws))
        found.append((recipient, seen, outcome))
        state = outcome.state
    return found


def test_the_trace_is_a_chain_of_earlier_acts() -> None:
    """Kept by hand, player by player, in lists."""
    game = Donor(6, norm="none", trace=3, amounts=True, repetitions=12, benefit=2.0)
    rng = np.random.default_rng(3)
    shares = rng.random((12, 6))
    chains: list[list[float]] = [[] for _ in range(6)]
    money = [10.0] * 6
    for number, (recipient, seen, outcome) in enumerate(walk(game, lambda t: shares[t])):
        np.testing.assert_allclose(seen["resources"], money)
        old = [list(chain) for chain in chains]
        for i, j in enumerate(recipient):
            told = (old[j] if j < 6 else []) + [-1.0] * 3
            np.testing.assert_allclose(seen["trace"][i], told[:3])
            if j < 6:
                chains[i] = [shares[number][i], *old[j]][:3]
        before = list(money)
        for i, j in enumerate(recipient):
            if j < 6:
                gift = shares[number][i] * before[i]
                money[i] -= gift
                money[j] += 2 * gift
        np.testing.assert_allclose(outcome.rewards["player"], np.subtract(money, before))


def test_scores_rise_and_fall_between_bounds() -> None:
    game = Donor(2, norm="image", most=2, repetitions=30)
    scores, gifts = [0, 0], np.random.default_rng(1).integers(0, 2, (30, 2))
    for number, (recipient, seen, _) in enumerate(walk(game, lambda t: gifts[t])):
        assert seen["own_score"].tolist() == scores
        donor = int(np.argmin(recipient))
        assert seen["part"].tolist() == [0, 1] if donor == 0 else [1, 0]
        assert int(seen["recipient_score"][donor]) == scores[1 - donor] and int(seen["recipient_score"][1 - donor]) == 0
        scores[donor] = min(max(scores[donor] + (1 if gifts[number][donor] else -1), -2), 2)


def test_private_opinions_without_errors_of_judgement_are_public() -> None:
    options: dict[str, Any] = {"norm": "L6", "execution": 0.2, "knowledge": 0.7, "repetitions": 8, "members": 7}
    one, other = (Donor(public=public, **options) for public in (True, False))
    for role in (follows(one), policy("random")):
        a, b = (play(game, {"player": role}, worlds=50, seed=4).returns["player"] for game in (one, other))
        np.testing.assert_array_equal(a, b)


def test_private_errors_undo_stern_judging() -> None:
    """Opinions come apart: gifts fall towards one half (Hilbe et al. 2018), where a public reputation keeps them up."""
    found = []
    for public in (True, False):
        game = Donor(20, norm="stern", public=public, assessment=0.05, repetitions=60)
        found.append(float(play(game, {"player": follows(game)}, worlds=100, seed=1).measures["cooperation"].mean()))
    assert found[0] > 0.85 and 0.4 < found[1] < 0.7


def test_the_society_of_vallinder_and_hughes() -> None:
    """Resources double with each gift; giving all makes 1.5 of a coin a round, in expectation."""
    game = Donor.vallinder_hughes()
    assert game.benchmarks().first_best.value == pytest.approx(120 * (1.5**12 - 1))
    assert game.members == game.repetitions == 12
    acts = game.benchmarks().first_best.play
    assert acts is not None
    found = play(game, {"player": policy("callable", function=acts["player"], batched=True)}, worlds=8_000, seed=3)
    mean, error = found.welfare.mean(), found.welfare.std() / math.sqrt(8_000)
    assert abs(mean - game.benchmarks().first_best.value) < 4 * error < 0.04 * mean
    assert (found.measures["equality"] < 0.5).all() and (found.measures["cooperation"] == 1.0).all()


def test_growth_of_resources_against_enumeration() -> None:
    """Three players, two rounds, every pairing: no shares given at random do better in expectation than all."""
    game = Donor(3, 3.0, 1.0, "none", amounts=True, endowment=4.0, execution=0.25, repetitions=2)

    def expected(money: tuple[float, ...], left: int) -> float:
        if not left:
            return sum(money)
        worth = 0.0
        for i, j in itertools.permutations(range(3), 2):
            after = list(money)
            after[j] += 3 * after[i]
            after[i] = 0.0
            worth += (0.75 * expected(tuple(after), left - 1) + 0.25 * expected(money, left - 1)) / 6
        return worth

    assert game.benchmarks().first_best.value == pytest.approx(expected((4.0,) * 3, 2) - 12.0)


def test_gifts_fail_at_no_cost() -> None:
    game = Donor(norm="none", execution=0.3)
    give = policy("callable", function=lambda seen: {"give": "give"})
    found = play(game, {"player": give}, worlds=400, seed=0)
    assert found.measures["cooperation"].mean() == pytest.approx(0.7, abs=0.02)
    np.testing.assert_allclose(found.welfare, 2.0 * 50 * found.measures["cooperation"])


@pytest.mark.parametrize(
    "game",
    [
        Donor(members=4, execution=0.1, assessment=0.05, knowledge=0.7, norm="L1", repetitions=3),
        Donor.vallinder_hughes(repetitions=2),
        Donor(norm="image", knowledge=0.6, members=5, trace=2, repetitions=3),
        Donor(norm="stern", public=False, assessment=0.1, execution=0.1, members=5, repetitions=3),
        Donor(norm=(1, 0, 0, 1), amounts=True, knowledge=0.5, trace=1, members=4, repetitions=2, threshold=0.3),
        Donor(norm="image", public=False, assessment=0.1, members=3, repetitions=3),
        Donor(members=2, norm="none", repetitions=1),
    ],
    ids=repr,
)
def test_examined(game: Game) -> None:
    check_game(game)


def test_arrays(examine_arrays: Callable[[Game], None]) -> None:
    errors: dict[str, Any] = {"execution": 0.1, "assessment": 0.1, "knowledge": 0.5}
    examine_arrays(Donor(4, norm="L1", public=False, trace=2, amounts=True, repetitions=2, **errors))


def test_rules_tell_the_norm() -> None:
    about = Donor(norm="stern").about
    assert "who gave, towards a bad recipient: bad" in about and "was good" not in about
    assert "who was bad and kept, towards a bad recipient: bad" in Donor(norm="L1").about
    assert "who gave less than 0.5 of her coins, towards a good recipient: bad" in Donor(amounts=True).about


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"members": 1}, "members: a whole number from 2 to 64, got 1"),
        ({"cost": 0.0}, "cost: a number from 1e-06 .* got 0.0"),
        ({"benefit": 0.5}, "benefit: a number from 1 to .* got 0.5"),
        ({"norm": "L9"}, "norm: one of 'none', 'image', .* got 'L9'"),
        ({"norm": (1, 0, 2, 0)}, "norm: a name or 4 or 8 bits, each 0 or 1"),
        ({"norm": (1, 0)}, "norm: a name or 4 or 8 bits"),
        ({"knowledge": 1.5}, "knowledge: a number from 0 to 1, got 1.5"),
        ({"execution": -0.1}, "execution: a number from 0 to 1, got -0.1"),
        ({"assessment": 2.0}, "assessment: a number from 0 to 1, got 2.0"),
        ({"trace": 9}, "trace: a whole number from 0 to 8, got 9"),
        ({"amounts": True, "repetitions": 500}, "repetitions: .* at most 25 rounds, got 500"),
        ({"repetitions": 0}, "repetitions: .* got 0"),
    ],
)
def test_bad_parameters_are_named(wrong: dict[str, object], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        Donor(**wrong)  # type: ignore[arg-type]


def test_what_cannot_be_solved_is_said() -> None:
    with pytest.raises(ValueError, match="invasion: needs a norm"):
        Donor(public=False, assessment=0.1).invasion(NEVER)
    with pytest.raises(ValueError, match="mutant: 4 bits"):
        Donor().invasion((1, 0))
    with pytest.raises(ValueError, match="norm_gifts: no chain"):
        _ = Donor(norm="none").norm_gifts


def test_parameters_read_from_data_are_lists() -> None:
    game = Donor(norm=[1, 0, 1, 1])  # type: ignore[arg-type]
    assert game.norm == (1, 0, 1, 1) and game.table == ASSESSMENTS["L3"] and hash(game)
