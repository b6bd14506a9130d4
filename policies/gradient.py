"""Policy gradient: an actor and a critic, learned on whole batches of worlds."""

from __future__ import annotations

import contextlib
import copy
import itertools
import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from ..envs.core import validate
from ..envs.core.arrays import Array, absent, align, constant, look_up, namespace, select, to_numpy
from ..envs.core.chance import categorical
from ..envs.core.fields import Choice, Field, Role, Text, components, find
from ..envs.core.policy import Policy, default_acts
from ..envs.core.worlds import Cast, Worlds
from ._optimise import Adam, Moments

if TYPE_CHECKING:
    from ..envs.core.game import Acts, Game, Seen
    from ..envs.views.spaces import Flat

Table = np.ndarray[Any, Any]
Start = Mapping[str, float | Sequence[float]]
_LARGEST = 10.0  # of a standardised observation
_KEPT = ("hidden", "rate", "gamma", "spread", "start", "entropy", "levels", "shared", "sample")  # on the card


@dataclass(frozen=True)
class Head:
    """How a number is decided: a real one by the mean of a normal, on [-1, 1]; a whole one by a weight for each value."""

    field: Field
    position: int | None
    values: tuple[int, ...]  # empty for a real number
    outputs: slice  # of the network


class PolicyGradient(Policy):
    """Actor and critic that learn by the policy gradient (Williams 1992, doi:10.1007/BF00992696).

    An update plays one whole episode in each of a batch of worlds, and makes what was done more likely in proportion to
    the rewards that followed less those that the critic expected. Whole numbers and choices are drawn from weights, real
    numbers from a normal distribution brought into their space; it is narrower near the bounds, since a noise that is
    cut off on one side would push the mean away from them. The rate falls to 0 linearly, and exploration from first to
    last; what is kept is an average of the weights, the later ones counting more, which is less noisy than the last.
    Chance is an argument: the same seed gives the same policy (on the same device).

    Parameters
    ----------
    hidden
        Widths of the hidden layers of actor and critic; none makes them linear.
    rate
        Learning rate at first (Adam: Kingma and Ba 2015, arXiv:1412.6980).
    gamma
        Discount factor a round.
    spread
        Standard deviation of real acts, first and last, in half ranges of their space. A wide one averages noise out
        and sees far; a narrow one finds what is best next to a cliff, such as the offer that is just not refused.
    start
        {field: value, or one a component} that real acts start at; the others start in the middle of their space.
    entropy
        Weight of the entropy of whole numbers and choices at first; it falls to 0.
    levels
        Most values of a whole number that are told apart; a larger space is reduced to so many, evenly spaced.
    shared
        Whether all seats of the role have one network, or each its own.
    sample
        Whether it plays at random, with the last spread, or the mean and the most probable value.
    device
        Where it learns; None takes cuda if there is one.
    """

    _flat: Flat
    _heads: tuple[Head, ...]
    _asked: tuple[bool, ...]
    _own: dict[str, Table]
    _placed: dict[Any, dict[str, Array]]

    def __init__(
        self,
        hidden: Sequence[int] = (64, 64),
        *,
        rate: float = 3e-3,
        gamma: float = 1.0,
        spread: Sequence[float] = (0.3, 0.02),
        start: Start | None = None,
        entropy: float = 0.01,
        levels: int = 21,
        shared: bool = True,
        sample: bool = False,
        device: str | None = None,
    ) -> None:
        self.hidden = tuple(validate.whole("hidden", width, 1, 100_000) for width in hidden)
        self.rate = validate.real("rate", rate, 1e-9, 1.0)
        self.gamma = validate.real("gamma", gamma, 0.0, 1.0)
        first, last = (validate.real("spread", part, 1e-6, 10.0) for part in spread)
        self.spread = (first, last)
        self.start: Start = dict(start or {})
        self.entropy = validate.real("entropy", entropy, 0.0, 100.0)
        self.levels = validate.whole("levels", levels, 2, 100_000)
        self.shared, self.sample, self.device = shared, sample, device
        self.weights: dict[str, Table] = {}
        self.learned: dict[str, Any] = {}
        self.curve: list[float] = []

    def bind(self, game: Game, role: str, seats: tuple[int, ...]) -> Self:
        """Lay out observations and acts for a role; refuse one that the weights were not learned for."""
        from ..envs.views.spaces import Flat

        bound = copy.copy(super().bind(game, role, seats))
        bound._flat, bound._heads = Flat(bound.role), heads_of(bound.role, self.levels)
        bound._asked = (*(bool(bound.role.deciding(stage.name)) for stage in game.stages), False)  # -1: it is over
        bound._placed = {}
        bound.draws = len(bound._heads) if self.sample else 0
        if self.weights:
            for part, found in layout(bound._flat, bound._heads).items():
                if found != self.learned[part]:
                    raise ValueError(f"{role} of {game.name} {part} {found}, but learned was {self.learned[part]}")
            nets = len(self.weights["bias.0"])
            if nets not in (1, bound.role.count):
                raise ValueError(f"seats: the networks are of {nets} seats, {role} has {bound.role.count}")
            mine = list(seats) if nets > 1 else [0]
            bound._own = {name: v if name in ("middle", "scale") else v[mine] for name, v in self.weights.items()}
        return bound

    # ---- acting ---------------------------------------------------------------------------------------------------

    def act(self, seen: Seen, stage: Array, u: Array, memory: Any) -> tuple[Acts, Any]:
        """Play the mean and the most probable value, or draw; the null act where nothing is asked."""
        if not self.weights:
            raise RuntimeError("PolicyGradient: nothing learned yet; call learn(game, role), or load(folder)")
        xp, null = namespace(stage), default_acts(self.role, stage, len(self.seats))
        here = constant(stage, self._asked)[stage]
        if absent(here):
            return null, memory
        outputs, numbers = self._outputs(self.sight(seen)), []
        for i, head in enumerate(self._heads):
            part = outputs[..., head.outputs]
            if not head.values:
                mean = part[..., 0]
                numbers.append(mean + width_of(mean, self.spread[1]) * normal(u[..., i]) if self.sample else mean)
            elif self.sample:
                odds = xp.exp(part - xp.max(part, axis=-1, keepdims=True))
                numbers.append(categorical(u[..., i], odds / xp.sum(odds, axis=-1, keepdims=True)))
            else:
                numbers.append(xp.argmax(part, axis=-1))
        decided = acts_of(self.role, self._heads, numbers)
        return {name: xp.where(align(here, v), decided[name], v) for name, v in null.items()}, memory

    def sight(self, seen: Seen) -> Array:
        """Return what is seen as the networks read it: standardised, (*batch, seats, in), in double precision."""
        flat = self._flat.flatten(seen)
        xp, w = namespace(flat), self._there(flat)
        sight: Array = xp.clip((xp.astype(flat, xp.float64) - w["middle"]) * w["scale"], -_LARGEST, _LARGEST)
        return sight

    def _there(self, like: Array) -> dict[str, Array]:
        """Return the weights where an array is."""
        place = (namespace(like), like.device)
        if place not in self._placed:
            self._placed[place] = {name: constant(like, values) for name, values in self._own.items()}
        return self._placed[place]

    def _outputs(self, x: Array) -> Array:
        """Return the actor's outputs (*batch, seats, outputs) of ``sight``, in double precision."""
        xp, w = namespace(x), self._there(x)
        for layer in range(len(self.hidden) + 1):
            if layer:
                x = xp.where(x > 0.0, x, 0.0)
            weight, bias = w[f"weight.{layer}"], w[f"bias.{layer}"]
            # einsum adds up in an order that, unlike that of matmul, does not depend on the number of worlds
            dot = np.einsum("...si,sio->...so", x, weight) if xp is np else (x[..., None, :] @ weight)[..., 0, :]
            x = dot + bias
        return x

    # ---- learning -------------------------------------------------------------------------------------------------

    def learn(
        self,
        game: Game,
        role: str,
        *,
        episodes: int,
        sessions: int = 2048,
        seed: int = 0,
        others: Mapping[str, Policy] | None = None,
        watch: Callable[[int, int], None] | None = None,
    ) -> Self:
        """Learn all seats of a role together, from nothing; return the policy that was learned.

        Its ``curve`` is the mean return of a seat in each batch, under exploration.

        Parameters
        ----------
        game, role
            Who learns what.
        episodes
            Episodes that every world plays: the number of updates.
        sessions
            Worlds of a batch.
        seed
            Seed of the games' and the learner's chance.
        others
            Policies of the other roles.
        watch
            Called as ``watch(episode, episodes)`` after every update.
        """
        import torch

        validate.whole("episodes", episodes, 1, 1_000_000_000)
        device = torch.device(self.device or ("cuda" if torch.cuda.is_available() else "cpu"))
        backend = "numpy" if device.type == "cpu" else "torch"  # NumPy is quicker on the host
        worlds = Worlds(game, sessions, seed=seed, backend=backend, device=str(device), check=False)
        fresh = copy.copy(self)
        fresh.weights = {}
        learner = fresh.bind(game, role, tuple(range(game.role(role).count)))
        cast = Cast(game, others or {}, except_=learner.role.players)
        learner.curve = []
        with one_thread(torch):
            training = _Training(learner, worlds, cast, device, seed)
            for episode in range(episodes):
                learner.curve.append(training.update(episode, episodes))
                if watch is not None:
                    watch(episode + 1, episodes)
            learner.weights = training.weights()
        learner.learned = {"game": game.name, "role": role, **layout(learner._flat, learner._heads)}
        return learner

    # ---- keeping --------------------------------------------------------------------------------------------------

    def save(self, folder: str | Path) -> None:
        """Write the weights as safetensors, and parameters and what was learned as JSON."""
        from safetensors.numpy import save_file

        if not self.weights:
            raise RuntimeError("PolicyGradient: nothing learned yet; call learn(game, role) first")
        target = Path(folder)
        target.mkdir(parents=True, exist_ok=True)
        save_file({name: np.ascontiguousarray(v) for name, v in self.weights.items()}, target / "policy.safetensors")
        card = {"parameters": {name: getattr(self, name) for name in _KEPT}, "learned": self.learned}
        (target / "card.json").write_text(json.dumps(card, indent=1), encoding="utf-8")

    @classmethod
    def load(cls, folder: str | Path) -> Self:
        """Read what ``save`` wrote."""
        from safetensors.numpy import load_file

        source = Path(folder)
        if not (source / "card.json").is_file():
            raise FileNotFoundError(f"folder: no card.json in {source}; give a folder that save() wrote")
        card = json.loads((source / "card.json").read_text(encoding="utf-8"))
        policy = cls(**card["parameters"])
        policy.learned, policy.weights = card["learned"], load_file(source / "policy.safetensors")
        return policy


class _Training:
    """Networks and worlds while they learn; networks take rows (nets, rows, ...) of decisions."""

    def __init__(self, policy: PolicyGradient, worlds: Worlds, cast: Cast, device: Any, seed: int) -> None:
        import torch

        self.torch, self.policy, self.worlds, self.cast, self.device = torch, policy, worlds, cast, device
        self.role, self.flat, self.heads = policy.role, policy._flat, policy._heads
        self.nets = 1 if policy.shared else self.role.count
        low, high = self.flat.low.astype(float), self.flat.high.astype(float)
        bounded = np.isfinite(low) & np.isfinite(high)
        self.loose = None if bounded.all() else self._tensor(~bounded)
        with np.errstate(invalid="ignore", divide="ignore"):
            self.middle = self._tensor(np.where(bounded, (low + high) / 2, 0.0))
            self.scale = self._tensor(np.where(bounded, np.where(high > low, 2 / (high - low), 0.0), 1.0))
        self.seen, self.returns = Moments(), Moments()
        generator, sizes, first = torch.Generator().manual_seed(seed), (len(low), *policy.hidden), self._first()
        self.actor = self._layers(generator, (*sizes, len(first)), 0.01, first)
        self.critic = self._layers(generator, (*sizes, 1), 1.0, [0.0])
        self.adam = Adam(torch, [*self.actor, *self.critic])
        stages, seats = worlds.game.stages, range(self.role.count)
        asked = [[[h.field in self.role.deciding(s.name, i) for h in self.heads] for i in seats] for s in stages]
        self.asked = self._tensor(asked)

    def _tensor(self, values: Any) -> Any:
        if not isinstance(values, self.torch.Tensor):
            values = np.array(values, order="C")  # a copy, as torch takes neither all strides nor what is read-only
        return self.torch.as_tensor(values, device=self.device)

    def _layers(self, generator: Any, sizes: Sequence[int], last: float, bias: list[float]) -> list[Any]:
        """Return weights (nets, in, out), of variance 2 / in (He et al. 2015), and biases (nets, 1, out), in turn."""
        torch, layers = self.torch, []
        for i, (width, height) in enumerate(itertools.pairwise(sizes)):
            final = i == len(sizes) - 2
            weight = torch.randn(self.nets, width, height, generator=generator) * math.sqrt(2 / width)
            zero = torch.zeros(self.nets, 1, height)
            layers += [weight * last, zero + torch.tensor(bias)] if final else [weight, zero]
        return [part.to(self.device).requires_grad_() for part in layers]

    def _first(self) -> list[float]:
        """Return the outputs at which learning starts: means of real acts at their start or the middle, even weights."""
        outputs = [0.0] * self.heads[-1].outputs.stop
        for name, given in self.policy.start.items():
            field = find(self.role.acts, name, f"start: {self.role.name}")
            parts = [given] * (len(field.each) or 1) if isinstance(given, int | float) else list(given)
            if field.discrete or len(parts) != (len(field.each) or 1):
                raise ValueError(f"start: {name!r} is {field.space} {field.each or ''}, and cannot start at {given!r}")
            low, high = field.space.low, field.space.high
            for head in self.heads:
                if head.field is field:
                    value = validate.real(f"start: {name}", parts[head.position or 0], low, high)
                    outputs[head.outputs.start] = 2.0 * (value - low) / max(high - low, 1e-12) - 1.0
        return outputs

    def _forward(self, layers: list[Any], x: Any) -> Any:
        for i in range(0, len(layers), 2):
            x = self.torch.baddbmm(layers[i + 1], self.torch.relu(x) if i else x, layers[i])
        return x

    def _rows(self, values: Any) -> Any:
        """Lay (worlds, seats, ...) out as rows: all seats for a shared network, else each seat for its own."""
        return values.flatten(0, 1)[None] if self.nets == 1 else values.movedim(1, 0)

    def _back(self, rows: Any) -> Any:
        return rows[0].unflatten(0, (-1, self.role.count)) if self.nets == 1 else rows.movedim(0, 1)

    def weights(self) -> dict[str, Table]:
        """Return what play needs."""
        parts = {"middle": self.middle, "scale": self.scale}
        actor = self.adam.means[: len(self.actor)] if self.adam.steps else self.actor
        for i in range(0, len(actor), 2):
            parts |= {f"weight.{i // 2}": actor[i], f"bias.{i // 2}": actor[i + 1][:, 0]}
        return {name: to_numpy(part).astype(np.float64) for name, part in parts.items()}

    def _sight(self, seen: Seen) -> Any:
        """Return standardised observations: bounded ones on [-1, 1], others by their mean and deviation so far."""
        sight = self._tensor(self.flat.flatten(seen)).double()
        if self.loose is not None:
            self.seen.add(sight.flatten(0, 1))
            self.middle = self.torch.where(self.loose, self.seen.mean, self.middle)
            self.scale = self.torch.where(self.loose, 1.0 / self.seen.deviation, self.scale)
        return ((sight - self.middle) * self.scale).clip(-_LARGEST, _LARGEST).float()

    def update(self, episode: int, episodes: int) -> float:
        """Play one episode in every world and learn from it; return the mean return of a seat."""
        if episode:
            self.worlds.reset()
        left, (first, last) = 1.0 - episode / episodes, self.policy.spread
        spread = first * (last / first) ** (1.0 - left)
        rows, mean = self._play(spread)
        if rows is not None:
            self.adam.step(self._loss(rows, spread, self.policy.entropy * left), self.policy.rate * left)
        return mean

    def _play(self, spread: float) -> tuple[Any, float]:
        """Return rows of observations, outputs, draws, what was asked and the rewards that followed; and the mean return."""
        torch, worlds, game, name = self.torch, self.worlds, self.worlds.game, self.role.name
        steps: list[tuple[Any, ...]] = []
        paid: list[tuple[Any, Any, bool]] = []
        live = worlds.array(np.ones(worlds.count, dtype=bool))
        self.cast.begin(worlds)
        for _ in range(game.horizon):
            seen, before, all_live, given = worlds.view(), worlds.state, absent(~live), {}
            alive = self._tensor(live)
            asked = self.asked[self._tensor(worlds.stage)] & alive[:, None, None]
            decides = bool(asked.any())
            if decides:
                sight = self._rows(self._sight(seen[name]))
                outputs = self._forward(self.actor, sight)
                drawn = self._draw(self._back(outputs.detach()), spread)
                numbers = [part.numpy() for part in drawn] if worlds.xp is np else drawn
                given = {name: acts_of(self.role, self.heads, numbers)}
                steps.append((sight, outputs, self._rows(torch.stack(drawn, dim=-1)), self._rows(asked.float())))
            outcome = worlds.step(self.cast.act(worlds, seen, given, None if all_live else live))
            rounds = self._tensor(game.round(outcome.state) - game.round(before))
            reward = self._tensor(outcome.rewards[name]) * alive[:, None]
            paid.append((reward, (self.policy.gamma ** rounds.double())[:, None], decides))
            if not all_live:
                worlds.state = select(live, worlds.state, before)
            live = live & ~outcome.done
            if not bool(live.any()):
                break
        later, following = torch.zeros_like(paid[0][0]), []
        for reward, discount, decides in reversed(paid):
            later = reward + discount * later
            following += [self._rows(later)] if decides else []
        mean = float(sum(reward for reward, _, _ in paid).mean())
        if not steps:
            return None, mean
        parts = *zip(*steps, strict=True), reversed(following)
        return [torch.cat(tuple(part), dim=1) for part in parts], mean

    def _draw(self, outputs: Any, spread: float) -> list[Any]:
        """Draw a number for every head: points of [-1, 1], or indices of values, (worlds, seats)."""
        count, numbers = len(self.heads), []
        u = self._tensor(self.worlds.uniform(self.role.count * count, f"explore:{self.role.name}"))
        for i, head in enumerate(self.heads):
            part, chance = outputs[..., head.outputs].double(), u[:, i::count]
            if head.values:
                numbers.append(categorical(chance, self.torch.softmax(part, dim=-1)))
            else:
                numbers.append(part[..., 0] + width_of(part[..., 0], spread) * normal(chance))
        return numbers

    def _loss(self, rows: Any, spread: float, entropy: float) -> Any:
        """Return the critic's squared error less the actor's merit, to be made small."""
        sight, outputs, drawn, asked, following = rows
        known = asked.amax(dim=-1)
        known = known / known.sum(dim=1, keepdim=True).clip(min=1.0)  # weights of rows at which something was asked
        self.returns.add(following[known > 0][:, None])
        target = ((following - self.returns.mean) / self.returns.deviation).float()
        value = self._forward(self.critic, sight)[..., 0]
        gain = target - value.detach()
        gain = gain - (gain * known).sum(dim=1, keepdim=True)
        gain = gain / ((gain**2 * known).sum(dim=1, keepdim=True) + 1e-12).sqrt()
        merit = -((value - target) ** 2)
        for i, head in enumerate(self.heads):
            part, number, mask = outputs[..., head.outputs], drawn[..., i], asked[..., i]
            if head.values:
                logs = self.torch.log_softmax(part, dim=-1)
                chance = logs.gather(-1, number[..., None].long())[..., 0]
                merit = merit + mask * (chance * gain - entropy * (logs.exp() * logs).sum(dim=-1))
            else:  # where the normal is narrow, its gradient is weighted less, as it is less certain
                mean = part[..., 0]
                chance = -((number.float() - mean) ** 2) / (2.0 * spread)
                merit = merit + mask * (chance * gain - (mean.abs() - 1.0 - spread / 3.0).clip(min=0.0) ** 2)
        return -(merit * known).sum()


def heads_of(role: Role, levels: int) -> tuple[Head, ...]:
    """Return how each number that a role decides is decided; ``levels`` are the most values of a whole number."""
    heads: list[Head] = []
    if not role.acts:
        raise ValueError(f"acts: a {role.name} decides nothing, so that there is nothing to learn")
    for field in role.acts:
        if isinstance(field.space, Text):
            raise ValueError(f"acts: field {field.name!r} of {role.name} is free text; learn on a finite vocabulary")
        low, high = field.space.low, field.space.high
        values: tuple[int, ...] = ()
        if math.isinf(low) or math.isinf(high):
            raise ValueError(f"acts: field {field.name!r} of {role.name} has no bounds and cannot be explored")
        if field.discrete:
            many = int(high - low) + 1
            steps = np.linspace(low, high, many if isinstance(field.space, Choice) else min(levels, many))
            values = tuple(int(value) for value in np.round(steps))
        for _, position in components(field):
            begin = heads[-1].outputs.stop if heads else 0
            heads.append(Head(field, position, values, slice(begin, begin + (len(values) or 1))))
    return tuple(heads)


def acts_of(role: Role, heads: Sequence[Head], numbers: Sequence[Array]) -> Acts:
    """Return the acts that a number (*batch, seats) a head stands for: points of [-1, 1], or indices of values."""
    xp, acts = namespace(numbers[0]), {}
    for field in role.acts:
        parts, low, high = [], field.space.low, field.space.high
        for head, number in zip(heads, numbers, strict=True):
            if head.field is field and head.values:
                parts.append(look_up(number, head.values, number))
            elif head.field is field:
                parts.append(xp.clip(low + (number + 1.0) / 2.0 * (high - low), low, high))
        acts[field.name] = xp.stack(parts, axis=-1) if field.each else parts[0]
    return acts


def width_of(mean: Array, spread: float) -> Array:
    """Return the standard deviation about a mean on [-1, 1]: two fit between it and the next bound, but a third at least."""
    xp = namespace(mean)
    return xp.clip((1.0 - xp.abs(mean)) / 2.0, spread / 3.0, spread)


def normal(u: Array) -> Array:
    """Return the normal number of a uniform one, by inversion."""
    u = namespace(u).clip(u, 2.0**-54, 1.0)
    if isinstance(u, np.ndarray):
        from scipy.special import ndtri
    else:
        from torch.special import ndtri
    return ndtri(u)


def layout(flat: Flat, heads: Sequence[Head]) -> dict[str, Any]:
    """Describe what a role sees and decides, as plain data."""
    return {"sees": flat.names, "decides": [[h.field.name, h.position, list(h.values)] for h in heads]}


@contextlib.contextmanager
def one_thread(torch: Any) -> Iterator[None]:
    """Keep torch to one thread for a while: quicker for small networks, and the same on every number of cores."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
