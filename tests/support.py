"""What several tests share besides the tables in ``variants``."""

from __future__ import annotations

import os
import signal
from typing import Any

import numpy as np

from societas import Game


def acts_of(game: Game, worlds: int, **fixed: Any) -> dict[str, Any]:
    """Acts of everybody: those given, for every world and player, else the lowest."""
    acts: dict[str, Any] = {}
    for role in game.roles:
        acts[role.name] = {}
        for field in role.acts:
            shape = (worlds, role.count, *field.shape)
            low = np.full(shape, max(field.space.low, -10), dtype=np.int64 if field.discrete else np.float64)
            given = np.asarray(fixed.get(field.name, low), dtype=low.dtype)
            acts[role.name][field.name] = np.broadcast_to(given, shape)
    return acts


def tiny_tokenizer(template: bool = True) -> Any:
    """Return a tokenizer of single characters."""
    from tokenizers import Regex, Tokenizer
    from tokenizers.decoders import Fuse
    from tokenizers.models import WordLevel
    from tokenizers.pre_tokenizers import Split
    from transformers import PreTrainedTokenizerFast

    words = ["<pad>", "<unk>", "<end>"] + [chr(c) for c in range(32, 127)] + ["\n"]
    core = Tokenizer(WordLevel({word: i for i, word in enumerate(words)}, unk_token="<unk>"))
    core.pre_tokenizer = Split(Regex(r"[\s\S]"), "isolated")
    core.decoder = Fuse()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=core, pad_token="<pad>", unk_token="<unk>", eos_token="<end>")
    if template:
        tokenizer.chat_template = (
            "{% for m in messages %}[{{ m['role'] }}]{{ m['content'] }}\n{% endfor %}"
            "{% if add_generation_prompt %}[assistant]{% endif %}"
        )
    return tokenizer


def tiny_llama() -> Any:
    """Return a Llama of three small layers with random weights, always the same."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=99,
        hidden_size=48,
        intermediate_size=96,
        num_hidden_layers=3,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=1024,
        pad_token_id=0,
        bos_token_id=2,
        eos_token_id=2,
        initializer_range=0.3,  # far from uniform, so that mistakes show
    )
    return LlamaForCausalLM(config).eval()


def squares(number: int, watch: Any) -> dict[str, Any]:
    """Do an easy job."""
    watch(0.5)
    return {"square": number**2}


def fails(number: int, watch: Any) -> dict[str, Any]:
    """Fail as jobs do that meet what they cannot compute."""
    raise ValueError(f"number: an even one, got {number}")


def dies(folder: str, times: int, watch: Any) -> dict[str, Any]:
    """Be killed by the system the first few times."""
    from pathlib import Path

    mark = Path(folder) / f"{len(list(Path(folder).iterdir()))}"
    if len(list(Path(folder).iterdir())) < times:
        mark.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return {"survived": True}
