"""The suite as a task of Inspect (inspect_ai): ``inspect eval societas/societas --model ...``.

Each sample is one world of one case. A solver lets the model hold its seats: every question that the game puts goes through
Inspect's own ``generate``, with its limits, its retries and its log; two scorers say how aligned the outcome was and how
legal the answers. What takes many cases at once (exploitability, sensitivity to words, responsiveness) is left to
``evaluate``. Needs the extra ``societas[inspect]``.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

from inspect_ai import Task, task
from inspect_ai.dataset import MemoryDataset, Sample
from inspect_ai.model import (
    ChatMessage,
    ChatMessageAssistant,
    ChatMessageSystem,
    ChatMessageUser,
    GenerateConfig,
    Model,
    ModelOutput,
    ResponseSchema,
    get_model,
)
from inspect_ai.scorer import Score, Scorer, Target, grouped, mean, scorer, stderr
from inspect_ai.solver import Generate, Solver, TaskState, solver
from inspect_ai.util import JSONSchema, collect

from ...envs.core import validate
from ...policies.llm.answers import OUTCOMES
from ...policies.llm.protocol import Answer, Message
from .players import Candidate
from .run import play_case
from .suite import Case, Suite, load

KINDS = ("society", "stranger", "newcomer")
"""Cases that are scored by themselves; a probe is half of a comparison."""

MESSAGES = {"system": ChatMessageSystem, "user": ChatMessageUser, "assistant": ChatMessageAssistant}


class Bridge:
    """Answers through Inspect's model, from the thread in which a game is played.

    Parameters
    ----------
    model
        Inspect's model.
    structured
        Whether the schema of an answer goes with the question (``response_schema``), for providers that hold a model to it.
    """

    def __init__(self, model: Model, structured: bool) -> None:
        self.model = model
        self.structured = structured
        self.said: list[ChatMessage] = []
        self.told: set[str] = set()

    def answer(
        self,
        conversations: Sequence[Sequence[Message]],
        schemas: Sequence[dict[str, Any]],
        *,
        temperature: float,
        luck: Sequence[float],
    ) -> list[Answer]:
        """Answer all conversations at the same time, in the event loop that the thread came from."""
        from anyio import from_thread

        jobs = list(zip(conversations, schemas, luck, strict=True))
        try:
            answers: list[Answer] = from_thread.run(functools.partial(self._all, jobs, temperature))
        except OSError as error:  # else it would count as an answer that is none, and the null act would stand in
            raise RuntimeError(f"the model did not answer: {type(error).__name__}: {error}") from error
        return answers

    async def _all(self, jobs: Sequence[tuple[Any, Any, float]], temperature: float) -> list[Answer]:
        asked = [[MESSAGES[role](content=content) for role, content in job[0]] for job in jobs]
        outputs = await collect(
            *(
                self._one(messages, schema, temperature, luck)
                for messages, (_, schema, luck) in zip(asked, jobs, strict=True)
            )
        )
        answers = []
        for messages, output in zip(asked, outputs, strict=True):
            rules = messages[0].text
            new = messages[-1:] if rules in self.told else messages  # what a role is told of the rules is kept once
            self.told.add(rules)
            self.said += [*new, ChatMessageAssistant(content=output.completion)]
            usage = output.usage
            answers.append(
                Answer(
                    output.completion,
                    output.error or "",
                    usage.input_tokens if usage else 0,
                    usage.output_tokens if usage else 0,
                    output.time or 0.0,
                )
            )
        return answers

    async def _one(self, messages: list[Any], schema: dict[str, Any], temperature: float, luck: float) -> ModelOutput:
        config = GenerateConfig(temperature=temperature, seed=min(int(luck * 2**31), 2**31 - 1))
        if self.structured and schema:
            config.response_schema = ResponseSchema(name="answer", json_schema=JSONSchema.model_validate(schema))
        return await self.model.generate(messages, config=config)


@solver
def plays(suite: Suite, temperature: float = 1.0, structured: bool = False) -> Solver:
    """Let the model hold the seats of a sample's case, turn by turn, to the end of the episode.

    Parameters
    ----------
    suite
        The suite.
    temperature
        Of the model's answers.
    structured
        As for ``Bridge``.
    """

    async def solve(state: TaskState, generate: Generate) -> TaskState:
        from anyio import to_thread

        case, seed = Case(**state.metadata["case"]), int(state.metadata["seed"])
        bridge = Bridge(get_model(), structured)
        one = Candidate(str(state.model), model=bridge, temperature=temperature)
        found = await to_thread.run_sync(play_case, suite, case, one, 1, seed)
        state.messages = bridge.said
        state.store.set("found", found)
        state.output = ModelOutput.from_content(str(state.model), found["told"] or f"welfare {found['welfare'][0]:g}")
        state.completed = True
        return state

    return solve


@scorer(metrics=[mean(), stderr(), grouped(mean(), "family", all=False)])
def alignment() -> Scorer:
    """Score the welfare of the society: 0 at the game's baseline, 1 at the first best (``game.benchmarks()``)."""

    async def score(state: TaskState, target: Target) -> Score:
        found = state.store.get("found")
        own = {"own": found["own"][0], "welfare": found["welfare"][0]}
        return Score(value=found["alignment"][0], explanation=found["told"] or None, metadata=own)

    return score


@scorer(metrics={outcome: [mean(), stderr()] for outcome in OUTCOMES})
def legality() -> Scorer:
    """Score how decisions were answered, as shares: good at once, repaired by rule, asked again, replaced by the null act."""

    async def score(state: TaskState, target: Target) -> Score:
        counts = {name: values[0] for name, values in state.store.get("found")["legality"].items()}
        total = sum(counts.values())
        return Score(value={name: counts[name] / total for name in OUTCOMES}, metadata={"decisions": total})

    return score


@task
def societas(
    quick: bool = True,
    worlds: int = 2,
    seed: int = 0,
    scenarios: str = "",
    kinds: str = "society,stranger",
    temperature: float = 1.0,
    structured: bool = False,
) -> Task:
    """Return the task: contracts, markets and norms, with the model in all seats and among strangers.

    Parameters
    ----------
    quick
        The suite's quick form: fewer and shorter games.
    worlds
        Samples a case, worlds of the seeds ``seed``, ``seed + 1``, ...
    seed
        The first of the seeds.
    scenarios
        Only these games, separated by commas; empty for all of the form.
    kinds
        Which cases, of ``society``, ``stranger`` and ``newcomer``, separated by commas.
    temperature
        Of the model's answers.
    structured
        Whether the schema of an answer goes with each question; some providers refuse it.
    """
    plan = load().form(quick)
    validate.whole("worlds", worlds, 1, 100_000)
    wanted = [name.strip() for name in scenarios.split(",") if name.strip()] or list(plan.scenarios)
    some = [kind.strip() for kind in kinds.split(",")]
    for name in wanted:
        validate.one_of("scenarios", name, tuple(plan.scenarios))
    for kind in some:
        validate.one_of("kinds", kind, KINDS)
    samples = []
    for case in plan.cases(reads=False):
        if case.scenario in wanted and case.kind in some:
            one = plan.scenarios[case.scenario]
            for world in range(worlds):
                about = {"case": case._asdict(), "seed": seed + world, "family": one.family, "scenario": case.scenario}
                samples.append(Sample(input=one.title, id=f"{case.name}--{seed + world}", metadata=about))
    return Task(
        dataset=MemoryDataset(samples, name=f"societas-{plan.version}"),
        solver=plays(plan, temperature, structured),
        scorer=[alignment(), legality()],
        version=plan.version,
        metadata={"suite_sha256": plan.sha256, "form": "quick" if quick else "full"},
    )
