"""Settings of the whole suite."""

from __future__ import annotations

import os

import pytest

# Before torch is imported: the workers of pytest-xdist share the cores, one thread each.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OMP_WAIT_POLICY", "passive")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--regenerate-golden", action="store_true", help="rewrite the golden playthroughs in tests/golden")
