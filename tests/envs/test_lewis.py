"""Lewis's signalling game: the rules by hand, levels by enumeration, and what topographic similarity tells."""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Callable
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from scipy.stats import spearmanr

from societas import Game, play, policy
from societas.envs.norms.lewis import Lewis, language, topographic_similarity
from societas.testing import check_game

Table = np.ndarray[Any, Any]

GAMES = [
    Lewis(),
    Lewis(partial=True, repetitions=3),
    Lewis(candidates=5),
    Lewis(attributes=3, values=3, symbols=4, vocabulary=5),
    Lewis(attributes=1, values=5, symbols=3, vocabulary=2, candidates=5),
    Lewis(symbols=1, vocabulary=3),
    Lewis(symbols=1, vocabulary=3, candidates=4, repetitions=2),
    Lewis(attributes=2, values=3, symbols=1, vocabulary=4, candidates=9),
]


def speaker(messages: Table) -> Any:
    """A sender's policy that says these messages (N, m), by the object's number."""
    values = round(len(messages) ** 0.5)  # of each of two attributes

    def say(seen: Any) -> Any:
        thing = seen["object"]
        return {"message": messages[thing[..., 0] + values * thing[..., 1]]}

    return policy("callable", function=say, batched=True)


def step_round(game: Lewis, u: list[float], message: list[int], answer: Any) -> Any:
    """Play a round in one world; return what the receiver saw and the outcome."""
    draws = np.array([u])
    acts: dict[str, Any] = {"sender": {"message": np.array([[message]])}}
    acts["receiver"] = {"pick" if game.candidates else "guess": np.array([[answer]])}
    said = game.step(game.start(draws), acts, draws)
    return game.view(said.state), game.step(said.state, acts, draws)


# ---- the game -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("game", GAMES)
def test_the_examiner_finds_nothing(game: Lewis) -> None:
    check_game(game)


def test_arrays(examine_arrays: Callable[[Game], None]) -> None:
    examine_arrays(Lewis(candidates=3, repetitions=2))
    examine_arrays(Lewis(partial=True))


def test_the_answer_is_compared_attribute_by_attribute() -> None:
    """u = 0.9 of 16 objects is number 14: values 2 and 3 (from 0)."""
    for partial, pay in ((False, [0.0, 0.0, 1.0]), (True, [0.0, 0.5, 1.0])):
        for answer, paid in zip(([3, 2], [2, 1], [2, 3]), pay, strict=True):
            seen, done = step_round(Lewis(partial=partial), [0.9], [1, 2], answer)
            assert seen["sender"]["object"].tolist() == [[[2, 3]]]
            assert seen["receiver"]["message"].tolist() == [[[1, 2]]]
            assert set(seen["receiver"]) == {"stage", "round", "message"}
            assert done.rewards["sender"].tolist() == done.rewards["receiver"].tolist() == [[paid]]
            assert done.welfare.tolist() == [2 * paid]


def test_candidates_are_distinct_and_the_others_and_the_place_equally_likely() -> None:
    game, worlds = Lewis(values=3, vocabulary=3, candidates=4), 90_000
    nature = game.open(np.random.default_rng(0).random((worlds, game.nature)))
    target = nature["object"] @ [1, 3]
    shown = nature["shown"].reshape(worlds, 4, 2) @ [1, 3]
    assert (np.diff(np.sort(shown, axis=1), axis=1) > 0).all()
    assert ((shown == target[:, None]).sum(axis=1) == 1).all()
    place = (shown == target[:, None]).argmax(axis=1)
    np.testing.assert_allclose(np.bincount(place) / worlds, 1 / 4, atol=0.01)
    for spot in range(4):  # each object is at each place equally often, whatever the target
        np.testing.assert_allclose(np.bincount(shown[:, spot], minlength=9) / worlds, 1 / 9, atol=0.01)
    sets, counts = np.unique(np.sort(shown, axis=1), axis=0, return_counts=True)
    assert len(sets) == math.comb(9, 4)
    np.testing.assert_allclose(counts / worlds, 1 / math.comb(9, 4), atol=0.002)


def test_a_pick_is_right_only_if_it_is_the_object() -> None:
    game = Lewis(candidates=3)
    u = [0.9, 0.0, 0.5, 0.99]  # object 14 comes last; the others are 0 and, of the 14 left, number 7 past 0: 8
    for answer, paid in ((0, 0.0), (1, 0.0), (2, 1.0)):
        seen, done = step_round(game, u, [0, 0], answer)
        assert (seen["receiver"]["shown"].reshape(3, 2) @ [1, 4]).tolist() == [0, 8, 14]
        assert done.rewards["receiver"].tolist() == [[paid]]


@pytest.mark.parametrize(
    ("told", "words"),
    [
        ({"values": 30, "attributes": 3}, "at most 10000 objects, got 30^3 = 27000"),
        ({"candidates": 17}, "candidates: a whole number from 2 to 16, got 17"),
        ({"candidates": 3, "partial": True}, "partial: false where there are candidates"),
        ({"symbols": 1, "partial": True}, "4 messages are fewer than 16 objects"),
        ({"vocabulary": 27}, "vocabulary: a whole number from 2 to 26"),
    ],
)
def test_what_is_refused(told: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=re.escape(words)):
        Lewis(**told)


# ---- levels -------------------------------------------------------------------------------------------------------


def best_by_enumeration(objects: int, messages: int, candidates: int) -> Fraction:
    """Search every code; for each set of candidates the receiver finds one object for each message among them."""
    sets = list(itertools.combinations(range(objects), candidates))
    return max(
        Fraction(sum(len({says[thing] for thing in shown}) for shown in sets), len(sets) * candidates)
        for says in itertools.product(range(messages), repeat=objects)
    )


@pytest.mark.parametrize("candidates", [0, 2, 3, 4])
@pytest.mark.parametrize(("values", "vocabulary"), [(4, 2), (4, 3), (5, 2), (5, 3), (4, 4)])
def test_first_best_against_every_code(values: int, vocabulary: int, candidates: int) -> None:
    game = Lewis(attributes=1, values=values, symbols=1, vocabulary=vocabulary, candidates=candidates, repetitions=3)
    best = best_by_enumeration(values, vocabulary, candidates or values)
    marks = game.benchmarks()
    assert marks.first_best.value == marks.equilibrium.value == pytest.approx(6 * float(best), abs=1e-12)
    assert marks.baseline is not None
    assert marks.baseline.value == pytest.approx(6 / (candidates or values), abs=1e-12)


@pytest.mark.parametrize("game", GAMES)
def test_levels_by_simulation(game: Lewis) -> None:
    for name, level in game.benchmarks().levels.items():
        how = policy("equilibrium", level=name)
        done = play(game, {"sender": how, "receiver": how}, worlds=8000, seed=3)
        error = 5 * done.welfare.std() / np.sqrt(8000) + 1e-9
        assert done.welfare.mean() == pytest.approx(level.value, abs=error), name
        share = done.measures["credit" if game.partial else "accuracy"].mean()
        assert done.welfare.mean() == pytest.approx(2 * game.repetitions * share)


# ---- structure of a code ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("game", "edits"),
    [
        (Lewis(), True),
        (Lewis(), False),
        (Lewis(values=6, vocabulary=9), True),
        (Lewis(attributes=3, values=3, symbols=3, vocabulary=3), False),
        (Lewis(attributes=3, values=3, symbols=4, vocabulary=5), False),
    ],
)
def test_a_compositional_code_has_similarity_1(game: Lewis, edits: bool) -> None:
    assert topographic_similarity(game, policy("equilibrium"), edits=edits) == pytest.approx(1.0, abs=1e-12)


def test_babbling_has_similarity_0() -> None:
    assert topographic_similarity(Lewis(), policy("equilibrium", level="baseline")) == 0.0


def test_renaming_attributes_and_values_changes_nothing() -> None:
    """Symbol 1 names attribute 2 and the other way round, and symbols stand for other values in each place."""
    game, things = Lewis(), Lewis().digits(np.arange(16))
    messages = np.stack([np.array([2, 0, 3, 1])[things[:, 1]], np.array([1, 2, 3, 0])[things[:, 0]]], axis=-1)
    assert topographic_similarity(game, speaker(messages)) == pytest.approx(1.0, abs=1e-12)
    np.testing.assert_array_equal(language(game, speaker(messages)), messages)


def test_similarity_is_0_on_average_over_all_ways_to_give_out_the_messages() -> None:
    """All 24 codes of 4 objects: 8 are compositional, the others mix the attributes up."""
    game = Lewis(values=2, vocabulary=2)
    things = game.digits(np.arange(4))
    found = [topographic_similarity(game, speaker(things[list(order)])) for order in itertools.permutations(range(4))]
    assert np.mean(found) == pytest.approx(0.0, abs=1e-12)
    # distances 1, 1, 1, 1, 2, 2: agreeing in both pairs, or putting both 2s where there are 1s
    assert sorted(np.round(found, 9)) == [-0.5] * 16 + [1.0] * 8


def test_similarity_of_random_codes() -> None:
    game, rng = Lewis(), np.random.default_rng(1)
    things = game.digits(np.arange(16))
    found = np.array([topographic_similarity(game, speaker(things[rng.permutation(16)])) for _ in range(100)])
    assert abs(found.mean()) < 4 * found.std() / 10 and 0.02 < found.std() < 0.2


def test_a_holistic_code_against_the_definition() -> None:
    """One number for an object, in symbols that stand for no attribute; distances by the recursive definition."""
    game = Lewis(attributes=2, values=3, symbols=4, vocabulary=2)

    def edits(one: tuple[int, ...], other: tuple[int, ...]) -> int:
        if not one or not other:
            return len(one) + len(other)
        replaced = edits(one[1:], other[1:]) + (one[0] != other[0])
        return min(replaced, edits(one[1:], other) + 1, edits(one, other[1:]) + 1)

    things = [(i % 3, i // 3) for i in range(9)]
    words = [tuple(i >> place & 1 for place in range(4)) for i in range(9)]
    pairs = list(itertools.combinations(range(9), 2))
    meant = [sum(a != b for a, b in zip(things[i], things[j], strict=True)) for i, j in pairs]
    wanted = spearmanr(meant, [edits(words[i], words[j]) for i, j in pairs]).statistic
    assert topographic_similarity(game, policy("equilibrium")) == pytest.approx(wanted, abs=1e-12)
    places = spearmanr(
        meant, [sum(a != b for a, b in zip(words[i], words[j], strict=True)) for i, j in pairs]
    ).statistic
    assert topographic_similarity(game, policy("equilibrium"), edits=False) == pytest.approx(places, abs=1e-12)
    assert wanted != pytest.approx(places, abs=1e-3) and abs(wanted) < 0.5


def test_too_many_objects_are_refused() -> None:
    with pytest.raises(ValueError, match="at most 2000 objects can be compared, got 4096"):
        topographic_similarity(Lewis(attributes=6, symbols=6), policy("equilibrium"))
