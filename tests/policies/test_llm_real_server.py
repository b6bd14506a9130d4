"""A real server of the chat-completions protocol (llama.cpp's own) with a real model (SmolLM2 in 4 bits)."""

from __future__ import annotations

import json
import urllib.request
from typing import Any

import numpy as np
import pytest

import societas
from societas.envs.core import words
from societas.policies.llm.answers import understand
from societas.policies.llm.policy import LanguageModel
from societas.policies.llm.protocol import Message
from societas.policies.llm.server import Server

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")
torch.set_num_threads(1)

from societas.policies.llm.models import locate  # noqa: E402
from societas.policies.llm.scorer import Chat, Scorer  # noqa: E402

pytestmark = pytest.mark.model

GAMES = ("MatrixGame", "HiddenAction", "Fishery", "Ultimatum")


def question(name: str) -> tuple[Chat, Any]:
    """Return the first question of a game, and the fields that it asks for."""
    game = societas.make(name)
    role = next(role for role in game.roles if role.deciding(game.stages[0].name, 0))
    seen = societas.Worlds(game, 1, seed=3).view()[role.name]
    own = {field: np.asarray(values)[0, 0] for field, values in seen.items()}
    return Chat(game.rules(role.name), words.prompt(game, role, 0, own, 0)), role.deciding(game.stages[0].name, 0)


def talk(chat: Chat) -> list[Message]:
    return [Message("system", chat.system), Message("user", chat.user)]


@pytest.fixture(scope="module")
def server(gguf_server: str) -> Server:
    return Server(gguf_server, "smollm2", extra={"max_tokens": 100}, timeout=300)


def test_the_server_is_found_by_its_name(server: Server) -> None:
    server.ready()
    LanguageModel(server).ready()


def test_answers_are_held_to_their_schema(server: Server) -> None:
    chats, fields = zip(*(question(name) for name in GAMES[:2]), strict=True)
    schemas = [words.schema(some) for some in fields]
    first = server.answer([talk(chat) for chat in chats], schemas, temperature=0.0, luck=[0.1, 0.9])
    for answer, some in zip(first, fields, strict=True):
        assert answer.error == "" and answer.attempts == 1 and answer.tokens_read > 100 and answer.tokens_written > 3
        assert understand(answer.text, some).act is not None
    again = server.answer([talk(chats[0])], schemas[:1], temperature=0.0, luck=[0.5])
    assert understand(again[0].text, fields[0]).act == understand(first[0].text, fields[0]).act


def test_a_seed_repeats_an_answer_and_other_seeds_give_others(gguf_server: str) -> None:
    """With the whole prompt read each time: behind a cached one the sums are rounded otherwise, and near ties may turn."""
    server = Server(gguf_server, "smollm2", extra={"max_tokens": 60, "cache_prompt": False}, timeout=300)
    short, schema = [Message("user", "Pick any number.")], words.schema(question("Fishery")[1])
    luck = [0.1, 0.4, 0.7, 0.9]
    runs = [
        [answer.text for answer in server.answer([short] * 4, [schema] * 4, temperature=2.0, luck=luck)]
        for _ in range(2)
    ]
    assert runs[0] == runs[1] and len(set(runs[0])) > 1


def test_a_whole_episode_through_the_server(server: Server) -> None:
    game, policy = societas.make("Ultimatum"), LanguageModel(server, temperature=0.0)
    episodes = societas.play(game, {role.name: policy for role in game.roles}, worlds=2)  # Worlds checks every act
    ledger = policy.ledger
    assert ledger.decisions == ledger.good + ledger.repaired + ledger.again == 4 and ledger.errors == 0
    assert (episodes.length == 2).all()


def test_the_server_and_the_process_have_the_same_probabilities(gguf_server: str) -> None:
    """At every token that the server wrote, the model in this process thinks alike.

    Both have the same 4-bit weights. llama.cpp multiplies them with activations that it rounds to 8 bits in blocks of 32;
    here they were rounded once to bfloat16 and are multiplied in single precision. So log-probabilities differ by about a
    tenth, and the most probable token is the same wherever it is ahead of the next by a clear margin.
    """
    try:
        scorer = Scorer.load(locate("smollm2"), device="cpu")
    except FileNotFoundError as error:
        pytest.skip(str(error))
    gaps, margins, places = [], [], 0
    for name in GAMES:
        chat, fields = question(name)
        form = {"name": "answer", "schema": words.schema(fields), "strict": True}
        body = {
            "messages": [message._asdict() for message in talk(chat)],
            "temperature": 0,
            "max_tokens": 100,
            "logprobs": True,
            "top_logprobs": 20,
            "response_format": {"type": "json_schema", "json_schema": form},
        }
        request = urllib.request.Request(f"{gguf_server}/v1/chat/completions", json.dumps(body).encode())
        with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=300) as reply:
            found = json.load(reply)
        prompt, said = scorer.tokens(chat), found["choices"][0]["logprobs"]["content"]
        assert found["usage"]["prompt_tokens"] == len(prompt)  # the same template and the same tokenizer
        written = [token["id"] for token in said]
        with torch.inference_mode():
            logits = scorer.model(input_ids=torch.tensor([prompt + written])).logits[0, len(prompt) - 1 : -1]
        logs = torch.log_softmax(logits.float(), dim=-1).numpy()
        for mine, theirs in zip(logs, said, strict=True):
            top = sorted(theirs["top_logprobs"], key=lambda one: -one["logprob"])
            gaps += [mine[one["id"]] - one["logprob"] for one in top if one["logprob"] > -6.0]
            places += 1
            if int(mine.argmax()) != top[0]["id"]:
                margins.append(top[0]["logprob"] - top[1]["logprob"])
    print(
        f"{places} places, {len(gaps)} log-probabilities: differences of {np.std(gaps):.3f} (sd), {np.abs(gaps).max():.3f}"
    )
    print(f"most probable token another at {len(margins)} places, with margins {np.round(margins, 3).tolist()}")
    assert places > 20 and len(gaps) > 100
    assert np.std(gaps) < 0.25 and np.abs(gaps).max() < 1.0
    assert all(margin < 0.5 for margin in margins) and len(margins) <= 0.1 * places
