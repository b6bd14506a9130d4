"""Traders for double auctions: truthful ones, zero intelligence (Gode and Sunder) and zero intelligence plus (Cliff)."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any, NamedTuple, Self

from ..envs.core import validate
from ..envs.core.arrays import Array, namespace, to_float, to_int
from ..envs.core.chance import whole
from ..envs.core.policy import Policy, default_acts

if TYPE_CHECKING:
    from ..envs.core.game import Acts, Game, Seen

PLACE = 1
"""Index of the option "place" of the act field ``order``."""


class Trader(Policy):
    """Offers one unit at a time, at a price, for as long as it has units left.

    Plays roles that see ``units`` (left) and either ``value`` or ``cost`` (of the next unit, its limit price) and decide
    ``order``, of which option 1 places one, ``offer`` (a price) and perhaps ``quantity``.
    """

    needs: tuple[str, ...] = ()
    """Fields that it sees besides."""

    side: int
    """1 for a buyer, -1 for a seller."""

    def bind(self, game: Game, role: str, seats: tuple[int, ...]) -> Self:
        """Refuse a role that is no trader; learn its side, and the range of prices."""
        bound = copy.copy(super().bind(game, role, seats))
        sees, acts = ({field.name: field for field in fields} for fields in (bound.role.sees, bound.role.acts))
        limit = next((name for name in ("value", "cost") if name in sees), "value")
        lacks = [f"sees no {name!r}" for name in ("units", limit, *self.needs) if name not in sees]
        lacks += [f"decides no {name!r}" for name in ("order", "offer") if name not in acts]
        if lacks:
            raise ValueError(
                f"{type(self).__name__}: trades in a double auction, but {role} of {game.name} {lacks[0]}; "
                f"take another policy or another game"
            )
        bound.side = 1 if limit == "value" else -1
        bound.limit, bound.space = limit, acts["offer"].space  # type: ignore[attr-defined]
        return bound

    def offers(self, seen: Seen, prices: Array, stage: Array) -> Acts:
        """Return orders of one unit each at prices (*batch, seats), in whole coins within the range that is allowed."""
        xp, space = namespace(prices), self.space  # type: ignore[attr-defined]
        acts = default_acts(self.role, stage, len(self.seats))
        acts["order"] = to_int(seen["units"] > 0) * PLACE
        acts["offer"] = xp.clip(to_int(prices), space.low, space.high)
        if "quantity" in acts:
            acts["quantity"] = acts["order"] * 0 + 1
        return acts

    def limits(self, seen: Seen) -> Array:
        """Return the limit prices (*batch, seats)."""
        return seen[self.limit]  # type: ignore[attr-defined]


class Truthful(Trader):
    """Offers every unit at what it is worth or costs."""

    def act(self, seen: Seen, stage: Array, u: Array, memory: Any) -> tuple[Acts, Any]:
        """Offer the next unit at its limit price."""
        return self.offers(seen, self.limits(seen), stage), memory


class ZeroIntelligence(Trader):
    """Offers a price drawn at random, all equally likely (Gode and Sunder 1993, doi:10.1086/261868).

    Parameters
    ----------
    constrained
        Whether prices are drawn only from those at which it cannot lose (ZI-C); else from all that are allowed (ZI-U).
    """

    draws = 1

    def __init__(self, constrained: bool = True) -> None:
        if not isinstance(constrained, bool):
            raise ValueError(f"constrained: True or False, got {constrained!r}")
        self.constrained = constrained

    def act(self, seen: Seen, stage: Array, u: Array, memory: Any) -> tuple[Acts, Any]:
        """Draw a price."""
        space, limit = self.space, self.limits(seen)  # type: ignore[attr-defined]
        low, high = space.low, space.high
        if self.constrained and self.side > 0:
            high = limit
        elif self.constrained:
            low = limit
        return self.offers(seen, whole(u[..., 0], low, high), stage), memory


class Margins(NamedTuple):
    """What ZIP traders remember, (*batch, seats): ``margin`` over the limit price, ``drift`` (momentum), ``speed`` and
    ``inertia`` (drawn at the start), and whether they have ``begun`` (0 or 1).
    """

    margin: Array
    drift: Array
    speed: Array
    inertia: Array
    begun: Array


class ZIP(Trader):
    """Zero intelligence plus: keeps a profit margin and adapts it to what it hears (Cliff 1997, HP Labs HPL-97-91).

    A trader quotes p = limit (1 + margin). After each order that it hears, at a price q (that of the trade, if it traded):

    - it raises its margin if the order traded and its own p would have traded on worse terms for it (seller p <= q, buyer
      p >= q);
    - it lowers its margin, if it has units left, when p is too greedy: if the order was of the other side and traded, or of
      its own side and did not (seller p >= q, buyer p <= q).

    Its target is R q + A, above or below q with R and A drawn up to 1 +/- ``relative`` and +/- ``absolute``. It moves by
    d = inertia * d + (1 - inertia) * speed * (target - p), and margin = (p + d) / limit - 1, of which a seller's is at least
    0 and a buyer's at most 0.

    Parameters
    ----------
    speed, inertia, margin
        Ranges from which each trader's learning rate (beta), momentum (gamma) and first margin (a buyer's is negative) are
        drawn, each a pair (low, high).
    relative, absolute
        Largest relative perturbation c_r and absolute perturbation c_a, the latter in coins.
    """

    draws = 5
    needs = ("shout", "shout_price", "price", "traded")

    def __init__(
        self,
        speed: tuple[float, float] = (0.1, 0.5),
        inertia: tuple[float, float] = (0.0, 0.1),
        margin: tuple[float, float] = (0.05, 0.35),
        relative: float = 0.05,
        absolute: float = 0.05,
    ) -> None:
        self.ranges: list[tuple[float, float]] = []
        for name, given in (("margin", margin), ("speed", speed), ("inertia", inertia)):
            if len(given) != 2:
                raise ValueError(f"{name}: a pair of numbers (low, high), got {given!r}")
            low = validate.real(f"{name}[0]", given[0], 0.0, 1.0)
            self.ranges.append((low, validate.real(f"{name}[1]", given[1], low, 1.0)))
        self.relative = validate.real("relative", relative, 0.0, 1.0)
        self.absolute = validate.real("absolute", absolute, 0.0, 1e6)

    def begin(self, batch: tuple[int, ...], xp: Any, device: Any) -> Margins:
        """Start without margins; they are drawn at the first move."""
        zero = xp.zeros((*batch, len(self.seats)), dtype=xp.float64, device=device)
        return Margins(zero, zero, zero, zero, zero)

    def act(self, seen: Seen, stage: Array, u: Array, memory: Margins) -> tuple[Acts, Margins]:
        """Learn from the last order, and quote."""
        xp, side = namespace(u), self.side
        limit = to_float(self.limits(seen))
        fresh = memory.begun == 0
        drawn = [low + (high - low) * u[..., k] for k, (low, high) in enumerate(self.ranges)]
        margin = xp.where(fresh, -side * drawn[0], memory.margin)
        speed, inertia = xp.where(fresh, drawn[1], memory.speed), xp.where(fresh, drawn[2], memory.inertia)
        price = limit * (1.0 + margin)
        heard, traded = seen["shout"], seen["traded"] > 0
        q = to_float(xp.where(traded, seen["price"], seen["shout_price"]))
        ours = heard == (1 if side > 0 else 2)
        some, active = heard > 0, seen["units"] > 0
        gap = side * (self._quote(price, limit) - q)  # above 0: its own quote is better for the others than q
        rise = some & traded & (gap >= 0)
        fall = some & active & (traded ^ ours) & (gap <= 0) & ~rise
        away = to_float(fall) - to_float(rise)  # 1: towards the others
        target = q * (1.0 + side * away * self.relative * u[..., 3]) + side * away * self.absolute * u[..., 4]
        moved = away != 0
        drift = xp.where(moved, inertia * memory.drift + (1.0 - inertia) * speed * (target - price), memory.drift)
        wanted = (price + drift) / limit - 1.0
        wanted = xp.clip(wanted, -1.0, 0.0) if side > 0 else xp.clip(wanted, 0.0, None)
        margin = xp.where(moved, wanted, margin)
        quote = self._quote(limit * (1.0 + margin), limit)
        return self.offers(seen, quote, stage), Margins(margin, drift, speed, inertia, memory.begun * 0.0 + 1.0)

    def _quote(self, price: Array, limit: Array) -> Array:
        """Return a price in whole coins that is no worse than the limit price."""
        xp = namespace(price)
        quote = xp.round(price)
        return xp.minimum(quote, limit) if self.side > 0 else xp.maximum(quote, limit)
