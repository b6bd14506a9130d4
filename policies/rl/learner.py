"""How proximal policy optimisation learns from what was played: advantages, and the clipped objective."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from ...envs.core import validate
from ...envs.core.arrays import Array, common, to_numpy
from ...envs.core.chance import code
from ...envs.core.fields import find
from ...envs.core.policy import default_acts
from ...envs.core.worlds import Worlds, _place
from .._optimise import Moments
from ..gradient import acts_of
from . import networks
from .heads import draw, likelihood, reals
from .ppo import LARGEST, PPO

if TYPE_CHECKING:
    from ...envs.core.game import Acts, Seen
    from .group import Group

Table = np.ndarray[Any, Any]


class Learner:
    """The networks of some seats of a role, what they met since the last update, and how they learn from it.

    Buffers are (steps, worlds, seats, ...); those of what is seen have one step more.
    """

    def __init__(
        self, name: str, policy: PPO, seats: tuple[int, ...], worlds: Worlds, group: Group, steps: int, seed: int
    ) -> None:
        import torch

        role = next(role for role in worlds.game.roles if name == role.name or name in role.players)
        self.torch, self.name, self.worlds, self.group, self.steps, self.seed = torch, name, worlds, group, steps, seed
        self.policy, self.seats = policy.bind(worlds.game, role.name, seats), seats
        self.role, self.flat, self.heads = role, self.policy._flat, self.policy._heads
        self.device = torch.device(str(worlds.device))
        self.curve: list[float] = []
        self.updates = 0  # of the optimiser
        count, many = worlds.count, len(seats)
        self.nets = 1 if policy.shared else many
        self.central = policy.critic == "central"
        self.judges = many if policy.critic == "independent" else 1
        self.own = Standard(self.flat.low, self.flat.high, self.device, group.moments())
        self.both = self._joint() if self.central else None
        self.returns = group.moments()
        known = policy.weights
        for which, moments in self._moments.items():
            if which in known:
                _fill(moments, torch.tensor(known[which], device=self.device))
        generator = torch.Generator().manual_seed((seed * 1_000_003 + code(name)) % 2**63)
        sizes, joint = (len(self.flat.low), *policy.hidden), 0 if self.both is None else len(self.both.middle)
        actor = networks.build(torch, generator, self.nets, (*sizes, self.heads[-1].outputs.stop), policy.memory, 0.01)
        for place, value in self._start():
            actor[f"bias.{len(policy.hidden)}"][..., place] = value
        if real := reals(self.heads):
            actor["log_sd"] = torch.full((self.nets, 1, len(real)), math.log(policy.spread[0]))
        critic = networks.build(
            torch,
            generator,
            self.judges,
            ((joint or sizes[0]), *policy.hidden, many if self.central else 1),
            policy.memory,
            1.0,
        )
        self.actor = {k: self._loaded(known, f"actor.{k}", v) for k, v in actor.items()}
        self.critic = {k: self._loaded(known, f"critic.{k}", v) for k, v in critic.items()}
        moves = [v for name, v in self.actor.items() if name != "log_sd" or len(policy.spread) == 1]
        self.groups = [moves, list(self.critic.values())]
        self.first, self.second = ([[torch.zeros_like(p) for p in g] for g in self.groups] for _ in range(2))
        stages = worlds.game.stages
        asked = [[[float(h.field in role.deciding(s.name, i)) for h in self.heads] for i in seats] for s in stages]
        self.asked = torch.tensor(asked, device=self.device)  # (stages, seats, heads)
        self.stages_asked = [any(map(any, part)) for part in asked]
        self.active: list[int] = []
        shape = (steps, count, many)
        self.sight = self._zeros(steps + 1, count, many, sizes[0])
        self.joint = self._zeros(steps + 1, count, 1, joint) if self.central else None
        self.drawn = self._zeros(*shape, len(self.heads))
        self.log_p, self.reward = self._zeros(*shape), self._zeros(*shape)
        self.running = self._zeros(count, many)  # return of the present episode so far
        self.ended = self._zeros(2)  # sum of the returns of seats whose episodes ended, and their number
        self.recalled = self._zeros(count, many, policy.memory)  # the actor's memory, and what it was as steps began
        self.began = self.recalled
        self.judged = self._zeros(count, 1 if self.central else many, policy.memory)
        self.loss: Callable[..., Any] = self._loss
        if policy.compiled:
            self.loss = torch.compile(self._loss, mode=None if self.device.type == "cpu" else "reduce-overhead")

    # ---- laying out ---------------------------------------------------------------------------------------------------

    def _zeros(self, *shape: int) -> Any:
        return self.torch.zeros(shape, device=self.device)

    def _tensor(self, values: Any) -> Any:
        """Return an array of the worlds as a tensor; on the host it is the same memory where torch takes it."""
        if isinstance(values, self.torch.Tensor):
            return values
        values = np.asarray(values)
        if not values.flags.writeable or any(stride < 0 for stride in values.strides):
            values = values.copy()
        return self.torch.from_numpy(values)

    def _loaded(self, known: Mapping[str, Table], name: str, fresh: Any) -> Any:
        if name in known:
            if known[name].shape != tuple(fresh.shape):
                raise ValueError(
                    f"{self.name}: what was learned has {name} of shape {known[name].shape}, {tuple(fresh.shape)} is "
                    "needed; learn with the same shared, critic, hidden and memory"
                )
            fresh = self.torch.tensor(known[name])
        return fresh.to(self.device).requires_grad_()

    def _joint(self) -> Standard:
        """Return how what everybody sees is standardised."""
        from ...envs.views.spaces import Flat

        self.flats = [(role, Flat(role)) for role in self.worlds.game.roles]
        low, high = ([np.tile(getattr(f, end), role.count) for role, f in self.flats] for end in ("low", "high"))
        return Standard(np.concatenate(low), np.concatenate(high), self.device, self.group.moments())

    @property
    def _moments(self) -> dict[str, Moments]:
        """The running moments, by the name they are kept under."""
        found = {"returns": self.returns, "seen": self.own.moments}
        return found if self.both is None else {**found, "joint": self.both.moments}

    def _start(self) -> Iterator[tuple[int, float]]:
        """Yield places of the actor's outputs and the points of [-1, 1] at which the real acts there start."""
        for name, given in self.policy.start.items():
            field = find(self.role.acts, name, f"start: {self.role.name}")
            parts = [given] * (len(field.each) or 1) if isinstance(given, int | float) else list(given)
            if field.discrete or len(parts) != (len(field.each) or 1):
                raise ValueError(f"start: {name!r} is {field.space} {field.each or ''}, and cannot start at {given!r}")
            low, high = field.space.low, field.space.high
            for head in self.heads:
                if head.field is field:
                    value = validate.real(f"start: {name}", parts[head.position or 0], low, high)
                    yield head.outputs.start, 2.0 * (value - low) / max(high - low, 1e-12) - 1.0

    # ---- playing ------------------------------------------------------------------------------------------------------

    def begin(self, left: float) -> None:
        """Begin the steps of an update; ``left`` falls from 1 to 0 over all updates."""
        self.active, self.began = [], self.recalled
        self.ended.zero_()
        if len(self.policy.spread) == 2 and "log_sd" in self.actor:
            first, last = self.policy.spread
            self.actor["log_sd"].fill_(math.log(last) + left * (math.log(first) - math.log(last)))

    def observe(self, step: int, seen: dict[str, Seen]) -> None:
        """Keep what is seen, standardised."""
        mine = seen[self.role.name]
        if len(self.seats) < self.role.count:
            mine = {name: values[:, list(self.seats)] for name, values in mine.items()}
        sight = self._tensor(self.flat.flatten(mine))
        self.sight[step] = self.own(sight)
        if self.both is not None and self.joint is not None:
            every = [self._tensor(flat.flatten(seen[role.name])).flatten(1) for role, flat in self.flats]
            self.joint[step, :, 0] = self.both(self.torch.cat(every, dim=1))

    def decide(self, step: int, stage: Array, opens: Any, given: dict[str, Acts]) -> None:
        """Draw what the seats do and put it into ``given``; ``opens`` (worlds,) is 1 where an episode begins."""
        now = common(stage)
        if now is not None and not self.stages_asked[now] and not self.policy.memory:
            return
        self.active.append(step)
        w, x = self.actor, networks.rows(self.sight[step], self.nets)
        if self.policy.memory:
            kept = networks.rows(self.recalled * (1.0 - opens)[:, None, None], self.nets)
            x = networks.remember(w, x, kept)
            self.recalled = networks.unrows(x, self.running.shape, self.nets)
        outputs = networks.unrows(networks.forward(w, x, self.policy.activation), self.running.shape, self.nets)
        numbers = len(self.heads) * len(self.seats)
        u = self._tensor(self.worlds.uniform(numbers, f"explore:{self.name}")).reshape(*self.running.shape, -1)
        drawn = draw(self.heads, outputs, self._log_sd, u)
        asked = self.asked[self._tensor(stage)]
        self.drawn[step] = drawn
        self.log_p[step] = likelihood(self.heads, outputs, self._log_sd, drawn, asked, False)[0]
        parts = [drawn[..., i].long() if h.values else drawn[..., i].double() for i, h in enumerate(self.heads)]
        acts = acts_of(self.role, self.heads, [part.numpy() for part in parts] if self.worlds.xp is np else parts)
        if len(self.seats) < self.role.count:
            whole = given.get(self.role.name) or default_acts(self.role, self.worlds.world, self.role.count)
            acts = {name: _place(whole[name], list(self.seats), values) for name, values in acts.items()}
        given[self.role.name] = acts

    @property
    def _log_sd(self) -> Any:
        """Logarithms of the deviations of real acts, (1 or seats, reals)."""
        return self.actor["log_sd"][:, 0] if "log_sd" in self.actor else None

    def collect(self, step: int, rewards: dict[str, Array], done: Any) -> None:
        """Keep what was paid, and count the returns of episodes that ended."""
        paid = self._tensor(rewards[self.role.name])
        self.reward[step] = paid if len(self.seats) == self.role.count else paid[:, list(self.seats)]
        self.running += self.reward[step]
        ends = done[:, None].float()
        self.ended[0] += (self.running * ends).sum()
        self.ended[1] += ends.sum() * len(self.seats)
        self.running *= 1.0 - ends

    # ---- learning -----------------------------------------------------------------------------------------------------

    def _values(self, sight: Any, opens: Any, memory: Any) -> tuple[Any, Any]:
        """Return the critic's outputs (steps, worlds, seats) for (steps, worlds, seats, n), and its memories or None."""
        memories = None
        x = networks.rows(sight, self.judges)
        if self.policy.memory:
            memories = self._recall(self.critic, self.judges, sight, opens, memory)
            x = networks.rows(memories, self.judges)
        out = networks.forward(self.critic, x, self.policy.activation)
        out = networks.unrows(out, tuple(sight.shape[:-1]), self.judges)
        return (out[..., 0, :] if self.central else out[..., 0]), memories

    def _recall(self, w: Any, nets: int, sight: Any, opens: Any, memory: Any) -> Any:
        """Return the memories (steps, worlds, seats, width) of a GRU that starts from one; it forgets where episodes begin."""
        memories = []
        for step in range(len(sight)):
            kept = networks.rows(memory * (1.0 - opens[step])[:, None, None], nets)
            memory = networks.unrows(
                networks.remember(w, networks.rows(sight[step], nets), kept), tuple(sight.shape[1:3]), nets
            )
            memories.append(memory)
        return self.torch.stack(memories)

    def reckon(self, discount: Any, opens: Any) -> tuple[Any, Any]:
        """Return advantages and standardised returns, (steps, worlds, seats).

        Generalised advantage estimation: A_t = delta_t + g_t lambda A_t+1, delta_t = r_t + g_t V_t+1 - V_t, where g_t is
        ``discount``, 0 where an episode ended.
        """
        sight = self.sight if self.joint is None else self.joint
        outs, memory = [], self.judged
        for step in range(self.steps + 1):  # step by step, which fits the processor's caches
            out, after = self._values(sight[step : step + 1], opens[step : step + 1], memory)
            outs.append(out)
            memory = memory if after is None else after[0]
            if step == self.steps - 1:
                self.later = memory
        values = self.torch.cat(outs)
        if self.returns.count:
            values = values * self.returns.deviation.float() + self.returns.mean.float()
        advantage = advantages(self.reward, values, discount, self.policy.trace)
        target = advantage + values[:-1]
        self.returns.add(target.flatten().double())
        return advantage, (target - self.returns.mean.float()) / self.returns.deviation.float()

    def learn(self, stage: Any, discount: Any, opens: Any, left: float, update: int) -> None:
        """Learn from the steps since the last update; ``left`` falls from 1 to 0 over all updates."""
        torch, policy, group = self.torch, self.policy, self.group
        if not self.active:  # nothing was asked; one step then stands for all, and counts for nothing
            self.active = [0]
            self.log_p[0] = 0.0
        with torch.no_grad():
            advantage, target = self.reckon(discount, opens)
            asked = self.asked[stage]  # (steps, worlds, seats, heads)
            known = asked.amax(dim=-1)
            axes = (0, 1, 2) if self.nets == 1 else (0, 1)
            some = group.sum(known.sum(dim=axes, keepdim=True)).clip(min=1.0)
            mean = group.sum((advantage * known).sum(dim=axes, keepdim=True)) / some
            variance = group.sum(((advantage - mean) ** 2 * known).sum(dim=axes, keepdim=True)) / some
            advantage = (advantage - mean) / (variance.sqrt() + 1e-8)
            weight = group.whole(known.sum(dim=(0, 2) if self.nets == 1 else 0))  # of every world: its decisions
        entropy = torch.tensor(policy.entropy * left, device=self.device)
        joint = None if self.joint is None else self.joint[:-1]
        whole = (self.sight[:-1], joint, self.drawn, self.log_p, asked, advantage, target, opens[:-1])
        began, many = (self.began, self.judged), min(policy.minibatches, group.worlds)
        generator = torch.Generator()
        for epoch in range(policy.epochs):
            if many == 1:
                self._climb(self.loss(*whole, *began, weight.sum(dim=0), group.worlds, entropy), policy.rate * left)
                continue
            generator.manual_seed((self.seed * 1_000_003 + update * 1_009 + epoch) % 2**63)
            for part in torch.randperm(group.worlds, generator=generator).to(self.device).chunk(many):
                own = part if group.size == 1 else part[(part >= group.begin) & (part < group.end)] - group.begin
                batch = (None if values is None else values.index_select(1, own) for values in whole)
                memories = (values.index_select(0, own) for values in began)
                some = weight[part].sum(dim=0)
                self._climb(self.loss(*batch, *memories, some, len(part), entropy), policy.rate * left)

    def _loss(
        self,
        sight: Any,
        joint: Any,
        drawn: Any,
        before: Any,
        asked: Any,
        advantage: Any,
        target: Any,
        opens: Any,
        recalled: Any,
        judged: Any,
        some: Any,
        worlds: int,
        entropy: Any,
    ) -> Any:
        """Return what is to be made small: the critic's squared error less the clipped objective and the entropy.

        Means go over ``some`` decisions (of a network each) in so many ``worlds``, some of which other processes have.
        """
        values, _ = self._values(sight if joint is None else joint, opens, judged)
        error = ((values - target) ** 2).sum(dim=(0, 1)) / (self.steps * worlds)
        if len(self.active) < self.steps:  # whoever remembers is active at every step
            sight, drawn, before, asked, advantage = (v[self.active] for v in (sight, drawn, before, asked, advantage))
        known = asked.amax(dim=-1)
        shape = tuple(sight.shape[:-1])
        if self.policy.memory:
            sight = self._recall(self.actor, self.nets, sight, opens, recalled)
        x = networks.forward(self.actor, networks.rows(sight, self.nets), self.policy.activation)
        outputs = networks.unrows(x, shape, self.nets)
        log_p, spread = likelihood(self.heads, outputs, self._log_sd, drawn, asked, self.policy.entropy > 0.0)
        merit = clipped(log_p - before, advantage, self.policy.clip) + entropy * spread
        axes = (0, 1, 2) if self.nets == 1 else (0, 1)  # of rows of one network
        merit = (merit * known).sum(dim=axes) / some.clip(min=1.0)
        return 0.5 * (error.mean() if self.judges == 1 else error.sum()) - merit.sum()

    def _climb(self, loss: Any, rate: float) -> None:
        """Move all weights by Adam (Kingma and Ba 2015); gradients are cut to their largest norm, net by net."""
        torch = self.torch
        slopes = self.group.sums(torch.autograd.grad(loss, [part for group in self.groups for part in group]))
        self.updates += 1
        rate *= math.sqrt(1.0 - 0.999**self.updates) / (1.0 - 0.9**self.updates)
        begin = 0
        with torch.no_grad():
            for group, first, second in zip(self.groups, self.first, self.second, strict=True):
                own = slopes[begin : begin + len(group)]
                begin += len(group)
                norm = sum(slope.flatten(1).pow(2).sum(dim=1) for slope in own).sqrt()
                cut = (self.policy.largest / (norm + 1e-6)).clip(max=1.0)[:, None, None]
                for part, slope, one, two in zip(group, own, first, second, strict=True):
                    slope = slope * cut
                    one.mul_(0.9).add_(slope, alpha=0.1)
                    two.mul_(0.999).addcmul_(slope, slope, value=0.001)
                    part.addcdiv_(one, two.sqrt().add_(1e-7), value=-rate)

    # ---- keeping ------------------------------------------------------------------------------------------------------

    def weights(self) -> dict[str, Table]:
        """Return what play needs, and what it takes to learn on."""
        parts = {f"actor.{name}": v for name, v in self.actor.items()}
        parts |= {f"critic.{name}": v for name, v in self.critic.items()}
        middle, scale = self.own.measures()
        parts |= {"middle": middle, "scale": scale}
        parts |= {name: _rows_of(moments) for name, moments in self._moments.items() if moments.count}
        return {name: to_numpy(part) for name, part in parts.items()}

    def tensors(self) -> dict[str, Any]:
        """Return all that the next update depends on."""
        kept = {f"weights.{name}": self.torch.from_numpy(np.array(v)) for name, v in self.weights().items()}
        for which, groups in (("first", self.first), ("second", self.second)):
            kept |= {f"{which}.{i}.{k}": p for i, group in enumerate(groups) for k, p in enumerate(group)}
        own = {"running": self.running, "recalled": self.recalled, "judged": self.judged}
        return kept | {name: self.group.whole(values) for name, values in own.items()}

    def restore(self, kept: Mapping[str, Any]) -> None:
        """Take up what ``tensors`` returned."""
        with self.torch.no_grad():
            for which, own in (("actor", self.actor), ("critic", self.critic)):
                for name, part in own.items():
                    part.copy_(kept[f"weights.{which}.{name}"])
            for which, groups in (("first", self.first), ("second", self.second)):
                for i, group in enumerate(groups):
                    for k, part in enumerate(group):
                        part.copy_(kept[f"{which}.{i}.{k}"])
            for name, moments in self._moments.items():
                if f"weights.{name}" in kept:
                    _fill(moments, kept[f"weights.{name}"].to(self.device))
            self.running, self.recalled, self.judged = (
                self.group.own(kept[name]).to(self.device) for name in ("running", "recalled", "judged")
            )


class Standard:
    """Standardises what is seen: bounded numbers to [-1, 1], others by their mean and deviation so far."""

    def __init__(self, low: Table, high: Table, device: Any, moments: Moments) -> None:
        import torch

        low, high = low.astype(float), high.astype(float)
        bounded = np.isfinite(low) & np.isfinite(high)
        with np.errstate(invalid="ignore", divide="ignore"):
            middle = np.where(bounded, (low + high) / 2, 0.0)
            scale = np.where(bounded, np.where(high > low, 2 / (high - low), 0.0), 1.0)
        self.middle, self.scale = (torch.tensor(v, dtype=torch.float32, device=device) for v in (middle, scale))
        self.loose = None if bounded.all() else torch.tensor(~bounded, device=device)
        self.moments = moments

    def measures(self) -> tuple[Any, Any]:
        """Return what is taken off and what the rest is multiplied by."""
        if self.loose is None or not self.moments.count:
            return self.middle, self.scale
        mean, deviation = self.moments.mean.float(), self.moments.deviation.float()
        return mean.where(self.loose, self.middle), (1.0 / deviation).where(self.loose, self.scale)

    def __call__(self, sight: Any) -> Any:
        """Return observations (..., numbers) standardised, those that are unbounded counted in."""
        if self.loose is not None:
            self.moments.add(sight.reshape(-1, sight.shape[-1]).double())
        middle, scale = self.measures()
        return (sight - middle).mul_(scale).clip_(-LARGEST, LARGEST)


def _rows_of(moments: Moments) -> Any:
    """Return count, mean and squares as rows of one tensor."""
    import torch

    return torch.stack([torch.full_like(moments.mean, moments.count), moments.mean, moments.squares])


def _fill(moments: Moments, rows: Any) -> None:
    """Take up what ``_rows_of`` returned."""
    moments.count, moments.mean, moments.squares = int(rows[0].flatten()[0]), rows[1], rows[2]


def advantages(reward: Any, values: Any, discount: Any, trace: float) -> Any:
    """Return generalised advantage estimates (steps, worlds, seats) (Schulman et al. 2016, equation 16).

    Parameters
    ----------
    reward
        (steps, worlds, seats).
    values
        What the critic expects from each step on, (steps + 1, worlds, seats).
    discount
        (steps, worlds): the weight of what follows a step, 0 where the episode ended with it.
    trace
        Lambda.
    """
    import torch

    found, later = torch.empty_like(reward), torch.zeros_like(reward[0])
    for step in reversed(range(len(reward))):
        weight = discount[step][:, None]
        later = reward[step] + weight * values[step + 1] - values[step] + trace * weight * later
        found[step] = later
    return found


def clipped(change: Any, advantage: Any, clip: float) -> Any:
    """Return the clipped objective min(q A, clip(q, 1 - c, 1 + c) A) (Schulman et al. 2017, equation 7).

    ``change`` is the change of the log-probability, log q.
    """
    odds = change.exp()
    return (odds * advantage).minimum(odds.clip(1.0 - clip, 1.0 + clip) * advantage)
