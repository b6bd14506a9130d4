"""Matching markets: two sides who want each other, and the procedure by which they come together."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ..core import assignment, chance, validate
from ..core.arrays import Array, absent, align, device_of, full, namespace, to_float, to_int, total
from ..core.fields import Choice, Field, Integer, Real, Role
from ..core.game import Acts, Benchmarks, Level, Measure, Seen, Stage
from ..core.rounds import Record, RoundGame, RoundState, Settled

RULES = {
    "deferred acceptance": assignment.deferred,
    "top trading cycles": assignment.trading,
    "immediate acceptance": assignment.boston,
}
PROCEDURES = (*RULES, "decentralised")
SIMULATED = 16_384
"""Markets over which welfare is averaged where it has no closed form."""


@dataclass(frozen=True)
class MatchingMarket(RoundGame):
    """Two-sided matching without money (Gale and Shapley 1962, doi:10.2307/2312726; Roth and Sotomayor 1990).

    There are n proposers and n receivers. To proposer i receiver j is worth w_ij = (1 - c) x_ij + c q_j, to receiver j
    proposer i is worth (1 - c) y_ji + c p_i, with x, y, q, p independent and uniform on [0, 1], drawn anew for every market:
    with c = 0 tastes are independent, with c = 1 all want the same. To have nobody is worth 0. A pair blocks a matching if
    both would rather have each other than what they have; without one the matching is stable.

    Under the first three procedures proposers rank the receivers, and a clearing house, which knows what the receivers want
    (they are schools, say, with public priorities), matches by *deferred acceptance*, *top trading cycles* (Shapley and
    Scarf 1974; Abdulkadiroglu and Sonmez 2003, doi:10.1257/000282803322157061) or *immediate acceptance*, which is known as
    the Boston mechanism. Under the last, *decentralised*, there is no clearing house: proposers without a partner make one
    offer each, a receiver with offers takes one of them for good, and so on for a number of rounds; then the market closes.

    To tell the truth is dominant under deferred acceptance (Dubins and Freedman 1981; Roth 1982), which is then stable, and
    under top trading cycles (Roth 1982), which are then efficient for the proposers. Under the two others it is not. With
    private independent tastes it is still a Bayes-Nash equilibrium, since all receivers who are left look alike: a proposer
    cannot know who is in demand. With public tastes the Nash equilibria of immediate acceptance lead to the stable matchings
    and to no others (Ergin and Sonmez 2006, doi:10.1016/j.jpubeco.2005.02.002): each proposer asks first for the partner it has
    in the stable matching that all proposers prefer. Where tastes are private and correlated the equilibrium is not known,
    and those parameters are refused.

    Parameters
    ----------
    pairs
        Number of proposers and of receivers, n.
    procedure
        ``"deferred acceptance"``, ``"top trading cycles"``, ``"immediate acceptance"`` or ``"decentralised"``.
    common
        Weight c of what all agree on in what a partner is worth.
    public
        Whether everyone sees what everyone is worth to everyone.
    offers
        Rounds of offers before a decentralised market closes; n are enough for everybody to find a partner.
    markets
        Markets of an episode, one after the other.
    """

    pairs: int = 3
    procedure: str = "deferred acceptance"
    common: float = 0.0
    public: bool = False
    offers: int = 2
    markets: int = 1

    reports = (
        Measure("stable", "share of markets whose matching no pair blocks", "#(markets without a blocking pair) / M"),
        Measure(
            "blocking",
            "pairs who would rather have each other than what they have, a market",
            "sum_m #{(i, j): w_ij > w_i(m) and v_ji > v_j(m)} / M",
            unit="pairs",
            source="Gale and Shapley 1962",
            better="lower",
        ),
        Measure("matched", "share of proposers who have a partner at the close", "sum_m #matched / (n M)"),
        Measure(
            "proposer_rank",
            "rank that proposers' partners have for them: 1 is the best, n + 1 nobody",
            "sum_mi rank_mi / (n M)",
            better="lower",
        ),
        Measure(
            "receiver_rank",
            "rank that receivers' partners have for them: 1 is the best, n + 1 nobody",
            "sum_mj rank_mj / (n M)",
            better="lower",
        ),
        Measure(
            "efficiency",
            "welfare as a share of that of the best matching of the same market",
            "sum_m (welfare_m / max over matchings of welfare_m) / M",
        ),
        Measure(
            "honest",
            "share of proposers who ask for what they want: rank all as they value them, or offer to the best who is free",
            "mean over rounds of #honest / #asked",
        ),
    )

    def __post_init__(self) -> None:
        """Refuse parameters out of range."""
        validate.whole("pairs", self.pairs, 2, 8)
        validate.one_of("procedure", self.procedure, PROCEDURES)
        validate.probability("common", self.common)
        if not isinstance(self.public, bool):
            raise ValueError(f"public: True or False, got {self.public!r}")
        validate.whole("offers", self.offers, 1, 64)
        validate.whole("markets", self.markets, 1, 100_000)
        if self.common and not self.public and self.procedure in PROCEDURES[2:]:
            raise ValueError(
                f"common: 0 where tastes are private and the procedure is {self.procedure!r}, got {self.common!r}: its equilibrium "
                "is not known; set public to True"
            )

    # ---- the game in words and fields ---------------------------------------------------------------------------

    @property
    def decentralised(self) -> bool:
        """Whether there is no clearing house."""
        return self.procedure == "decentralised"

    @property
    def repetitions(self) -> int:  # type: ignore[override]
        """Most rounds of an episode."""
        return self.markets * (self.offers if self.decentralised else 1)

    @property
    def about(self) -> str:
        """The rules in words, with all numbers."""
        n, c = self.pairs, self.common
        worth = "a number from 0 to 1, drawn anew for every market"
        if c == 0.0:
            worth += ": all numbers are equally likely and none says anything about another"
        elif c == 1.0:
            worth += ": all numbers are equally likely, and a partner is worth the same to everyone"
        else:
            worth += (
                f": {1 - c:g} times a number of one's own plus {c:g} times a number that is the same for all who judge that "
                "partner, both from 0 to 1 and equally likely"
            )
        known = (
            "Everyone sees all these numbers." if self.public else "Each sees only what the others are worth to itself."
        )
        best = "the receiver values most"
        how = {
            "deferred acceptance": "Every proposer asks for the receiver that it ranks best. Of those who ask for it a receiver "
            f"keeps the one whom {best}, for the time being; the others ask for the next in their ranking, and so on until nobody "
            "is refused any more. Then all keep whom they have.",
            "top trading cycles": "Every proposer points to the receiver that it ranks best of those left, and every receiver to "
            f"the proposer whom {best} of those left. On each cycle the proposers get the receivers to whom they point and leave "
            "with them. This is repeated until nobody is left.",
            "immediate acceptance": "Every receiver goes, for good, to the proposer among those who rank it first whom "
            f"{best}. What receivers are left go in the same way to those left who rank them second, and so on. To ask for a "
            "receiver whom others want too can thus cost you one that you rank lower.",
        }
        if self.decentralised:
            many = f"{self.offers} round{'s' * (self.offers > 1)}"
            rule = (
                f"A market has {many} of offers. In each every proposer without a partner makes an offer to one receiver; an offer "
                "to one who is taken is void. Then every receiver who has offers must take one of them: it names a proposer, and "
                "if that one made it no offer, it takes the first of those who did. Who has taken and been taken are partners for "
                "good, and what they still offer or take is void. Everybody sees who is taken. The market closes when all have "
                f"partners, or after {'that round' if self.offers == 1 else 'the last round'}."
            )
        else:
            rule = (
                "Every proposer ranks all receivers: 1 is best, and of equal ranks the receiver listed first counts as better. A "
                f"clearing house, which knows what proposers are worth to receivers, then matches. {how[self.procedure]}"
            )
        many = f"There are {self.markets} markets, one after the other. " if self.markets > 1 else ""
        return (
            f"{n} proposers and {n} receivers look for partners; each can have one of the other side. {many}What a partner is "
            f"worth to you is {worth}. {known}\n{rule}\nYour reward in a market is what your partner is worth to you, or 0 if you "
            "have none."
        )

    @property
    def stages(self) -> tuple[Stage, ...]:
        """Rankings; or offers and answers."""
        if self.decentralised:
            return (Stage("offer", "proposers without a partner make offers"), Stage("answer", "receivers take offers"))
        return (Stage("rank", "proposers rank receivers"),)

    @property
    def nature(self) -> int:  # type: ignore[override]
        """Tastes: one's own, and what all agree on."""
        n = self.pairs
        return 2 * n * n + 2 * n * (self.common > 0.0)

    @functools.cached_property
    def _names(self) -> tuple[tuple[str, ...], tuple[str, ...]]:
        sides = ("proposer", "receiver")
        proposers, receivers = (tuple(f"{side}_{i}" for i in range(self.pairs)) for side in sides)
        return proposers, receivers

    def cast(self) -> tuple[Role, ...]:
        """The proposers; the receivers, where there is no clearing house."""
        n, (proposers, receivers), unit = self.pairs, self._names, Real(0.0, 1.0)
        last = "your partner in the last market"
        everyone: tuple[Field, ...] = ()
        if self.public:
            one = tuple(f"{r} to {p}" for p in proposers for r in receivers)
            two = tuple(f"{p} to {r}" for r in receivers for p in proposers)
            everyone = (
                Field("to_proposers", unit, "what receivers are worth to proposers", each=one),
                Field("to_receivers", unit, "what proposers are worth to receivers", each=two),
            )
        worth = Field("worth", unit, "what each receiver is worth to you as a partner", each=receivers)
        partner = Field("partner", Choice((*receivers, "nobody")), last)
        you = (Field("you", Choice(proposers), "who you are"),) if self.public else ()
        means = "you want the partner who is worth most to you"
        if not self.decentralised:
            rank = Field("rank", Integer(1, n), "your rank for each receiver: 1 is best", each=receivers, stage="rank")
            return (Role("proposer", n, (worth, partner, *you, *everyone), (rank,), means),)
        left = Field("left", Integer(1, self.offers), "rounds of offers left in this market, this one included")
        taken = Field(
            "taken",
            Choice((*proposers, "nobody")),
            "by whom each receiver is taken in this market",
            each=receivers,
            verifiable=True,
        )
        return (
            Role(
                "proposer",
                n,
                (worth, taken, left, partner, *you, *everyone),
                (Field("offer", Choice(receivers), "to whom you make an offer", stage="offer"),),
                means,
            ),
            Role(
                "receiver",
                n,
                (
                    Field("worth", unit, "what each proposer is worth to you as a partner", each=proposers),
                    Field(
                        "asked",
                        Choice(("no", "yes")),
                        "who has just made you an offer that you can take",
                        each=proposers,
                    ),
                    taken,
                    left,
                    Field("partner", Choice((*proposers, "nobody")), last),
                    *everyone,
                ),
                (Field("take", Choice(proposers), "whose offer you take, if you have any", stage="answer"),),
                means,
            ),
        )

    # ---- the game in arrays -------------------------------------------------------------------------------------

    def open(self, u: Array) -> Record:
        """Draw what each is worth to each: ``wants`` (*batch, proposers, receivers), ``likes`` (*batch, receivers, proposers)."""
        n, c, xp = self.pairs, self.common, namespace(u)
        both = xp.reshape(u[..., : 2 * n * n], (*u.shape[:-1], 2, n, n))
        if c:
            agreed = xp.reshape(u[..., 2 * n * n :], (*u.shape[:-1], 2, 1, n))
            both = (1.0 - c) * both + c * agreed
        return {"wants": both[..., 0, :, :], "likes": both[..., 1, :, :]}

    def recall(self, like: Array) -> Record:
        """Return that no market has closed and nobody has a partner."""
        n = self.pairs
        nobody = full(like, (*like.shape, n), n, integer=True)
        kept = {"closed": like, "proposer": nobody, "receiver": nobody}
        if self.decentralised:
            blank = full(like, (*like.shape, n, n), 0.0)
            kept |= {"asked": like, "wants": blank, "likes": blank, "pairs": to_int(blank)}
        return kept

    def _tastes(self, nature: Record, memory: Record) -> tuple[Array, Array]:
        """Return the tastes of this market: what nature has just drawn, or drew as the market opened."""
        if not self.decentralised:
            return nature["wants"], nature["likes"]
        xp, fresh = namespace(memory["asked"]), align(memory["asked"] == 0, nature["wants"])
        wants, likes = (xp.where(fresh, nature[name], memory[name]) for name in ("wants", "likes"))
        return wants, likes

    def own(self, state: RoundState) -> dict[str, Seen]:
        """Show each what it wants, who is taken, and who has asked."""
        n, memory = self.pairs, state.memory
        wants, likes = self._tastes(state.nature, memory)
        xp, batch = namespace(wants), tuple(wants.shape[:-2])
        everyone: Seen = {}
        if self.public:
            for name, table in (("to_proposers", wants), ("to_receivers", likes)):
                flat = xp.reshape(table, (*batch, 1, n * n))
                everyone[name] = xp.broadcast_to(flat, (*batch, n, n * n))
        proposer = {"worth": wants, "partner": memory["proposer"], **everyone}
        if self.public:
            proposer["you"] = memory["proposer"] * 0 + _numbers(memory["proposer"], n)
        if not self.decentralised:
            return {"proposer": proposer}
        pairs = memory["pairs"] > 0
        holder = _partner(_turned(pairs))
        proposer["taken"] = xp.broadcast_to(holder[..., None, :], (*batch, n, n))
        proposer["left"] = (memory["proposer"] * 0 + self.offers) - memory["asked"][..., None]
        asked = _turned(_open(pairs, state.acts["proposer"]["offer"])) & (state.stage == 1)[..., None, None]
        receiver = {"worth": likes, "asked": to_int(asked), "partner": memory["receiver"]}
        receiver |= {name: proposer[name] for name in ("taken", "left")}
        return {"proposer": proposer, "receiver": receiver | everyone}

    def settle(self, nature: Record, acts: dict[str, Acts], memory: Record, u: Array) -> Settled:
        """Match by the procedure, or take offers; at the close of a market say how good the matching is."""
        n = self.pairs
        wants, likes = self._tastes(nature, memory)
        xp, order, line = namespace(wants), _order(wants), _order(likes)
        if self.decentralised:
            before = memory["pairs"] > 0
            offer, take = to_int(acts["proposer"]["offer"]), to_int(acts["receiver"]["take"])
            asked = _open(before, offer)
            number = _numbers(offer, n)
            favoured = xp.where(take[..., None] == number, -1, number)
            pairs = before | _turned(assignment.first(favoured, _turned(asked)))
            waiting = ~xp.any(before, axis=-1)
            top = assignment.first(order, _free(before))
            honest = to_float(total(to_int(xp.any(asked & top, axis=-1)))) / total(to_float(waiting))
            closes = xp.all(xp.any(pairs, axis=-1), axis=-1) | (memory["asked"] + 1 >= self.offers)
        else:
            rank = to_int(acts["proposer"]["rank"])
            pairs = assignment.met(RULES[self.procedure](rank, line), n)
            before = pairs & ~pairs
            honest = total(to_float(xp.all(assignment.places(rank) == order, axis=-1))) / n
            closes = honest >= 0.0
        new = to_float(pairs & ~before)
        paid = {"proposer": total(new * wants), "receiver": total(_turned(new) * likes)}
        joint = wants + _turned(likes)
        made = total(total(joint * to_float(pairs)))
        best = total(total(joint * to_float(assignment.met(assignment.heaviest(joint), n))))
        blocking = total(total(to_float(assignment.blocking(order, line, pairs))))
        mates = {"proposer": _partner(pairs), "receiver": _partner(_turned(pairs))}
        found = {
            "stable": to_float(blocking == 0),
            "blocking": blocking,
            "matched": total(to_float(mates["proposer"] < n)) / n,
            "proposer_rank": _rank(order, pairs),
            "receiver_rank": _rank(line, _turned(pairs)),
            "efficiency": xp.where(best > 0.0, made / xp.where(best > 0.0, best, 1.0), 1.0),
        }
        close = to_float(closes)
        closed = memory["closed"] + to_int(closes)
        left = {"closed": closed}
        for side, mate in mates.items():
            left[side] = xp.where(closes[..., None], mate, memory[side])
        if self.decentralised:
            goes_on = to_int(~closes)
            left |= {"asked": (memory["asked"] + 1) * goes_on, "wants": wants, "likes": likes}
            left["pairs"] = to_int(pairs) * goes_on[..., None, None]
        return Settled(
            {role: paid[role] for role in acts},
            welfare=total(paid["proposer"]) + total(paid["receiver"]),
            sums={name: value * close for name, value in found.items()} | {"honest": honest},
            memory=left,
            over=closed >= self.markets,
        )

    def measures(self, state: RoundState) -> Record:
        """Return the means over markets, and of honesty over rounds."""
        closed = to_float(state.memory["closed"] + (state.memory["closed"] == 0))
        return {
            **{name: value / closed for name, value in state.sums.items()},
            "honest": super().measures(state)["honest"],
        }

    # ---- what theory says ---------------------------------------------------------------------------------------

    def truth(self, seen: Seen) -> Acts:
        """Return what an honest proposer does: it ranks as it values, or offers to the best receiver who is free."""
        order = _order(seen["worth"])
        if not self.decentralised:
            return {"rank": order + 1}
        return {"offer": _best(order, seen["taken"] == self.pairs)}

    def takes(self, seen: Seen) -> Acts:
        """Return what a receiver does: it takes the best offer, which is dominant."""
        return {"take": _best(_order(seen["worth"]), seen["asked"] == 1)}

    def asks_for_best(self, seen: Seen) -> Acts:
        """Return what a proposer does for the first best: first of all it asks for its partner in the best matching."""
        return self._asks(seen, lambda wants, likes: assignment.heaviest(wants + _turned(likes)))

    def asks_for_stable(self, seen: Seen) -> Acts:
        """Return what a proposer does where tastes are public: first of all it asks for its stable partner."""
        return self._asks(seen, lambda wants, likes: assignment.deferred(_order(wants), _order(likes)))

    def _asks(self, seen: Seen, rule: Callable[[Array, Array], Array]) -> Acts:
        n, xp, order = self.pairs, namespace(seen["worth"]), _order(seen["worth"])
        shape = (*seen["you"].shape, n, n)
        wants, likes = (xp.reshape(seen[name], shape) for name in ("to_proposers", "to_receivers"))
        mine = assignment.met(xp.take_along_axis(rule(wants, likes), seen["you"][..., None], axis=-1)[..., 0], n)
        order = xp.where(mine, -1, order)
        if not self.decentralised:
            return {"rank": assignment.places(order) + 1}
        return {"offer": _best(order, seen["taken"] == n)}

    @property
    def honest(self) -> bool:
        """Whether to be honest is the equilibrium that is played."""
        return self.procedure in PROCEDURES[:2] or not self.public

    @property
    def levels(self) -> dict[str, tuple[float, float]]:
        """Mean welfare of a market and its standard error: best matching, stable one, honest proposers, equilibrium."""
        return _levels(replace(self, markets=1))

    def _simulated(self) -> dict[str, tuple[float, float]]:
        """Simulate the levels; what a lot would make of the same market, n on average, is a control variate."""
        found: dict[str, list[Any]] = {"best": [], "stable": [], "truth": [], "equilibrium": []}
        part = 4096

        def gained(joint: Array, pairs: Array) -> Array:
            return total(total(joint * pairs)) - total(total(joint)) / self.pairs

        for begin in range(0, SIMULATED, part):
            keys = chance.key(chance.code("matching market"), np.arange(begin, begin + part))
            drawn = self.open(chance.uniform(keys, self.nature))
            wants, likes = drawn["wants"], drawn["likes"]
            joint, ranks, lines = wants + _turned(likes), _order(wants), _order(likes)
            if self.decentralised:
                pairs = ranks < 0
                for _ in range(self.offers):
                    free = _free(pairs)
                    if absent(free):
                        break
                    pairs = pairs | _turned(assignment.first(lines, _turned(assignment.first(ranks, free))))
            else:
                pairs = assignment.met(RULES[self.procedure](ranks, lines), self.pairs)
            stable = assignment.met(assignment.deferred(ranks, lines), self.pairs)
            found["best"].append(gained(joint, assignment.met(assignment.heaviest(joint), self.pairs)))
            found["stable"].append(gained(joint, stable))
            found["truth"].append(gained(joint, pairs))
            found["equilibrium"].append(gained(joint, pairs if self.honest else stable))
        whole = {name: np.concatenate(parts) for name, parts in found.items()}
        return {
            name: (self.pairs + float(more.mean()), float(more.std() / SIMULATED**0.5)) for name, more in whole.items()
        }

    def benchmarks(self) -> Benchmarks:
        """Return the best matching, equilibrium, the stable matching, honesty, and what a lot would reach."""
        times, levels = self.markets, self.levels

        def level(name: str, words: str, proposer: Any = None) -> Level:
            mean, error = levels[name]
            play = {"proposer": proposer} | ({"receiver": self.takes} if self.decentralised else {})
            said = f"{words}; mean of {SIMULATED} markets (standard error {error:.2g} a market)"
            return Level(times * mean, said, play if proposer else None)

        if self.procedure in PROCEDURES[:2]:
            why = "to tell the truth is dominant (Roth 1982)"
        elif self.public:
            why = (
                "Nash equilibrium: each asks first for its partner in the best stable matching (Ergin and Sonmez 2006)"
            )
        else:
            why = "Bayes-Nash equilibrium: all receivers who are left look alike, so that honesty is best"
        equilibrium = level("equilibrium", why, self.truth if self.honest else self.asks_for_stable)
        if (
            self.decentralised and self.offers == 1 and not self.public
        ):  # balls in boxes: (1 - 1 / n)^n of these stay empty
            exact = self.pairs * (1.0 - (1.0 - 1.0 / self.pairs) ** self.pairs / (self.pairs + 1))
            equilibrium = replace(equilibrium, value=times * exact, source=f"{why}; n - n (1 - 1 / n)^n / (n + 1)")
        others = {"stable": level("stable", "the stable matching that all proposers prefer (Gale and Shapley 1962)")}
        if not self.honest:
            others["truth"] = level("truth", "all proposers are honest, which is no equilibrium", self.truth)
        return Benchmarks(
            first_best=level(
                "best",
                "the matching of the largest sum of values, of both sides",
                self.asks_for_best if self.public else None,
            ),
            equilibrium=equilibrium,
            baseline=Level(float(times * self.pairs), "everyone has a partner by lot, worth 1/2 to each on average"),
            others=others,
        )


@functools.lru_cache(maxsize=64)
def _levels(game: MatchingMarket) -> dict[str, tuple[float, float]]:
    return game._simulated()


def _turned(table: Array) -> Array:
    return namespace(table).matrix_transpose(table)


def _order(values: Array) -> Array:
    """Return strict ranks from 0 on: a higher value is better, and of equal ones the first."""
    return assignment.places(-values)


def _numbers(like: Array, count: int) -> Array:
    return namespace(like).arange(count, device=device_of(like))


def _partner(pairs: Array) -> Array:
    """Return the number of each row's partner, (*batch, n, n) marks to (*batch, n); n for nobody."""
    n = pairs.shape[-1]
    return n + total(to_int(pairs) * (_numbers(pairs, n) - n))


def _rank(order: Array, pairs: Array) -> Array:
    """Return the mean rank, from 1, that rows' partners have for them, (*batch); n + 1 for nobody."""
    xp, n = namespace(order), order.shape[-1]
    return total(to_float(xp.min(xp.where(pairs, order, n), axis=-1) + 1)) / n


def _free(pairs: Array) -> Array:
    """Mark the proposers and receivers (*batch, n, n) both of whom have no partner."""
    xp = namespace(pairs)
    return ~xp.any(pairs, axis=-1, keepdims=True) & ~xp.any(pairs, axis=-2, keepdims=True)


def _open(pairs: Array, offer: Array) -> Array:
    """Mark the offers (*batch, n) that can be taken: those of proposers without a partner to receivers without one."""
    return (to_int(offer)[..., None] == _numbers(offer, pairs.shape[-1])) & _free(pairs)


def _best(order: Array, allowed: Array) -> Array:
    """Return the number of the best that is allowed, (*batch, n, n) to (*batch, n); the first where none is."""
    return namespace(order).argmax(to_int(assignment.first(order, allowed)), axis=-1)
