"""Dilemmas on a grid: a loop over cells and players as reference, laws of growth, symmetries, bounds."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy.stats import binom, chisquare

from societas import Game, Worlds, play, policy
from societas.envs.core.arrays import tree_map
from societas.envs.norms.grid_commons import GridCommons, GridState
from societas.testing import check_game

KINDS = ("clean_up", "harvest", "mushrooms")
SMALL: dict[str, Any] = {"foragers": 3, "width": 6, "height": 5, "steps": 12, "timeout": 3}
ROW, COLUMN = (-1, 0, 1, 0), (0, 1, 0, -1)


# ---- the rules once more, one world at a time, cell by cell -----------------------------------------------------------


class Loop:
    """One world as dictionaries and loops; ``step`` reads the uniform numbers in the order in which the game does."""

    def __init__(self, game: GridCommons, state: GridState, world: int) -> None:
        self.game, w = game, game.width
        names = game.things
        items = state.items[world]
        self.items = {divmod(i, w): names[items[i]] for i in range(w * game.height)}
        self.at: list[Any] = [None if p == w * game.height else divmod(int(p), w) for p in state.places[world]]
        self.facing = [int(f) for f in state.facings[world]]
        self.waits = [int(k) for k in state.waits[world]]

    def covered(self, i: int) -> set[tuple[int, int]]:
        here, f, right = self.at[i], self.facing[i], (self.facing[i] + 1) % 4
        assert here is not None
        return {
            (here[0] + a * ROW[f] + s * ROW[right], here[1] + a * COLUMN[f] + s * COLUMN[right])
            for a in range(1, self.game.reach + 1)
            for s in range(-self.game.breadth, self.game.breadth + 1)
        }

    def step(self, acts: list[str], u: np.ndarray[Any, Any]) -> list[float]:
        g, n = self.game, self.game.foragers
        able = [k == 0 for k in self.waits]
        was_away = [place is None for place in self.at]
        zapped: set[int] = set()
        for i in range(n):
            if able[i] and acts[i] == "zap":
                zapped |= {j for j in range(n) if self.at[j] in self.covered(i)}
            if able[i] and acts[i] == "clean":
                for spot in self.covered(i):
                    if self.items.get(spot) == "dirt":
                        self.items[spot] = "water"
        for i in zapped:
            self.at[i] = None
        wish: dict[tuple[int, int], list[tuple[float, int]]] = {}
        for i in range(n):
            here: Any = self.at[i]
            cell: Any = None
            if here is not None and able[i] and acts[i] in ("forward", "right", "back", "left"):
                f = (self.facing[i] + ("forward", "right", "back", "left").index(acts[i])) % 4
                cell = (here[0] + ROW[f], here[1] + COLUMN[f])
            elif was_away[i] and self.waits[i] <= 1:
                spawn = g._spawn
                cell = divmod(spawn[int(u[n + i] * len(spawn))], g.width)
            if cell in self.items and cell not in self.at:
                wish.setdefault(cell, []).append((float(u[i]), i))
        for cell, who in wish.items():
            self.at[min(who)[1]] = cell
        for i in range(n):
            if able[i] and i not in zapped:
                self.facing[i] = (self.facing[i] + {"turn left": 3, "turn right": 1}.get(acts[i], 0)) % 4
        ate = ["" for _ in range(n)]
        for i, here in enumerate(self.at):
            if here is not None and self.items[here] in ("apple", "red", "green", "blue"):
                ate[i], self.items[here] = self.items[here], "empty"
        self.grow(ate, u[2 * n :])
        for i in range(n):
            self.waits[i] = max(self.waits[i] - 1, 0)
            if self.at[i] is None:
                self.waits[i] = g.timeout if i in zapped else max(self.waits[i], 1)
            if ate[i] in ("red", "green", "blue"):
                self.waits[i] = g.digest[("red", "green", "blue").index(ate[i])]
        pay = [0.0] * n
        for i in range(n):
            pay[i] -= g.zap_cost * (able[i] and acts[i] == "zap")
            for j in range(n):
                pay[j] += (ate[i] in ("apple", "red")) * (i == j)
                pay[j] += (ate[i] == "green") * 2 / n + (ate[i] == "blue") * (i != j) * 3 / (n - 1)
        return pay

    def grow(self, ate: list[str], u: np.ndarray[Any, Any]) -> None:
        g, n, order = self.game, self.game.foragers, sorted(self.items)
        if g.kind == "mushrooms":
            new = dict.fromkeys(("red", "green", "blue"), 0)
            for i, what in enumerate(ate):
                causes = {"": (), "red": ("red",), "green": ("red", "green"), "blue": ("red", "green", "blue")}[what]
                for colour in causes:
                    k = ("red", "green", "blue").index(colour)
                    new[colour] += bool(u[3 * i + k] < g.sprouts[k])
            free = [cell for cell in order if self.items[cell] == "empty" and cell not in self.at]
            free.sort(key=lambda cell: u[3 * n + order.index(cell)])
            for colour, count in new.items():
                for _ in range(count):
                    self.items[free.pop(0)] = colour
            return
        before, bearing = dict(self.items), g._bearing
        river = [cell for cell in order if before[cell] in ("water", "dirt")]
        share = sum(before[cell] == "dirt" for cell in river) / max(1, len(river))
        for k, number in enumerate(bearing):
            cell = divmod(number, g.width)
            if before[cell] != "empty" or cell in self.at:
                continue
            if g.kind == "harvest":
                near = [c for c in order if c != cell and np.hypot(c[0] - cell[0], c[1] - cell[1]) <= 2]
                chance = g.regrowth[min(3, sum(before[c] == "apple" for c in near))]
            else:
                over = max(share - g.restoration, 0.0) / (g.depletion - g.restoration)
                chance = g.growth * max(0.0, 1.0 - over)
            if u[k] < chance:
                self.items[cell] = "apple"
        if g.kind == "clean_up" and u[len(bearing) + 1] < g.dirt_rate:
            clean = [cell for cell in river if before[cell] == "water"]
            if clean:
                self.items[clean[int(u[len(bearing)] * len(clean))]] = "dirt"


def _acts(game: GridCommons, worlds: Worlds, step: int) -> np.ndarray[Any, Any]:
    """Lively acts: mostly moves, now and then a beam."""
    u = worlds.uniform(game.foragers, f"test{step}")
    return np.asarray(np.where(u < 0.8, (u * 8.75).astype(int), ((u - 0.8) * 5 * len(game.moves)).astype(int)))


@settings(max_examples=30, deadline=None, derandomize=True)
@given(
    st.sampled_from(KINDS),
    st.integers(2, 5),
    st.integers(4, 8),
    st.integers(5, 8),
    st.integers(1, 3),
    st.integers(0, 1),
    st.integers(0, 4),
    st.integers(0, 99),
)
def test_agrees_with_a_loop_over_cells(
    kind: str, n: int, width: int, height: int, reach: int, breadth: int, timeout: int, seed: int
) -> None:
    assume(4 * n <= width * height)
    more: dict[str, Any] = {
        "regrowth": (0.1, 0.3, 0.5, 0.9),
        "growth": 0.3,
        "dirt": 0.3,
        "zap_cost": 0.5,
        "digest": (0, 1, 2),
    }
    game = GridCommons(kind, n, width, height, 25, 2, reach, breadth, timeout, **more)
    worlds = Worlds(game, 3, seed=seed)
    loops = [Loop(game, worlds.state, i) for i in range(3)]
    for t in range(25):
        acts, u = _acts(game, worlds, t), worlds.numbers()
        done = worlds.step({"forager": {"act": acts}})
        for i, loop in enumerate(loops):
            pay = loop.step([game.moves[a] for a in acts[i]], u[i])
            now = Loop(game, worlds.state, i)
            assert (now.items, now.at, now.facing, now.waits) == (loop.items, loop.at, loop.facing, loop.waits)
            np.testing.assert_allclose(done.rewards["forager"][i], pay, atol=1e-12)
        np.testing.assert_allclose(done.welfare, done.rewards["forager"].sum(axis=-1))


@pytest.mark.parametrize("kind", KINDS)
def test_view_is_what_lies_around_in_the_direction_faced(kind: str) -> None:
    game = GridCommons(kind, sight=3, **SMALL)
    worlds = Worlds(game, 40, seed=2)
    for t in range(6):
        worlds.step({"forager": {"act": _acts(game, worlds, t)}})
    seen, each = worlds.view()["forager"], game.role("forager").sees[1].each
    assert len(each) == 48 and (each[0], each[-1]) == ("3 ahead 3 left", "3 behind 3 right")
    for world in range(40):
        loop = Loop(game, worlds.state, world)
        for i, here in enumerate(loop.at):
            for k, label in enumerate(each):
                words = label.split()
                far = {words[j + 1]: int(words[j]) for j in range(0, len(words), 2)}
                ahead = far.get("ahead", 0) - far.get("behind", 0)
                side = far.get("right", 0) - far.get("left", 0)
                found = game.things[seen["view"][world, i, k]]
                if here is None:
                    assert found == "wall"
                    continue
                f, r = loop.facing[i], (loop.facing[i] + 1) % 4
                cell = (here[0] + ahead * ROW[f] + side * ROW[r], here[1] + ahead * COLUMN[f] + side * COLUMN[r])
                assert found == ("forager" if cell in loop.at else loop.items.get(cell, "wall"))
            shown = [game.things[c] for c in seen["view"][world, i]]
            assert seen["food"][world, i] == sum(name in ("apple", "red", "green", "blue") for name in shown)
            if kind == "clean_up":
                assert seen["dirty"][world, i] == shown.count("dirt")
                assert seen["clean_water"][world, i] == shown.count("water")


# ---- conservation and places ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_food_is_paid_once_and_nobody_shares_a_cell(kind: str) -> None:
    game = GridCommons(kind, foragers=8, width=7, height=7, steps=40, growth=0.3, timeout=4, dirt=0.1)
    worlds = Worlds(game, 300, seed=4)
    paid, meals = np.zeros(300), np.zeros(300)
    worth = {"mushrooms": (0, 1, 2, 3)}.get(kind, (0, 1, 0, 0))
    still = worlds.state.places
    moved = 0
    for t in range(40):
        before = worlds.state
        done = worlds.step({"forager": {"act": _acts(game, worlds, t)}})
        places = worlds.state.places
        on = np.sort(places, axis=-1)
        assert not ((on[:, 1:] == on[:, :-1]) & (on[:, 1:] < 49)).any()
        moved += int((places != still).sum())
        still = places
        entered = np.take_along_axis(before.items, places, axis=-1) * (places < 49)
        value = np.array(worth)[np.minimum(entered, 3)].sum(axis=-1)
        np.testing.assert_allclose(
            done.welfare, value
        )  # what lay where somebody now stands has been eaten, nothing else
        assert (np.take_along_axis(worlds.state.items, places, axis=-1)[places < 49] != 1).all()
        paid, meals = (
            paid + value,
            meals + ((entered >= 1) & (np.array(worth)[np.minimum(entered, 3)] > 0)).sum(axis=-1),
        )
    assert moved > 10_000 and paid.sum() > 1000
    np.testing.assert_allclose(worlds.state.food.sum(axis=-1), paid)
    np.testing.assert_array_equal(worlds.state.meals, meals)


def _still(game: GridCommons, count: int, seed: int = 0) -> Worlds:
    return Worlds(game, count, seed=seed)


def _stay(worlds: Worlds) -> Any:
    return worlds.step({"forager": {"act": np.zeros((worlds.count, worlds.game.roles[0].count), dtype=np.int64)}})


def _within(count: int, trials: int, chance: float) -> None:
    """The count is one that a binomial law gives with probability 0.9999."""
    low, high = binom.interval(0.9999, trials, chance)
    assert low <= count <= high, (count, trials, chance)


@pytest.mark.parametrize(("dirty", "chance"), [(0, 0.05), (2, 0.04), (4, 0.03), (6, 0.02), (10, 0.0), (14, 0.0)])
def test_apples_grow_the_less_the_more_dirt_there_is(dirty: int, chance: float) -> None:
    """Hughes et al. 2018: 0.05 at no dirt, falling linearly to 0 at 40% of the river; here of 25 cells."""
    game = GridCommons(width=25, height=6, river=1 / 6, food=0.5, dirt=dirty / 25, dirt_rate=0.0)
    worlds = _still(game, 300)
    assert ((worlds.state.items == 3).sum(axis=-1) == dirty).all()
    _stay(worlds)
    assert ((worlds.state.items == 3).sum(axis=-1) == dirty).all()
    _within(int((worlds.state.items == 1).sum()), 300 * 75, chance)


@pytest.mark.parametrize("rate", [0.0, 0.5, 0.8])
def test_dirt_gathers_cell_by_cell(rate: float) -> None:
    game = GridCommons(width=6, height=5, river=0.2, foragers=2, dirt=0.5, dirt_rate=rate)
    worlds = _still(game, 4000)
    first = worlds.state.items == 3
    _stay(worlds)
    new = (worlds.state.items == 3) & ~first
    assert (new.sum(axis=-1) <= 1).all() and not (first & (worlds.state.items != 3)).any()
    _within(int(new.sum()), 4000, rate)
    if rate:
        assert chisquare(new.sum(axis=0)[:6]).pvalue > 1e-3 and not new[:, 6:].any()
    for _ in range(40):
        _stay(worlds)
    assert (worlds.state.items == 3).sum(axis=-1).max() == (6 if rate else 3)


@pytest.mark.parametrize("apples", [0, 1, 2, 3, 5])
def test_apples_grow_back_by_their_neighbours(apples: int) -> None:
    """Perolat et al. 2017: 0, 0.0025, 0.005, 0.025 with 0, 1, 2, 3 or more apples within distance 2."""
    game = GridCommons("harvest", width=7, height=7, food=0.4, foragers=2)
    centre, near = (3, 3), [(3, 5), (2, 2), (4, 3), (3, 1), (1, 3)]
    assert 3 * 7 + 3 in game._bearing
    count = 20_000
    worlds = _still(game, count)
    items = np.tile(np.array([0] * 49 + [len(game.things) - 1]), (count, 1))
    for row, column in near[:apples]:
        items[:, row * 7 + column] = 1
    for row, column in ((1, 1), (5, 5), (1, 5), (5, 1)):  # the diagonal at distance 2.8 is too far
        items[:, row * 7 + column] = 1
    worlds.state = worlds.state._replace(items=items, places=np.tile(np.array([0, 48]), (count, 1)))
    _stay(worlds)
    _within(
        int(worlds.state.items[:, centre[0] * 7 + centre[1]].sum()), count, (0, 0.0025, 0.005, 0.025)[min(apples, 3)]
    )


def test_a_patch_eaten_bare_stays_bare() -> None:
    game = GridCommons("harvest", width=7, height=7, food=0.4, foragers=2, steps=300)
    worlds = _still(game, 50)
    worlds.state = worlds.state._replace(items=worlds.state.items * (worlds.state.items != 1))
    for _ in range(300):
        _stay(worlds)
    assert not (worlds.state.items == 1).any()


@pytest.mark.parametrize(("colour", "chances"), [(1, (0.25, 0, 0)), (2, (0.25, 0.4, 0)), (3, (0.25, 0.4, 0.6))])
def test_mushrooms_pay_and_sprout_by_what_is_eaten(colour: int, chances: tuple[float, ...]) -> None:
    """Agapiou et al. 2022: red 1 to the eater, green 2 shared by all, blue 3 shared by the others."""
    game = GridCommons("mushrooms", width=6, height=5, foragers=4)
    count = 6000
    worlds = _still(game, count)
    items = np.tile(np.array([0] * 30 + [5]), (count, 1))
    items[:, 1] = colour
    places = np.tile(np.array([0, 12, 18, 24]), (count, 1))
    worlds.state = worlds.state._replace(items=items, places=places, facings=np.full((count, 4), 1))
    acts = np.tile(np.array([1, 0, 0, 0]), (count, 1))
    done = worlds.step({"forager": {"act": acts}})
    pay = {1: (1, 0, 0, 0), 2: (0.5, 0.5, 0.5, 0.5), 3: (0, 1, 1, 1)}[colour]
    np.testing.assert_allclose(done.rewards["forager"], np.tile(pay, (count, 1)))
    assert (worlds.state.waits == [(0, 5, 10)[colour - 1], 0, 0, 0]).all()
    grown = worlds.state.items[:, :30]
    for k, chance in enumerate(chances, 1):
        _within(int((grown == k).sum()), count, chance)
    assert not grown[:, [1, 12, 18, 24]].any()
    free = [i for i in range(30) if i not in (1, 12, 18, 24)]
    assert chisquare((grown[:, free] == 1).sum(axis=0)).pvalue > 1e-3
    frozen = worlds.step({"forager": {"act": np.tile(np.array([6, 6, 6, 6]), (count, 1))}})
    assert (frozen.state.facings == [1 if colour > 1 else 2, 2, 2, 2]).all()


# ---- beams ----------------------------------------------------------------------------------------------------------


def test_zapping_removes_for_the_time_out_and_costs() -> None:
    game = GridCommons("harvest", foragers=2, width=7, height=7, timeout=5, zap_cost=0.5, steps=20)
    zap = game.moves.index("zap")
    worlds = _still(game, 50)
    places = np.tile(np.array([45, 31]), (50, 1))  # the first faces north; the second stands two ahead of it
    worlds.state = worlds.state._replace(places=places, facings=np.zeros((50, 2), dtype=np.int64))
    done = worlds.step({"forager": {"act": np.tile(np.array([zap, 1]), (50, 1))}})
    assert (done.state.places[:, 1] == 49).all() and (done.state.waits[:, 1] == 5).all()
    np.testing.assert_allclose(done.rewards["forager"], np.tile([-0.5, 0.0], (50, 1)))
    away = np.zeros(50)
    for t in range(1, 8):
        assert (worlds.view()["forager"]["waits"][:, 1] == max(0, 6 - t)).all()
        away = away + (worlds.state.places[:, 1] == 49)
        worlds.step({"forager": {"act": np.zeros((50, 2), dtype=np.int64)}})
    assert (away == 5).all()
    assert set(worlds.state.places[:, 1]) <= set(game._spawn) and len(set(worlds.state.places[:, 1])) > 5
    np.testing.assert_allclose(game.measures(worlds.state)["peace"], 1 - 5 / (2 * 8))
    assert "zap" not in GridCommons(timeout=0).moves


# ---- symmetries -----------------------------------------------------------------------------------------------------


def test_a_turned_world_is_the_same_world() -> None:
    """Turning a square map with all on it by a quarter changes nothing that a player sees or gets."""
    game = GridCommons("mushrooms", foragers=5, width=7, height=7, timeout=3, digest=(0, 1, 2))
    size, n = 49, 5
    turned = np.rot90(np.arange(size).reshape(7, 7), -1).reshape(-1)  # cell k of the turned map is cell turned[k]
    goes = np.append(np.argsort(turned), size)
    worlds = Worlds(game, 64, seed=5)
    state = worlds.state

    def turn(s: GridState) -> GridState:
        items = s.items[:, np.append(turned, size)]
        return s._replace(items=items, places=goes[s.places], facings=(s.facings + 1) % 4)

    other = turn(state)
    for t in range(20):
        one, two = game.view(state)["forager"], game.view(other)["forager"]
        for name in set(one) - {"facing"}:
            np.testing.assert_array_equal(one[name], two[name])
        worlds.state = state
        acts, u = {"forager": {"act": _acts(game, worlds, t)}}, worlds.numbers()
        v = u.copy()
        v[:, n : 2 * n] = (goes[(u[:, n : 2 * n] * size).astype(int)] + 0.5) / size
        v[:, 5 * n : 5 * n + size] = u[:, 5 * n : 5 * n + size][:, turned]
        first, second = game.step(state, acts, u), game.step(other, acts, v)
        state, other = first.state, second.state
        np.testing.assert_allclose(first.rewards["forager"], second.rewards["forager"])
        for a, b in zip(turn(state), other, strict=True):
            np.testing.assert_allclose(a, b)


@pytest.mark.parametrize("kind", KINDS)
def test_players_are_alike(kind: str) -> None:
    """Exchanging players, with what is theirs, exchanges their rewards and nothing else."""
    game = GridCommons(kind, foragers=5, width=7, height=7, timeout=3, growth=0.3)
    n, order = 5, np.array([3, 0, 4, 1, 2])
    worlds = Worlds(game, 64, seed=6)
    state = worlds.state

    def exchange(s: GridState) -> GridState:
        return s._replace(**{k: getattr(s, k)[:, order] for k in ("places", "facings", "waits", "got", "food")})

    other = exchange(state)
    for t in range(20):
        worlds.state = state
        act, u = _acts(game, worlds, t), worlds.numbers()
        v = u.copy()
        v[:, :n], v[:, n : 2 * n] = u[:, :n][:, order], u[:, n : 2 * n][:, order]
        if kind == "mushrooms":
            v[:, 2 * n : 5 * n] = u[:, 2 * n : 5 * n].reshape(64, n, 3)[:, order].reshape(64, 3 * n)
        first = game.step(state, {"forager": {"act": act}}, u)
        second = game.step(other, {"forager": {"act": act[:, order]}}, v)
        state, other = first.state, second.state
        np.testing.assert_allclose(first.rewards["forager"][:, order], second.rewards["forager"])
        for a, b in zip(exchange(state), other, strict=True):
            np.testing.assert_allclose(a, b)


# ---- levels ---------------------------------------------------------------------------------------------------------


def _welfare(game: GridCommons, script: Any, worlds: int = 150) -> float:
    how = policy("callable", function=script, batched=True)
    return float(play(game, {"forager": how}, worlds=worlds, seed=11).welfare.mean())


def test_the_bound_of_mushrooms_is_a_branching_process() -> None:
    """With time enough all that is there and sprouts is eaten: b / (1 - 0.6) blue, and so on down."""
    game = GridCommons("mushrooms", steps=300)
    each = round(0.3 * 99 / 3)
    blue = each / (1 - 0.6)
    green = (each + 0.4 * blue) / (1 - 0.4)
    red = (each + 0.25 * (blue + green)) / (1 - 0.25)
    assert game.bound == pytest.approx(3 * blue + 2 * green + red)
    assert 0.97 < _welfare(game, game.cooperative) / game.bound < 1.02
    assert _welfare(game, game.greedy) < 0.6 * game.bound
    hurried = GridCommons("mushrooms", steps=6, foragers=2)
    assert hurried.bound <= 2 * 6 * 3 and hurried.bound < game.bound


def test_bounds_hold_and_the_dilemmas_bite() -> None:
    orchard = GridCommons(foragers=3, width=6, height=6, steps=60)
    assert orchard.bound == pytest.approx(0.05 * 12 * 59)
    marks = orchard.benchmarks()
    assert marks.baseline is not None and marks.baseline.value == 0.0  # nobody cleans, nothing grows
    assert 8 < marks.levels["cooperative"].value < orchard.bound
    long = GridCommons("harvest", steps=250)
    assert long.bound == pytest.approx(30 + 0.025 * 30 * 249)
    selfish = _welfare(long, long.greedy)  # 30 apples to begin with, and soon no more
    assert selfish < 33 and _welfare(long, long.cooperative) > 1.5 * selfish
    assert GridCommons("harvest", steps=2).bound == 10  # five players eat one apple each a step
    for level in marks.levels.values():
        assert "upper bound" in level.source or "simulated" in level.source
    assert "no equilibrium of this game is known" in marks.equilibrium.source


def test_measures_of_a_greedy_episode() -> None:
    game = GridCommons("harvest", foragers=3, width=7, height=7, steps=30, timeout=0)
    done = play(game, {"forager": policy("callable", function=game.greedy, batched=True)}, worlds=20, seed=1)
    returns = done.returns["forager"]
    np.testing.assert_allclose(done.measures["efficiency"], returns.sum(axis=-1) / 30)
    np.testing.assert_allclose(done.measures["peace"], 1.0)
    gaps = np.abs(returns[:, :, None] - returns[:, None, :]).sum(axis=(1, 2))
    np.testing.assert_allclose(done.measures["equality"], 1 - gaps / (6 * returns.sum(axis=-1)))
    assert (done.measures["sustainability"] > 1).all() and (done.measures["sustainability"] < 30).all()
    assert (done.length == 30).all()


# ---- parameters, arrays, the examiner -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"kind": "chess"}, "kind: one of 'clean_up', 'harvest', 'mushrooms', got 'chess'"),
        ({"foragers": 1}, "foragers: a whole number from 2 to 32, got 1"),
        ({"foragers": 30}, "foragers: at most 24 on this map of 11 x 9 cells, got 30; enlarge"),
        ({"growth": 1.5}, "growth: a number from 0 to 1, got 1.5"),
        ({"food": 0.9}, "food: river and orchard must leave a row"),
        ({"restoration": 0.5}, "restoration: a number below depletion=0.4, got 0.5"),
        ({"regrowth": [0.1, 0.2]}, "regrowth: a list of 4 numbers"),
        ({"sprouts": [0.1, 0.2, -1]}, r"sprouts\[2\]: a number from 0 to 1, got -1"),
        ({"digest": [0, 1, 0.5]}, r"digest\[2\]: a whole number from 0 to 10000, got 0.5"),
        ({"timeout": -1}, "timeout: a whole number from 0"),
        ({"zap_cost": -1.0}, "zap_cost: a number from 0"),
        ({"kind": "mushrooms", "food": 1.0}, "foragers: at most -1 on this map"),
    ],
)
def test_refuses_bad_parameters(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        GridCommons(**options)


def test_lists_are_taken_for_tuples_and_the_rules_name_the_numbers() -> None:
    game = GridCommons("harvest", regrowth=[0.0, 0.1, 0.2, 0.3])  # type: ignore[arg-type]
    assert hash(game) == hash(GridCommons("harvest", regrowth=(0.0, 0.1, 0.2, 0.3)))
    assert "0, 0.1, 0.2 or 0.3" in game.about and "stays bare" in game.about
    assert "stays bare" not in GridCommons("harvest", regrowth=(0.1, 0.1, 0.2, 0.3)).about
    assert "11 of its 22 cells" in GridCommons().about and "0.5" in GridCommons().about
    assert "0, 5, 10 steps" in GridCommons("mushrooms").about
    assert '"1 ahead 2 left"' not in game.rules("forager") and "1 ahead 2 left" in game.rules("forager")


@pytest.mark.parametrize("kind", KINDS)
def test_arrays(kind: str, examine_arrays: Callable[[Game], None]) -> None:
    examine_arrays(GridCommons(kind, **{**SMALL, "steps": 5}))


@pytest.mark.parametrize(
    "options",
    [
        {"kind": "clean_up", **SMALL},
        {"kind": "harvest", **SMALL, "regrowth": (0.1, 0.2, 0.3, 0.4)},
        {"kind": "mushrooms", **SMALL, "zap_cost": 0.5, "sight": 1},
        {"kind": "clean_up", **SMALL, "timeout": 0, "dirt": 0.0, "breadth": 0},
    ],
)
def test_examined(options: dict[str, Any]) -> None:
    check_game(GridCommons(**options))


@pytest.mark.parametrize("kind", KINDS)
def test_jax_compiles_a_step(kind: str) -> None:
    jax = pytest.importorskip("jax", reason="JAX is an optional extra")
    jax.config.update("jax_enable_x64", True)
    game = GridCommons(kind, **SMALL)
    worlds = Worlds(game, 16, seed=1)
    state = tree_map(jax.numpy.asarray, worlds.state)
    step, view = jax.jit(game.step), jax.jit(game.view)
    for t in range(8):
        acts, u = {"forager": {"act": _acts(game, worlds, t)}}, worlds.numbers()
        state = step(state, tree_map(jax.numpy.asarray, acts), jax.numpy.asarray(u)).state
        done = worlds.step(acts)
        for one, other in zip(state, done.state, strict=True):
            np.testing.assert_allclose(np.asarray(one), other)
        for name, values in view(state)["forager"].items():
            np.testing.assert_allclose(np.asarray(values), worlds.view()["forager"][name])
