"""The examiner passes a sound game, mechanism and policy, and names what is wrong with broken ones."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
import pytest

from societas import (
    Benchmarks,
    Field,
    Game,
    Institution,
    Integer,
    Level,
    Measure,
    Mechanism,
    Outcome,
    Policy,
    Real,
    Role,
    Stage,
)
from societas.envs.core import Array, namespace, spread
from societas.envs.core.arrays import full, to_float, to_int, to_numpy
from societas.envs.core.chance import whole
from societas.envs.core.policy import default_acts
from societas.testing import ExaminationError, check_game, check_mechanism, check_policy

Acts = Mapping[str, dict[str, Array]]


class PotState(NamedTuple):
    """Rounds played and coins in the pot (*batch); taken so far (*batch, 2)."""

    played: Array
    pot: Array
    taken: Array


@dataclass(frozen=True)
class Pot(Game):
    """Two players take 0 to 3 coins each from a pot for three rounds; a coin may be added. Everything is sound."""

    most: int = 3

    draws = 1
    rounds = 3
    about = "Two players take coins from a pot; what they take together beyond the pot is still paid."
    reports = (Measure("total", "coins taken", "sum_it x_it", "coins"),)

    @property
    def roles(self) -> tuple[Role, ...]:
        sees = (
            Field("pot", Integer(0, 10), "coins in the pot", "coins"),
            Field("taken", Real(0, 9), "what you have taken so far", "coins", verifiable=True),
        )
        return (Role("player", 2, sees, (Field("take", Integer(0, self.most), "coins you take"),), "you like coins"),)

    def start(self, u: Array) -> PotState:
        batch = tuple(u.shape[:-1])
        return PotState(full(u, batch, 0, integer=True), whole(u[..., 0], 4, 6), full(u, (*batch, 2), 0.0))

    def view(self, state: PotState) -> dict[str, dict[str, Array]]:
        return {"player": {"pot": spread(state.pot, 2), "taken": state.taken}}

    def step(self, state: PotState, acts: Acts, u: Array) -> Outcome:
        xp = namespace(state.taken)
        take = to_float(acts["player"]["take"])
        pot = to_int(xp.clip(state.pot + whole(u[..., 0], 0, 1), 0, 10))
        after = PotState(state.played + 1, pot, state.taken + take)
        return Outcome(after, {"player": take}, after.played >= 3, xp.sum(take, axis=-1))

    def round(self, state: PotState) -> Array:
        return state.played

    def measures(self, state: PotState) -> dict[str, Array]:
        return {"total": namespace(state.taken).sum(state.taken, axis=-1)}

    def benchmarks(self) -> Benchmarks:
        def all_(seen: dict[str, Array]) -> dict[str, Array]:
            return {"take": seen["pot"] * 0 + self.most}

        def none(seen: dict[str, Array]) -> dict[str, Array]:
            return {"take": seen["pot"] * 0}

        best = Level(6.0 * self.most, "arithmetic", {"player": all_})
        return Benchmarks(best, best, baseline=Level(0.0, "arithmetic", {"player": none}))


def test_a_sound_game_passes() -> None:
    check_game(Pot())


class Thawed(Pot):
    """Not a dataclass of its own, but as frozen as its base."""


@dataclass(frozen=True)
class Listed(Pot):
    """A parameter that can be changed in place."""

    prices: Any = (1, 2)


@dataclass(frozen=True)
class Mute(Pot):
    about = " "


@dataclass(frozen=True)
class Twins(Pot):
    @property
    def roles(self) -> tuple[Role, ...]:
        (role,) = super().roles
        return (role, role)


@dataclass(frozen=True)
class Astray(Pot):
    """An act at a stage that does not exist."""

    @property
    def roles(self) -> tuple[Role, ...]:
        (role,) = super().roles
        return (replace(role, acts=(*role.acts, Field("vote", Integer(0, 1), "your vote", stage="ballot"))),)


@dataclass(frozen=True)
class Overflowing(Pot):
    """A pot that grows beyond what players are told that it can hold."""

    def start(self, u: Array) -> PotState:
        state = super().start(u)
        return state._replace(pot=state.pot + 9)


@dataclass(frozen=True)
class Floating(Pot):
    def view(self, state: PotState) -> dict[str, dict[str, Array]]:
        return {"player": {"pot": to_float(spread(state.pot, 2)), "taken": state.taken}}


@dataclass(frozen=True)
class Blind(Pot):
    def view(self, state: PotState) -> dict[str, dict[str, Array]]:
        return {"player": {"pot": spread(state.pot, 2)}}


@dataclass(frozen=True)
class Flat(Pot):
    """Shows one number a world where there should be one a player."""

    def view(self, state: PotState) -> dict[str, dict[str, Array]]:
        return {"player": {"pot": state.pot, "taken": state.taken}}


@dataclass(frozen=True)
class Mutating(Pot):
    def step(self, state: PotState, acts: Acts, u: Array) -> Outcome:
        outcome = super().step(state, acts, u)
        state.taken[...] += 1.0
        return outcome


THROWS = itertools.count()


@dataclass(frozen=True)
class Dicing(Pot):
    """Throws dice of its own."""

    def step(self, state: PotState, acts: Acts, u: Array) -> Outcome:
        return super().step(state, acts, u * (next(THROWS) % 2))  # no two throws in a row are alike


@dataclass(frozen=True)
class Crowded(Pot):
    """What happens in a world depends on the other worlds of the batch."""

    def step(self, state: PotState, acts: Acts, u: Array) -> Outcome:
        xp = namespace(state.taken)
        mean = xp.mean(u) + u * 0.0
        return super().step(state, acts, xp.clip(mean + 0.1 * (u.ndim - 1), 0.0, 0.99))


@dataclass(frozen=True)
class NumPyOnly(Pot):
    def step(self, state: PotState, acts: Acts, u: Array) -> Outcome:
        outcome = super().step(state, acts, u)
        return outcome._replace(rewards={"player": to_numpy(outcome.rewards["player"])})


@dataclass(frozen=True)
class Endless(Pot):
    def step(self, state: PotState, acts: Acts, u: Array) -> Outcome:
        outcome = super().step(state, acts, u)
        return outcome._replace(done=outcome.state.played < 0)

    def round(self, state: PotState) -> Array:
        return namespace(state.played).clip(state.played, 0, 3)


@dataclass(frozen=True)
class Leaping(Pot):
    def round(self, state: PotState) -> Array:
        return state.played * 2


@dataclass(frozen=True)
class Poor(Pot):
    """Divides by nothing when nobody has taken anything."""

    def measures(self, state: PotState) -> dict[str, Array]:
        total = super().measures(state)["total"]
        with np.errstate(divide="ignore", invalid="ignore"):
            return {"total": total / total}


@dataclass(frozen=True)
class Unmeasured(Pot):
    reports = (*Pot.reports, Measure("spread", "how unequal", "max - min"))


@dataclass(frozen=True)
class Unpaid(Pot):
    def step(self, state: PotState, acts: Acts, u: Array) -> Outcome:
        return super().step(state, acts, u)._replace(rewards={})


@dataclass(frozen=True)
class Shifty(Pot):
    """The state's arrays change type on the way."""

    def step(self, state: PotState, acts: Acts, u: Array) -> Outcome:
        outcome = super().step(state, acts, u)
        return outcome._replace(state=outcome.state._replace(pot=to_float(outcome.state.pot)))


@dataclass(frozen=True)
class Certain(Pot):
    """Says that it reads no draws."""

    def uncertain(self, state: PotState, acts: Acts) -> bool:
        return False


@dataclass(frozen=True)
class Unsure(Pot):
    random_start = False


@dataclass(frozen=True)
class Nosy(Pot):
    """Two stages, and the first reads what is decided at the second."""

    stages = (Stage("look", "nothing much"), Stage("grab", "take coins"))
    horizon = 6

    @property
    def roles(self) -> tuple[Role, ...]:
        from societas.envs.core import stage_field

        (role,) = super().roles
        look = Field("look", Integer(0, 1), "whether you look", stage="look")
        take = replace(role.acts[0], stage="grab")
        return (replace(role, sees=(stage_field(self.stages), *role.sees), acts=(look, take)),)

    def view(self, state: PotState) -> dict[str, dict[str, Array]]:
        seen = super().view(state)
        return {"player": {"stage": spread(self.stage(state), 2), **seen["player"]}}

    def stage(self, state: PotState) -> Array:
        return state.played * 0


@dataclass(frozen=True)
class Hushed(Pot):
    """Its parser forgives what it should not."""

    def parse(self, answer: str, role: str, stage: int = 0, index: int = 0) -> Any:
        act = super().parse(answer, role, stage, index)
        return act if isinstance(act, dict) else {"take": 0}


@dataclass(frozen=True)
class Boastful(Pot):
    def benchmarks(self) -> Benchmarks:
        marks = super().benchmarks()
        return replace(marks, first_best=replace(marks.first_best, value=20.0))


@dataclass(frozen=True)
class Overtaken(Pot):
    def benchmarks(self) -> Benchmarks:
        marks = super().benchmarks()
        return replace(marks, others={"miracle": Level(99.0, "hope")})


@dataclass(frozen=True)
class Unstable(Pot):
    """What it calls an equilibrium is none: taking more pays."""

    def benchmarks(self) -> Benchmarks:
        marks = super().benchmarks()
        assert marks.baseline is not None
        return replace(marks, equilibrium=replace(marks.baseline, source="wishful thinking"))


@dataclass(frozen=True)
class Crashing(Pot):
    def step(self, state: PotState, acts: Acts, u: Array) -> Outcome:
        raise IndexError("off by one")


BROKEN: list[tuple[Game, str]] = [
    (Listed(prices=[1, 2]), r"Listed: hash\(\) raised TypeError"),
    (Mute(), "Mute: about is empty"),
    (Twins(), "Twins: roles share a name: player; rename"),
    (Astray(), "field vote: is decided at stage 'ballot'; take one of the stages: ''"),
    (
        Overflowing(),
        r"role player, field pot: view before step 1 is outside its space: .*1[3-5].*whole number from 0 to 10",
    ),
    (Floating(), "field pot: view before step 1 is float64; use to_int"),
    (Blind(), "view before step 1 and the declared fields differ in taken"),
    (Flat(), r"field pot: view before step 1 has shape \(64,\); give \(64, 2\)"),
    (Mutating(), "step 1 changed what it was given: state.taken.* make new arrays"),
    (Dicing(), "step 1 gave two results for the same state, acts and draws: .*take all chance from u"),
    (Crowded(), r"world 0 of a batch of 64 is not the same as with batch \(1,\): after step . .*pot"),
    (NumPyOnly(), r"rewards.player is <class 'numpy.ndarray'> on torch; make arrays with"),
    (Endless(), "not done after its horizon of 3 steps; set done when"),
    (Leaping(), "step 1 led from round 0 to round 2"),
    (Poor(), "measure total after step 1 is nan; keep it finite"),
    (Unmeasured(), "measures and reports differ: spread in reports and not in measures"),
    (Unpaid(), r"rewards are for \[\]; give every role"),
    (Shifty(), r"state.pot was int64 \(64,\) before step 1 and is float64 \(64,\) after it"),
    (Certain(), r"step 1 reads its draws where uncertain\(\) says that it reads none"),
    (Unsure(), "start reads its draws though random_start is False"),
    (Nosy(), "step 1 depends on acts that nobody was asked for at its stage: outcome"),
    (
        Hushed(),
        r'player_0: \{"take": "12 tonnes"\} was read as .*complain about take: it is a whole number from 0 to 3',
    ),
    (Boastful(), "level first_best: says welfare 20, its play attains 18; mend the value or the play"),
    (Overtaken(), "level miracle: is 99, above the first best of 18"),
    (Unstable(), r"level equilibrium: player_0 gains \d.* by playing take"),
    (Crashing(), "Crashing: step 1 raised IndexError: off by one"),
]


@pytest.mark.parametrize(("game", "words"), BROKEN, ids=lambda part: getattr(part, "name", ""))
def test_a_broken_game_is_named(game: Game, words: str) -> None:
    with pytest.raises(ExaminationError, match=words) as caught:
        check_game(game)
    assert isinstance(caught.value, AssertionError) and ";" in str(caught.value)


def test_parameters_that_can_be_changed_are_refused() -> None:
    check_game(Thawed())
    wax = type("Wax", (Game,), {name: part for name, part in vars(Pot).items() if "dataclass" not in name})
    with pytest.raises(ExaminationError, match="Wax: its parameters can be changed; decorate the class"):
        check_game(wax(3))
    with pytest.raises(ExaminationError, match="is not a Game; derive"):
        check_game(3)  # type: ignore[arg-type]


# ---- mechanisms ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Tithe(Mechanism):
    """Takes a share of everybody's pay and gives it to player 0, or does something wrong with it."""

    share: float = 0.1
    wrong: str = ""

    def apply(self, game: Game) -> Game:
        return Tithed(game, self)


class Tithed(Institution):
    mechanism: Tithe

    def __init__(self, base: Game, mechanism: Tithe) -> None:
        super().__init__(base, mechanism)
        self.own_draws = 1 if mechanism.wrong == "draws" else 0

    @property
    def terms(self) -> str:
        return "" if self.mechanism.wrong == "silent" else f"A share of {self.mechanism.share:g} goes to player_0."

    def settle(self, own: Any, outcome: Outcome, ended: Array, u: Array) -> tuple[Any, Outcome]:
        xp = namespace(ended)
        pay = outcome.rewards["player"]
        tax = self.mechanism.share * pay
        gift = xp.sum(tax, axis=-1) * (0.0 if self.mechanism.wrong == "leaks" else 1.0)
        first = 1.0 - xp.cumulative_sum(pay * 0.0 + 1.0, axis=-1) + 1.0
        return own, outcome._replace(rewards={"player": pay - tax + gift[..., None] * xp.clip(first, 0.0, 1.0)})

    def start(self, u: Array) -> Any:
        return super().start(1.0 - u * 0.5 - 0.5 if self.mechanism.wrong == "draws" else u)

    def measures(self, state: Any) -> dict[str, Array]:
        return {} if self.mechanism.wrong == "forgets" else super().measures(state)

    @property
    def reports(self) -> tuple[Measure, ...]:  # type: ignore[override]
        return () if self.mechanism.wrong == "forgets" else super().reports


@dataclass(frozen=True)
class Meddle(Tithe):
    """Changes what players do."""

    def apply(self, game: Game) -> Game:
        return Meddling(game, self)


class Meddling(Tithed):
    def step(self, state: Any, acts: Acts, u: Array) -> Outcome:
        changed = {"player": {"take": namespace(u).clip(acts["player"]["take"], 1, None)}}
        return super().step(state, changed, u)


def test_a_sound_mechanism_passes() -> None:
    check_mechanism(Tithe(), Pot(), null=Tithe(0.0))


@pytest.mark.parametrize(
    ("mechanism", "words"),
    [
        (
            Tithe(wrong="leaks"),
            "step 1 paid all players together -0?.* where the mechanism's budget is 0; let transfers sum",
        ),
        (Tithe(wrong="silent"), "its rules are those of the base game; say in `terms`"),
        (Tithe(wrong="forgets"), "the base game's measures total are gone"),
        (Meddle(), "the same acts lead elsewhere than in Pot: measure total"),
    ],
    ids=lambda part: getattr(part, "wrong", ""),
)
def test_a_broken_mechanism_is_named(mechanism: Mechanism, words: str) -> None:
    with pytest.raises(ExaminationError, match=words):
        check_mechanism(mechanism, Pot())


def test_a_null_that_is_none_is_named() -> None:
    with pytest.raises(ExaminationError, match=r"the null mechanism is not the base game: at step 1 rewards\.player"):
        check_mechanism(Tithe(), Pot(), null=Tithe(0.01))
    with pytest.raises(ExaminationError, match=r"apply raised NotImplementedError"):
        check_mechanism(Unfinished(), Pot())
    with pytest.raises(ExaminationError, match="Melting: its parameters can be changed"):
        check_mechanism(Melting(), Pot())


@dataclass(frozen=True)
class Unfinished(Mechanism):
    def apply(self, game: Game) -> Game:
        raise NotImplementedError


class Melting(Mechanism):
    def apply(self, game: Game) -> Game:
        return game


# ---- policies -----------------------------------------------------------------------------------------------------


class Taker(Policy):
    """Takes one coin, or does something wrong."""

    draws = 1

    def __init__(self, wrong: str = "") -> None:
        self.wrong = wrong
        self.count = 0

    def bind(self, game: Game, role: str, seats: tuple[int, ...]) -> Any:
        if self.wrong == "same":
            self.role, self.seats = game.role(role), seats
            return self
        return super().bind(game, role, seats)

    def begin(self, batch: tuple[int, ...], xp: Any, device: Any) -> Any:
        return xp.zeros((*batch, len(self.seats)), dtype=xp.float64, device=device)

    def act(self, seen: dict[str, Array], stage: Array, u: Array, memory: Any) -> tuple[dict[str, Array], Any]:
        acts = default_acts(self.role, stage, len(self.seats))
        take = acts["take"] + 1
        self.count += 1
        if self.wrong == "moody":
            take = take + self.count % 2
        elif self.wrong == "writes":
            seen["taken"][...] = 0.5
        elif self.wrong == "greedy":
            take = take + 3
        elif self.wrong == "crowd":
            take = take * 0 + to_int(namespace(u).mean(u) * 4)
        elif self.wrong == "floats":
            take = to_float(take)
        elif self.wrong == "idle":
            return {}, memory
        return {"take": take}, memory


def test_a_sound_policy_passes() -> None:
    check_policy(Taker(), Pot())


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ("moody", "Taker as player_0, player_1 in Pot: decides differently when asked twice at step 1"),
        ("writes", "changed what it was given at step 1: seen.taken"),
        ("greedy", "field take: is outside its space at step 1: .*take: 4 is not a whole number from 0 to 3"),
        ("crowd", "world 0 of a batch of 64 is not decided as it is alone"),
        ("floats", "field take: is float64 at step 1; use to_int"),
        ("idle", "decides nothing; decide take"),
        ("same", r"field take: has shape \(64, 1\) at step 1; give \(64, 2\)"),
    ],
)
def test_a_broken_policy_is_named(wrong: str, words: str) -> None:
    with pytest.raises(ExaminationError, match=words):
        check_policy(Taker(wrong), Pot())
