"""Where a number comes from: the version of the code, and of what it ran on."""

from __future__ import annotations

import functools
import hashlib
import platform
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

ROOMS = ("envs", "mechanisms", "policies", "experiments")
PACKAGES = ("numpy", "scipy", "torch", "transformers")


@functools.cache
def code_version() -> str:
    """Return the version of societas with a hash of its own source, so that two states of the code differ."""
    root = Path(__file__).parents[1]
    digest = hashlib.sha256()
    for room in ROOMS:
        folder = (root / room).resolve()
        for path in sorted(folder.rglob("*.py")):
            digest.update(f"{room}/{path.relative_to(folder).as_posix()}\0".encode() + path.read_bytes())
    return f"{version('societas')}+{digest.hexdigest()[:8]}"


def device() -> str:
    """Return what arrays and models are computed on where nothing else is asked for: an accelerator, or cpu."""
    torch = sys.modules.get("torch")  # who has not needed it has used none
    if torch is not None and torch.cuda.is_available():
        return str(torch.cuda.get_device_name())
    return "cpu"


def machine() -> dict[str, str]:
    """Return what numbers are computed with: the system, Python, and the versions of what matters."""
    found = {"python": platform.python_version(), "platform": f"{platform.system()} {platform.machine()}"}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "absent"
    return found
