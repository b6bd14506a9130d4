"""Exact scoring of options by a causal language model, everything that is shared computed once."""

from __future__ import annotations

import copy
import itertools
import json
import re
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Chat:
    """A prompt: the system's text, the user's, and the beginning of the assistant's answer; examples go before the user's."""

    system: str
    user: str
    answer: str = ""
    examples: tuple[tuple[str, str], ...] = ()


class _Trie:
    """Token sequences as a tree: each node is a token after its parent; node 0 is the empty sequence."""

    def __init__(self) -> None:
        self.children: list[dict[int, int]] = [{}]
        self.parent, self.token, self.depth = [-1], [-1], [0]

    def add(self, tokens: Sequence[int], start: int = 0) -> list[int]:
        """Add a sequence below a node; return the nodes along it."""
        node, path = start, []
        for token in tokens:
            if token not in self.children[node]:
                self.children[node][token] = len(self.token)
                self.children.append({})
                self.parent.append(node)
                self.token.append(token)
                self.depth.append(self.depth[node] + 1)
            node = self.children[node][token]
            path.append(node)
        return path


class _Tree(NamedTuple):
    """Prompts and options laid out for one forward pass.

    ``tokens``, their ``depths`` behind what is cached and what each ``sees`` (count, count); of which nodes ``keep`` the
    logits; where among these the options' tokens stand (row, token); and how many tokens each option of each job has.
    """

    tokens: list[int]
    depths: list[int]
    sees: NDArray[np.bool_]
    keep: list[int]
    places: list[tuple[int, int]]
    lengths: list[list[int]]


def _grow(shared: int, jobs: list[tuple[list[int], list[list[int]]]]) -> _Tree:
    """Return the tree of prompts and their options, of which the first ``shared`` tokens are cached."""
    trie = _Trie()
    wanted: list[tuple[int, int]] = []  # node, next token
    inner: set[int] = set()
    for prompt, ends in jobs:
        last = trie.add(prompt[shared:])[-1]
        for end in ends:
            path = [last, *trie.add(end[:-1], last)]
            wanted += zip(path, end, strict=True)
            inner.update(path)
    count = len(trie.token) - 1  # node 0 is the end of the prefix; a node's parent comes before it
    sees = np.zeros((count + 1, count + 1), dtype=bool)
    for node in range(1, count + 1):
        sees[node] = sees[trie.parent[node]]
        sees[node, node] = True
    keep = sorted(inner)
    row = {node: i for i, node in enumerate(keep)}
    return _Tree(
        trie.token[1:],
        [depth - 1 for depth in trie.depth[1:]],
        sees[1:, 1:],
        [node - 1 for node in keep],
        [(row[node], token) for node, token in wanted],
        [[len(end) for end in ends] for _, ends in jobs],
    )


class _Blocks(NamedTuple):
    """Nodes that attend together, with what they see: a node does not pay for nodes of other blocks.

    ``rows`` (blocks, length) are nodes and ``keys`` (blocks, width) what these see, both filled up with the first;
    ``places`` (nodes,) says where each node lies among all rows.
    """

    rows: Any
    keys: Any
    places: Any

    @classmethod
    def cut(cls, sees: NDArray[np.bool_], shared: int, dtype: Any, size: int = 64) -> tuple[_Blocks, Any]:
        """Cut nodes, in order, into blocks of ``size`` or less; return these and their mask (blocks, 1, length, keys).

        ``sees`` (nodes, nodes behind the prefix): what each sees, besides the ``shared`` tokens of the prefix.
        """
        import torch

        cuts, alone = [0], sees.sum(axis=1) == 1
        for node in range(1, len(sees)):
            if node - cuts[-1] == size or (alone[node] and node - cuts[-1] >= size // 2):
                cuts.append(node)
        parts = [np.arange(begin, end) for begin, end in itertools.pairwise([*cuts, len(sees)])]
        seen = [np.flatnonzero(sees[part].any(axis=0)) for part in parts]
        length, width = max(map(len, parts)), max(map(len, seen))
        rows = np.zeros((len(parts), length), dtype=np.int64)
        keys = np.zeros((len(parts), shared + width), dtype=np.int64)
        keys[:, :shared] = np.arange(shared)
        mask = torch.zeros((len(parts), 1, length, shared + width), dtype=dtype)
        for i, (part, some) in enumerate(zip(parts, seen, strict=True)):
            rows[i, : len(part)] = part
            keys[i, shared : shared + len(some)] = shared + some
            hidden = np.ones((length, width), dtype=bool)
            hidden[: len(part), : len(some)] = ~sees[np.ix_(part, some)]
            mask[i, 0, :, shared:].masked_fill_(torch.from_numpy(hidden), torch.finfo(dtype).min)
        places = np.concatenate([i * length + np.arange(len(part)) for i, part in enumerate(parts)])
        return cls(*map(torch.from_numpy, (rows, keys, places))), mask


def _attend(
    module: Any, query: Any, key: Any, value: Any, mask: Any, *, blocks: _Blocks, scaling: float | None = None, **_: Any
) -> tuple[Any, None]:
    """Attend block by block, as transformers calls it; heads that share keys are rows of one product.

    ``query`` (1, heads, nodes, size), ``key`` and ``value`` (1, groups of heads, seen, size) and ``mask`` (blocks, 1,
    heads of a group * length, width); the result has the shape (1, nodes, heads, size).
    """
    import torch

    (count, length), groups, size = blocks.rows.shape, key.shape[1], query.shape[-1]
    asked = query[0].index_select(1, blocks.rows.flatten()).view(groups, -1, count, length, size)
    asked = asked.permute(2, 0, 1, 3, 4).reshape(count, groups, -1, size)
    keys, values = (
        one[0].index_select(1, blocks.keys.flatten()).view(groups, count, -1, size).transpose(0, 1)
        for one in (key, value)
    )
    found = torch.nn.functional.scaled_dot_product_attention(asked, keys, values, attn_mask=mask, scale=scaling)
    found = found.view(count, groups, -1, length, size).permute(0, 3, 1, 2, 4).reshape(count * length, -1, size)
    return found.index_select(0, blocks.places)[None], None


class Scorer:
    """Log-probabilities of options under a causal language model.

    All prompts and options of a call form one tree of tokens. The model runs over each of its nodes once, with an
    attention mask that lets a node see its ancestors only; so a prefix that prompts share (the rules), and the digits
    that numbers share, cost nothing twice. The keys and values of the prefix common to all prompts of a call are kept
    between calls.

    Parameters
    ----------
    model, tokenizer
        From transformers. The model must take four-dimensional attention masks, as Llama, Qwen, Mistral and their
        like do; this is checked once, and a model that does not is run plainly, one option at a time. On a CPU, attention
        goes block by block where the model hands on to its attention what that needs, which is checked as well.
    device
        Where to run; None takes cuda if there is one.
    chunk
        Most tokens a forward pass takes.
    """

    def __init__(self, model: Any, tokenizer: Any, *, device: str | None = None, chunk: int = 1024) -> None:
        import torch

        self.device = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
        self.model = model.to(self.device).eval()
        self.tokenizer = tokenizer
        self.chunk = chunk
        self.plain: bool | None = None
        self.blocks = self.device.type == "cpu" and getattr(model.config, "_attn_implementation", None) == "sdpa"
        self._prefixes: OrderedDict[tuple[int, ...], Any] = OrderedDict()

    @classmethod
    def load(cls, name_or_path: str | Path, *, device: str | None = None, dtype: Any = None, chunk: int = 1024) -> Self:
        """Load a model from a folder or a hub; bfloat16 on cuda and float32 on cpu, unless a dtype is given."""
        import torch
        from transformers import AutoModelForCausalLM, AutoTokenizer

        place = device or ("cuda" if torch.cuda.is_available() else "cpu")
        dtype = dtype or (torch.bfloat16 if place.startswith("cuda") else torch.float32)
        with quiet():
            tokenizer = AutoTokenizer.from_pretrained(name_or_path)
            model = AutoModelForCausalLM.from_pretrained(name_or_path, dtype=dtype, attn_implementation="sdpa")
        return cls(model, tokenizer, device=place, chunk=chunk)

    def frozen(self) -> Scorer:
        """Return the model as it is now, for reference; it shares nothing with what goes on learning, kept prefixes least."""
        model = copy.deepcopy(self.model).requires_grad_(False)
        return Scorer(model, self.tokenizer, device=str(self.device), chunk=self.chunk)

    def tokens(self, chat: Chat) -> list[int]:
        """Return the tokens of a prompt: the tokenizer's chat template if it has one, else plain text, then the answer."""
        said = [("system", chat.system)] if chat.system else []
        for asked, answered in chat.examples:
            said += [("user", asked), ("assistant", answered)]
        turns = [{"role": role, "content": text} for role, text in [*said, ("user", chat.user)]]
        if getattr(self.tokenizer, "chat_template", None):
            from jinja2 import TemplateError

            try:
                text = self.tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=True)
            except TemplateError:  # no system role
                first = turns[1:] if chat.system else turns
                first[0] = {"role": "user", "content": f"{chat.system}\n\n{first[0]['content']}".strip()}
                text = self.tokenizer.apply_chat_template(first, tokenize=False, add_generation_prompt=True)
        else:
            text = "".join(f"{turn['content']}\n\n" for turn in turns)
        return list(self.tokenizer.encode(text + chat.answer, add_special_tokens=False))

    def score(self, chats: Sequence[Chat], options: Sequence[Sequence[str]]) -> list[NDArray[np.float64]]:
        """Return the natural log-probability of each option as the continuation of its chat.

        Options are tokenised on their own, not together with the prompt. They must include what ends them ("10}" and
        "1}"), so that none begins with another.

        Parameters
        ----------
        chats
            The prompts.
        options
            For each chat, its options.

        Returns
        -------
        list
            For each chat, an array (options,).

        Raises
        ------
        ValueError
            If an option is empty, or the tokens of one begin with those of another.
        """
        if len(chats) != len(options):
            raise ValueError(f"options: one list for each of the {len(chats)} chats, got {len(options)}")
        if not chats:
            return []
        prompts: dict[Chat, list[int]] = {chat: self.tokens(chat) for chat in dict.fromkeys(chats)}
        ends: dict[str, list[int]] = {}
        for option in dict.fromkeys(option for some in options for option in some):
            ends[option] = list(self.tokenizer.encode(option, add_special_tokens=False))
        jobs = list(dict.fromkeys(zip(chats, map(tuple, options), strict=True)))
        for some in dict.fromkeys(job[1] for job in jobs):
            _prefix_free(some, ends)
        if self.plain is None:
            self._try(prompts[jobs[0][0]], [ends[o] for o in jobs[0][1][:2]])
        if self.plain:
            found = [self._plainly(prompts[chat], [ends[o] for o in some]) for chat, some in jobs]
        else:
            found = self._tree([prompts[chat] for chat, _ in jobs], [[ends[o] for o in some] for _, some in jobs])
        scores = dict(zip(jobs, found, strict=True))
        return [scores[chat, tuple(some)].copy() for chat, some in zip(chats, options, strict=True)]

    def _try(self, prompt: list[int], ends: list[list[int]]) -> None:
        """Find out how the model can be run, by a prompt and another one that leaves it half way."""
        half = len(prompt) // 2
        prompts = [prompt, prompt[:half] + prompt[half + 1 :] or prompt * 2]
        right = np.concatenate([self._plainly(one, ends) for one in prompts])
        most = 0.5 if "16" in str(getattr(self.model, "dtype", "")) else 1e-3
        for blocks in (True, False) if self.blocks else (False,):
            self.blocks, self.plain = blocks, False
            try:
                found = np.concatenate(self._tree(prompts, [ends] * 2))
            except (RuntimeError, TypeError, ValueError):  # the model does not know what blocks are
                self.plain = None
                if not blocks:
                    raise
            else:
                self.plain = not np.abs(found - right).max() <= most
                if not self.plain:
                    return

    def _tree(self, prompts: list[list[int]], ends: list[list[list[int]]]) -> list[NDArray[np.float64]]:
        """Score by trees of at most ``chunk`` tokens over the prefix that all prompts share."""
        shared = _common([prompt[:-1] for prompt in prompts])
        results: list[NDArray[np.float64]] = []
        group: list[int] = []
        size = 0
        for i, (prompt, some) in enumerate(zip(prompts, ends, strict=True)):
            cost = len(prompt) - shared + sum(len(end) - 1 for end in some)
            if group and size + cost > self.chunk:
                results += self._forward(prompts[0][:shared], shared, [(prompts[j], ends[j]) for j in group])
                group, size = [], 0
            group.append(i)
            size += cost
        return results + self._forward(prompts[0][:shared], shared, [(prompts[j], ends[j]) for j in group])

    def _forward(
        self, prefix: list[int], shared: int, jobs: list[tuple[list[int], list[list[int]]]]
    ) -> list[NDArray[np.float64]]:
        import torch

        tree = _grow(shared, jobs)
        with torch.inference_mode():
            cache = self._prefixes.pop(tuple(prefix), None) or self._cache(prefix)
            values = self._run(tree, shared, cache).double().cpu().numpy()
            cache.crop(-len(tree.tokens))
            self._prefixes[tuple(prefix)] = (
                cache  # out of the shelf while in use: a pass that fails leaves nothing wrong
            )
            while len(self._prefixes) > 4:
                self._prefixes.popitem(last=False)
        scores, at = [], 0
        for lengths in tree.lengths:
            sums = []
            for length in lengths:
                sums.append(values[at : at + length].sum())
                at += length
            scores.append(np.array(sums))
        return scores

    def _run(self, tree: _Tree, shared: int, cache: Any) -> Any:
        """Return the log-probability (tokens,) of every token of the options of a tree behind ``shared`` cached ones."""
        import torch

        logits = self._logits(tree.tokens, tree.depths, tree.sees, tree.keep, shared, cache)
        logs = torch.log_softmax(logits.float(), dim=-1)
        places = torch.tensor(tree.places, device=self.device)
        return logs[places[:, 0], places[:, 1]]

    def _logits(
        self, tokens: list[int], depths: list[int], sees: NDArray[np.bool_], keep: list[int], shared: int, cache: Any
    ) -> Any:
        """Run the model once over nodes of a tree behind ``shared`` cached tokens; return logits (kept, vocabulary).

        ``sees`` (nodes, nodes behind the prefix): what each sees, besides the prefix. A model that takes no trees takes the
        nodes as they stand, one after the other.
        """
        import torch

        dtype, config = self.model.dtype, self.model.config
        mask, named = None, dict[str, Any]()
        if self.blocks:
            from transformers import AttentionInterface

            AttentionInterface.register("blocks", _attend)
            text = config.get_text_config()
            fold = text.num_attention_heads // (getattr(text, "num_key_value_heads", None) or text.num_attention_heads)
            named["blocks"], mask = _Blocks.cut(sees, shared, dtype)
            mask = mask.repeat(1, 1, fold, 1)
        elif not self.plain:
            mask = torch.zeros((1, 1, len(sees), shared + sees.shape[1]), dtype=dtype)
            mask[..., shared:].masked_fill_(torch.from_numpy(~sees), torch.finfo(dtype).min)
        usual = config._attn_implementation
        try:
            if self.blocks:
                config._attn_implementation = "blocks"
            out = self.model(
                input_ids=torch.tensor([tokens], device=self.device),
                attention_mask=None if mask is None else mask.to(self.device),
                position_ids=torch.tensor([[shared + depth for depth in depths]], device=self.device),
                past_key_values=cache,
                use_cache=cache is not None,
                logits_to_keep=torch.tensor(keep, device=self.device),
                **named,
            )
        finally:
            config._attn_implementation = usual
        return out.logits[0]

    def differentiable(
        self, chats: Sequence[Chat], options: Sequence[Sequence[str]]
    ) -> Iterator[tuple[list[int], list[Any]]]:
        """Score as ``score`` does, with gradients, some chats at a time, so that each part can be differentiated alone.

        Nothing is kept between calls, and shared beginnings are computed once in each part, of at most about ``chunk``
        tokens. The model stays as it is in play, without dropout.

        Yields
        ------
        tuple
            Indices of chats, and for each a torch tensor (options,) of natural log-probabilities in single precision.
        """
        import torch

        ends = {o: list(self.tokenizer.encode(o, add_special_tokens=False)) for some in options for o in some}
        for among in dict.fromkeys(map(tuple, options)):
            _prefix_free(among, ends)
        jobs = [(self.tokens(chat), [ends[o] for o in some]) for chat, some in zip(chats, options, strict=True)]
        if jobs and self.plain is None:
            self.score([chats[0]], [options[0][:2]])  # finds out how the model can be run
        if self.plain:
            for i, (prompt, some) in enumerate(jobs):
                yield [i], [torch.stack([self._alone(prompt, end).sum() for end in some])]
            return
        group: list[int] = []
        size, before = 0, list[int]()
        for i in sorted(range(len(jobs)), key=lambda i: jobs[i][0]):  # neighbours share most
            prompt, some = jobs[i]
            cost = len(prompt) - _common([before, prompt]) + sum(len(end) - 1 for end in some)
            if group and size + cost > self.chunk:
                yield group, self._differentiate([jobs[j] for j in group])
                group, size, cost = [], 0, len(prompt) + sum(len(end) - 1 for end in some)
            group.append(i)
            size, before = size + cost, prompt
        if group:
            yield group, self._differentiate([jobs[j] for j in group])

    def _differentiate(self, jobs: list[tuple[list[int], list[list[int]]]]) -> list[Any]:
        import torch

        tree = _grow(0, jobs)
        values = self._run(tree, 0, None)
        parts = torch.split(values, [length for lengths in tree.lengths for length in lengths])
        sums, at = torch.stack([part.sum() for part in parts]), 0
        scores = []
        for lengths in tree.lengths:
            scores.append(sums[at : at + len(lengths)])
            at += len(lengths)
        return scores

    def forget(self) -> None:
        """Drop what is kept between calls: the weights have changed."""
        self._prefixes.clear()

    def _cache(self, prefix: list[int]) -> Any:
        """Return new keys and values of a prefix, on from where it is the same as one that is kept."""
        import torch
        from transformers import DynamicCache

        kept = max(self._prefixes, key=lambda one: _common([list(one), prefix]), default=())
        same = _common([list(kept), prefix])
        cache = copy.deepcopy(self._prefixes[kept]) if same else DynamicCache()
        if same < len(kept):
            cache.crop(same - len(kept))
        if same < len(prefix):
            tokens = torch.tensor([prefix[same:]], device=self.device)
            self.model(input_ids=tokens, past_key_values=cache, use_cache=True, logits_to_keep=1)
        return cache

    def _plainly(self, prompt: list[int], ends: list[list[int]]) -> NDArray[np.float64]:
        """Score one option after the other, each by a forward pass over the whole text."""
        import torch

        with torch.inference_mode():
            return np.array([float(self._alone(prompt, end).double().sum()) for end in ends])

    def _alone(self, prompt: list[int], end: list[int]) -> Any:
        """Return the log-probabilities (tokens,) of an option's tokens by a forward pass over the whole text."""
        import torch

        logits = self.model(input_ids=torch.tensor([prompt + end], device=self.device)).logits[0].float()
        logs = torch.log_softmax(logits[len(prompt) - 1 : -1], dim=-1)
        return logs[torch.arange(len(end)), torch.tensor(end)]

    def write(
        self, chats: Sequence[Chat], limit: int, *, temperature: float = 0.0, luck: Sequence[float] | None = None
    ) -> list[str]:
        """Continue each chat as a text between quotation marks, token by token.

        A text ends at the closing quotation mark, at the end of the line, where the model ends its turn, or at its
        limit. Chats are written together; company changes the probabilities of tokens by rounding alone.

        Parameters
        ----------
        chats
            The prompts; their answers so far end with the opening quotation mark.
        limit
            Most characters of a text.
        temperature
            0 takes the most probable token; 1 samples from the model's own probabilities.
        luck
            A number in [0, 1) for each chat, of which follow the uniform numbers by which its tokens are drawn.

        Returns
        -------
        list
            A text a chat, as it is read: without the quotation marks, and with escaped characters in their place.
        """
        if temperature and (luck is None or len(luck) != len(chats)):
            raise ValueError(f"luck: a number for each of the {len(chats)} chats, where temperature is not 0")
        numbers = [0.0] * len(chats) if luck is None or not temperature else [float(number) for number in luck]
        jobs = list(dict.fromkeys(zip(chats, numbers, strict=True)))  # equal questions are answered once
        prompts = [self.tokens(chat) for chat, _ in jobs]
        shared = _common([prompt[:-1] for prompt in prompts]) if prompts else 0
        texts: list[str] = []
        begin = 0
        while begin < len(jobs):
            count = max(1, min(len(jobs) - begin, 8 * self.chunk // (len(prompts[begin]) + limit)))
            some = slice(begin, begin + count)
            draw = [np.random.default_rng(int(number * 2**53)) for _, number in jobs[some]] if temperature else []
            rows = [prompt[shared:] for prompt in prompts[some]]
            texts += self._write(prompts[0][:shared], rows, limit, temperature, draw)
            begin += count
        found = dict(zip(jobs, texts, strict=True))
        return [found[job] for job in zip(chats, numbers, strict=True)]

    def _write(
        self,
        prefix: list[int],
        rows: list[list[int]],
        limit: int,
        temperature: float,
        draw: list[np.random.Generator],
    ) -> list[str]:
        """Write behind a common prefix; shorter rows are filled up on the left, where nobody looks."""
        import torch

        pad, ends = self.tokenizer.eos_token_id or 0, set(self.tokenizer.all_special_ids)
        width, written, open_ = max(map(len, rows)), [list[int]() for _ in rows], set(range(len(rows)))
        with torch.inference_mode():
            kept = self._prefixes.get(tuple(prefix))
            cache = self._prefixes[tuple(prefix)] = self._cache(prefix) if kept is None else kept
            cache = copy.deepcopy(cache)
            while len(self._prefixes) > 4:
                self._prefixes.popitem(last=False)
            if prefix and len(rows) > 1:
                cache.batch_repeat_interleave(len(rows))
            fed = [[pad] * (width - len(row)) + row for row in rows]
            looked = torch.tensor([[1] * len(prefix) + [0] * (width - len(r)) + [1] * len(r) for r in rows])
            while open_:
                places = (looked.cumsum(dim=1) - 1).clamp(min=0)[:, -len(fed[0]) :]
                out = self.model(
                    input_ids=torch.tensor(fed, device=self.device),
                    attention_mask=looked.to(self.device),
                    position_ids=places.to(self.device),
                    past_key_values=cache,
                    use_cache=True,
                    logits_to_keep=1,
                )
                logits = out.logits[:, -1].double().cpu().numpy()
                fed = [[pad] for _ in rows]
                for i in sorted(open_):
                    token = _next(logits[i], temperature, draw[i].random() if temperature else 0.0)
                    if token not in ends:
                        written[i].append(token)
                        fed[i] = [token]
                    text, over = _inside(str(self.tokenizer.decode(written[i])))
                    if token in ends or over or len(text) >= limit or len(written[i]) > 2 * limit:
                        open_.discard(i)
                looked = torch.cat([looked, torch.ones((len(rows), 1), dtype=looked.dtype)], dim=1)
        texts = (_inside(str(self.tokenizer.decode(tokens)))[0] for tokens in written)
        return [text[:limit].rstrip("\ufffd") for text in texts]

    def generate(self, chats: Sequence[Chat], max_new_tokens: int = 64) -> list[str]:
        """Continue each chat greedily as free text."""
        import torch

        texts = []
        with torch.inference_mode(), quiet():
            for chat in chats:
                prompt = torch.tensor([self.tokens(chat)], device=self.device)
                out = self.model.generate(
                    prompt,
                    attention_mask=torch.ones_like(prompt),
                    max_new_tokens=max_new_tokens,
                    do_sample=False,
                    pad_token_id=self.tokenizer.eos_token_id,
                )
                texts.append(str(self.tokenizer.decode(out[0, prompt.shape[1] :], skip_special_tokens=True)))
        return texts


def _next(logits: NDArray[np.float64], temperature: float, u: float) -> int:
    """Choose a token: the most probable at temperature 0, else by inversion of the softmax, most probable first."""
    if not temperature:
        return int(logits.argmax())
    order = np.argsort(-logits, kind="stable")
    weights = np.cumsum(np.exp((logits[order] - logits[order[0]]) / temperature))
    return int(order[min(np.searchsorted(weights, u * weights[-1], side="right"), len(order) - 1)])


def _inside(written: str) -> tuple[str, bool]:
    """Return what stands before the end of a quoted text on one line, and whether it has ended there."""
    found = re.match(r'(?:[^"\\\n\r]|\\[^\n\r])*', written)
    inside = found.group() if found else ""
    rest = written[len(inside) :]
    try:
        return str(json.loads(f'"{inside}"', strict=False)), rest[:1] in ('"', "\n", "\r")
    except ValueError:  # an escape that is none
        return inside.replace("\\", ""), rest[:1] in ('"', "\n", "\r")


def _common(prompts: list[list[int]]) -> int:
    """Return the length of the longest prefix that all share."""
    first, last = min(prompts), max(prompts)
    same = 0
    for a, b in zip(first, last, strict=False):
        if a != b:
            break
        same += 1
    return same


def _prefix_free(options: Sequence[str], ends: dict[str, list[int]]) -> None:
    ordered = sorted(options, key=lambda option: ends[option])
    for option in ordered:
        if not ends[option]:
            raise ValueError(f"options: an option must have at least one token, got {option!r}")
    for one, other in itertools.pairwise(ordered):
        if ends[other][: len(ends[one])] == ends[one]:
            raise ValueError(f"options: {other!r} begins with the tokens of {one!r}; let each include what ends it")


class quiet:
    """Keep transformers from drawing bars and notes."""

    def __enter__(self) -> None:
        from transformers.utils import logging

        self.level = logging.get_verbosity()
        self.bars = logging.is_progress_bar_enabled()
        logging.set_verbosity(40)  # errors
        logging.disable_progress_bar()  # type: ignore[no-untyped-call]

    def __exit__(self, *_: object) -> None:
        from transformers.utils import logging

        logging.set_verbosity(self.level)
        if self.bars:
            logging.enable_progress_bar()  # type: ignore[no-untyped-call]
