"""The incentive audit: which incentive claims hold in a game as it is played, by how much they fail, what was not checked."""

from .checks import audit
from .claims import Audit, Claim
from .report import report

__all__ = ["Audit", "Claim", "audit", "report"]
