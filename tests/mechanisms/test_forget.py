"""Forget: what players see of earlier rounds is wiped."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from societas import Unfit, make, play, policy
from societas.envs.markets.pricing import Pricing
from societas.mechanisms.contract import Contract
from societas.mechanisms.forget import Forget
from societas.mechanisms.noise import Noise
from societas.mechanisms.sanction import Sanction
from societas.mechanisms.terms import Quota
from societas.policies.calvano import Calvano
from societas.testing import check_mechanism


def does(**fixed: Any) -> Any:
    return policy("callable", function=lambda seen: fixed)


def test_the_start_is_seen_in_the_rounds_named_and_the_truth_in_the_others() -> None:
    base = Pricing(prices=5, periods=5)
    game = base | Forget(("own", "prices"), rounds=(2, 4))
    plain, done = (play(g, {"firm": policy("random")}, worlds=16, seed=1, keep=True) for g in (base, game))
    for field in ("own", "prices", "profit"):
        truth, seen = ([m.seen["firm"][field] for m in episodes.moments] for episodes in (plain, done))
        for k in range(5):
            wiped = k in (1, 3) and field != "profit"
            np.testing.assert_array_equal(seen[k], truth[0] if wiped else truth[k])
    np.testing.assert_array_equal(done.returns["firm"], plain.returns["firm"])  # who does not look does not care
    assert (done.measures["wipes_own_prices"] == 2).all()


def test_who_retaliates_never_does_without_a_memory() -> None:
    base, cast = make("MatrixGame", repetitions=6), {"player_0": policy("scripted", character="tit_for_tat")}
    cast["player_1"] = does(action="defect")
    assert play(base, cast).returns["player"][0].tolist() == [0 + 5 * 1, 5 + 5 * 1]
    wiped = base | Forget(("actions", "own", "round"))
    assert play(wiped, cast).returns["player"][0].tolist() == [6 * 0, 6 * 5]
    once = base | Forget(("actions", "own", "round"), rounds=(4,))
    assert play(once, cast).returns["player"][0].tolist() == [2 * 0 + 4 * 1, 2 * 5 + 4 * 1]


def test_learners_whose_memory_is_wiped_start_anew() -> None:
    """Calvano's strategies act on last prices: those of the start in round 6 as in round 1, and then it is the same path."""
    game = Pricing(prices=4, periods=12)
    learned = Calvano(beta=1e-3, window=2_000).learn(game, "firm", sessions=6, seed=4)
    done = play(game | Forget(("prices",), rounds=(6,)), {"firm": learned}, worlds=6, seed=2, keep=True)
    first = done.moments[0].seen["firm"]["prices"][:, 0]
    start = first[:, 0] * 4 + first[:, 1]
    pay = learned.path(12, start).pay
    np.testing.assert_allclose(done.returns["firm"], pay[:, :5].sum(axis=1) + pay[:, :7].sum(axis=1), rtol=1e-12)
    assert np.abs(pay.sum(axis=1) - done.returns["firm"]).max() > 1e-3


def test_how_often_it_happens() -> None:
    worlds, rounds = 500, 9
    game = make("Fishery", months=rounds) | Forget(("total",), probability=0.3)
    done = play(game, {"fisher": does(harvest=1)}, worlds=worlds, keep=True)
    rate = done.measures["wipes_total"].sum() / (worlds * (rounds - 1))
    assert rate == pytest.approx(0.3, abs=4 * np.sqrt(0.21 / (worlds * (rounds - 1))))
    seen = np.mean([(m.seen["fisher"]["total"] == 0).all(axis=1).sum() for m in done.moments[1:]]) / worlds
    assert seen == pytest.approx(rate)


def test_a_court_outside_reads_what_is_shown() -> None:
    base, seven = make("Fishery", months=3), does(harvest=7, consent="accept")
    inside = base | Forget(("caught",)) | Contract(Quota(limit=5, fine=2.0))
    outside = base | Contract(Quota(limit=5, fine=2.0)) | Forget(("caught",))
    some, all_ = (play(g, {"fisher": seven}).measures["breaches"][0] for g in (inside, outside))
    assert some < all_


def test_examined_among_others() -> None:
    base, null = make("Fishery", months=3), Forget(("stock",), probability=0.0)
    for game in (base | Noise("stock", 4.0), base | Sanction(), base | Forget(("total",))):
        check_mechanism(Forget(("stock", "caught"), (2, 3), 0.5, ("fisher",)), game, null=null, worlds=8)


def test_words_say_what_and_when() -> None:
    about = (make("Fishery") | Forget(("stock",))).about
    assert "Memory is wiped in each round after the first: what each fisher sees as stock is then what it was" in about
    about = (make("Fishery") | Forget(("stock", "caught"), (2, 3), 0.5)).about
    assert "Memory is wiped in rounds 2 and 3 with probability 0.5: what each fisher sees as stock and caught" in about


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        (lambda: Forget(()), "fields: names of fields that players see, but not 'stage', got ()"),
        (lambda: Forget(("stage",)), "but not 'stage'"),
        (lambda: Forget(("stock",), rounds=(1,)), "rounds: a whole number from 2 to 1000000000, got 1"),
        (lambda: Forget(("stock",), probability=2), "probability: a number from 0 to 1, got 2"),
        (lambda: make("Fishery") | Forget(("fish",)), "no fisher of Fishery sees 'fish'; there are: "),
        (lambda: make("Fishery") | Forget(("stock",), roles=("eel",)), "roles: Fishery has no role eel"),
    ],
)
def test_errors_say_what_to_do(wrong: Callable[[], Any], words: str) -> None:
    with pytest.raises((ValueError, Unfit)) as caught:
        wrong()
    assert words in str(caught.value)
