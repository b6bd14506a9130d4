"""Tiny: a language model small enough to learn from nothing in a minute, with a tokenizer made from the games' words."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ....envs.core import registry, validate, words

if TYPE_CHECKING:
    from ..scorer import Chat, Scorer

TEMPLATE = (
    "{% for m in messages %}<{{ m['role'] }}>{{ m['content'] }}{% endfor %}"
    "{% if add_generation_prompt %}<assistant>{% endif %}"
)
SPECIAL = ("<end>", "<system>", "<user>", "<assistant>")


class Tiny:
    """A small Llama with random weights, made from a seed, usable wherever a model is.

    Its tokenizer is byte-level BPE (Sennrich et al. 2016, arXiv:1508.07909; as in GPT-2) trained on the rules and
    prompts of ``games`` and on the numbers to 100; it can read any text, other words in pieces. It knows nothing before
    it learns: its acts are those of chance, and what takes fewer tokens to write is likelier.

    Parameters
    ----------
    games
        Names of games, with their default parameters, from whose words the tokenizer is made.
    seed
        Seed of the weights; None takes the seed of learning (0 without learning).
    width, layers, heads
        Of the network; the default has about 0.3 million weights.
    vocabulary
        Most tokens.
    device
        Where it runs; None chooses at run time.
    """

    def __init__(
        self,
        games: Sequence[str] = ("Commons", "HiddenAction"),
        *,
        seed: int | None = 0,
        width: int = 96,
        layers: int = 2,
        heads: int = 4,
        vocabulary: int = 768,
        device: str | None = None,
    ) -> None:
        if isinstance(games, str) or not games:
            raise ValueError(f"games: a list of names of games, got {games!r}")
        for name in games:
            validate.one_of("games", name, tuple(registry.entries("games")))
        self.games = tuple(games)
        self.seed = None if seed is None else validate.whole("seed", seed, 0, 2**62)
        self.width = validate.whole("width", width, 8, 4_096)
        self.layers = validate.whole("layers", layers, 1, 64)
        self.heads = validate.whole("heads", heads, 1, 64)
        if width % (2 * heads):
            raise ValueError(f"width: an even multiple of heads ({heads}), got {width}; take {2 * heads * 8}")
        self.vocabulary = validate.whole("vocabulary", vocabulary, 300, 100_000)
        self.device = device

    @property
    def parameters(self) -> dict[str, Any]:
        """What it was made with, but for the device."""
        names = ("games", "seed", "width", "layers", "heads", "vocabulary")
        return {name: list(v) if isinstance(v := getattr(self, name), tuple) else v for name in names}

    def fresh(self, seed: int = 0) -> Scorer:
        """Return the model anew; ``seed`` counts where it has none of its own."""
        import torch
        from transformers import LlamaConfig, LlamaForCausalLM

        from ..scorer import Scorer

        tokenizer = _tokenizer(self.games, self.vocabulary)
        config = LlamaConfig(
            vocab_size=len(tokenizer),
            hidden_size=self.width,
            intermediate_size=2 * self.width,
            num_hidden_layers=self.layers,
            num_attention_heads=self.heads,
            num_key_value_heads=self.heads,
            max_position_embeddings=16_384,
            tie_word_embeddings=True,
            initializer_range=self.width**-0.5,  # the same signal at every width
            bos_token_id=0,
            eos_token_id=0,
            pad_token_id=0,
        )
        config._attn_implementation = "sdpa"
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed if self.seed is None else self.seed)
            model = LlamaForCausalLM(config)
        return Scorer(model, tokenizer, device=self.device)

    @functools.cached_property
    def scorer(self) -> Scorer:
        """The model as it is before learning."""
        return self.fresh()

    def score(self, chats: Sequence[Chat], options: Sequence[Sequence[str]]) -> list[NDArray[np.float64]]:
        """Score options, as ``Scorer.score`` does."""
        return self.scorer.score(chats, options)

    def write(
        self, chats: Sequence[Chat], limit: int, *, temperature: float = 0.0, luck: Sequence[float] | None = None
    ) -> list[str]:
        """Write texts, as ``Scorer.write`` does."""
        return self.scorer.write(chats, limit, temperature=temperature, luck=luck)


@functools.lru_cache(maxsize=8)
def _tokenizer(games: tuple[str, ...], vocabulary: int) -> Any:
    """Return a tokenizer trained on what games say; the same for the same games."""
    return train_tokenizer(_texts(games), vocabulary)


def train_tokenizer(texts: Iterable[str], vocabulary: int) -> Any:
    """Return a tokenizer of at most ``vocabulary`` tokens trained on texts."""
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    core = Tokenizer(models.BPE())
    core.pre_tokenizer = pre_tokenizers.Sequence(
        [
            # a number of at most three digits is one piece, and so is each sign but for blanks before words
            pre_tokenizers.Split(Regex(r"\d{1,3}| ?[^\W\d_]+|_| ?[^\w\s]|\s"), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    core.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        special_tokens=list(SPECIAL),
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    core.train_from_iterator(texts, trainer)
    ends = dict.fromkeys(("bos_token", "eos_token", "pad_token"), "<end>")
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=core, **ends)  # type: ignore[no-untyped-call]
    tokenizer.add_special_tokens({"additional_special_tokens": list(SPECIAL[1:])})
    tokenizer.chat_template = TEMPLATE
    return tokenizer


def _texts(games: Sequence[str]) -> Iterator[str]:
    from ....envs.core.worlds import Worlds

    for _ in range(100):  # so often that each becomes one token
        yield " ".join(map(str, range(101)))
    for name in games:
        game = registry.create("games", name)
        view = Worlds(game).view()
        for role in game.roles:
            yield game.rules(role.name)
            for stage in range(len(game.stages)):
                own = {field: values[0, 0] for field, values in view[role.name].items()}
                yield words.prompt(game, role, 0, own, stage)
                yield str(words.schema(role.acts))
