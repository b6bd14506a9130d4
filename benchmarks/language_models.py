"""Decisions a second of language models: one forward pass for all agents, against a ``generate`` for each.

Run ``python benchmarks/language_models.py`` (options: ``--quick``, ``--json FILE``). 64 agents are asked at once; their
prompts have 200 tokens of which they share 160: the rules, which a scorer reads once and keeps, so that in an episode all
decisions but the first find them read; what it costs to read them anew is told as well. Everything is measured in one
run, on one thread, with one model: each round times every contestant once, every other round in the opposite order, so
that a machine that slows down slows them all; what is printed are medians over the rounds. Time is the processor's, so
that other work on the machine counts little.
"""

from __future__ import annotations

import os

for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(_name, "1")  # before NumPy and torch are imported

import argparse
import json
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
from rich.console import Console
from rich.table import Table
from steps import machine

from societas.envs.core import words
from societas.envs.core.fields import Choice, Field, Integer
from societas.policies.llm.constrained import Constrained
from societas.policies.llm.models import locate
from societas.policies.llm.protocol import Message
from societas.policies.llm.scorer import Chat, Scorer, quiet

GOAL_RATIO, GOAL_GAP = 8.0, 1e-4
WRITTEN = 8  # tokens that a plain agent writes
PRECISIONS = {"single": torch.float32, "bfloat16": torch.bfloat16}
FULL: dict[str, Any] = {"agents": 64, "tokens": 200, "shared": 160, "rounds": 3, "sample": 4}
QUICK: dict[str, Any] = {"agents": 64, "tokens": 200, "shared": 160, "rounds": 1, "sample": 2}

FIELDS = {
    "one of 2": Field("act", Choice(("cooperate", "defect")), means="what you do"),
    "0 to 10": Field("act", Integer(0, 10), means="what you take"),
}
"""What is decided."""


class Fixed(Scorer):
    """A scorer whose prompts are given as tokens: what agents read is drawn at random, so that nothing else is shared."""

    prompts: Mapping[str, list[int]]

    def tokens(self, chat: Chat) -> list[int]:
        """Return the tokens of an agent's prompt."""
        return self.prompts[chat.user]


def load() -> tuple[Any, Any, str]:
    """Return SmolLM2 where it is there, else a Llama of its shape with random weights and a tokenizer of bytes."""
    with quiet():
        try:
            folder = locate("smollm2")
            tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
            model = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
        except FileNotFoundError:
            return *stand_in(), "random weights in the shape of SmolLM2-135M"
    return model.eval(), tokenizer, "SmolLM2-135M-Instruct"


def stand_in() -> tuple[Any, Any]:
    """Return a Llama with random weights and a tokenizer whose tokens are the 256 bytes."""
    from tokenizers import Tokenizer, decoders, pre_tokenizers
    from tokenizers.models import BPE

    signs = sorted(pre_tokenizers.ByteLevel.alphabet())
    core = Tokenizer(BPE({sign: i for i, sign in enumerate([*signs, "<end>"])}, []))
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    core.decoder = decoders.ByteLevel()
    tokenizer = transformers.PreTrainedTokenizerFast(tokenizer_object=core, eos_token="<end>")
    torch.manual_seed(0)
    config = transformers.LlamaConfig(
        vocab_size=49_152,
        hidden_size=576,
        intermediate_size=1_536,
        num_hidden_layers=30,
        num_attention_heads=9,
        num_key_value_heads=3,
        tie_word_embeddings=True,
        eos_token_id=256,
    )
    return transformers.LlamaForCausalLM(config).eval(), tokenizer


def written_as(field: Field) -> list[str]:
    """Return the options of a field as an answer has them, with what ends them."""
    space = field.space
    if isinstance(space, Choice):
        return [json.dumps(option) + "}" for option in space.options]
    return [f"{value}}}" for value in range(int(space.low), int(space.high) + 1)]


def reuse_gap(scorer: Scorer, chats: Sequence[Chat], options: Sequence[str]) -> float:
    """Return the largest difference in log-probability between shared passes and one pass over each whole text."""
    worst = 0.0
    for _ in range(2):  # the second time over kept keys and values
        for chat, scores in zip(chats, scorer.score(chats, [options] * len(chats)), strict=True):
            prompt = scorer.tokens(chat)
            for option, score in list(zip(options, scores, strict=True))[:3]:
                end = scorer.tokenizer.encode(option, add_special_tokens=False)
                with torch.inference_mode():
                    logits = scorer.model(input_ids=torch.tensor([[*prompt, *end]])).logits[0].double()
                logs = torch.log_softmax(logits[len(prompt) - 1 : -1], dim=-1)
                worst = max(worst, abs(score - float(logs[torch.arange(len(end)), torch.tensor(end)].sum())))
    return worst


def measure(
    agents: int, tokens: int, shared: int, rounds: int, sample: int, tell: Callable[[str], None]
) -> dict[str, Any]:
    """Time all contestants and return the results as plain data.

    Parameters
    ----------
    agents
        How many are asked at once.
    tokens, shared
        Tokens of each prompt, and how many of them all prompts begin with.
    rounds
        How often each contestant is timed.
    sample
        Agents for whom ``generate`` is called; each is a call of its own, so that its rate does not depend on their number.
    tell
        Told what is being done.
    """
    tell("loading the model")
    model, tokenizer, name = load()
    scorer = Fixed(model, tokenizer, device="cpu")
    rng = np.random.default_rng(0)
    usual = [i for i in range(min(len(tokenizer), 40_000)) if i not in tokenizer.all_special_ids]
    rules = rng.choice(usual, shared).tolist()
    names = [f"agent_{i}" for i in range(agents)]
    scorer.prompts = {who: rules + rng.choice(usual, tokens - shared).tolist() for who in names}
    chats = [Chat("", who) for who in names]
    conversations, luck = [[Message("user", who)] for who in names], rng.random(agents).tolist()
    held = Constrained(scorer)
    gaps: dict[str, float] = {}
    rows = []

    def generate() -> int:
        with torch.inference_mode(), quiet():
            for who in names[:sample]:
                prompt = torch.tensor([scorer.prompts[who]])
                out = model.generate(
                    prompt,
                    attention_mask=torch.ones_like(prompt),
                    min_new_tokens=WRITTEN,
                    max_new_tokens=WRITTEN,
                    do_sample=False,
                    pad_token_id=tokenizer.eos_token_id,
                )
                assert out.shape[1] == tokens + WRITTEN
        return sample

    def scores(field: Field, anew: bool = False) -> Callable[[], int]:
        options = [written_as(field)] * agents

        def run() -> int:
            if anew:
                scorer.forget()
            scorer.score(chats, options)
            return agents

        return run

    def answers(field: Field) -> Callable[[], int]:
        schemas = [words.schema((field,))] * agents

        def run() -> int:
            found = held.answer(conversations, schemas, temperature=1.0, luck=luck)
            assert not any(answer.error for answer in found)
            return agents

        return run

    contestants: dict[tuple[str, str], Callable[[], int]] = {("generate", f"{WRITTEN} tokens"): generate}
    for what, field in FIELDS.items():
        contestants["scored", what] = scores(field)
        contestants["held to a schema", what] = answers(field)
    contestants["scored, rules read anew", "one of 2"] = scores(FIELDS["one of 2"], anew=True)
    for precision, kind in PRECISIONS.items():
        tell(f"{precision} precision: comparing with a pass over each whole text")
        model.to(kind)
        scorer.forget()  # from here on the rules are kept
        gaps[precision] = reuse_gap(scorer, chats[:4], written_as(FIELDS["one of 2"]))
        seconds: dict[tuple[str, str], list[float]] = {key: [] for key in contestants}
        for number in range(rounds):
            for key in list(contestants)[:: 1 if number % 2 == 0 else -1]:
                tell(f"{precision} precision, round {number + 1} of {rounds}: {', '.join(key)}")
                begin = time.process_time()
                count = contestants[key]()
                seconds[key].append((time.process_time() - begin) / count)
        plain = seconds["generate", f"{WRITTEN} tokens"]
        for (how, what), times in seconds.items():
            ratio = statistics.median(a / b for a, b in zip(plain, times, strict=True))
            rate = 1 / statistics.median(times)
            rows.append({"precision": precision, "how": how, "what": what, "rate": rate, "ratio": ratio})
    asked = {"agents": agents, "tokens": tokens, "shared": shared, "rounds": rounds}
    told = machine()
    told["versions"] += f", transformers {transformers.__version__}"
    return {"machine": told, "model": name, **asked, "gaps": gaps, "rows": rows}


def show(results: Mapping[str, Any], console: Console) -> None:
    """Print the results."""
    console.print(results["machine"]["machine"])
    console.print(f"{results['machine']['versions']}; medians of {results['rounds']} rounds")
    title = (
        f"{results['model']}: {results['agents']} agents, {results['tokens']} tokens each, {results['shared']} shared"
    )
    table = Table(title=title)
    words_first = ("precision", "how", "what is decided")
    for column in (*words_first, "decisions a second", "times generate"):
        table.add_column(column, justify="left" if column in words_first else "right")
    for row in results["rows"]:
        verdict = ""
        if (row["how"], row["what"]) == ("scored", "one of 2"):
            verdict = " met" if row["ratio"] >= GOAL_RATIO else " missed"
        table.add_row(row["precision"], row["how"], row["what"], f"{row['rate']:.2f}", f"{row['ratio']:.1f}{verdict}")
    console.print(table)
    console.print(
        f"Goal: a choice scored at least {GOAL_RATIO:g} times as fast as generated, the rules kept from earlier decisions."
    )
    gaps = ", ".join(f"{gap:.1e} in {precision} precision" for precision, gap in results["gaps"].items())
    verdict = "met" if results["gaps"]["single"] <= GOAL_GAP else "missed"
    console.print(
        "Log-probabilities over shared and kept prefixes differ from those of a pass over each whole text by at most "
        f"{gaps} (goal {GOAL_GAP:g} in single: {verdict})."
    )


def main(arguments: Sequence[str] | None = None) -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description="Measure decisions a second.")
    parser.add_argument("--quick", action="store_true", help="one round")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the results to a file")
    options = parser.parse_args(arguments)
    console, progress = Console(width=120), Console(stderr=True)
    with progress.status("starting") as status:
        results = measure(**(QUICK if options.quick else FULL), tell=status.update)
    show(results, console)
    if options.json is not None:
        options.json.write_text(json.dumps(results, indent=2) + "\n")


if __name__ == "__main__":
    main()
