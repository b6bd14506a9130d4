"""Design: search for the best parameters of any mechanism, or of any game, for a stated objective.

Neither torch nor pymoo is imported before it is needed.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from .gradient import Ascent, NotSmooth, gradient
from .pareto import Front, pareto
from .respond import Constant, Response
from .search import Design, Trial, measured, payoffs, regret, search
from .space import Family, Space, vary

if TYPE_CHECKING:
    from .reply import BestReply

__all__ = [
    "Ascent",
    "BestReply",
    "Constant",
    "Design",
    "Family",
    "Front",
    "NotSmooth",
    "Response",
    "Space",
    "Trial",
    "gradient",
    "measured",
    "pareto",
    "payoffs",
    "regret",
    "search",
    "vary",
]


def __getattr__(name: str) -> Any:
    """Import best replies, auctions that are learned and linear programmes when they are asked for."""
    if name == "BestReply":
        return importlib.import_module(".reply", __name__).BestReply
    if name in ("auctions", "programme"):
        return importlib.import_module(f".{name}", __name__)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
