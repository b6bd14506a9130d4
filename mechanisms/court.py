"""Court: who finds out what is owed under a contract, at what cost and how fast."""

from __future__ import annotations

from dataclasses import dataclass

from ..envs.core import validate


@dataclass(frozen=True)
class Court:
    """A court that finds out a breach with probability ``accuracy``, independently for each debtor and round.

    Parameters
    ----------
    accuracy
        Probability that a debtor is found out.
    cost
        Cost of each case in which a debtor is found out, in units of reward: the loser, who owes, pays it, and it is lost
        to all.
    delay
        Rounds after which what a court awards is paid.
    lapses
        What becomes of awards that are not yet paid when the episode ends: False, they are paid in a final settlement, so
        that a delay moves payments in time only; True, they are lost to the creditors, so that in a game that may end
        after any round a delay discounts them.
    """

    accuracy: float = 1.0
    cost: float = 0.0
    delay: int = 0
    lapses: bool = False

    def __post_init__(self) -> None:
        """Refuse parameters out of range."""
        validate.probability("accuracy", self.accuracy)
        validate.real("cost", self.cost, 0.0)
        validate.whole("delay", self.delay, 0, 1_000)
        if not isinstance(self.lapses, bool):
            raise ValueError(f"lapses: true or false, got {self.lapses!r}")

    @property
    def text(self) -> str:
        """What it adds to a judgment, in words; empty for a court that is free and at once."""
        said = ""
        if self.delay:
            later = f"{self.delay} round{'' if self.delay == 1 else 's'} later"
            end = "is lost to those to whom it is owed" if self.lapses else "is paid then"
            said += f" It is paid {later}; what is not yet paid when the game ends {end}."
        if self.cost:
            said += f" Each case in which a breach is found costs the one who owes {self.cost:g}, which is lost to all."
        return said
