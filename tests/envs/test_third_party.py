"""Third-party punishment: the experiment's payoffs, backward induction, threats, bad input."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from societas import Game, play, policy
from societas.envs.norms.third_party import ThirdParty
from societas.testing import check_game


def payoffs(game: ThirdParty, given: int, spent: int) -> tuple[float, float, float]:
    """Payoffs of dictator, recipient and observer, written out anew."""
    return (
        game.endowment - given - game.effect * spent,
        game.rate * given,
        game.observer_endowment - spent,
    )


games = st.builds(
    ThirdParty,
    st.integers(1, 12),
    st.integers(1, 6),
    st.sampled_from([0.0, 0.5, 1.0, 3.0]),
    st.sampled_from([0.0, 0.5, 1.0, 2.0]),
)


def test_the_experiment() -> None:
    """100 points, 50 for the observer; a point takes 3. One who gives 20 and is fined with 10 has 50 left."""
    game = ThirdParty()
    policies = {
        "dictator": policy("callable", function=lambda seen: {"given": 20}),
        "recipient": policy("callable", function=lambda seen: {}),
        "observer": policy("callable", function=lambda seen: {"spent": 10 if seen["given"] < 50 else 0}),
    }
    found = play(game, policies, worlds=1)
    got = tuple(float(found.returns[role][0, 0]) for role in ("dictator", "recipient", "observer"))
    assert got == payoffs(game, 20, 10) == (50.0, 20.0, 40.0)
    assert float(found.welfare[0]) == sum(got) - 150 == -40.0
    assert float(found.measures["punishment"][0]) == 10.0 and float(found.measures["given"][0]) == 0.2


@settings(max_examples=80, deadline=None)
@given(games)
def test_against_backward_induction(game: ThirdParty) -> None:
    gifts, fines = range(game.endowment + 1), range(game.observer_endowment + 1)

    def answer(given: int) -> int:
        return max(fines, key=lambda spent: payoffs(game, given, spent)[2])

    gift = max(gifts, key=lambda given: payoffs(game, given, answer(given))[0])
    spare = game.endowment + game.observer_endowment
    marks = game.benchmarks()
    assert marks.equilibrium.value == pytest.approx(sum(payoffs(game, gift, answer(gift))) - spare)
    most = max(sum(payoffs(game, given, spent)) for given, spent in itertools.product(gifts, fines))
    assert marks.first_best.value == pytest.approx(most - spare)


@settings(max_examples=80, deadline=None)
@given(games)
def test_a_threat_makes_the_gift_the_best_reply_and_a_larger_one_cannot_be_had(game: ThirdParty) -> None:
    level = game.benchmarks().others["threat"]
    assert level.play is not None
    gifts = np.arange(game.endowment + 1)
    spent = level.play["observer"]({"given": gifts[:, None]})["spent"][:, 0]
    assert spent.min() >= 0 and spent.max() <= game.observer_endowment
    got = [payoffs(game, int(given), int(fine))[0] for given, fine in zip(gifts, spent, strict=True)]
    norm = game.enforceable
    assert got[norm] == pytest.approx(max(got)) and spent[norm] == 0
    assert level.value == pytest.approx((game.rate - 1.0) * norm)
    if norm < game.endowment // 2:  # all that the observer has does not make it worth while to give one point more
        assert game.effect * game.observer_endowment < norm + 1


def test_stronger_fines_enforce_larger_gifts() -> None:
    norms = [ThirdParty(effect=effect).enforceable for effect in (0.0, 0.5, 0.9, 1.0, 3.0)]
    assert norms == [0, 25, 45, 50, 50]


@pytest.mark.parametrize(
    "game",
    [ThirdParty(), ThirdParty(rate=2.0, repetitions=3), ThirdParty(10, 2, 0.5, 1.5), ThirdParty(effect=0.0)],
    ids=repr,
)
def test_examined(game: Game) -> None:
    check_game(game)


def test_arrays(examine_arrays: Callable[[Game], None]) -> None:
    examine_arrays(ThirdParty(rate=1.5, repetitions=3))


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"endowment": 0}, "endowment: a whole number from 1 to 1000000, got 0"),
        ({"observer_endowment": 2.5}, "observer_endowment: a whole number .* got 2.5"),
        ({"effect": -1.0}, "effect: a number from 0 to 1000, got -1.0"),
        ({"rate": -0.1}, "rate: a number from 0 to 1000, got -0.1"),
        ({"repetitions": 0}, "repetitions: .* got 0"),
    ],
)
def test_bad_parameters_are_named(wrong: dict[str, object], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        ThirdParty(**wrong)  # type: ignore[arg-type]
