"""RightsAuction: before each round a few rights to act are sold."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple, Self

from ..envs.core import validate
from ..envs.core.arrays import Array, full, namespace, to_float, to_int, total
from ..envs.core.fields import Choice, Field, Real, Role, Text
from ..envs.core.game import Acts, Game, Measure, Seen, Stage, shared, spread
from ..envs.core.mechanism import Institution, Mechanism, Unfit, joined, parted, players_of
from .mediator import coded, imposed


@dataclass(frozen=True)
class RightsAuction(Mechanism):
    """Tradable rights, k of them, sold before each round at a uniform price (Dales 1968; Vickrey 1961).

    Each player bids for one right. The k highest bids win, a lot decides between equal ones, and each winner pays the
    highest losing bid. Whoever has no right does nothing in the round: its act is replaced. The revenue is returned to
    all players equally. A bidder who loses may then gain by bidding more than the right is worth to it, since it gets a
    share of the price; where nothing is returned, it is dominant to bid what the right is worth (Vickrey 1961).

    Parameters
    ----------
    rights
        Rights a round, k; with one for each player or more the game is itself.
    field
        The act for which a right is needed, in every role that decides it: a single number or a choice.
    idle
        What is played for those without a right: a number, or an option by its name; None for what is nearest to zero (the
        first option).
    returned
        Share of the revenue that is returned; what is not is lost to all.
    most
        Highest bid, in units of reward.
    """

    rights: int
    field: str
    idle: float | int | str | None = None
    returned: float = 1.0
    most: float = 100.0

    def __post_init__(self) -> None:
        """Refuse parameters out of range."""
        validate.whole("rights", self.rights, 1, 1_000_000)
        validate.probability("returned", self.returned)
        validate.real("most", self.most, 1e-9, 1e9)

    @classmethod
    def suited(cls, game: Game) -> Self:
        """Return rights for half of the players, to the first act that several of them decide."""
        for role in game.roles:
            for field in role.acts:
                if role.count > 1 and not field.each and field.by is None and not isinstance(field.space, Text):
                    return cls(role.count // 2, field.name)
        raise Unfit(f"field: no two players of {game.name} decide the same single act")

    def apply(self, game: Game) -> Game:
        """Return the game with the auction before each round."""
        auctioned = Auctioned(game, self)
        return game if self.rights >= len(auctioned.people) else auctioned


class AuctionState(NamedTuple):
    """Who holds a right, 1 or 0, (*batch, players); last price, sum of prices, of revenue, and auctions held (*batch)."""

    held: Array
    price: Array
    prices: Array
    revenue: Array
    auctions: Array


class Auctioned(Institution):
    """A game for which rights are sold."""

    mechanism: RightsAuction
    opening = (Stage("auction", "each bids for a right to act in this round"),)
    own_reports = (
        Measure("right_price", "mean price of a right", "sum_t p_t / #auctions", "reward", better="lower"),
        Measure("right_revenue", "what was paid for rights in an episode", "sum_t k p_t", "reward", better="lower"),
    )

    def __init__(self, base: Game, mechanism: RightsAuction) -> None:
        super().__init__(base, mechanism)
        self.idle: dict[str, Any] = {}
        for role in base.roles:
            for field in role.acts:
                if field.name == mechanism.field:
                    if field.each:
                        raise Unfit(f"field: a right is to a single act, {field.name!r} of {role.name} has components")
                    nearest = min(max(0, field.space.low), field.space.high)
                    chosen = mechanism.idle is not None
                    self.idle[role.name] = coded(field, mechanism.idle, "idle") if chosen else nearest
        if not self.idle:
            known = sorted({field.name for role in base.roles for field in role.acts})
            raise Unfit(f"field: nobody in {base.name} decides {mechanism.field!r}; there are: {', '.join(known)}")
        self.bidders = tuple(self.idle)
        self.people = players_of(base, self.bidders)
        if len(self.people) < 2:
            raise Unfit(
                f"field: an auction takes at least 2 players who decide {mechanism.field!r}, got {self.people[0]}"
            )
        self.own_draws = len(self.people)

    @property
    def terms(self) -> str:
        """The auction in words."""
        dial, told = self.mechanism, []
        for role, idle in self.idle.items():
            space = next(f for f in self.base.role(role).acts if f.name == dial.field).space
            act = space.options[idle] if isinstance(space, Choice) else f"{idle:g}"
            told.append(act if len(self.idle) == 1 else f"{act} ({role})")
        back = "is returned to all players equally" if dial.returned == 1 else "is lost"
        if 0 < dial.returned < 1:
            back = f"is returned to all players equally but for {1 - dial.returned:.4g} of it, which is lost"
        return (
            f"Before each round {dial.rights} rights to decide {dial.field} are sold to {', '.join(self.people)}, at most one "
            f"to each. The highest bids win, a lot decides between equal ones, and each winner pays the highest bid that did "
            f"not win. For who has no right {dial.field} is {', '.join(told)} in this round, whatever it decides. "
            f"The revenue {back}."
        )

    def sees(self, role: Role) -> tuple[Field, ...]:
        """Show who holds a right, and the last price."""
        space = Choice(("no", "yes"))
        price = Real(0.0, self.mechanism.most)
        shown = (
            Field(
                "rights",
                space,
                f"who got a right to {self.mechanism.field} in the last auction",
                each=self.people,
                verifiable=True,
            ),
            Field("right_price", price, "what a right cost in the last auction", verifiable=True),
        )
        if role.name not in self.idle:
            return shown
        return (*shown, Field("right", space, f"whether you got a right to {self.mechanism.field}", verifiable=True))

    def acts(self, role: Role) -> tuple[Field, ...]:
        """Ask for bids."""
        if role.name not in self.idle:
            return ()
        return (Field("right_bid", Real(0.0, self.mechanism.most), "what you bid for a right", stage="auction"),)

    def begin(self, base: Any, u: Array) -> AuctionState:
        """Start without rights."""
        batch = tuple(u.shape[:-1])
        zero = full(u, batch, 0.0)
        return AuctionState(full(u, (*batch, len(self.people)), 0, integer=True), zero, zero, zero, zero)

    def meet(
        self, stage: Array, own: AuctionState, base: Any, acts: Mapping[str, Acts], u: Array
    ) -> tuple[AuctionState, dict[str, Array], Array | None]:
        """Sell the rights, and return the revenue."""
        bids = to_float(joined({name: acts[name]["right_bid"] for name in self.bidders}, self.bidders))
        xp, rights = namespace(bids), self.mechanism.rights
        mine, other, lot, others_lot = bids[..., :, None], bids[..., None, :], u[..., :, None], u[..., None, :]
        ahead = (other > mine) | ((other == mine) & (others_lot > lot))
        place = total(to_int(ahead))
        held = to_int(place < rights)
        price = xp.max(xp.where(held == 1, 0.0 * bids, bids), axis=-1)
        revenue = price * to_float(total(held))
        share = self.mechanism.returned * revenue / sum(role.count for role in self.base.roles)
        paid = parted(-price[..., None] * to_float(held), self.base, self.bidders)
        rewards = {role.name: spread(share, role.count) for role in self.base.roles}
        rewards |= {name: pay + rewards[name] for name, pay in paid.items()}
        own = AuctionState(held, price, own.prices + price, own.revenue + revenue, own.auctions + 1.0)
        return own, rewards, (self.mechanism.returned - 1.0) * revenue

    def bend(self, own: AuctionState, base: Any, acts: Mapping[str, Acts], u: Array) -> Mapping[str, Acts]:
        """Idle those who hold no right."""
        bent = {name: dict(fields) for name, fields in acts.items()}
        for name, held in parted(own.held, self.base, self.bidders).items():
            field = self.mechanism.field
            bent[name][field] = imposed(bent[name][field], held == 0, self.idle[name])
        return bent

    def show(self, own: AuctionState, base: Any, seen: dict[str, Seen]) -> dict[str, Seen]:
        """Show who holds a right, and the price."""
        mine = parted(own.held, self.base, self.bidders)
        return {
            role.name: {
                **seen[role.name],
                "rights": shared(own.held, role.count),
                "right_price": spread(own.price, role.count),
                **({"right": mine[role.name]} if role.name in mine else {}),
            }
            for role in self.base.roles
        }

    def account(self, own: AuctionState) -> dict[str, Array]:
        """Return the mean price and the revenue."""
        auctions = own.auctions + to_float(own.auctions == 0)
        return {"right_price": own.prices / auctions, "right_revenue": own.revenue}
