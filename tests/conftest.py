"""Settings of the whole suite."""

from __future__ import annotations

import os

# Before torch is imported: the workers of pytest-xdist share the cores, one thread each.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OMP_WAIT_POLICY", "passive")
