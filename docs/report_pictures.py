"""Make the pictures of a report for the documentation: run a shipped experiment and take screenshots of its page.

    python docs/report_pictures.py        # docs/images/report-desktop.png and report-phone.png; about two minutes

Needs Chromium on the path and the package Pillow.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from PIL import Image

from societas.experiments.report import write_report
from societas.experiments.run import run
from societas.experiments.spec import load

SPEC = "courts"
VIEWS = {"desktop": (1000, 2400), "phone": (390, 1500)}
"""Width and height in pixels."""
SCROLLBAR = 15
"""Its width, which is cut off."""
LARGEST = 300_000
"""Bytes of a picture."""


def shoot(page: Path, target: Path, size: tuple[int, int]) -> None:
    """Write what a browser window of a size shows of a page, in 64 colours."""
    browser = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if browser is None:
        raise FileNotFoundError("chromium: not on the path; install it (apt-get install chromium)")
    options = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"]
    window = f"--window-size={size[0] + SCROLLBAR},{size[1]}"
    line = [browser, *options, f"--screenshot={target}", window, page.resolve().as_uri()]
    subprocess.run(line, check=True, capture_output=True)
    with Image.open(target) as picture:
        small = picture.convert("RGB").crop((0, 0, *size)).quantize(64)
    small.save(target, optimize=True)
    if (found := target.stat().st_size) > LARGEST:
        raise ValueError(f"{target}: at most {LARGEST:,} bytes, got {found:,}; lower the height in VIEWS")


def main() -> int:
    """Run the experiment and take the screenshots."""
    with TemporaryDirectory() as folder:
        page = write_report(run(load(SPEC), Path(folder)))
        for name, size in VIEWS.items():
            shoot(page, Path(__file__).parent / "images" / f"report-{name}.png", size)
    return 0


if __name__ == "__main__":  # cells run in processes of their own, which read this file again
    sys.exit(main())
