"""LLM-Modulo: what is played has passed, whatever guessed it; what cannot be solved is said to be unsolved."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from societas import Game, play
from societas.envs.contracting.screening import Screening
from societas.envs.core import registry, words
from societas.envs.core.episodes import Episodes
from societas.envs.markets.sealed_bid import SealedBid
from societas.envs.norms.allocation import Allocation
from societas.envs.norms.fishery import Fishery
from societas.experiments.claims.studies import verified
from societas.mechanisms.contract import Contract
from societas.mechanisms.terms import Quota
from societas.policies.align import modulo, scenarios
from societas.policies.align.modulo import Audit, Modulo, compliant, lasting, self_judged, undominated, wrap
from societas.policies.llm.constrained import Constrained
from societas.policies.llm.policy import LanguageModel
from societas.policies.llm.protocol import Answer, Message
from societas.policies.llm.train import Tiny
from societas.policies.llm.verify import BACK

Talk = Sequence[Message]


class Guess:
    """A model that answers by chance: any value of the schema, and now and then no answer at all.

    ``hears``: told a bound ("at most 3"), it guesses again within it.
    """

    def __init__(self, *, hears: bool = False, nonsense: float = 0.1) -> None:
        self.hears, self.nonsense, self.calls = hears, nonsense, 0

    def answer(
        self,
        conversations: Sequence[Talk],
        schemas: Sequence[dict[str, Any]],
        *,
        temperature: float,
        luck: Sequence[float],
    ) -> list[Answer]:
        self.calls += len(conversations)
        found = []
        for talk, schema, number in zip(conversations, schemas, luck, strict=True):
            rng = np.random.default_rng(int(number * 2**53))
            bounds = {}
            if self.hears:
                for name, side, value in re.findall(r"- (\w+): .*at (most|least) ([\d.]+\d|\d)", talk[-1].content):
                    bounds[name] = (side, float(value))
            said = {name: self._value(part, rng, bounds.get(name)) for name, part in schema["properties"].items()}
            found.append(Answer("I would rather not" if rng.random() < self.nonsense else json.dumps(said)))
        return found

    def _value(self, part: dict[str, Any], rng: np.random.Generator, bound: tuple[str, float] | None) -> Any:
        if "enum" in part:
            return part["enum"][int(rng.integers(len(part["enum"])))]
        if part["type"] == "object":
            return {name: self._value(one, rng, None) for name, one in part["properties"].items()}
        low, high = part["minimum"], part["maximum"]
        if bound is not None:
            low, high = (low, bound[1]) if bound[0] == "most" else (bound[1], high)
        if part["type"] == "integer":
            return int(rng.integers(int(np.ceil(low)), int(np.floor(high)) + 1))
        return float(np.clip(rng.uniform(low, high), low, high))


def guesser(**options: Any) -> LanguageModel:
    return LanguageModel(Guess(**options), levels=11)


def decided(found: Episodes, role: str, field: str, *, when: str | None = None) -> Any:
    """Yield (seen, value) {field: value} of every seat that decided a field while it lived."""
    for moment in found.moments:
        for world in np.flatnonzero(moment.live):
            stage = found.game.stages[int(moment.stage[world])].name
            for seat in range(found.game.role(role).count):
                if any(f.name == field for f in found.game.role(role).deciding(stage, seat)):
                    sight = {name: values[world, seat] for name, values in moment.seen[role].items()}
                    yield sight, moment.acts[role][field][world, seat]


def promise(*, duty: bool = False) -> Game:
    """A commons, or a market, under a contract that nobody enforces."""
    return scenarios.scenario("market" if duty else "commons", "text", 2)


# ---- soundness ------------------------------------------------------------------------------------------------------


def test_nothing_invalid_is_ever_accepted() -> None:
    """Over thousands of decisions each played one keeps the rule, computed here from the game; the rest are defaults."""
    total = 0
    rules: list[tuple[Game, str, str, str, Any]] = [
        (Fishery(fishers=2, months=5), "fisher", "harvest", "feasible", lambda s, v: v <= s["stock"]),
        (Allocation(people=3, goods=2, coins=10), "", "give", "budget_balanced", lambda s, v: v.sum() <= 10),
        (SealedBid(pricing="first"), "bidder", "bid", "undominated", lambda s, v: v <= s["signal"] * 1.0005 + 1e-9),
        (
            promise(),
            "fisher",
            "harvest",
            "compliant",
            lambda s, v: s["agreement"] != 2 or v <= s["agreed_limit"],
        ),
        (
            promise(duty=True),
            "firm",
            "quantity",
            "compliant",
            lambda s, v: s["agreement"] != 2 or v >= s["agreed_least"] - 1e-9,
        ),
    ]
    for game, role, field, critic, right in rules:
        role = next(r.name for r in game.roles if any(f.name == field for f in r.acts))
        free = wrap(guesser(), critics=["legal"], budget=3, default="random")
        held = wrap(guesser(), critics=["legal", critic], budget=3)
        loose = [right(s, v) for s, v in decided(play(game, {role: free}, worlds=15, seed=3, keep=True), role, field)]
        assert not all(loose), f"{critic}: the guesser breaks the rule by itself"
        made = list(decided(play(game, {role: held}, worlds=110, seed=3, keep=True), role, field))
        null = held.ledger.defaulted
        wrong = sum(not right(s, v) for s, v in made)
        assert wrong <= null and held.counts.failed[critic] > 0
        # the null act may be wrong where something is owed; no accepted act is
        assert sum(not right(s, v) and np.any(v != 0) for s, v in made) == 0
        total += len(made)
    assert total > 2_000


def test_the_critics_of_clauses_and_bids_pass_what_is_right_and_say_what_is_wrong() -> None:
    game = promise()
    force = {"agreement": 2, "agreed_limit": 10}
    assert compliant(game, "fisher", 0, force, {"harvest": 10}) is None
    assert compliant(game, "fisher", 0, {**force, "agreement": 1}, {"harvest": 99}) is None  # refused: no clause
    assert compliant(game, "fisher", 0, force, {"consent": 1}) is None
    assert "harvest: 11 is above the limit of 10" in str(compliant(game, "fisher", 0, force, {"harvest": 11}))
    market = promise(duty=True)
    owed = {"agreement": 2, "agreed_least": 0.38}
    assert compliant(market, "firm", 0, owed, {"quantity": 0.38}) is None
    assert "choose at least 0.38" in str(compliant(market, "firm", 0, owed, {"quantity": 0.3}))
    watched = scenarios.scenario("team", "text", 3)
    duty = {"agreement": 2, "agreed_least": 0.9}
    assert "effort: 0.5 is below the 0.9" in str(compliant(watched, "member", 1, duty, {"effort": 0.5}))
    named = Fishery(fishers=2) | Contract(terms=Quota(limit=7), regime="text", label="lake")
    other = {"lake_agreement": 2, "lake_agreed_limit": 7}
    assert "limit of 7" in str(compliant(named, "fisher", 0, other, {"harvest": 8}))
    assert compliant(Fishery(), "fisher", 0, {}, {"harvest": 99}) is None
    private, common = SealedBid(), SealedBid(common=1.0)
    assert undominated(private, "bidder", 0, {"signal": 0.5}, {"bid": 0.5}) is None
    assert "bid at most 0.5" in str(undominated(private, "bidder", 0, {"signal": 0.5}, {"bid": 0.6}))
    assert undominated(common, "bidder", 0, {"signal": 0.5}, {"bid": 0.6}) is None


@pytest.mark.parametrize(
    "game",
    [Fishery(fishers=2, capacity=30, months=4), registry.create("games", "Commons", users=3, capacity=40, months=4)],
)
def test_a_plan_passes_exactly_where_the_game_carries_it_out(game: Game) -> None:
    """All take the same from here to the end: they get it in every month, as the game itself plays, or the critic objects."""
    from societas.envs.core.worlds import Worlds

    users, found = game.roles[0].count, set()
    for stock in range(0, game.capacity + 1, 3):  # type: ignore[attr-defined]
        for month in (0, 2, 3):
            for want in range(stock // users + 4):
                worlds = Worlds(game, seed=1, check=False)
                worlds.state = worlds.state._replace(stock=np.array([stock]), month=np.array([month]))
                seen = {name: values[0, 0] for name, values in worlds.view()["fisher"].items()}
                caught, done = [], False
                while not done:
                    outcome = worlds.step({"fisher": {"harvest": np.full((1, users), want)}})
                    caught.append(float(outcome.rewards["fisher"].sum()))
                    done = bool(outcome.done[0])
                carried = want == 0 or (len(caught) == 4 - month and set(caught) == {float(users * want)})
                said = lasting(game, "fisher", 0, seen, {"harvest": want})
                assert (said is None) == carried, (stock, month, want)
                found.add(carried)
                if said is not None:
                    most = int(re.findall(r"at most (\d+)", said)[0])
                    assert lasting(game, "fisher", 0, seen, {"harvest": most}) is None
                    assert lasting(game, "fisher", 0, seen, {"harvest": most + 1}) is not None
    assert found == {True, False}


def test_plans_are_not_judged_by_what_is_seen_with_an_error() -> None:
    seen = {"stock": 50, "month": 1}
    assert lasting(Fishery(), "fisher", 0, seen, {"harvest": 50}) is not None
    blurred = Fishery() | registry.create("mechanisms", "Noise", field="stock", sd=5.0)
    joined = registry.create("games", "Commons", users=3, newcomer=4)
    for game in (blurred, joined, SealedBid()):
        assert lasting(game, game.roles[0].name, 0, seen, {"harvest": 50}) is None


@pytest.mark.parametrize("pricing", ["first", "second", "mixed", "all_pay"])
def test_equilibrium_bids_are_never_objected_to(pricing: str) -> None:
    game = SealedBid(pricing=pricing)
    found = play(game, {"bidder": registry.create("policies", "equilibrium")}, worlds=200, seed=2, keep=True)
    bids = list(decided(found, "bidder", "bid"))
    assert len(bids) == 600
    assert all(undominated(game, "bidder", 0, seen, {"bid": bid}) is None for seen, bid in bids)


# ---- the loop -------------------------------------------------------------------------------------------------------


def passed(policy: Modulo) -> float:
    """Part of conversations in which an answer was accepted."""
    counts = policy.counts
    return counts.accepted / (counts.accepted + counts.rejected)


def lake(policy: Modulo, seed: int = 5) -> Modulo:
    """Play a commons of two, in which a month's harvest is to stay below a seventh of the stock."""
    play(Fishery(fishers=2, months=2), {"fisher": policy}, worlds=60, seed=seed)
    return policy


def small(game: Game, role: str, seat: int, seen: dict[str, Any], act: words.Act) -> str | None:
    """Object to more than a seventh of the stock."""
    bound, want = float(np.asarray(seen["stock"])) / 7, float(np.asarray(act["harvest"]))
    return None if want <= bound else f"harvest: {want:g} is too much; take at most {int(bound)}"


def test_more_rounds_solve_more_and_reasons_solve_more_than_another_try() -> None:
    rates = {
        back: [
            passed(lake(wrap(guesser(hears=True), critics=["legal", small], budget=rounds, back=back)))
            for rounds in (1, 2, 4, 8)
        ]
        for back in BACK
    }
    for some in rates.values():
        assert some == sorted(some) and some[-1] > some[0] + 0.3
    assert rates["reasons"][0] == rates["nothing"][0] < 0.25
    assert all(a > b + 0.2 for a, b in zip(rates["reasons"][1:3], rates["nothing"][1:3], strict=True))


def test_what_cannot_be_solved_is_unsolved_and_the_default_stands() -> None:
    def never(game: Game, role: str, seat: int, seen: dict[str, Any], act: words.Act) -> str | None:
        return "harvest: nothing will do"

    policy = wrap(guesser(), critics=[never], budget=3, default={"harvest": 4})
    found = play(Fishery(fishers=2, months=2), {"fisher": policy}, worlds=20, seed=1, keep=True)
    assert {int(v) for _, v in decided(found, "fisher", "harvest")} == {4}
    assert policy.counts.rejected == policy.ledger.defaulted == policy.ledger.decisions == 80
    assert policy.counts.accepted == 0 and dict(policy.counts.rounds) == {3: 80}


def test_an_audit_finds_what_a_loop_lets_through_and_changes_nothing() -> None:
    game = Fishery(fishers=2, months=3)
    for critics, wrong in ((["legal", "feasible"], False), (["legal"], True)):
        held, same = (wrap(guesser(nonsense=0.5), critics=critics, budget=2) for _ in range(2))
        audit = Audit(held, ["feasible"])
        one, other = (play(game, {"fisher": who}, worlds=40, seed=2) for who in (audit, same))
        np.testing.assert_array_equal(one.returns["fisher"], other.returns["fisher"])
        assert bool(audit.found["wrong"]) == wrong
        assert audit.found["unsolved"] == held.ledger.defaulted > 0
        assert audit.found["accepted"] + audit.found["unsolved"] == held.ledger.decisions


def test_without_a_critic_what_it_forbids_comes_through_and_nothing_else() -> None:
    game = Fishery(fishers=2, months=4) | Contract(terms=Quota(limit=12), regime="text")

    def broken(critics: list[Any]) -> tuple[int, int]:
        policy = wrap(guesser(nonsense=0.0), critics=["legal", *critics], budget=20)
        found = play(game, {"fisher": policy}, worlds=40, seed=4, keep=True)
        made = list(decided(found, "fisher", "harvest"))
        return (
            sum(v > s["stock"] for s, v in made),
            sum(v > 12 for s, v in made if s["agreement"] == 2),
        )

    assert broken(["feasible", "compliant"]) == (0, 0)
    over, beyond = broken(["compliant"])
    assert over > 0 and beyond == 0
    over, beyond = broken(["feasible"])
    assert over == 0 and beyond > 0


def test_players_are_told_apart_however_they_are_asked() -> None:
    """A template of few words shows no "You see:", from which a verifier could read the stock; the critics know it all the same."""
    brief = LanguageModel(Guess(), template={"system": "Decide.", "user": "{{ brief }}"})
    policy = wrap(brief, critics=["feasible"], budget=4)
    found = play(Fishery(fishers=2, months=4), {"fisher": policy}, worlds=50, seed=6, keep=True)
    assert all(v <= s["stock"] for s, v in decided(found, "fisher", "harvest"))
    assert policy.counts.failed["feasible"] > 0 and policy.counts.unjudged == 0


@pytest.fixture(scope="module")
def tiny() -> Tiny:
    """A model in this process that knows nothing."""
    return Tiny(("Commons",), width=16, layers=1, heads=1)


def test_a_model_in_this_process_is_held_to_its_critics_and_as_its_own_judge_it_is_not(tiny: Tiny) -> None:
    pytest.importorskip("llguidance")
    game, base = (
        Fishery(fishers=2, months=3),
        LanguageModel(tiny, template={"system": "Decide.", "user": "{{ brief }}"}),
    )
    before = {name: weight.clone() for name, weight in tiny.scorer.model.state_dict().items()}
    held, own = wrap(base, critics=["legal", small], budget=5), self_judged(base, budget=5)
    assert isinstance(held.model, Constrained)
    made, judged = (
        list(decided(play(game, {"fisher": one}, worlds=8, seed=1, keep=True), "fisher", "harvest"))
        for one in (held, own)
    )
    assert all(small(game, "fisher", 0, s, {"harvest": v}) is None for s, v in made)
    assert passed(held) > 0.0
    assert any(small(game, "fisher", 0, s, {"harvest": v}) is not None for s, v in judged)
    assert all(bool((weight == before[name]).all()) for name, weight in tiny.scorer.model.state_dict().items())


def test_a_policy_is_wrapped_with_all_that_it_says_and_the_rest_is_refused(tiny: Tiny) -> None:
    base = LanguageModel(tiny, persona="You are old.", temperature=0.5, values="fair", levels=5)
    held = wrap(base)
    assert (held.persona, held.temperature, held.values, held.levels) == (base.persona, 0.5, base.values, 5)
    assert held.critics == modulo.SOUND and set(modulo.SOUND) == set(modulo.CRITICS)
    assert modulo.fit(base, [], 1, 0, rounds=4).rounds == 4
    for wrong, said in (
        ({"critics": []}, "critics: a list"),
        ({"critics": ["kind"]}, "critics: one of"),
        ({"budget": 0}, "budget: a whole number from 1"),
        ({"back": "silence"}, "back: one of"),
    ):
        with pytest.raises(ValueError, match=said):
            wrap(base, **wrong)
    with pytest.raises(TypeError, match="a model in this process"):
        self_judged(guesser())


def test_menus_are_offered_from_which_somebody_takes_something() -> None:
    game = Screening()
    once, often = (wrap(guesser(nonsense=0.0), critics=["legal", "incentive_compatible"], budget=b) for b in (1, 8))
    for one in (once, often):
        play(game, {game.roles[0].name: one}, worlds=60, seed=3)
    assert passed(once) + 0.1 < passed(often)


@pytest.mark.parametrize("what", ["bids", "plans"])
def test_the_study_of_the_loop_finds_nothing_wrong_and_counts_every_decision(what: str, little_substrate: Path) -> None:
    pytest.importorskip("llguidance")
    shares: list[float] = []
    rows = verified(shares.append, what, seeds=2, rounds=2, worlds=2, seed=1)
    assert rows["wrong"].tolist() == [0.0, 0.0] and shares[-1] == 1.0 and len(shares) == 8
    least = {"bids": 4 * 3 * 2 * 4, "plans": 5 * 2 * 4}[what]  # rounds or months, seats, worlds, arms
    assert (rows["decisions"] >= least).all()
    for name in ("one shot", "loop", "refusal", "resampling"):
        assert ((rows[f"passes, {name}"] >= 0.0) & (rows[f"passes, {name}"] <= 1.0)).all()
    np.testing.assert_allclose(
        rows["loop - one shot"] - rows["resampling - one shot"], rows["loop - resampling"], atol=1e-12
    )
    with pytest.raises(ValueError, match="what: one of 'contracts', 'bids', 'plans', got 'poems'"):
        verified(shares.append, "poems")
