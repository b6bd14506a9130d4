"""Fine-tuning of a language model in a game: play, credit, and one step against the gradient."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from ....envs.core import validate
from ....envs.core.policy import Policy, default_acts
from ....envs.core.worlds import Cast, Worlds
from ..policy import Decision, LanguageModel, Trace
from .adapters import described, start
from .training import Training, advantages, returns, shuffled

if TYPE_CHECKING:
    from ....envs.core.game import Acts, Game, Outcome

Model = TypeVar("Model", bound=LanguageModel)


def learn(
    policy: Model,
    game: Game,
    role: str,
    *,
    episodes: int,
    sessions: int,
    seed: int,
    others: Mapping[str, Policy],
    watch: Callable[[int, int], None] | None,
) -> Model:
    """Fine-tune a copy of a policy's model in a game; ``LanguageModel.learn`` says the rest."""
    training = policy.training
    validate.whole("episodes", episodes, 1, 1_000_000_000)
    validate.whole("sessions", sessions, 2, 1_000_000)
    if training.method == "grpo" and sessions % training.group:
        raise ValueError(f"sessions: a multiple of training.group ({training.group}), got {sessions}")
    if policy.temperature == 0.0:
        raise ValueError("temperature: above 0 to learn, got 0: the best option alone is played and nothing is tried")
    learner = _Learner(policy, game, role, sessions, seed, others)
    for _ in range(training.warmup):
        learner.imitate(training.rate if training.warmup_rate is None else training.warmup_rate)
    learner.begin()
    curve = []
    for episode in range(episodes):
        left = 1.0 - episode / episodes
        imitates = training.method == "imitation"
        curve.append(learner.imitate(training.rate * left) if imitates else learner.reinforce(left))
        if watch is not None:
            watch(episode + 1, episodes)
    learned = copy.copy(policy)
    learned.model, learned.adapter, learned.trace, learned.curve = learner.scorer, None, None, curve
    learned.learned = {  # type: ignore[attr-defined]
        "base": described(policy.model),
        "game": game.name,
        "role": role,
        "rules": game.rules(learner.player.role.name),
        "seed": seed,
        "sessions": sessions,
        "versions": _versions(),
    }
    return learned


def teach(
    policy: Model,
    game: Game,
    role: str,
    teacher: Policy | Mapping[str, Any],
    *,
    episodes: int = 20,
    sessions: int = 16,
    rate: float = 1e-3,
    lora: Mapping[str, Any] | None = None,
    seed: int = 0,
    others: Mapping[str, Policy] | None = None,
    watch: Callable[[int, int], None] | None = None,
) -> Model:
    """Return a policy that was taught to act as a teacher does: supervised learning on the teacher's play.

    The loss is the cross-entropy of the tokens of the teacher's values alone; prompts, and what stands in an answer
    whoever gives it, carry none. The parameters are those of ``Training`` and ``LanguageModel.learn``.
    """
    pupil = copy.copy(policy)
    pupil.training = Training(method="imitation", teacher=teacher, rate=rate, lora=lora)
    return pupil.learn(game, role, episodes=episodes, sessions=sessions, seed=seed, others=others, watch=watch)


class Played(NamedTuple):
    """An episode of all worlds: decisions, each with its step, and what was paid (steps, worlds, seats)."""

    decisions: list[tuple[int, Decision]]
    paid: NDArray[np.float64]


class _Learner:
    """A model in training, the seats that it plays, and the worlds."""

    def __init__(
        self, policy: LanguageModel, game: Game, name: str, sessions: int, seed: int, others: Mapping[str, Policy]
    ) -> None:
        import torch

        self.training, self.temperature, self.game = policy.training, policy.temperature, game
        self.rng = np.random.default_rng([seed, 17])
        if policy.adapter is not None:
            raise ValueError("adapter: what was learned before cannot be learned on; give the model without it")
        self.scorer = start(policy.model, seed, policy.device)
        role = next((r for r in game.roles if name in (r.name, *r.players)), None)
        if role is None:
            known = ", ".join((*(r.name for r in game.roles), *game.players))
            raise KeyError(f"role: {game.name} has no role or player {name!r}; it has: {known}")
        self.seats = tuple(i for i, player in enumerate(role.players) if name in (role.name, player))
        lora = self.training.lora
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            if lora is not None:
                self.scorer.model = _adapted(self.scorer.model, lora)
        self.player = copy.copy(policy)
        self.player.model = self.scorer
        self.player = self.player.bind(game, role.name, self.seats)
        self.cast = Cast(game, others, except_=tuple(role.players[i] for i in self.seats))
        self.teacher = None
        if isinstance(self.training.teacher, Policy):
            self.teacher = self.training.teacher.bind(game, role.name, self.seats)
        self.worlds = Worlds(game, sessions, seed=seed, check=False)
        if self.training.method == "grpo":  # the same chance for all of a group
            self.worlds.world = self.worlds.world // self.training.group
        self.credit = self._credit(self.training.credit)
        self.weights = [weight for weight in self.scorer.model.parameters() if weight.requires_grad]
        self.adam = torch.optim.AdamW(self.weights, weight_decay=0.0)
        self.reference: Any = None

    def move(self) -> None:
        """Go on to the next society, where there are several."""

    def begin(self) -> None:
        """Start reinforcement: from here KL is measured, and moments of gradients before count no more."""
        import torch

        self.adam = torch.optim.AdamW(self.weights, weight_decay=0.0)
        if self.training.kl:
            self.reference = self.scorer.frozen()

    def _credit(self, whose: str) -> Callable[[Outcome], NDArray[np.float64]]:
        """Return the function from an outcome to what each seat is credited with, (worlds, seats)."""
        role, seats = self.player.role, list(self.seats)
        if whose == "own":
            return lambda outcome: np.asarray(outcome.rewards[role.name])[:, seats]
        if whose == "welfare":
            return lambda outcome: np.repeat(np.asarray(outcome.welfare, dtype=float)[:, None], len(seats), axis=1)
        names = tuple(r.name for r in self.game.roles)
        counted = {"team": (role.name,), "all": names, **{name: (name,) for name in names}}
        if whose not in counted:
            raise ValueError(f"credit: one of own, welfare, {', '.join(counted)}, got {whose!r}")

        def together(outcome: Outcome) -> NDArray[np.float64]:
            paid = sum(np.asarray(outcome.rewards[name]).sum(axis=1) for name in counted[whose])
            return np.repeat(np.asarray(paid)[:, None], len(seats), axis=1)

        return together

    # ---- play -----------------------------------------------------------------------------------------------------

    def play(self, taught: bool = False) -> Played:
        """Play one episode in every world, or watch the teacher play it."""
        worlds, player, role = self.worlds, self.player, self.player.role
        player.trace = trace = Trace()
        worlds.reset()
        live = np.ones(worlds.count, dtype=bool)
        actor = self.teacher if taught and self.teacher is not None else player
        memory, own = (p.begin((worlds.count,), worlds.xp, worlds.device) for p in (actor, player))
        self.cast.begin(worlds)
        decisions: list[tuple[int, Decision]] = []
        paid = []
        for step in range(self.game.horizon):
            seen, before = worlds.view(), worlds.state
            stage = np.where(live, np.asarray(worlds.stage), -1)
            sight = {name: values[:, list(self.seats)] for name, values in seen[role.name].items()}
            u = self.rng.random((worlds.count, len(self.seats), max(actor.draws, player.draws)))
            trace.decisions, trace.forced = [], None
            acts, memory = actor.act(sight, stage, u[..., : actor.draws], memory)
            if taught:
                trace.forced = {name: np.asarray(values) for name, values in acts.items()}
                _, own = player.act(sight, stage, u[..., : player.draws], own)
            decisions += [(step, decision) for decision in trace.decisions]
            given = {role.name: self._placed(acts)}
            outcome = worlds.step(self.cast.act(worlds, seen, given, live))
            paid.append(self.credit(outcome) * live[:, None])
            if not live.all():
                worlds.state = _select(live, worlds.state, before)
            live = live & ~np.asarray(outcome.done)
            if not live.any():
                break
        player.trace = None
        return Played(decisions, np.asarray(paid, dtype=float))

    def _placed(self, acts: Acts) -> Acts:
        """Return acts of the whole role, of which the other seats' are filled in by whoever plays them."""
        role = self.player.role
        if len(self.seats) == role.count:
            return acts
        whole = {
            name: np.array(values)
            for name, values in default_acts(role, np.asarray(self.worlds.stage), role.count).items()
        }
        for name, values in acts.items():
            whole[name][:, list(self.seats)] = values
        return dict(whole)

    # ---- learning -------------------------------------------------------------------------------------------------

    def reinforce(self, left: float) -> float:
        """Play, and follow the gradient of the returns; ``left`` is the part of learning to come. Return the mean return."""
        training = self.training
        played = self.play()
        asked = np.zeros(played.paid.shape, dtype=bool)
        for step, decision in played.decisions:
            asked[(step, *decision.place[0], decision.place[1])] = True
        values = returns(played.paid, training.discount, training.returns == "episode")
        if training.shuffled:
            values = shuffled(values, self.rng)
        group = training.group if training.method == "grpo" else None
        gains = advantages(values, asked, group, training.deviation)
        rows = [(d, float(gains[(step, *d.place[0], d.place[1])])) for step, d in played.decisions]
        if not training.kl and not training.entropy:  # what is neither better nor worse than others teaches nothing
            rows = [row for row in rows if row[1] != 0.0]
        rows = self._some(rows)
        for _ in range(training.passes):
            self._step(rows, training.rate * left, lambda job, rows: self._merit(job, rows, left))
        return float(played.paid.sum(axis=0).mean())

    def imitate(self, rate: float) -> float:
        """Watch the teacher play, and follow the gradient of the probability of its acts; return its mean logarithm."""
        played = self.play(taught=True)
        said = [
            decision._replace(options=(decision.options[decision.pick],), pick=0) for _, decision in played.decisions
        ]
        rows = self._some([(decision, 1.0) for decision in said])
        return self._step(rows, rate, lambda job, rows: job.scores[0] * len(rows))

    def _some(self, rows: list[tuple[Decision, float]]) -> list[tuple[Decision, float]]:
        most = self.training.most
        if most is None or len(rows) <= most:
            return rows
        return [rows[i] for i in sorted(self.rng.choice(len(rows), most, replace=False))]

    def _step(
        self,
        rows: Sequence[tuple[Decision, float]],
        rate: float,
        merit: Callable[[_Job, Sequence[tuple[Decision, float]]], Any],
    ) -> float:
        """Take a step up the mean merit of decisions; equal prompts are evaluated once. Return that mean before it."""
        import torch

        if not rows:
            return 0.0
        jobs: dict[tuple[Any, tuple[str, ...]], list[tuple[Decision, float]]] = {}
        for row in rows:
            jobs.setdefault((row[0].chat, row[0].options), []).append(row)
        keys, mean = list(jobs), 0.0
        chats, options = [key[0] for key in keys], [key[1] for key in keys]
        before = self.reference.score(chats, options) if self.reference is not None else None
        self.adam.zero_grad(set_to_none=True)
        for indices, scores in self.scorer.differentiable(chats, options):
            parts = [
                merit(_Job(score, None if before is None else before[i]), jobs[keys[i]])
                for i, score in zip(indices, scores, strict=True)
            ]
            total = torch.stack(parts).sum() / len(rows)
            (-total).backward()  # type: ignore[no-untyped-call]
            mean += float(total.detach())
        torch.nn.utils.clip_grad_norm_(self.weights, self.training.norm)
        for part in self.adam.param_groups:
            part["lr"] = rate
        self.adam.step()
        self.scorer.forget()
        return mean

    def _merit(self, job: _Job, rows: Sequence[tuple[Decision, float]], left: float) -> Any:
        """Return the sum over decisions on one prompt of min(ratio A, clipped ratio A) - kl KL + entropy H."""
        import torch

        training = self.training
        logs = torch.log_softmax(job.scores / self.temperature, dim=-1)
        picks = torch.tensor([d.pick for d, _ in rows], device=logs.device)
        old = torch.tensor([d.log for d, _ in rows], device=logs.device, dtype=logs.dtype)
        gains = torch.tensor([gain for _, gain in rows], device=logs.device, dtype=logs.dtype)
        merit = clipped(logs[picks], old, gains, training.clip).sum()
        if training.kl and job.before is not None:
            start_ = torch.tensor(job.before / self.temperature, device=logs.device, dtype=logs.dtype)
            merit = merit - training.kl * len(rows) * divergence(logs, torch.log_softmax(start_, dim=-1))
        if training.entropy:
            merit = merit - training.entropy * left * len(rows) * (logs.exp() * logs).sum()
        return merit


class _Job(NamedTuple):
    """Log-probabilities of the options of one prompt: now, with gradients, and of the start."""

    scores: Any
    before: NDArray[np.float64] | None


def clipped(now: Any, old: Any, gains: Any, clip: float) -> Any:
    """Return min(r A, min(max(r, 1 - clip), 1 + clip) A) with r = exp(now - old), all tensors (decisions,)."""
    import torch

    ratio = torch.exp(now - old)
    return torch.minimum(ratio * gains, ratio.clamp(1.0 - clip, 1.0 + clip) * gains)


def divergence(now: Any, start_: Any) -> Any:
    """Return KL(now || start) of two tensors of log-probabilities (options,)."""
    return (now.exp() * (now - start_)).sum()


def _adapted(model: Any, lora: Mapping[str, Any]) -> Any:
    """Return a model of which only adapters of low rank learn; at first they change nothing."""
    from peft import LoraConfig, get_peft_model

    targets = lora["targets"]
    config = LoraConfig(
        r=lora["r"],
        lora_alpha=lora["alpha"],
        lora_dropout=0.0,
        target_modules=targets if isinstance(targets, str) else list(targets),
        task_type="CAUSAL_LM",
    )
    return get_peft_model(model, config).eval()


def _select(mask: NDArray[np.bool_], state: Any, before: Any) -> Any:
    from ....envs.core.arrays import select

    return select(mask, state, before)


def _versions() -> dict[str, str]:
    from importlib.metadata import PackageNotFoundError, version

    found = {}
    for name in ("societas", "torch", "transformers", "tokenizers", "peft"):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found
