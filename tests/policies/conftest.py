"""What the tests of language models share."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from societas.policies.llm.models import cache_folder, locate_gguf


@pytest.fixture(scope="session")
def gguf_server() -> Iterator[str]:
    """Address of llama.cpp's own server, which serves SmolLM2 in this process."""
    xllamacpp = pytest.importorskip("xllamacpp")
    try:
        file = locate_gguf()
    except FileNotFoundError as error:
        pytest.skip(str(error))
    given = xllamacpp.CommonParams()
    given.model.path = str(file)
    given.model_alias = {"smollm2"}
    given.n_ctx, given.n_parallel, given.cache_ram_mib = 4096, 1, 0
    given.cpuparams.n_threads = given.cpuparams_batch.n_threads = 1
    given.port, given.warmup, given.verbosity = 0, False, -1
    server = xllamacpp.Server(given)
    yield str(server.listening_address)
    del server


SCENES = {"commons": "none", "team": "text", "market": "sanction"}
"""What the little substrate has read of: the smallest group of each game, under one institution."""


@pytest.fixture(scope="session")
def little_substrate(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Folder of a small substrate, made in seconds; from then on it is what ``"substrate"`` names, for all tests."""
    pytest.importorskip("transformers")
    import torch

    from societas.policies.align import scenarios, substrate
    from societas.policies.llm.policy import load_scorer

    torch.set_num_threads(1)
    cache, real = tmp_path_factory.mktemp("cache"), cache_folder()
    if (real / "smollm2").is_dir():  # other models stay where they are
        (cache / "smollm2").symlink_to(real / "smollm2", target_is_directory=True)
    small = {"steps": 60, "batch": 4, "rate": 8e-3, "width": 48, "heads": 2}
    scenes = [f"{name}, {under}, {scenarios.SIZES[name][0]}" for name, under in SCENES.items()]
    folder = substrate.make(cache, scenes=scenes, episodes=30, sessions=4, **small)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SOCIETAS_CACHE", str(cache))
        load_scorer.cache_clear()
        yield folder
    load_scorer.cache_clear()
