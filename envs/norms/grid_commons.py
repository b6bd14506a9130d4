"""Dilemmas on a grid that players see in part: a river to clean, an orchard to spare, mushrooms that feed others."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

from ..core import measures, validate
from ..core.arrays import Array, absent, constant, full, look_up, namespace, to_float, to_int, to_numpy, total
from ..core.chance import whole
from ..core.fields import Choice, Field, Integer, Real, Role
from ..core.game import Acts, Benchmarks, Game, Level, Measure, Outcome, Seen, spread
from ._grid import FACINGS, Grid, nth, pick

PEROLAT = "Perolat et al. 2017, arXiv:1707.06600"
KINDS = ("clean_up", "harvest", "mushrooms")
MUSHROOMS = ("red", "green", "blue")
MOVES = ("stay", "forward", "right", "back", "left", "turn left", "turn right")
_MOVE = tuple(1 <= act <= 4 for act in range(9))
_TOWARDS = tuple((act - 1) % 4 for act in range(9))
"""Direction of an act that moves, counted clockwise from where the player faces."""
_TURN = (0, 0, 0, 0, 0, 3, 1, 0, 0)
RADIUS = 2
"""Apples regrow by how many other apples stand within this distance."""
APPLE, WATER, DIRT = 1, 2, 3


class GridState(NamedTuple):
    """Where an episode stands.

    ``items`` (*batch, cells + 1) holds what lies on each cell, as an index into what a player sees, the last being the
    wall; ``places`` (``cells`` for a player who is away), ``facings``, ``waits`` (steps until the player acts again),
    ``got`` (reward of the last step) and ``food`` (rewards of eating so far) are (*batch, players); ``steps`` taken,
    ``meals`` eaten, ``moments`` (the sum of the numbers of the steps at which they were), ``missed`` (player-steps away)
    and ``dirt`` (the sum over steps of the dirty share of the river) are (*batch).
    """

    items: Array
    places: Array
    facings: Array
    waits: Array
    got: Array
    food: Array
    steps: Array
    meals: Array
    moments: Array
    missed: Array
    dirt: Array


@dataclass(frozen=True)
class GridCommons(Game):
    """Clean Up (Hughes et al. 2018, arXiv:1803.08884), Commons Harvest (Perolat et al. 2017, arXiv:1707.06600) and
    Externality Mushrooms of Melting Pot (Leibo et al. 2021, arXiv:2107.06857; Agapiou et al. 2022, arXiv:2211.13746).

    The laws of growth and their constants are those of the suite; maps are made from shares instead of drawn, players
    see the cells around them by name instead of pixels, and all move at once: nobody enters a cell on which somebody
    stood, and a lot decides between those who want the same one. Mushrooms do not spoil here.

    Parameters
    ----------
    kind
        ``"clean_up"``, ``"harvest"`` or ``"mushrooms"``.
    foragers
        Number of players, n.
    width, height
        Columns and rows of the map, inside its walls.
    steps
        Length of an episode, T.
    sight
        Radius of the square that a player sees around itself, in cells.
    reach, breadth
        A beam covers the cells 1 to ``reach`` ahead and up to ``breadth`` to either side of those.
    timeout
        Steps for which a player hit by the zap beam is off the map; 0 for a game without zapping.
    zap_cost
        What firing the zap beam costs.
    food
        clean_up: share of the rows that are orchard, in the south; harvest: share of the cells that bear apples, in round
        patches; mushrooms: share of the cells with a mushroom at the start, in equal parts red, green and blue.
    river, dirt, dirt_rate
        clean_up: share of the rows that are river, in the north; share of the river that is dirty at the start; chance
        that a step makes one more of its cells dirty.
    growth, depletion, restoration
        clean_up: chance that an empty cell of the orchard bears an apple in a step while the dirty share of the river is
        at most ``restoration``; it falls linearly to 0 at ``depletion``.
    regrowth
        harvest: chance that an apple grows back in a step with 0, 1, 2 and 3 or more apples within distance 2.
    sprouts, digest
        mushrooms, by colour: chance that one sprouts for a mushroom eaten (red: of any colour, green: green or blue,
        blue: blue); steps for which the eater cannot act.
    """

    kind: str = "clean_up"
    foragers: int = 5
    width: int = 11
    height: int = 9
    steps: int = 100
    sight: int = 2
    reach: int = 3
    breadth: int = 1
    timeout: int = 25
    zap_cost: float = 0.0
    food: float = 0.3
    river: float = 0.2
    dirt: float = 0.5
    dirt_rate: float = 0.5
    growth: float = 0.05
    depletion: float = 0.4
    restoration: float = 0.0
    regrowth: tuple[float, float, float, float] = (0.0, 0.0025, 0.005, 0.025)
    sprouts: tuple[float, float, float] = (0.25, 0.4, 0.6)
    digest: tuple[int, int, int] = (0, 5, 10)

    def __post_init__(self) -> None:
        """Refuse parameters out of range, and maps too small for the players."""
        validate.one_of("kind", self.kind, KINDS)
        validate.whole("width", self.width, 3, 32)
        validate.whole("height", self.height, 3, 32)
        validate.whole("foragers", self.foragers, 2, 32)
        validate.whole("steps", self.steps, 1, 100_000)
        validate.whole("sight", self.sight, 1, 8)
        validate.whole("reach", self.reach, 1, 16)
        validate.whole("breadth", self.breadth, 0, 16)
        validate.whole("timeout", self.timeout, 0, 10_000)
        validate.real("zap_cost", self.zap_cost, 0.0, 1e6)
        validate.real("depletion", self.depletion, 0.0, 1.0)
        validate.real("restoration", self.restoration, 0.0, 1.0)
        for name in ("food", "river", "dirt", "dirt_rate", "growth"):
            validate.probability(name, getattr(self, name))
        if self.kind == "clean_up" and self.restoration >= self.depletion:
            raise ValueError(f"restoration: a number below depletion={self.depletion:g}, got {self.restoration!r}")
        for name, count in (("regrowth", 4), ("sprouts", 3), ("digest", 3)):
            given = getattr(self, name)
            if not isinstance(given, list | tuple) or len(given) != count:
                raise ValueError(f"{name}: a list of {count} numbers, got {given!r}")
            object.__setattr__(self, name, tuple(given))
        for name in ("regrowth", "sprouts"):
            for i, value in enumerate(getattr(self, name)):
                validate.probability(f"{name}[{i}]", value)
        for i, value in enumerate(self.digest):
            validate.whole(f"digest[{i}]", value, 0, 10_000)
        if self.kind == "clean_up" and len(self._spawn) < self.width:
            rows = f"river={self.river:g} and food={self.food:g} of {self.height} rows"
            raise ValueError(f"food: river and orchard must leave a row between them, got {rows}; lower one of them")
        room = (len(self._spawn) - 1 - 3 * self._each) if self.kind == "mushrooms" else len(self._spawn)
        most = min(room, self.grid.cells // 4)
        if self.foragers > most:
            raise ValueError(
                f"foragers: at most {most} on this map of {self.width} x {self.height} cells, got {self.foragers}; "
                f"enlarge width or height, or lower food={self.food:g}"
            )

    # ---- the map ------------------------------------------------------------------------------------------------

    @functools.cached_property
    def grid(self) -> Grid:
        """The geometry."""
        return Grid(self.width, self.height, self.sight, self.reach, self.breadth)

    @functools.cached_property
    def _bearing(self) -> tuple[int, ...]:
        """The cells on which apples grow."""
        w, h = self.width, self.height
        if self.kind == "clean_up":
            return tuple(range(w * (h - max(1, round(self.food * h))), w * h))
        if self.kind == "mushrooms":
            return ()
        centres = [(r, c) for r in _centres(h) for c in _centres(w)]
        far = [min((i // w - r) ** 2 + (i % w - c) ** 2 for r, c in centres) for i in range(w * h)]
        return tuple(sorted(sorted(range(w * h), key=far.__getitem__)[: round(self.food * w * h)]))

    @functools.cached_property
    def _wet(self) -> tuple[int, ...]:
        """The cells of the river."""
        return tuple(range(self.width * max(1, round(self.river * self.height)))) if self.kind == "clean_up" else ()

    @functools.cached_property
    def _spawn(self) -> tuple[int, ...]:
        """The cells on which players start and come back."""
        taken = {*self._bearing, *self._wet}
        return tuple(cell for cell in range(self.grid.cells) if cell not in taken)

    @property
    def _each(self) -> int:
        """Mushrooms of each colour at the start."""
        return max(1, round(self.food * self.grid.cells / 3))

    @property
    def _dirty(self) -> int:
        """Dirty cells of the river at the start."""
        return round(self.dirt * len(self._wet))

    @functools.cached_property
    def _tables(self) -> dict[str, tuple[float, ...]]:
        """Facts about cells, each a number a cell and one for nowhere."""
        cells, apple, wet, spawn = self.grid.cells, set(self._bearing), set(self._wet), set(self._spawn)
        order = {cell: i for i, cell in enumerate(self._bearing)}
        return {
            "bears": tuple(cell in apple for cell in range(cells + 1)),
            "wet": tuple(cell in wet for cell in range(cells + 1)),
            "closed": tuple(0.0 if cell in spawn else 1.0 for cell in range(cells)),
            "dry": tuple(0.0 if cell in wet else 1.0 for cell in range(cells)),
            "draw": tuple(order.get(cell, 0) for cell in range(cells + 1)),
            "first": tuple(
                len(self.things) - 1 if cell == cells else APPLE * (cell in apple and self.kind == "harvest")
                for cell in range(cells + 1)
            ),
        }

    @functools.cached_property
    def _near(self) -> tuple[tuple[float, ...], ...]:
        """Which cells that bear apples are near which, within distance 2."""
        w, apples, cells = self.width, set(self._bearing), range(self.grid.cells + 1)

        def near(i: int, j: int) -> bool:
            return 0 < (i // w - j // w) ** 2 + (i % w - j % w) ** 2 <= RADIUS**2

        return tuple(tuple(float(i in apples and j in apples and near(i, j)) for j in cells) for i in cells)

    # ---- in words -----------------------------------------------------------------------------------------------

    @property
    def things(self) -> tuple[str, ...]:
        """What a cell may show."""
        ground = {"clean_up": ("apple", "water", "dirt"), "harvest": ("apple",), "mushrooms": MUSHROOMS}
        return ("empty", *ground[self.kind], "forager", "wall")

    @property
    def moves(self) -> tuple[str, ...]:
        """What a player may do."""
        return MOVES + (("zap",) if self.timeout else ()) + (("clean",) if self.kind == "clean_up" else ())

    @property
    def about(self) -> str:
        """The rules in words."""
        n, area = self.foragers, f"{self.width} by {self.height} cells"
        beam = (
            f"the cells 1 to {self.reach} ahead of the player and up to {self.breadth} to either side of those"
            if self.breadth
            else f"the {self.reach} cells ahead of the player"
        )
        lines = [
            f"{n} foragers walk on a map of {area} for {self.steps} steps. All act at once. A player stays, moves by one "
            f"cell (forward, back, left or right, without turning) or turns where it stands. Nobody enters a wall or a "
            f"cell on which somebody stood at the beginning of the step; if several want the same cell, a lot decides. "
            f"Who comes to a cell with food eats it at once."
        ]
        if self.kind == "clean_up":
            lines.append(
                f"Each apple is worth 1 to the player who eats it. Apples grow in the {len(self._bearing) // self.width} "
                f"southern rows, the orchard. The {len(self._wet) // self.width} northern rows are a river, through which "
                f"one can walk; {self._dirty} of its {len(self._wet)} cells are dirty at first, and each step one more "
                f"becomes dirty with probability {self.dirt_rate:g}. An empty cell of the orchard bears an apple in a "
                f"step with probability {self.growth:g} if at most {self.restoration:.0%} of the river is dirty, less "
                f"the more is, and none if {self.depletion:.0%} or more is. The cleaning beam cleans {beam}; it pays "
                f"nothing to the cleaner."
            )
        elif self.kind == "harvest":
            none, one, two, three = self.regrowth
            lines.append(
                f"Each apple is worth 1 to the player who eats it. There are {len(self._bearing)} at first, in patches. An "
                f"eaten apple grows back in a step with probability {none:g}, {one:g}, {two:g} or {three:g} if 0, 1, 2 or "
                f"at least 3 apples stand within distance {RADIUS} of its cell"
                + (", so a patch that is eaten bare stays bare." if none == 0 else ".")
            )
        else:
            red, green, blue = self.sprouts
            lines.append(
                f"A red mushroom is worth 1 to the player who eats it. A green one is worth 2, shared equally by all "
                f"{n} players. A blue one is worth 3, shared equally by all but the player who eats it. There are "
                f"{self._each} of each at first. For each mushroom eaten, of any colour, a red one sprouts with probability "
                f"{red:g} on a free cell drawn at random; for each green or blue one also a green one, with probability "
                f"{green:g}; for each blue one also a blue one, with probability {blue:g}. The eater of a red, green or "
                f"blue mushroom then cannot act for {', '.join(map(str, self.digest))} steps."
            )
        if self.timeout:
            cost = f", and firing it costs {self.zap_cost:g}" if self.zap_cost else ""
            lines.append(
                f"The zap beam falls on {beam}; all other players there are off the map for the next {self.timeout} steps "
                f"and come back at random{cost}. Beams are fired before anybody moves."
            )
        return "\n".join(lines)

    @functools.cached_property
    def roles(self) -> tuple[Role, ...]:
        """One role: the players."""
        most = len(self.grid.offsets)
        low, high = 0.0 - self.zap_cost, 4.0 if self.kind == "mushrooms" else 1.0
        food = "mushrooms" if self.kind == "mushrooms" else "apples"
        wet = (
            Field("dirty", Integer(0, most), "dirty cells of the river that you see"),
            Field("clean_water", Integer(0, most), "clean cells of the river that you see"),
        )
        sees = (
            Field("step", Integer(1, self.steps), "this step's number"),
            Field("view", Choice(self.things), "what is around you, from where you face", each=self.grid.labels),
            Field("facing", Choice(FACINGS), "where you face"),
            Field("food", Integer(0, most), f"{food} that you see"),
            *(wet if self.kind == "clean_up" else ()),
            Field("waits", Integer(0, max(self.timeout, *self.digest)), "steps until you can act again"),
            Field("got", Real(low, high), "your reward in the last step", verifiable=True),
            Field("total", Real(0.0, high * self.steps), "your rewards from food so far", verifiable=True),
        )
        acts = (Field("act", Choice(self.moves), "what you do; it is void while you wait"),)
        return (Role("forager", self.foragers, sees, acts, "you live from what you eat"),)

    @property
    def rounds(self) -> int:
        """Steps."""
        return self.steps

    @property
    def reports(self) -> tuple[Measure, ...]:  # type: ignore[override]
        """The measures of Perolat et al.; of a river also its dirt."""
        return REPORTS + ((_DIRT,) if self.kind == "clean_up" else ())

    # ---- the game in arrays -------------------------------------------------------------------------------------

    @property
    def draws(self) -> int:  # type: ignore[override]
        """Uniform numbers: lots and ways back of the players, then what grows; at the start a number a cell."""
        cells, n = self.grid.cells, self.foragers
        growth = {"clean_up": len(self._bearing) + 2, "harvest": len(self._bearing), "mushrooms": 3 * n + cells}
        return max(cells + n, 2 * n + growth[self.kind])

    def start(self, u: Array) -> GridState:
        """Put the players on free cells at random, and dirt or mushrooms on theirs."""
        xp, n, cells = namespace(u), self.foragers, self.grid.cells
        batch = tuple(u.shape[:-1])
        keys = u[..., :cells] + constant(u, self._tables["closed"])
        places = to_int(xp.argsort(keys, axis=-1))[..., :n]
        ground = full(u, (*batch, cells + 1), 0, integer=True) + constant(u, self._tables["first"])
        if self.kind == "clean_up":
            keys = u[..., :cells] + constant(u, self._tables["dry"])
            edge = xp.sort(keys, axis=-1)[..., self._dirty, None]
            ground = ground + WATER * _pad(to_int(keys < 1.0)) + _pad(to_int((keys < edge) & (keys < 1.0)))
        elif self.kind == "mushrooms":
            edges = xp.sort(keys, axis=-1)[..., n : n + 3 * self._each + 1 : self._each]
            for colour in range(3):
                here = (keys >= edges[..., colour, None]) & (keys < edges[..., colour + 1, None])
                ground = ground + (colour + 1) * _pad(to_int(here))
        facings = whole(u[..., cells : cells + n], 0, 3)
        none, zero = full(u, (*batch, n), 0.0), full(u, batch, 0.0)
        count = full(u, batch, 0, integer=True)
        return GridState(ground, places, facings, facings * 0, none, none, count, count, zero, count, zero)

    def view(self, state: GridState) -> dict[str, Seen]:
        """Show each player the cells around it, from where it faces; one who is away sees only wall."""
        xp, n = namespace(state.items), self.foragers
        player = len(self.things) - 2
        shown = xp.where(self.grid.occupied(state.places), player, state.items)
        around = self.grid.look(shown, state.places, state.facings)
        count = MUSHROOMS if self.kind == "mushrooms" else ("apple",)
        seen = {
            "step": spread(state.steps + 1 * (state.steps < self.steps), n),
            "view": around,
            "facing": state.facings,
            "food": total(to_int((around >= 1) & (around <= len(count)))),
            "waits": state.waits,
            "got": state.got,
            "total": state.food,
        }
        if self.kind == "clean_up":
            seen |= {"dirty": total(to_int(around == DIRT)), "clean_water": total(to_int(around == WATER))}
        return {"forager": seen}

    def step(self, state: GridState, acts: Mapping[str, Acts], u: Array) -> Outcome:
        """Fire, move, eat, grow."""
        xp, n, grid = namespace(state.items), self.foragers, self.grid
        act, nowhere = to_int(acts["forager"]["act"]), grid.cells
        able = state.waits == 0
        items, places, facings = state.items, state.places, state.facings
        was_away = places == nowhere
        zapping = able & (act == len(MOVES)) if self.timeout else able & (act < 0)
        hit = zapping if absent(zapping) else grid.hit(places, facings, zapping)
        if self.kind == "clean_up":
            cleaning = able & (act == len(self.moves) - 1)
            if not absent(cleaning):
                items = xp.where(grid.swept(places, facings, cleaning) & (items == DIRT), WATER, items)
        # ---- moves: those who were hit leave at once, those whose time is up come back where there is room
        able = able & ~hit
        places = xp.where(hit, nowhere, places)
        wants = grid.step(places, facings + look_up(act, _TOWARDS, act))
        wants = xp.where(able & look_up(act, _MOVE, act), wants, places)
        back = look_up(act, self._spawn, whole(u[..., n : 2 * n], 0, len(self._spawn) - 1))
        wants = xp.where(was_away & (state.waits <= 1), back, wants)
        places = grid.settle(places, wants, u[..., :n])
        facings = (facings + xp.where(able, look_up(act, _TURN, act), 0)) % 4
        # ---- food
        taken = grid.occupied(places)
        ate = pick(items, places) * (places != nowhere)
        ate = ate * (ate <= (3 if self.kind == "mushrooms" else 1))
        bare = (items >= 1) & (items <= 3) if self.kind == "mushrooms" else items == APPLE
        items = xp.where(taken & bare, 0, items)
        items = self._grow(items, taken, ate, u[..., 2 * n :])
        fed = self._worth(ate)
        away = places == nowhere
        waits = xp.where(state.waits > 0, state.waits - 1, 0)
        waits = xp.where(hit, self.timeout, xp.where(away & (waits < 1), 1, waits))
        if self.kind == "mushrooms":
            waits = xp.where(ate > 0, look_up(ate, (0, *self.digest), ate), waits)
        # ---- the books
        got = fed - self.zap_cost * zapping
        steps, eaten = state.steps + 1, total(to_int(ate > 0))
        after = GridState(
            items=items,
            places=places,
            facings=facings,
            waits=waits,
            got=got,
            food=state.food + fed,
            steps=steps,
            meals=state.meals + eaten,
            moments=state.moments + to_float(eaten * steps),
            missed=state.missed + total(to_int(was_away)),
            dirt=state.dirt + self._dirty_share(state.items),
        )
        return Outcome(after, {"forager": got}, steps >= self.steps, total(got))

    def _worth(self, ate: Array) -> Array:
        """Return each player's reward for what all ate, (*batch, players)."""
        if self.kind != "mushrooms":
            return to_float(ate)
        blue = to_float(ate == 3)
        others = total(blue)[..., None] - blue
        return (
            to_float(ate == 1)
            + 2.0 * total(to_float(ate == 2))[..., None] / self.foragers
            + 3.0 * others / (self.foragers - 1)
        )

    def _dirty_share(self, items: Array) -> Array:
        """Return the share of the river that is dirty; 0 without a river."""
        if not self._wet:
            return to_float(items[..., 0] * 0)
        return to_float(total(to_int(items[..., : len(self._wet)] == DIRT))) / len(self._wet)

    def _grow(self, items: Array, taken: Array, ate: Array, u: Array) -> Array:
        """Let apples grow and dirt gather, or mushrooms sprout, on cells where nobody stands (dirt: anywhere)."""
        xp = namespace(items)
        if self.kind == "mushrooms":
            return self._sprout(items, taken, ate, u)
        room = constant(items, self._tables["bears"]) & (items == 0) & ~taken
        luck = xp.take(u, constant(items, self._tables["draw"]), axis=-1)
        if self.kind == "harvest":
            near = xp.matmul(to_float(items == APPLE), constant(u, self._near))
            chance = look_up(u, self.regrowth, xp.clip(to_int(near), 0, 3))
            return xp.where(room & (luck < chance), APPLE, items)
        slope = (self.depletion - self._dirty_share(items)) / (self.depletion - self.restoration)
        chance = self.growth * xp.clip(slope, 0.0, 1.0)
        grown = xp.where(room & (luck < chance[..., None]), APPLE, items)
        wet, last = len(self._wet), len(self._bearing)
        water = grown[..., :wet] == WATER  # the river is the first cells
        falls = nth(water, to_int(xp.floor(u[..., last] * total(to_int(water)))))
        falls = falls & (u[..., last + 1, None] < self.dirt_rate)
        return xp.concat([xp.where(falls, DIRT, grown[..., :wet]), grown[..., wet:]], axis=-1)

    def _sprout(self, items: Array, taken: Array, ate: Array, u: Array) -> Array:
        """Let mushrooms sprout on free cells drawn at random, by what was eaten."""
        if absent(ate > 0):
            return items
        xp, n, cells = namespace(items), self.foragers, self.grid.cells
        luck = xp.reshape(u[..., : 3 * n], (*u.shape[:-1], n, 3))
        able = ate[..., None] >= constant(ate, (1, 2, 3))
        new = total(to_int(able & (luck < constant(u, self.sprouts))), -2)
        free = (items[..., :cells] == 0) & ~taken[..., :cells]
        keys = xp.where(free, u[..., 3 * n : 3 * n + cells], 2.0)
        upto = xp.cumulative_sum(new, axis=-1)
        edges = pick(xp.sort(keys, axis=-1), upto)
        colour = 1 + (keys >= edges[..., 0, None]) * 1 + (keys >= edges[..., 1, None])
        ground = xp.where(free & (keys < edges[..., 2, None]), colour, items[..., :cells])
        return xp.concat([ground, items[..., cells:]], axis=-1)

    def round(self, state: GridState) -> Array:
        """Return the steps taken."""
        return state.steps

    def measures(self, state: GridState) -> dict[str, Array]:
        """Return efficiency, equality, sustainability and peace as published, and the dirt of a river."""
        steps = to_float(state.steps + (state.steps == 0))
        found = {
            "efficiency": total(state.food) / steps,
            "equality": measures.equality(state.food),
            "sustainability": state.moments / to_float(state.meals + (state.meals == 0)),
            "peace": 1.0 - to_float(state.missed) / (steps * self.foragers),
        }
        return found | ({"dirt": state.dirt / steps} if self.kind == "clean_up" else {})

    # ---- what is known ------------------------------------------------------------------------------------------

    @functools.cached_property
    def bound(self) -> float:
        """Welfare that no play exceeds in expectation: what can grow at the most, eaten within the time there is.

        Apples: those of the start and growth at its highest rate on every cell and step but the last. Mushrooms: a linear
        programme in the expected meals of each colour, which cannot exceed what is there and what they make sprout, nor
        the time that eating and digesting takes.
        """
        n, last = self.foragers, self.steps
        if self.kind != "mushrooms":
            rate, first = (self.growth, 0) if self.kind == "clean_up" else (max(self.regrowth), len(self._bearing))
            return float(min(n * last, first + rate * len(self._bearing) * (last - 1)))
        import numpy as np
        from scipy.optimize import linprog

        red, green, blue = self.sprouts
        rows = [[1 - red, -red, -red], [0, 1 - green, -green], [0, 0, 1 - blue], [1 + d for d in self.digest]]
        sides = [self._each] * 3 + [n * (last + max(self.digest))]
        found = linprog([-1, -2, -3], A_ub=np.array(rows), b_ub=sides, bounds=[(0, n * last)] * 3, method="highs")
        if found.status != 0:
            raise RuntimeError(f"bound: the linear programme was not solved: {found.message}")
        return float(-found.fun)

    def greedy(self, seen: Seen) -> Acts:
        """Play for oneself: go to the nearest apple, or red mushroom, or else green one; never clean, zap or eat blue."""
        return {"act": self._seek(seen, (1, 2) if self.kind == "mushrooms" else (1,))}

    def cooperative(self, seen: Seen) -> Acts:
        """Play for all, by a simple script.

        clean_up: every other player keeps to the river and cleans what dirt it sees. harvest: eat only where at least
        four apples are in view. mushrooms: blue before green before red.
        """
        xp = namespace(seen["view"])
        if self.kind == "mushrooms":
            return {"act": self._seek(seen, (3, 2, 1))}
        if self.kind == "harvest":
            spare = self._seek(seen, ())
            return {"act": xp.where(seen["food"] >= 4, self._seek(seen, (APPLE,)), spare)}
        beam = tuple(offset in self.grid.in_beam for offset in self.grid.offsets)
        within = xp.any((seen["view"] == DIRT) & constant(seen["view"], beam), axis=-1)
        seat = xp.cumulative_sum(xp.ones_like(seen["facing"]), axis=-1) - 1
        clean = xp.where(within, len(self.moves) - 1, self._seek(seen, (DIRT,), home=0))
        return {"act": xp.where(seat % 2 == 0, clean, self._seek(seen, (APPLE,), home=2))}

    def _seek(self, seen: Seen, things: tuple[int, ...], home: int | None = None) -> Array:
        """Return the act that leads to the nearest of the first of some things that is in view; else wander.

        ``home`` is the direction in which one wanders for half of the time.
        """
        xp, view = namespace(seen["view"]), seen["view"]
        step, facing = to_int(seen["step"]), seen["facing"]
        front = view[..., self.grid.offsets.index((1, 0))]
        free = (front == 0) | ((front >= WATER) & (front <= DIRT) if self.kind == "clean_up" else front < 0)
        if home is None:
            act = xp.where(free & (step % 9 > 0), 1, xp.where((step // 9) % 2 == 0, 6, 5))
        else:
            leg = step // 6 % 4
            aim = (xp.where(leg == 1, 1, xp.where(leg == 3, 3, home)) - facing) % 4
            act = look_up(step, (1, 6, 6, 5), aim)
            act = xp.where((act == 1) & ~free, xp.where(step % 2 == 0, 2, 4), act)
        table = self._turns if things == (DIRT,) else self._paths
        distance = constant(view, table)[..., 0]
        for thing in reversed(things):
            wanted = xp.where(view == thing, distance, 1000)
            best = xp.argmin(wanted, axis=-1)
            way = look_up(view, table, best)
            path = xp.where(step % 2 == 0, way[..., 1], way[..., 2])
            act = xp.where(xp.any(view == thing, axis=-1), path, act)
        return to_int(act)

    @functools.cached_property
    def _paths(self) -> tuple[tuple[int, int, int], ...]:
        """Of each cell in view, its distance and the two moves that lead to it."""
        found = []
        for ahead, right in self.grid.offsets:
            forth = 1 if ahead > 0 else 3
            side = 2 if right > 0 else 4
            found.append((abs(ahead) + abs(right), forth if ahead else side, side if right else forth))
        return tuple(found)

    @functools.cached_property
    def _turns(self) -> tuple[tuple[int, int, int], ...]:
        """Of each cell in view, its distance and, twice, the act that brings it into the beam."""
        found = []
        for ahead, right in self.grid.offsets:
            act = 1 if ahead > 0 and abs(right) <= self.breadth else 5 if right < 0 else 6
            found.append((abs(ahead) + abs(right), act, act))
        return tuple(found)

    def benchmarks(self) -> Benchmarks:
        """Return an upper bound, and what two scripts reach; no optimum and no equilibrium of these games is known."""
        bound, (selfish, told), (kind, also) = self.bound, _simulated(self, "greedy"), _simulated(self, "cooperative")
        selfish, kind = min(selfish, bound), min(kind, bound)  # a mean of samples may lie a little above
        return Benchmarks(
            first_best=Level(bound, "upper bound, not attained: all that can grow at the highest rate is eaten"),
            equilibrium=Level(
                selfish,
                f"no equilibrium of this game is known; in its place stands the selfish script of the baseline, {told}",
            ),
            baseline=Level(selfish, f"selfish script: go to the nearest food, {told}", {"forager": self.greedy}),
            others={"cooperative": Level(kind, f"cooperative script, {also}", {"forager": self.cooperative})},
        )


@functools.lru_cache(maxsize=64)
def _simulated(game: GridCommons, script: str) -> tuple[float, str]:
    """Return the mean welfare of an episode in which all follow a script, and how it was found."""
    from ..core.worlds import Worlds

    play: Callable[[Seen], Acts] = getattr(game, script)
    count = max(256, min(4096, 200_000 // game.steps))
    worlds, welfare = Worlds(game, count, check=False), 0.0
    for _ in range(game.steps):
        welfare = welfare + worlds.step({"forager": play(worlds.view()["forager"])}).welfare
    values = to_numpy(welfare)
    error = float(values.std(ddof=1)) / count**0.5
    return float(values.mean()), f"mean of {count} simulated episodes (standard error {error:.2g})"


def _centres(length: int) -> list[int]:
    """Return the middles of patches, five cells apart."""
    count = max(1, length // 5)
    return [(2 * k + 1) * length // (2 * count) for k in range(count)]


def _pad(flags: Array) -> Array:
    """Add the cell that stands for nowhere."""
    xp = namespace(flags)
    return xp.concat([flags, flags[..., :1] * 0], axis=-1)


_DIRT = Measure("dirt", "mean share of the river that is dirty", "(1/T) sum_t dirty_t / river", "", better="lower")
REPORTS: tuple[Measure, ...] = (
    Measure("efficiency", "worth of the food that all eat in a step", "sum_i R_i / T, R_i food of i", "", PEROLAT),
    Measure("equality", "how evenly food is spread", "1 - sum_ij |R_i - R_j| / (2 n sum_i R_i)", "", PEROLAT),
    Measure("sustainability", "mean number of the step at which something is eaten", "mean of t", "steps", PEROLAT),
    Measure("peace", "share of player-steps spent on the map", "1 - away / (n T)", "", PEROLAT),
)
