"""Registration of every game with Gymnasium and PettingZoo, on ``import societas``."""

from __future__ import annotations


def register_everywhere() -> None:
    """Register."""
