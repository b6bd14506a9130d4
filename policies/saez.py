"""A planner who taxes by the book: it estimates how incomes answer to taxes, and sets the rates that follow from that."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any, NamedTuple, Self

from ..envs.core import validate
from ..envs.core.arrays import Array, align, constant, namespace, to_float, to_int, total
from ..envs.core.fields import find
from ..envs.core.policy import Policy, default_acts

if TYPE_CHECKING:
    from ..envs.core.game import Acts, Game, Seen

_FLOOR = 0.01
"""Incomes below this share of the mean income have the weight of that share."""


class SaezMemory(NamedTuple):
    """What a planner remembers: sums over past rounds of x = log(1 - rate) and y = log(income), by worker.

    ``asked`` (*batch, seats) counts its decisions; the others are (*batch, seats, workers).
    """

    asked: Array
    count: Array
    x: Array
    y: Array
    xx: Array
    xy: Array


class SaezPlanner(Policy):
    """Sets tax rates by the formula of Saez (2001, doi:10.1111/1467-937X.00166) from an estimated elasticity.

    The rate above a cut b is (1 - g) / (1 - g + A e), the best one if it holds for all income above b: A is the mean
    income of those above b over its excess over b, g the mean weight of their money beyond b. With one cut at 0 that is
    the flat tax, with a higher one the top rate 1 / (1 + A e) if g is 0 (Diamond and Saez 2011, doi:10.1257/jep.25.4.165).

    The elasticity e is estimated while taxing, as Zheng et al. (2022, doi:10.1126/sciadv.abk2607) let this planner do: a
    regression of log income on the log of what is kept of it, each worker compared with itself in other rounds (Gruber
    and Saez 2002, doi:10.1016/S0047-2727(01)00085-8). It plays any role that decides ``rates``, one a bracket, and sees
    ``cuts``, ``last_rates`` and ``incomes``; rates in whole numbers are shares of the highest.

    Parameters
    ----------
    aversion
        Weight of a worker's money: income to the power of minus this, 1 on average; None: money of those above a cut
        counts nothing, which makes revenue highest.
    elasticity
        The elasticity, if it is known; None: it is estimated.
    explore
        Decisions at first in which one rate drawn at random, low and high by turns, holds in all brackets; an estimate takes 2.
    first
        The elasticity that is believed while none can be estimated.
    """

    _top: float
    _stages: tuple[bool, ...]
    _workers: int

    def __init__(
        self,
        *,
        aversion: float | None = 1.0,
        elasticity: float | None = None,
        explore: int | None = None,
        first: float = 0.5,
    ) -> None:
        self.aversion = None if aversion is None else validate.real("aversion", aversion, 0.0, 100.0)
        self.elasticity = None if elasticity is None else validate.real("elasticity", elasticity, 1e-3, 100.0)
        known = self.elasticity is not None
        self.explore = (0 if known else 2) if explore is None else validate.whole("explore", explore, 0, 1_000_000)
        self.first = validate.real("first", first, 1e-3, 100.0)

    def bind(self, game: Game, role: str, seats: tuple[int, ...]) -> Self:
        """Find the fields; refuse a role that sets no tax rates."""
        bound = copy.copy(super().bind(game, role, seats))
        where = f"{game.name}: {role}, whom SaezPlanner plays"
        rates = find(bound.role.acts, "rates", where)
        for name in ("cuts", "last_rates", "incomes"):
            find(bound.role.sees, name, where)
        bound._top = float(rates.space.high)
        bound._stages = (*(stage.name == rates.stage for stage in game.stages), False)
        bound._workers = len(find(bound.role.sees, "incomes", where).each)
        bound.draws = 1 if bound.explore else 0
        return bound

    def begin(self, batch: tuple[int, ...], xp: Any, device: Any) -> SaezMemory:
        """Remember nothing."""
        none = xp.zeros((*batch, len(self.seats), self._workers), dtype=xp.float64, device=device)
        return SaezMemory(none[..., 0], none, none, none, none, none)

    def act(self, seen: Seen, stage: Array, u: Array, memory: SaezMemory) -> tuple[Acts, SaezMemory]:
        """Learn from the last round and set the rates; nothing where nothing is asked."""
        null = default_acts(self.role, stage, len(self.seats))
        here = constant(stage, self._stages)[stage]
        xp, old = namespace(stage), to_float(seen["last_rates"]) / self._top
        after = _learn(memory, seen["cuts"], old, seen["incomes"])
        rates = self._rates(after, seen["cuts"], old, seen["incomes"])
        if self.explore:  # low and high by turns
            trial = 0.3 * u[..., 0] + 0.5 * (memory.asked % 2.0)
            rates = xp.where((memory.asked < self.explore)[..., None], trial[..., None] + 0.0 * rates, rates)
        given = rates if null["rates"].dtype == rates.dtype else to_int(xp.round(rates * self._top))
        keep = align(here, given)
        after = SaezMemory(*(xp.where(align(here, new), new, was) for new, was in zip(after, memory, strict=True)))
        return {**null, "rates": xp.where(keep, given, null["rates"])}, after

    def estimate(self, memory: SaezMemory) -> Array:
        """Return the elasticity that follows from what is remembered, (*batch, seats)."""
        xp, times = namespace(memory.x), memory.count + (memory.count == 0)
        within = total(memory.xx - memory.x * memory.x / times)
        slope = total(memory.xy - memory.x * memory.y / times) / xp.where(within > 1e-9, within, 1.0)
        return xp.where(within > 1e-9, xp.clip(slope, 0.01, 10.0), self.first)

    def _rates(self, memory: SaezMemory, cuts: Array, old: Array, incomes: Array) -> Array:
        """Return the rates (*batch, seats, brackets) that the formula gives; the old one where nobody earns so much."""
        xp = namespace(incomes)
        e = self.estimate(memory) if self.elasticity is None else memory.asked * 0.0 + self.elasticity
        excess = xp.clip(incomes[..., None, :] - cuts[..., :, None], 0.0, None)
        earned = incomes[..., None, :] * (excess > 0.0)
        beyond = total(excess)
        some = xp.where(beyond > 0.0, beyond, 1.0)
        tail = total(earned) / some
        weight = beyond * 0.0
        if self.aversion is not None:
            mean = total(incomes)[..., None] / incomes.shape[-1]
            share = xp.maximum(incomes / xp.where(mean > 0.0, mean, 1.0), incomes * 0.0 + _FLOOR) ** -self.aversion
            share = share * incomes.shape[-1] / total(share)[..., None]
            weight = total(share[..., None, :] * excess) / some
        gain = xp.clip(1.0 - weight, 0.0, 1.0)
        return xp.where(beyond > 0.0, gain / (gain + tail * e[..., None]), old)


def _learn(memory: SaezMemory, cuts: Array, rates: Array, incomes: Array) -> SaezMemory:
    """Return the memory with a round's incomes added, of those whose marginal rate is known and below 1."""
    xp = namespace(incomes)
    above = incomes[..., None] > cuts[..., None, :]
    number = total(to_int(above))  # of a worker's bracket, from 1; 0 below the first
    own = xp.take_along_axis(
        xp.broadcast_to(rates[..., None, :], above.shape), xp.clip(number - 1, 0, None)[..., None], axis=-1
    )
    kept = 1.0 - own[..., 0]
    known = to_float((number > 0) & (kept > 1e-6))
    x = xp.log(xp.where(known > 0.0, kept, 1.0))
    y = xp.log(xp.where(known > 0.0, incomes, 1.0))
    return SaezMemory(
        memory.asked + 1.0,
        memory.count + known,
        memory.x + x,
        memory.y + y,
        memory.xx + x * x,
        memory.xy + x * y,
    )
