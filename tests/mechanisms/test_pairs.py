"""Every mechanism on every game that it suits, with parameters drawn from its whole range: invariants of all pairs."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from variants import OFF, SMALL, VARIANTS

import societas
from societas import Game, Mechanism, Unfit, make, play, policy
from societas.envs.core import registry
from societas.envs.core.mechanism import Institution
from societas.envs.core.worlds import Cast, Worlds
from societas.mechanisms.contract import Contract, Court
from societas.mechanisms.vote import RULES
from societas.testing import check_mechanism

Strategy = st.SearchStrategy[Any]
Parameters = dict[str, Strategy] | Callable[[Any], Strategy]


def real(low: float, high: float) -> Strategy:
    """Numbers of a range, with its ends."""
    return st.sampled_from([low, high]) | st.floats(low, high, allow_subnormal=False).map(lambda x: round(x, 6))


SHARE, COINS, YES_NO = real(0.0, 1.0), real(0.0, 5.0), st.booleans()


@st.composite
def contracts(draw: Any, suits: Contract) -> Contract:
    """Contracts with the terms that suit a game, and anything else."""
    regime = draw(st.sampled_from(["text", "enforced", "relational"]))
    side = draw(st.sampled_from([0.0, 2.5]))
    blank = side > 0 or any(item.blanks for item in suits.items)
    duration = draw(st.none() | st.integers(1, 3))
    return replace(
        suits,
        regime=regime,
        side_payment=side,
        court=draw(st.builds(Court, accuracy=SHARE, cost=COINS, delay=st.integers(0, 2), lapses=YES_NO)),
        proposer=draw(st.sampled_from([0, 1, *(["rotating", "random", "auctioned"] if blank else [])])),
        duration=duration,
        renegotiation=draw(YES_NO) if blank or duration else False,
        remedy=draw(st.sampled_from(["performance", "damages", "termination"])),
        damages=draw(real(0.0, 3.0)),
        highest_bid=draw(real(0.0, 10.0)),
        trigger=draw(YES_NO),
        label=draw(st.sampled_from(["", "rent"])),
    )


@st.composite
def shocks(draw: Any, suits: Mechanism) -> Mechanism:
    """Shocks of either kind; those that multiply take no more than all."""
    size = draw(SHARE)
    mean = draw(real(-1.0, 1.0)) * (1.0 - size) * 0.999  # less than all, whatever the rounding
    return replace(suits, size=size, mean=mean, kind=draw(st.sampled_from(["multiply", "add"])), common=draw(YES_NO))


@st.composite
def taxes(draw: Any, suits: Mechanism) -> Mechanism:
    """Taxes with one to three brackets, whose thresholds rise."""
    thresholds = sorted(set(draw(st.lists(real(0.0, 20.0), min_size=1, max_size=3))))
    rates = draw(st.lists(SHARE, min_size=len(thresholds), max_size=len(thresholds)))
    base, revenue = draw(st.sampled_from(["reward", "wealth"])), draw(st.sampled_from(["shared", "all", "burnt"]))
    return replace(suits, base=base, rates=tuple(rates), thresholds=tuple(thresholds), revenue=revenue)


@st.composite
def inspections(draw: Any, suits: Any) -> Mechanism:
    """Inspections whose limits, where the act is a number, may count from the others' mean."""
    shares = {name: draw(SHARE) for name in ("probability", "miss")}
    coins = {name: draw(COINS) for name in ("fine", "cost")}
    to, relative = draw(st.sampled_from(["outside", "others"])), draw(YES_NO) and suits.high is not None
    return replace(suits, **shares, **coins, to=to, relative=relative)


PARAMETERS: dict[str, Parameters] = {
    "Ambiguity": {"spread": real(0.0, 0.5), "common": YES_NO},
    "Certify": {"cost": COINS, "accuracy": SHARE},
    "Classifier": {"accuracy": SHARE, "changes": SHARE},
    "Commit": {"binding": SHARE},
    "Constitution": {
        "agenda": st.sampled_from(["rotating", "random"]),
        "period": st.integers(0, 3),
        "delay": st.integers(0, 3),
        "label": st.sampled_from(["", "two"]),
    },
    "Contract": contracts,
    "Disclose": {"voluntary": YES_NO},
    "Exclude": {"rounds": st.integers(0, 3), "cost": COINS, "benefits": YES_NO},
    "GraduatedSanction": {"fine": COINS, "step": COINS, "most": COINS, "detection": SHARE},
    "HiddenType": {"spread": real(0.0, 0.999)},
    "Identity": {"weight": SHARE, "rivalry": SHARE},
    "InequityAversion": {"alpha": real(0.0, 4.0), "beta": SHARE},
    "Matching": {},
    "Mediator": {},
    "Forget": {"rounds": st.sampled_from([(), (2,), (2, 3)]), "probability": SHARE},
    "Inspect": inspections,
    "Misspecify": {"weight": real(-3.0, 3.0), "strength": SHARE},
    "Monitor": {"probability": SHARE, "noise": SHARE, "most": st.none() | st.integers(0, 3), "cost": COINS},
    "Noise": {"sd": COINS},
    "NormUncertainty": {"known": SHARE, "fine": COINS, "share": YES_NO},
    "Pigou": {"rate": COINS, "refund": st.sampled_from(["others", "all"])},
    "PoolSanction": {"cost": COINS, "fine": COINS, "per_contributor": YES_NO, "second_order": YES_NO},
    "PreferenceUncertainty": {"spread": SHARE},
    "Prosocial": {"weight": real(-1.0, 1.0)},
    "Redistribute": {"share": SHARE, "by": st.sampled_from(["equal", "need"])},
    "Regulate": {"rounds": st.sampled_from([(), (1,), (2, 3)])},
    "Reputation": {
        "norm": st.sampled_from(["none", "image", "standing", "stern"]),
        "public": YES_NO,
        "noise": SHARE,
        "most": st.integers(1, 9),
    },
    "RightsAuction": {"rights": st.integers(1, 5), "returned": SHARE, "most": real(0.1, 50.0)},
    "Sanction": {"cost": COINS, "fine": COINS, "second_order": YES_NO, "error": SHARE},
    "Shock": shocks,
    "Subsidy": {"rate": COINS, "financed": st.sampled_from(["all", "outside"])},
    "Talk": {
        "rounds": st.integers(0, 2),
        "cost": COINS,
        "to": st.sampled_from(["all", "one"]),
        "memory": st.integers(1, 3),
        "text": st.sampled_from([0, 0, 6]),
    },
    "Tax": taxes,
    "Unforeseen": {"probability": SHARE},
    "Vote": {
        "rule": st.sampled_from(sorted(RULES)),
        "each_round": YES_NO,
        "most": real(0.1, 50.0),
        "ties": st.sampled_from(["first", "lot"]),
        "label": st.sampled_from(["", "two"]),
    },
}
"""What is drawn for each registered mechanism: a strategy for each parameter that can be turned in any game, or a function
from the mechanism that suits a game to a strategy of mechanisms. What is not named stays as it suits the game."""


def test_the_table_names_real_parameters() -> None:
    for name in societas.list("mechanisms"):
        known, drawn = {f.name for f in fields(registry.resolve("mechanisms", name))}, PARAMETERS.get(name, {})
        assert callable(drawn) or set(drawn) <= known, f"PARAMETERS[{name!r}]: {set(drawn) - known} are no parameters"


def small(name: str) -> Iterator[dict[str, Any]]:
    """Yield parameters with which a game is short."""
    yield SMALL.get(name, {})
    yield from (options for options in VARIANTS.get(name, []) if options.get("repetitions", 1) <= 10)


@functools.cache
def game(name: str, number: int) -> Game:
    return make(name, **list(small(name))[number])


def games() -> list[tuple[str, int]]:
    return [(name, number) for name in societas.list("games") for number, _ in enumerate(small(name))]


@functools.cache
def suits(mechanism: str) -> list[tuple[str, int]]:
    """Return the games that a mechanism suits."""
    maker, found = registry.resolve("mechanisms", mechanism), []
    for place in games():
        try:
            _ = game(*place) | maker.suited(game(*place))
        except Unfit:
            continue
        found.append(place)
    return found


def drawn_for(name: str) -> Parameters:
    if name not in PARAMETERS:
        pytest.fail(
            f"mechanism {name!r} is registered, but nothing says how its parameters are drawn: add an entry to PARAMETERS in "
            f"{Path(__file__).name}, {{parameter: strategy}} or a function from {name}.suited(game) to a strategy"
        )
    return PARAMETERS[name]


def test_a_mechanism_without_an_entry_fails_by_name() -> None:
    with pytest.raises(pytest.fail.Exception, match="mechanism 'New' is registered, but nothing says how"):
        drawn_for("New")


@st.composite
def pairs(draw: Any, name: str) -> tuple[Game, Mechanism]:
    """Draw a game that a mechanism suits and the mechanism; parameters that this game cannot have are passed over."""
    on = game(*draw(st.sampled_from(suits(name))))
    fitting, drawn = registry.resolve("mechanisms", name).suited(on), drawn_for(name)
    given_: Mechanism = draw(drawn(fitting) if callable(drawn) else st.fixed_dictionaries(drawn).map(_put(fitting)))
    try:
        _ = on | given_
    except Unfit:
        assume(False)
    return on, given_


def _put(fitting: Any) -> Callable[[dict[str, Any]], Mechanism]:
    return lambda drawn: replace(fitting, **drawn)


EVERY = pytest.mark.parametrize("name", societas.list("mechanisms"))


@EVERY
@settings(max_examples=12, derandomize=True, deadline=None, database=None)
@given(data=st.data())
def test_a_pair_passes_the_examination(name: str, data: st.DataObject) -> None:
    """Words, types, transfers that balance up to the budget, the null mechanism bit for bit, NumPy like torch."""
    on, given_ = data.draw(pairs(name))
    null = replace(given_, **OFF[name]) if name in OFF else None
    check_mechanism(given_, on, null=null, worlds=5)


@EVERY
@settings(max_examples=20, derandomize=True, deadline=None, database=None)
@given(data=st.data(), seed=st.integers(0, 2**31))
def test_a_world_is_the_same_in_any_batch_and_on_any_backend(name: str, data: st.DataObject, seed: int) -> None:
    on, given_ = data.draw(pairs(name))
    under, players = on | given_, {role.name: policy("random") for role in on.roles}
    one, five, many = (play(under, players, worlds=worlds, seed=seed) for worlds in (1, 5, 32))
    torch = play(under, players, worlds=5, seed=seed, backend="torch", device="cpu")
    for role in under.roles:
        np.testing.assert_array_equal(many.returns[role.name][:5], five.returns[role.name])
        np.testing.assert_array_equal(five.returns[role.name][:1], one.returns[role.name])
        np.testing.assert_allclose(torch.returns[role.name], five.returns[role.name], rtol=1e-9, atol=1e-9)
    for measure in under.reports:
        ours = [episodes.measures[measure.name] for episodes in (one, five, many, torch)]
        np.testing.assert_array_equal(ours[2][:5], ours[1])
        np.testing.assert_array_equal(ours[1][:1], ours[0])
        np.testing.assert_allclose(ours[3], ours[1], rtol=1e-9, atol=1e-9)


@settings(max_examples=100, derandomize=True, deadline=None, database=None)
@given(data=st.data(), seed=st.integers(0, 2**31))
def test_nobody_is_bound_without_consent(data: st.DataObject, seed: int) -> None:
    """Where those who answer refuse, no contract is ever in force, and rounds pay what they pay without it."""
    on, given_ = data.draw(pairs("Contract"))
    under = on | given_
    assert isinstance(under, Institution) and isinstance(given_, Contract)
    label = f"{given_.label}_" if given_.label else ""
    batch = Worlds(under, 8, seed=seed)
    cast = Cast(under, {role.name: policy("random") for role in on.roles})
    cast.begin(batch)
    first = len(under.before) + len(under.opening)
    live = np.ones(8, dtype=bool)
    for _ in range(under.horizon):
        state, acts, u = batch.state, cast.act(batch, batch.view()), batch.numbers()
        for decided in acts.values():
            if f"{label}consent" in decided:
                decided[f"{label}consent"] = decided[f"{label}consent"] * 0
        outcome = batch.step(acts)
        played = live & (state.stage >= first) & (state.stage < first + len(on.stages))
        if played.any():
            alone = on.step(state.base, acts, u[..., : on.draws])
            for role in on.roles:
                np.testing.assert_array_equal(outcome.rewards[role.name][played], alone.rewards[role.name][played])
        live = live & ~outcome.done
        if not live.any():
            break
    else:
        raise AssertionError("the episode outlasted its horizon")
    measures = under.measures(batch.state)
    assert (measures[f"{label}agreed"] == 0.0).all() and (measures[f"{label}breaches"] == 0.0).all()
