"""What holds of mechanisms whatever players do: whole episodes of random play, and arithmetic by hand."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from societas import Episodes, Game, Mechanism, Policy, make, mechanism, play, policy
from societas.envs.norms.matrix_game import MatrixGame
from societas.mechanisms.contract import Contract, Court
from societas.mechanisms.terms import Compensation, Quota


def trio(seed: int = 0, rounds: int = 4) -> MatrixGame:
    """Three players, random payoffs, played repeatedly."""
    table = np.random.default_rng(seed).integers(-5, 6, (3, 2, 2, 2))
    payoffs: Any = tuple(tuple(tuple(map(tuple, rows)) for rows in own) for own in table.tolist())
    return MatrixGame(payoffs, ("cooperate", "defect"), rounds)


def acting(game: Game, role: str, **fixed: Any) -> dict[str, Policy]:
    """Random players of the base game, who do in the institution what is said here (arrays as in play)."""

    class Bent(type(policy("random"))):  # type: ignore[misc]
        def act(self, seen: Any, stage: Any, u: Any, memory: Any) -> Any:
            acts, memory = super().act(seen, stage, u, memory)
            return {k: acts[k] * 0 + np.asarray(fixed[k]) if k in fixed else acts[k] for k in acts}, memory

    return {role: Bent()}


def same(one: Episodes, other: Episodes, role: str) -> None:
    np.testing.assert_array_equal(one.returns[role], other.returns[role])
    np.testing.assert_array_equal(one.welfare, other.welfare)
    for name in one.measures:
        np.testing.assert_array_equal(one.measures[name], other.measures[name])


# ---- contract -----------------------------------------------------------------------------------------------------


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 50), st.floats(0, 8), st.floats(0, 1), st.floats(-5, 5), st.integers(0, 2), st.integers(0, 9))
def test_transfers_sum_to_zero(
    table: int, theta: float, accuracy: float, side: float, proposer: int, seed: int
) -> None:
    """Over whole episodes, side payments and imperfect courts included."""
    base = trio(table)
    game = base | Contract(Compensation(), proposer=proposer, court=Court(accuracy), side_payment=5.0)
    cast = acting(game, "player", theta=theta, side=side, consent=1)
    done = play(game, cast, worlds=8, seed=seed, keep=True)
    assert (done.measures["agreed"] == 1).all()
    for moment in done.moments:
        if moment.stage[0] < 2:
            assert abs(moment.rewards["player"].sum(axis=-1)).max() < 1e-9
    np.testing.assert_allclose(done.returns["player"].sum(axis=-1), done.welfare, atol=1e-9)
    expected = [side * (1 if i != proposer else -2) for i in range(3)]
    np.testing.assert_allclose(done.moments[1].rewards["player"], [expected] * 8, atol=1e-12)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 2), st.integers(0, 2), st.integers(0, 9))
def test_one_refusal_frees_everybody_for_the_whole_episode(refuser: int, proposer: int, seed: int) -> None:
    base = trio(3)
    game = base | Contract(Compensation(), proposer=proposer, side_payment=5.0)
    consent = np.array([0 if i == refuser else 1 for i in range(3)])
    bound = play(game, acting(game, "player", theta=5.0, side=4.0, consent=consent), worlds=8, seed=seed)
    if refuser == proposer:  # who proposes is not asked
        assert (bound.measures["agreed"] == 1).all()
        return
    assert (bound.measures["agreed"] == 0).all()
    assert (bound.measures["transfers"] == 0).all() and (bound.measures["breaches"] == 0).all()
    np.testing.assert_allclose(bound.returns["player"].sum(axis=-1), bound.welfare, atol=1e-9)
    free = base | Contract(Compensation(), proposer=proposer, side_payment=5.0, regime="text")
    same(bound, play(free, acting(free, "player", theta=5.0, side=4.0, consent=consent), worlds=8, seed=seed), "player")


def test_fixed_terms_need_the_consent_of_all_who_are_bound() -> None:
    game = trio() | Contract(Compensation(theta=2.0))
    assert [stage.name for stage in game.stages] == ["consent", "act"]
    assert game.role("player").deciding("consent", 0) == game.role("player").deciding("consent", 2)


def test_text_moves_nothing_and_counts_breaches() -> None:
    base = make("Fishery", months=3)
    cast = {"fisher": policy("callable", function=lambda seen: {"harvest": 11})}
    plain = play(base, cast, worlds=4)
    agreed = {"fisher": policy("callable", function=lambda seen: {"harvest": 11, "consent": "accept"})}
    text = play(base | Contract(Quota(limit=10), regime="text"), agreed, worlds=4)
    np.testing.assert_array_equal(text.returns["fisher"], plain.returns["fisher"])
    assert (text.measures["transfers"] == 0).all() and (text.measures["agreed"] == 1).all()
    np.testing.assert_allclose(text.measures["breaches"], 1.0)  # everyone, every month
    sword = play(base | Contract(Quota(limit=10, fine=3.0)), agreed, worlds=4)
    np.testing.assert_allclose(sword.measures["breaches"], 1.0)
    np.testing.assert_allclose(sword.measures["transfers"], 0.0)  # what all owe each other cancels


def test_an_imperfect_court_collects_its_share() -> None:
    """One breaks a quota by 4 tonnes at a fine of 2, found out with probability 0.3: 2.4 a round is expected."""
    game = make("Fishery", months=1) | Contract(Quota(limit=10, fine=2.0), court=Court(0.3))
    cast: dict[str, Policy] = {"fisher": policy("scripted", character="fair")}
    cast["fisher_0"] = policy("callable", function=lambda seen: {"harvest": 14, "consent": "accept"})
    done = play(game, cast, worlds=8000, seed=1)
    moved = done.measures["transfers"]
    assert set(np.unique(moved)) == {0.0, 8.0}
    assert moved.mean() == pytest.approx(8 * 0.3, abs=4 * 8 * np.sqrt(0.3 * 0.7 / 8000))
    np.testing.assert_allclose(done.returns["fisher"][:, 0], 14 - moved)
    np.testing.assert_allclose(done.returns["fisher"][:, 1:], 10 + moved[:, None] / 4 * np.ones((1, 4)))
    never = play(make("Fishery", months=1) | Contract(Quota(limit=10), court=Court(0.0)), cast, worlds=50)
    assert (never.measures["transfers"] == 0).all() and (never.measures["breaches"] == 0.2).all()


@pytest.mark.parametrize(
    ("game", "terms", "words"),
    [
        ("Fishery", Quota(field="stock"), "only on verifiable fields .*'stock' is not for fisher .verifiable: caught"),
        ("Fishery", Quota(field="effort"), "only on verifiable fields .*'effort' is not for fisher"),
        ("Fishery", Quota(field="catches"), "fields that are one value a player; 'catches' is not for fisher"),
        ("MatrixGame", Quota(field="own"), "Quota: a limit needs a field that is a single number, 'own' is one of"),
        (
            "Fishery",
            Compensation(field="caught"),
            "wrong 'defect' and right 'cooperate' must be among the options of field",
        ),
        ("MatrixGame", Compensation(wrong="betray"), "wrong 'betray' and right 'cooperate' must be among"),
        (
            "MatrixGame",
            Compensation(field="actions"),
            "fields that are one value a player; 'actions' is not for player",
        ),
    ],
)
def test_terms_that_do_not_suit_are_refused_at_once(game: str, terms: Any, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        make(game) | Contract(terms)


def test_bounds_of_terms() -> None:
    for wrong, words in (
        (lambda: Quota(limit=101), "limit: a whole number from 0 to 100, got 101"),
        (lambda: Quota(fine=-1.0), "fine: a number from 0 to inf, got -1.0"),
        (lambda: Compensation(theta=11.0), "theta: a number from 0 to 10, got 11.0"),
        (lambda: Contract(side_payment=-1.0), "side_payment: a number from 0 to inf, got -1.0"),
    ):
        with pytest.raises(ValueError, match=words):
            wrong()
    with pytest.raises(ValueError, match="a contract binds at least 2 players, got principal_0"):
        make("HiddenAction") | Contract(Compensation(None, "refused", "accepted", "answer"), bound=("principal",))


# ---- the others ---------------------------------------------------------------------------------------------------


@settings(max_examples=20, deadline=None)
@given(st.lists(st.integers(0, 3), min_size=3, max_size=3), st.floats(0, 5), st.floats(0, 5))
def test_sanctions_by_arithmetic(targets: list[int], cost: float, fine: float) -> None:
    game = trio(1, rounds=1) | mechanism("Sanction", cost=cost, fine=fine)
    done = play(game, acting(game, "player", punish=np.array(targets)), worlds=2, keep=True)
    hits = [(i, target - 1) for i, target in enumerate(targets) if target and target - 1 != i]
    expected = [-cost * sum(i == k for i, _ in hits) - fine * sum(j == k for _, j in hits) for k in range(3)]
    np.testing.assert_allclose(done.moments[1].rewards["player"], [expected] * 2)
    np.testing.assert_allclose(done.measures["sanctions"], len(hits))
    np.testing.assert_allclose(done.returns["player"].sum(axis=-1), done.welfare, atol=1e-9)


def test_talk_is_cheap() -> None:
    """What is said moves no payoff; what it costs is lost to all."""
    base = make("Fishery", months=5)
    for rounds in (1, 3):
        game = base | mechanism("Talk", rounds=rounds)
        says = {f"say_{k + 1}" if rounds > 1 else "say": 1 + k % 2 for k in range(rounds)}
        loud, quiet = (
            play(game, acting(game, "fisher", harvest=9, **{k: v * on for k, v in says.items()}), worlds=4)
            for on in (1, 0)
        )
        np.testing.assert_array_equal(loud.returns["fisher"], quiet.returns["fisher"])
        assert (loud.measures["messages"] == 5 * 5 * rounds).all() and (quiet.measures["messages"] == 0).all()
        dear = base | mechanism("Talk", rounds=rounds, cost=0.5)
        paid = play(dear, acting(dear, "fisher", harvest=9, **says), worlds=4)
        np.testing.assert_allclose(loud.welfare - paid.welfare, 0.5 * paid.measures["messages"])
    with pytest.raises(ValueError, match="vocabulary: at least one text, and not 'nothing'"):
        mechanism("Talk", vocabulary=("nothing",))


def test_noise_leaves_payoffs_and_chance_alone() -> None:
    """Players who do not look are paid the same under any noise, and errors are fresh for every player and step."""
    base = make("Fishery", months=6, collapse=0)
    blind = {"fisher": policy("callable", function=lambda seen: {"harvest": 30})}
    plain = play(base, blind, worlds=60, seed=5)
    under = play(base | mechanism("Noise", field="stock", sd=20.0), blind, worlds=60, seed=5, keep=True)
    same(plain, under, "fisher")
    seen = np.stack([moment.seen["fisher"]["stock"] for moment in under.moments])
    assert (seen != seen[:, :, :1]).any() and ((seen >= 0) & (seen <= 100)).all()


def test_noise_has_its_standard_deviation() -> None:
    game = make("Pricing", periods=1) | mechanism("Noise", field="profit", sd=2.5)
    done = play(game, {"firm": policy("random")}, worlds=20_000, seed=3, keep=True)
    errors = done.moments[0].seen["firm"]["profit"]  # the true profit is 0 before the first period
    if make("Pricing").role("firm").sees[2].space.low < 0:
        assert errors.mean() == pytest.approx(0.0, abs=4 * 2.5 / np.sqrt(40_000))
        assert errors.std() == pytest.approx(2.5, abs=4 * 2.5 / np.sqrt(80_000))
    else:  # clipped at 0: half are 0, and the others are half normal
        assert (errors == 0).mean() == pytest.approx(0.5, abs=4 * 0.5 / np.sqrt(40_000))
        assert np.sqrt((errors**2).sum() / (errors > 0).sum()) == pytest.approx(2.5, rel=0.03)
    assert abs(np.corrcoef(errors[:, 0], errors[:, 1])[0, 1]) < 4 / np.sqrt(20_000)


@settings(max_examples=20, deadline=None)
@given(st.floats(0, 1), st.floats(-3, 3), st.integers(0, 20))
def test_a_misspecified_reward_is_a_mixture_and_welfare_stays(strength: float, weight: float, harvest: int) -> None:
    base = make("Fishery", months=2)
    game = base | mechanism("Misspecify", field="total", weight=weight, strength=strength)
    plain = play(base, acting(base, "fisher", harvest=harvest), worlds=2, keep=True)
    under = play(game, acting(game, "fisher", harvest=harvest), worlds=2, keep=True)
    np.testing.assert_array_equal(plain.welfare, under.welfare)
    proxies = np.cumsum([moment.rewards["fisher"] for moment in plain.moments], axis=0)
    for true, proxy, moment in zip(plain.moments, proxies, under.moments, strict=True):
        expected = (1 - strength) * true.rewards["fisher"] + strength * weight * proxy
        np.testing.assert_allclose(moment.rewards["fisher"], expected, atol=1e-9)


@pytest.mark.parametrize("name", ["Noise", "Misspecify"])
def test_unknown_fields_are_refused(name: str) -> None:
    options: dict[str, Any] = {"field": "stcok", **({"sd": 1.0} if name == "Noise" else {})}
    with pytest.raises(ValueError, match="field: nobody in Fishery sees 'stcok'; there are: catches, caught, "):
        make("Fishery") | mechanism(name, **options)
    wrong = {"field": "own", **({"sd": 1.0} if name == "Noise" else {})}
    with pytest.raises(ValueError, match="noise needs a number|the proxy must be a single number"):
        make("MatrixGame") | mechanism(name, **wrong)


ORDERLESS: tuple[Mechanism, ...] = (
    mechanism("Talk"),
    mechanism("Noise", field="caught", sd=3.0),
    mechanism("Misspecify", field="total", strength=0.5),
)


def test_neutral_mechanisms_in_any_order_leave_the_base_game_as_it_is() -> None:
    """Who plays the same meets the same chance and makes the same welfare, whatever is stacked on the game."""
    import itertools

    base = make("Fishery", months=4, collapse=0)
    wild = {"fisher": policy("callable", function=lambda seen: {"harvest": 33})}
    plain = play(base, wild, worlds=30, seed=7)
    for order in itertools.permutations(ORDERLESS):
        stacked = functools.reduce(lambda game, layer: game | layer, order, base)
        under = play(stacked, wild, worlds=30, seed=7)
        np.testing.assert_array_equal(plain.welfare, under.welfare)
        for name, values in plain.measures.items():
            np.testing.assert_array_equal(values, under.measures[name])
