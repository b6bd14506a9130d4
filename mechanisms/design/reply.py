"""Best replies: players who do what is best for themselves under a candidate, found by trying their acts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ...envs.core import validate
from ...envs.core.arrays import Array
from ...envs.core.game import Acts, Game, Seen
from ...envs.core.mechanism import chosen
from ...envs.core.policy import Policy, default_acts
from ..audit.deviations import Keep, Menu, Options, Plans, Seat, Sight
from ..audit.play import Host, Played, run
from .respond import Constant, Policies, Response

LIMIT = 20_000
"""Most acts that are compared at once."""


@dataclass(frozen=True)
class BestReply(Response):
    """Players each of whom does what is best for itself, given what the others do: an equilibrium, where they settle.

    They are let decide in turn until nobody gains by another act, each comparing its acts in the same worlds. Acts are
    constant through the episode; real numbers are tried on a grid, and then on finer ones around the best. In games
    where replies cycle (no equilibrium in pure acts), or in which what one should do depends on the past, use a learner
    or policies of your own.

    Parameters
    ----------
    roles
        Roles that reply; empty for all that have no policy among ``others`` and have not committed themselves.
    others
        Policies of the others.
    start
        {role or player: {field: value}} at which they start; elsewhere the null act. It decides between equilibria.
    informed
        Whether a player's act depends on what it sees when it first decides, told apart number by number: for those who
        decide once and have private information. Real acts are then not refined beyond the grid.
    grid
        Values of a real number that are compared at once.
    zooms
        How often the grid is made finer, about 2 / (grid - 1) at a time.
    rounds
        Most times that everyone is let decide anew.
    worlds, seed
        In which they compare.

    Raises
    ------
    RuntimeError
        When called, if they do not settle.
    """

    roles: tuple[str, ...] = ()
    others: Policies = field(default_factory=dict)
    start: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    informed: bool = False
    grid: int = 11
    zooms: int = 6
    rounds: int = 100
    worlds: int = 256
    seed: int = 0

    def __post_init__(self) -> None:
        """Refuse parameters out of range."""
        object.__setattr__(self, "roles", validate.names("roles", self.roles))
        for name, low, high in (("grid", 3, 1001), ("zooms", 0, 50), ("rounds", 1, 100_000), ("worlds", 1, 10_000_000)):
            validate.whole(name, getattr(self, name), low, high)

    def reply(self, game: Game, committed: Policies) -> Policies:
        """Return the policies at which they settle."""
        others = {**self.others, **committed}
        everyone = chosen(game, self.roles)
        roles = everyone if self.roles else tuple(name for name in everyone if name not in others)
        seats = [
            seat
            for name in roles
            for seat in (Seat(game.role(name), i) for i in range(game.role(name).count))
            if seat.player not in others and any(seat.role.deciding(s.name, seat.place) for s in game.stages)
        ]
        policies: dict[str, Policy] = {**others}
        policies |= {name: Constant(acts) for name, acts in self.start.items()}
        menus = {seat.player: Menu(game, seat, None, self.grid) for seat in seats}
        for player, menu in menus.items():
            if menu.size("constant") > LIMIT:
                raise ValueError(
                    f"grid: {player} has {menu.size('constant')} acts to compare, at most {LIMIT}; take fewer"
                )
        last: dict[str, Any] = {}
        for _ in range(self.rounds):
            settled = True
            for seat in seats:
                policy, kept = self._reply(game, policies, menus[seat.player])
                policies[seat.player] = policy
                settled &= seat.player in last and _same(last[seat.player], kept)
                last[seat.player] = kept
            if settled or len(seats) == 1:
                return policies
        raise RuntimeError(
            f"BestReply: {', '.join(menus)} have not settled after {self.rounds} rounds; replies may cycle, or the game has no "
            "equilibrium in constant acts"
        )

    def _reply(self, game: Game, policies: Policies, menu: Menu) -> tuple[Policy, Any]:
        player = menu.seat.player
        gains = self._gains(game, policies, menu)
        if self.informed:
            return self._informed(game, policies, menu, gains)
        best = int(gains.mean(axis=1).argmax())
        for _ in range(0 if menu.whole else self.zooms):
            menu = _narrowed(menu, best)
            best = int(self._gains(game, policies, menu).mean(axis=1).argmax())
        acts = _decided(menu, best)
        if isinstance(old := policies.get(player), _Fixed):  # keep what was chosen before where nothing is gained
            worlds = 2 if self._run(game, policies, worlds=2).alike else self.worlds
            pays = [
                self._run(game, {**policies, player: policy}, worlds=worlds).returns[player].mean()
                for policy in (old, _Fixed(acts))
            ]
            if pays[1] <= pays[0] + 1e-12 * max(1.0, abs(pays[0])):
                return old, old.kept
        return _Fixed(acts), _Fixed(acts).kept

    def _gains(self, game: Game, policies: Policies, menu: Menu) -> Host:
        plans = Plans(menu, menu.plans("constant"))
        probe = self._run(game, policies, worlds=2)
        worlds = 2 if probe.alike else self.worlds
        found = self._run(game, policies, worlds=worlds, copies=len(plans.digits), deviate=(plans,))
        if worlds == 2 and not found.alike:
            found = self._run(game, policies, worlds=self.worlds, copies=len(plans.digits), deviate=(plans,))
        return found.returns[menu.seat.player]

    def _run(self, game: Game, policies: Policies, **how: Any) -> Played:
        return run(game, policies, seed=self.seed, **how)

    def _informed(self, game: Game, policies: Policies, menu: Menu, pay: Host) -> tuple[Policy, Any]:
        sight, worlds = Sight(menu.seat), pay.shape[1]
        keep = Keep(menu, sight, worlds)
        self._run(game, policies, worlds=worlds, deviate=(keep,))
        known, group = np.unique(keep.keys, return_inverse=True)
        if len(known) > max(1, worlds // 4):
            raise ValueError(
                f"informed: {menu.seat.player} sees {len(known)} different things in {worlds} worlds, too many to learn what is "
                "best for each; give a policy"
            )
        mean = np.stack([pay[:, group == k].mean(axis=1) for k in range(len(known))], axis=-1)
        best = mean.argmax(axis=0)
        return _Informed(menu, sight, known, best), (known, best)


def _narrowed(menu: Menu, best: int) -> Menu:
    """Return a menu of the same size whose real numbers lie between the neighbours of the best."""
    twin = menu.at(next(iter(menu.stages)))
    twin.stages, low = {}, best
    for stage, options in menu.stages.items():
        digit, low = low % options.size, low // options.size
        numbers = []
        for part, component, values, stride in options.numbers:
            if not part.discrete:
                place = digit // stride % len(values)
                ends = values[max(place - 1, 0)], values[min(place + 1, len(values) - 1)]
                values = np.linspace(*ends, len(values))
            numbers.append((part, component, values, stride))
        twin.stages[stage] = Options(tuple(numbers), options.size)
    return twin


def _decided(menu: Menu, best: int) -> dict[str, Any]:
    """Return the acts of a constant plan, {field: value, or one a component}."""
    acts: dict[str, Any] = {}
    for options in menu.stages.values():
        digit, best = best % options.size, best // options.size
        for part, component, values, stride in options.numbers:
            value = values[digit // stride % len(values)].item()
            if component is None:
                acts[part.name] = value
            else:
                acts.setdefault(part.name, []).append(value)
    return acts


class _Fixed(Constant):
    """A constant reply."""

    @property
    def kept(self) -> tuple[float, ...]:
        """Its numbers."""
        return tuple(float(v) for value in self.acts.values() for v in (value if isinstance(value, list) else [value]))


def _same(one: Any, other: Any) -> bool:
    return all(
        np.shape(a) == np.shape(b) and np.allclose(a, b, rtol=1e-9, atol=1e-9) for a, b in zip(one, other, strict=True)
    )


class _Informed(Policy):
    """Does what was found best for what it sees; the null act for what was never seen."""

    def __init__(self, menu: Menu, sight: Sight, known: Host, best: Host) -> None:
        self.menu, self.sight, self.known, self.best = menu, sight, known, best

    def act(self, seen: Seen, stage: Array, u: Array, memory: Any) -> tuple[Acts, Any]:
        """Look up what is best."""
        acts = default_acts(self.role, stage, len(self.seats))
        own = Sight(Seat(self.menu.seat.role, 0))
        keys = own.keys({self.role.name: seen})
        place = np.minimum(np.searchsorted(self.known, keys), len(self.known) - 1)
        found = np.where(self.known[place] == keys, self.best[place], -1)
        for number, options in self.menu.stages.items():
            rows = np.flatnonzero((stage == number) & (found >= 0))
            options.put(acts, rows, 0, found[rows])
        return acts, memory
