"""Everything registered is examined: registering a game, a mechanism or a policy enrols it here."""

from __future__ import annotations

import functools
import re
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from variants import OFF, SMALL, VARIANTS

import societas
from societas import Game, Mechanism, Policy, Unfit, make, mechanism, policy
from societas.envs.core import registry
from societas.mechanisms.contract import Court
from societas.mechanisms.terms import Compensation, Quota
from societas.testing import check_game, check_mechanism, check_policy

# ---- games --------------------------------------------------------------------------------------------------------


def _game_cases() -> list[tuple[str, dict[str, Any]]]:
    return [(name, options) for name in societas.list("games") for options in [{}, *VARIANTS.get(name, [])]]


@pytest.mark.parametrize(("name", "options"), _game_cases())
def test_game(name: str, options: dict[str, Any]) -> None:
    check_game(make(name, **options))


# ---- mechanisms ---------------------------------------------------------------------------------------------------

PROXIES = {"Fishery": "caught", "HiddenAction": "round", "MatrixGame": "round", "Pricing": "profit"}
BLURRED = {"Fishery": "stock", "HiddenAction": "pay", "MatrixGame": "round", "Pricing": "profit"}


def _terms(game: str) -> Any:
    if game == "Fishery":
        return Quota(limit=None)
    if game == "HiddenAction":
        return Compensation(None, "refused", "accepted", "answer")
    if game == "Pricing":
        options = make("Pricing").role("firm").sees[1].space.options
        return Compensation(None, options[-1], options[0])
    return Compensation(None)


def _contract(game: str) -> list[dict[str, Any]]:
    fixed = replace(_terms(game), **({"limit": 10} if game == "Fishery" else {"theta": 1.5}))
    return [
        {"terms": fixed},
        {"terms": fixed, "regime": "text"},
        {"terms": _terms(game), "court": Court(0.5), "side_payment": 3.0, "proposer": 1},
    ]


OPTIONS: dict[str, Callable[[str], list[dict[str, Any]]]] = {
    "Contract": _contract,
    "Misspecify": lambda game: [{"field": PROXIES[game]}, {"field": PROXIES[game], "weight": -2.0, "strength": 0.25}],
    "Noise": lambda game: [{"field": BLURRED[game], "sd": 2.0}],
    "Sanction": lambda game: [{}, {"cost": 0.5, "fine": 0.0}],
    "Talk": lambda game: [{"cost": 0.5}, {"rounds": 2, "vocabulary": ("yes",)}],
}
"""Parameters of mechanisms on some games, besides those that suit a game by themselves."""

NULLS: dict[str, Callable[[str], dict[str, Any]]] = {
    "Contract": lambda game: {"regime": "none"},
    "Misspecify": lambda game: {"field": PROXIES[game], "strength": 0.0},
    "Noise": lambda game: {"field": BLURRED[game], "sd": 0.0},
    "Talk": lambda game: {"rounds": 0},
}
"""Parameters at which a mechanism changes nothing, where it has such."""


def _small(game: str) -> Game:
    return make(game, **({"periods": 6} if game == "Pricing" else {}))


def _mechanism_cases() -> list[tuple[str, str, int]]:
    cases = []
    for name, options in OPTIONS.items():
        for game in PROXIES:
            cases += [(name, game, k) for k in range(len(options(game)))]
    return cases


@pytest.mark.parametrize(("name", "game", "k"), _mechanism_cases())
def test_mechanism(name: str, game: str, k: int) -> None:
    given = mechanism(name, **OPTIONS[name](game)[k])
    null = mechanism(name, **NULLS[name](game)) if name in NULLS else None
    check_mechanism(given, _small(game), null=null)


@pytest.mark.parametrize("game", societas.list("games"))
@pytest.mark.parametrize("name", societas.list("mechanisms"))
def test_every_mechanism_on_every_game_that_it_suits(name: str, game: str) -> None:
    played = make(game, **SMALL.get(game, {}))
    try:
        given = registry.resolve("mechanisms", name).suited(played)
        _ = played | given
    except Unfit as reason:
        pytest.skip(str(reason))
    null = replace(given, **OFF[name]) if name in OFF else None
    check_mechanism(given, played, null=null, worlds=16)


def test_what_does_not_fit_says_why() -> None:
    with pytest.raises(Unfit, match="no single verifiable fact is seen by all roles of HoldUp"):
        registry.resolve("mechanisms", "Contract").suited(make("HoldUp"))
    with pytest.raises(Unfit, match="nobody in MatrixGame sees 'stock'; there are: .*round"):
        _ = make("MatrixGame") | mechanism("Noise", field="stock", sd=1.0)


LAYERS: tuple[Mechanism, ...] = (
    mechanism("Talk", cost=0.25),
    mechanism("Contract", terms=Quota(limit=None), court=Court(0.7), side_payment=2.0, proposer=3),
    mechanism("Sanction", cost=0.5),
    mechanism("Noise", field="stock", sd=3.0),
    mechanism("Noise", field="caught", sd=1.0),
    mechanism("Misspecify", field="total", strength=0.5),
)


@pytest.mark.parametrize("depth", range(1, len(LAYERS) + 1))
def test_composition(depth: int) -> None:
    """Six mechanisms on top of each other: each layer is examined on those below it."""
    base = functools.reduce(lambda game, layer: game | layer, LAYERS[: depth - 1], make("Fishery", months=5))
    check_mechanism(LAYERS[depth - 1], base, worlds=24)


def test_composition_in_another_order() -> None:
    base = functools.reduce(lambda game, layer: game | layer, reversed(LAYERS[1:]), make("Fishery", months=4))
    check_mechanism(LAYERS[0], base, worlds=24)


def test_composition_of_a_game_with_stages() -> None:
    game = _small("HiddenAction") | mechanism("Talk") | mechanism("Sanction", roles=("principal", "agent"))
    check_mechanism(mechanism("Contract", **_contract("HiddenAction")[2]), game, worlds=24)


# ---- policies -----------------------------------------------------------------------------------------------------


def _answer(prompt: str) -> str:
    """Answer a prompt as the form in it says, with the first value of each space."""
    line = next((line for line in prompt.splitlines() if line.startswith("Answer with JSON only")), "{}")
    form = line[line.index("{") :]
    form = re.sub(r"<a (?:whole )?number from (\S+) to \S+>", r"\1", form)
    return re.sub(r'("(?:[^"]*)")(?: or "[^"]*")+', r"\1", form)


class _Bigrams:
    """Stands in for a language model: scores texts by arithmetic on their characters."""

    def score(self, chats: Any, options: Any) -> list[np.ndarray[Any, Any]]:
        scores = []
        for chat, texts in zip(chats, options, strict=True):
            place = sum(map(ord, str(chat))) % 97
            logits = np.array([float((sum(map(ord, text)) * 31 + place) % 11) for text in texts])
            scores.append(logits - np.log(np.exp(logits).sum()))
        return scores


def _learned(game: Game, role: str) -> Policy:
    seen = {field.name: 3 for field in game.role(role).sees if not field.each and field.name != "profit"}
    return policy("tabular", sees=seen, levels=3).learn(game, role, episodes=3, sessions=2)


def _trained(game: Game, role: str) -> Policy:
    from societas.policies.sb3 import StableBaselines

    return StableBaselines.train(game, role, steps=16, worlds=2, n_steps=8, batch_size=8, n_epochs=1)


def _climbed(game: Game, role: str) -> Policy:
    return policy("gradient", hidden=(8,)).learn(game, role, episodes=3, sessions=16)


def _searched(game: Game, role: str) -> Policy:
    return policy("cross_entropy", candidates=8).learn(game, role, episodes=2, sessions=16)


def _proximal(game: Game, role: str) -> Policy:
    return policy("ppo", hidden=(8,)).learn(game, role, episodes=2, sessions=8)


Maker = Callable[[Game, str], Policy]

POLICIES: dict[str, dict[str, Maker]] = {
    "aligned": {
        "unchanged": lambda game, role: policy(
            "aligned", method="none", model={"Tiny": {"games": ["Fishery"], "width": 16, "layers": 1, "heads": 2}}
        )
    },
    "callable": {
        "single": lambda game, role: policy("callable", function=lambda seen: {}),
        "batched": lambda game, role: policy("callable", function=lambda seen: {}, batched=True),
    },
    "calvano": {
        "collusive": lambda game, role: policy("calvano", beta=2e-3, window=1_000).learn(game, role, sessions=2)
    },
    "company": {"mixed": lambda game, role: policy("company", most="constant", guests="random")},
    "constant": {
        "nothing": lambda game, role: policy("constant"),
        "greed": lambda game, role: policy("constant", acts={"harvest": 100}),
    },
    "cross_entropy": {"searched": _searched},
    "equilibrium": {
        level: lambda game, role, level=level: policy("equilibrium", level=level)
        for level in ("equilibrium", "first_best", "second_best", "baseline")
    },
    "gradient": {"learned": _climbed},
    "llm": {
        temperature: lambda game, role, t=temperature: policy("llm", model=_Bigrams(), temperature=float(t), levels=5)
        for temperature in ("0", "1")
    },
    "person": {"scripted": lambda game, role: policy("person", ask=_answer, tell=lambda text: None)},
    "ppo": {"learned": _proximal},
    "random": {"random": lambda game, role: policy("random")},
    "sb3": {"PPO": _trained},
    "saez": {"planner": lambda game, role: policy("saez" if role == "planner" else "equilibrium")},
    "scripted": {
        name: lambda game, role, name=name: policy("scripted", character=name)
        for name in ("fair", "opportunist", "reciprocator", "tit_for_tat")
    },
    "tabular": {"learned": _learned},
    "truthful": {"honest": lambda game, role: policy("truthful")},
    "zero_intelligence": {
        "constrained": lambda game, role: policy("zero_intelligence"),
        "unconstrained": lambda game, role: policy("zero_intelligence", constrained=False),
    },
    "zip": {"adaptive": lambda game, role: policy("zip")},
}
"""Ways of making each registered policy for a role of a game."""

SLOW = {"aligned", "llm", "person"}
"""Policies that decide world by world: examined in fewer worlds."""

ONLY_NUMPY = {"sb3": "its model runs in its own library, and random play under torch is the same"}

PLAYS: dict[str, tuple[str, ...]] = {
    "fair": ("Fishery",),
    "greed": ("Fishery",),
    "planner": ("TaxLabour",),
    **dict.fromkeys(("honest", "constrained", "unconstrained", "adaptive"), ("DoubleAuction",)),
    "collusive": ("MatrixGame", "Pricing"),
    "opportunist": ("Fishery",),
    "reciprocator": ("Fishery",),
    "tit_for_tat": ("MatrixGame",),
    "first_best": ("Fishery", "HiddenAction", "MatrixGame", "Pricing"),
    "second_best": ("HiddenAction",),
    "baseline": ("HiddenAction", "Pricing"),
    "PPO": ("MatrixGame",),
}
"""Games that suit a policy, where not all do."""


def _policy_cases() -> list[tuple[str, str, str]]:
    cases = []
    for name in societas.list("policies"):
        for kind in POLICIES.get(name, ["default"]):
            cases += [(name, kind, game) for game in PLAYS.get(kind, tuple(PROXIES))]
    return cases


@pytest.mark.parametrize(("name", "kind", "game"), _policy_cases())
def test_policy(name: str, kind: str, game: str) -> None:
    maker: Maker = POLICIES[name][kind] if name in POLICIES else lambda game, role: policy(name)
    played = _small(game)
    backends = ("numpy",) if name in ONLY_NUMPY else ("numpy", "torch")
    for role in played.roles:
        made = maker(played, role.name)
        check_policy(made, played, role.name, worlds=3 if name in SLOW else 16, backends=backends)


@pytest.mark.parametrize("character", ["fair", "opportunist", "reciprocator"])
def test_characters_under_institutions(character: str) -> None:
    game = make("Fishery", months=4) | LAYERS[0] | LAYERS[1] | LAYERS[2] | LAYERS[3]
    check_policy(policy("scripted", character=character), game)


def test_policies_decide_what_institutions_ask() -> None:
    game = make("Fishery", months=2) | LAYERS[0] | LAYERS[1] | LAYERS[2]
    check_policy(policy("random"), game)
    check_policy(policy("equilibrium"), game)
    check_policy(POLICIES["person"]["scripted"](game, "fisher"), game, worlds=3)
    check_policy(_learned(game, "fisher"), game, worlds=8)
