"""Voluntary public goods with punishment: joining, contributing, and sanctions that peers or a pool pay for."""

from __future__ import annotations

from dataclasses import dataclass

from ...envs.core import validate
from .payoffs import Groups, groups

STRATEGIES = ("cooperator", "defector", "loner", "peer", "pool")


@dataclass(frozen=True)
class PublicGoods:
    """The public goods game of Sigmund, De Silva, Traulsen and Hauert (2010, doi:10.1038/nature09203).

    Of M players N are drawn. Who joins may contribute c, which is multiplied by r and shared among the other joiners.
    Loners get sigma, and so does a joiner whom nobody joins. Peer punishers contribute, then fine each defector at a
    cost for each fine. Pool punishers contribute, and pay ``fee`` into a pool before the game; each defector is then
    fined in proportion to the pool. With ``second_order`` those who contribute but do not punish are fined too: by peers
    only where they could see them spare a defector, by the pool always.

    Parameters
    ----------
    strategies
        Which there are, in the order of the results.
    players, population
        N and M.
    multiplier, contribution, loner
        r, c and sigma.
    fine, cost
        beta and gamma: what a peer's fine takes from the fined and from the peer; beta is also the pool's, a punisher.
    fee
        G, what a pool punisher pays.
    second_order
        Whether those who do not punish are fined.
    """

    strategies: tuple[str, ...] = ("cooperator", "defector", "loner")
    players: int = 5
    population: int = 100
    multiplier: float = 3.0
    contribution: float = 1.0
    loner: float = 1.0
    fine: float = 0.7
    cost: float = 0.7
    fee: float = 0.7
    second_order: bool = False

    def __post_init__(self) -> None:
        """Refuse parameters that do not describe such a game."""
        object.__setattr__(self, "strategies", validate.names("strategies", self.strategies))
        for name in self.strategies:
            validate.one_of("strategies", name, STRATEGIES)
        validate.whole("players", self.players, 2, 100)
        validate.whole("population", self.population, self.players, 100_000)
        for name in ("multiplier", "contribution", "fine", "cost", "fee"):
            validate.real(name, getattr(self, name), 0.0, 1e6)
        validate.real("loner", self.loner, -1e6, 1e6)

    def payoff(self, strategy: int, others: tuple[int, ...]) -> float:
        """Return what a player of a strategy earns among others, given as counts by strategy."""
        mine = self.strategies[strategy]
        count = dict.fromkeys(STRATEGIES, 0) | dict(zip(self.strategies, others, strict=True))
        joiners = sum(others) - count["loner"]
        if mine == "loner" or joiners == 0:
            return self.loner
        givers = joiners - count["defector"]
        earned = self.multiplier * self.contribution * givers / joiners
        fines = {"peer": count["peer"], "pool": count["pool"]}
        if mine == "defector":
            return earned - self.fine * (fines["peer"] + fines["pool"])
        earned -= self.contribution
        if mine == "peer":
            earned -= self.cost * count["defector"]
        if mine == "pool":
            earned -= self.fee
        if self.second_order:
            if mine != "pool":
                earned -= self.fine * fines["pool"]
            if count["defector"] > 0:  # only then is it seen who does not punish
                if mine == "cooperator":
                    earned -= self.fine * fines["peer"]
                if mine == "peer":
                    earned -= self.cost * count["cooperator"]
        return earned

    def groups(self) -> Groups:
        """Return what strategies earn in the population."""
        return groups(self.payoff, len(self.strategies), self.players, self.population)
