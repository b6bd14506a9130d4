"""What the tests of language models share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from societas.policies.llm.models import locate_gguf


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
