"""Learned auctions: menus and networks that find a rule of sale by gradient, and what may be trusted of what they find."""

from __future__ import annotations

import dataclasses
import functools
import itertools
import json
import math
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import numpy as np

from ...envs.core import chance, validate
from ...envs.core.arrays import Array, constant, namespace, to_numpy, total
from ...envs.core.fields import Field, Real, Role
from ...envs.core.game import Acts, Benchmarks, Level, Measure, Seen
from ...envs.core.rounds import Record, RoundGame, RoundState, Settled

Host = np.ndarray[Any, Any]
Values = Callable[[Array], Array]
"""From uniform numbers (*batch, bidders, items) to values of the same shape, for arrays of any library."""

DEMANDS = ("additive", "unit")
OBJECTIVES = ("revenue", "welfare")
ROWS = 1 << 16
"""Bid profiles that a network is given at once."""


def uniform(u: Array) -> Array:
    """Return values that are uniform from 0 to 1, independent across bidders and items."""
    return u


@functools.lru_cache(maxsize=64)
def uniform_on(low: float, high: float) -> Values:
    """Return values that are uniform from ``low`` to ``high``, independent across bidders and items."""
    if (low, high) == (0.0, 1.0):
        return uniform

    def values(u: Array) -> Array:
        return low + (high - low) * u

    return values


# ---- nets -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Net(ABC):
    """A family of auctions with weights to be learned: sealed bids for items in, shares and payments out.

    Bidders with additive demand value a set of items at the sum of its values; with unit demand each is given at most
    one item in expectation. Bids are brought into the range from ``low`` to ``high``.
    """

    kind: ClassVar[str]
    smooth: ClassVar[bool]

    @property
    @abstractmethod
    def shape(self) -> tuple[int, int]:
        """Bidders and items."""

    @property
    @abstractmethod
    def range(self) -> tuple[float, float]:
        """Lowest and highest value of an item."""

    @abstractmethod
    def rule(self, weights: Mapping[str, Array], bids: Array) -> tuple[Array, Array]:
        """Return shares (*batch, bidders, items) and payments (*batch, bidders) at bids (*batch, bidders, items)."""

    @abstractmethod
    def learn(self, values: Values = uniform) -> LearnedRule:
        """Return a rule that was learned."""

    def gains(self, weights: Mapping[str, Array], values: Array, lies: Array) -> Array:
        """Return the utility (*batch, bidders) of each bidder alone reporting its row of ``lies`` instead of its values."""
        xp, n = namespace(values), self.shape[0]
        own = xp.reshape(xp.eye(n, dtype=values.dtype, device=values.device), (n, n, 1))
        bids = values[..., None, :, :] * (1.0 - own) + lies[..., None, :, :] * own  # (*batch, liar, bidder, item)
        shares, payments = self.rule(weights, bids)
        utility = xp.sum(shares * values[..., None, :, :], axis=-1) - payments
        return xp.sum(utility * own[..., 0], axis=-1)

    def draw(self, values: Values, worlds: int, seed: int, moment: int, device: Any = None) -> Any:
        """Return values (worlds, bidders, items) as double-precision tensors."""
        import torch

        world = torch.arange(worlds, dtype=torch.int64, device=device)
        count = self.shape[0] * self.shape[1]
        found = values(chance.uniform(chance.key(seed, world, world * 0 + moment), count).reshape(worlds, *self.shape))
        low, high = self.range
        if tuple(found.shape) != (worlds, *self.shape):
            raise ValueError(f"values: an array of shape {(worlds, *self.shape)}, got {tuple(found.shape)}")
        if float(found.min()) < low - 1e-9 or float(found.max()) > high + 1e-9:
            raise ValueError(
                f"values: numbers from low = {low:g} to high = {high:g}, got {float(found.min()):g} to {float(found.max()):g}"
            )
        return found


@dataclass(frozen=True)
class RochetNet(Net):
    """A menu for one bidder, learned (Dütting, Feng, Narasimhan, Parkes and Ravindranath 2024, J. ACM 71(1), section 3).

    The bidder takes the entry of the menu that it likes best, or nothing at no price. Every incentive-compatible and
    individually rational rule for one bidder is such a menu (Rochet 1987), and every menu is such a rule: regret is 0
    by construction, whatever the weights. In training the choice is softened, the less the longer it lasts.

    Parameters
    ----------
    items
        Items for sale.
    demand
        ``"additive"``, or ``"unit"``: the shares of an entry then sum to at most 1.
    entries
        Entries of the menu besides nothing.
    low, high
        Range of an item's value, in coins.
    """

    items: int = 1
    demand: str = "additive"
    entries: int = 32
    low: float = 0.0
    high: float = 1.0

    kind: ClassVar[str] = "rochet"
    smooth: ClassVar[bool] = False

    def __post_init__(self) -> None:
        """Refuse parameters out of range."""
        validate.whole("items", self.items, 1, 64)
        validate.whole("entries", self.entries, 1, 100_000)
        validate.one_of("demand", self.demand, DEMANDS)
        _ordered(self.low, self.high)

    @property
    def shape(self) -> tuple[int, int]:
        """One bidder, and the items."""
        return 1, self.items

    @property
    def range(self) -> tuple[float, float]:
        """Lowest and highest value."""
        return self.low, self.high

    def menu(self, weights: Mapping[str, Array]) -> tuple[Array, Array]:
        """Return shares (entries + 1, items) and prices (entries + 1,), nothing first."""
        share, xp = weights["share"], namespace(weights["share"])
        price = xp.abs(weights["price"]) * (self.high - self.low)  # the seller pays nobody
        if self.demand == "additive":
            share = _sigmoid(share)
        else:
            share = _softmax(xp.concat([share, share[:, :1] * 0.0], axis=-1), -1)[:, :-1]
        return xp.concat([share[:1] * 0.0, share]), xp.concat([price[:1] * 0.0, price])

    def rule(self, weights: Mapping[str, Array], bids: Array) -> tuple[Array, Array]:
        """Return shares and price of the entry that is best at a bid; of equal ones the first."""
        shares, prices = self.menu(weights)
        xp = namespace(bids)
        best = xp.argmax(self._gains(shares, prices, bids[..., 0, :]), axis=-1)
        return shares[best][..., None, :], prices[best][..., None]

    def soft(self, weights: Mapping[str, Array], values: Array, sharpness: float) -> tuple[Array, Array]:
        """Return shares and payments of a bidder whose choice has a logit error."""
        shares, prices = self.menu(weights)
        odds = _softmax(self._gains(shares, prices, values[..., 0, :]) * sharpness, -1)
        return (odds @ shares)[..., None, :], (odds @ prices)[..., None]

    @staticmethod
    def _gains(shares: Array, prices: Array, values: Array) -> Array:
        return _dot(values, shares.T) - prices

    def learn(
        self,
        values: Values = uniform,
        *,
        objective: str = "revenue",
        steps: int = 2000,
        batch: int = 1024,
        rate: float = 0.02,
        sharpness: tuple[float, float] = (20.0, 400.0),
        seed: int = 0,
        device: str | None = None,
        watch: Callable[[int, int], bool | None] | None = None,
    ) -> LearnedRule:
        """Return the menu that was learned.

        Parameters
        ----------
        values
            Values of uniform numbers, within the range.
        objective
            ``"revenue"`` or ``"welfare"``.
        steps
            Updates, each on new values.
        batch
            Values of an update.
        rate
            Learning rate at first (Adam); it falls to 0 linearly.
        sharpness
            First and last slope of the softened choice, per range of an item's value; it grows geometrically.
        seed
            Seed of first weights and values: the same gives the same menu on the same device.
        device
            Where it learns; None takes cuda if there is one.
        watch
            Called as ``watch(step, steps)`` after every update; what was learned so far is returned if it answers True.
        """
        import torch

        _plan(objective, steps, batch, rate)
        first, last = (validate.real("sharpness", part, 1e-3, 1e6) for part in sharpness)
        where, scale = _device(torch, device), self.high - self.low
        generator = torch.Generator().manual_seed(seed)
        weights = {
            "share": torch.randn((self.entries, self.items), generator=generator),
            "price": (torch.rand(self.entries, generator=generator) + self.low / scale) * self.items,
        }
        if self.demand == "unit":
            weights["price"] /= self.items

        def update(step: int, weights: Mapping[str, Any]) -> tuple[Any, tuple[float, float]]:
            drawn = self.draw(values, batch, seed, step, where).to(torch.float32)
            slope = first * (last / first) ** (step / max(1, steps - 1)) / scale
            shares, payments = self.soft(weights, drawn, slope)
            made = _made(objective, drawn, shares, payments)
            return -made / scale, (float(made.detach()), 0.0)

        return _learn(torch, self, values, weights, update, steps, rate, where, watch)


@dataclass(frozen=True)
class RegretNet(Net):
    """Networks for several bidders, learned (Dütting, Feng, Narasimhan, Parkes and Ravindranath 2024, J. ACM 71(1),
    section 4).

    One network gives the shares at every profile of bids, another the fraction of the value of its shares that each
    bidder pays: nobody who bids its values pays more than they are worth, individual rationality ex post by
    construction. Incentive compatibility is learned: the objective is maximised subject to no ex-post regret by an
    augmented Lagrangian, in which misreports are found by gradient ascent. What regret is left must be measured.

    Parameters
    ----------
    bidders, items
        How many.
    demand
        ``"additive"`` or ``"unit"``.
    hidden
        Widths of the hidden layers of both networks.
    low, high
        Range of an item's value, in coins.
    """

    bidders: int = 2
    items: int = 1
    demand: str = "additive"
    hidden: tuple[int, ...] = (32, 32)
    low: float = 0.0
    high: float = 1.0

    kind: ClassVar[str] = "regret"
    smooth: ClassVar[bool] = True

    def __post_init__(self) -> None:
        """Refuse parameters out of range; take a list of widths."""
        validate.whole("bidders", self.bidders, 1, 64)
        validate.whole("items", self.items, 1, 64)
        validate.one_of("demand", self.demand, DEMANDS)
        object.__setattr__(self, "hidden", tuple(validate.whole("hidden", w, 1, 100_000) for w in self.hidden))
        _ordered(self.low, self.high)

    @property
    def shape(self) -> tuple[int, int]:
        """Bidders and items."""
        return self.bidders, self.items

    @property
    def range(self) -> tuple[float, float]:
        """Lowest and highest value."""
        return self.low, self.high

    @functools.cached_property
    def _outputs(self) -> dict[str, int]:
        n, m = self.shape
        return {"share": (n + 1) * m + (0 if self.demand == "additive" else n * (m + 1)), "pay": n}

    def _run(self, weights: Mapping[str, Array], part: str, x: Array) -> Array:
        xp = namespace(x)
        for layer in range(len(self.hidden)):
            x = xp.tanh(_dot(x, weights[f"{part}.{layer}.w"]) + weights[f"{part}.{layer}.b"])
        last = len(self.hidden)
        return _dot(x, weights[f"{part}.{last}.w"]) + weights[f"{part}.{last}.b"]

    def rule(self, weights: Mapping[str, Array], bids: Array) -> tuple[Array, Array]:
        """Return shares and payments at bids."""
        xp, (n, m), batch = namespace(bids), self.shape, tuple(bids.shape[:-2])
        x = (xp.reshape(bids, (*batch, n * m)) - (self.low + self.high) / 2) * (2.0 / (self.high - self.low))
        out = self._run(weights, "share", x)
        shares = _softmax(xp.reshape(out[..., : (n + 1) * m], (*batch, n + 1, m)), -2)[..., :-1, :]
        if self.demand == "unit":
            own = _softmax(xp.reshape(out[..., (n + 1) * m :], (*batch, n, m + 1)), -1)[..., :-1]
            shares = xp.minimum(shares, own)
        fraction = _sigmoid(self._run(weights, "pay", x))
        return shares, fraction * xp.sum(shares * bids, axis=-1)

    def learn(
        self,
        values: Values = uniform,
        *,
        objective: str = "revenue",
        steps: int = 1500,
        batch: int = 256,
        rate: float = 8e-3,
        starts: int = 8,
        ascents: int = 1,
        ascent: float = 0.1,
        multiplier: float = 30.0,
        penalty: tuple[float, float] = (50.0, 500.0),
        every: int = 50,
        seed: int = 0,
        device: str | None = None,
        watch: Callable[[int, int], bool | None] | None = None,
    ) -> LearnedRule:
        """Return the rule that was learned.

        The loss of an update is -objective + sum_i (lambda_i R_i + rho / 2 R_i^2), R_i the mean regret of bidder i on new
        values: what it gains by the best misreport that was found. Every so many updates lambda_i grows by rho R_i.

        Parameters
        ----------
        values
            Values of uniform numbers, within the range.
        objective
            ``"revenue"`` or ``"welfare"``.
        steps
            Updates, each on new values.
        batch
            Values of an update.
        rate
            Learning rate at first (Adam); it falls to 0 linearly.
        starts, ascents, ascent
            Misreports: the best of so many random ones is improved by so many steps of gradient ascent, of this
            size in ranges of an item's value.
        multiplier
            The multipliers lambda at first.
        penalty
            The penalty rho, first and last; it grows linearly.
        every
            Updates between those of lambda.
        seed
            Seed of first weights, values and misreports: the same gives the same rule on the same device.
        device
            Where it learns; None takes cuda if there is one.
        watch
            Called as ``watch(step, steps)`` after every update; what was learned so far is returned if it answers True.
        """
        import torch

        _plan(objective, steps, batch, rate)
        validate.whole("starts", starts, 1, 10_000)
        validate.whole("ascents", ascents, 0, 10_000)
        validate.whole("every", every, 1, 1_000_000)
        validate.real("ascent", ascent, 0.0, 1e6)
        validate.real("multiplier", multiplier, 0.0, 1e6)
        first, last = (validate.real("penalty", part, 0.0, 1e9) for part in penalty)
        where, scale = _device(torch, device), self.high - self.low
        weights = self._first(torch, seed)
        prices = torch.full((self.bidders,), multiplier, device=where)
        seen = torch.zeros(self.bidders, device=where)
        count = batch * starts

        def update(step: int, weights: Mapping[str, Any]) -> tuple[Any, tuple[float, float]]:
            nonlocal prices, seen
            drawn = self.draw(values, batch, seed, 2 * step, where).to(torch.float32)
            tried = self.draw(uniform_on(self.low, self.high), count, seed, 2 * step + 1, where).to(torch.float32)
            fixed = {name: part.detach() for name, part in weights.items()}
            lies = self._lies(torch, fixed, drawn, tried.reshape(starts, batch, *self.shape), ascents, ascent)
            shares, payments = self.rule(weights, drawn)
            truth = (shares * drawn).sum(dim=-1) - payments
            regret = (self.gains(weights, drawn, lies) - truth).clamp(min=0.0).mean(dim=0) / scale
            made = _made(objective, drawn, shares, payments)
            rho = first + (last - first) * step / max(1, steps - 1)
            loss = -made / scale + (prices * regret).sum() + rho / 2 * (regret**2).sum()
            seen = seen + regret.detach() / every
            if (step + 1) % every == 0:
                prices, seen = prices + rho * seen, torch.zeros_like(seen)
            return loss, (float(made.detach()), float(regret.detach().mean()) * scale)

        return _learn(torch, self, values, weights, update, steps, rate, where, watch)

    def _first(self, torch: Any, seed: int) -> dict[str, Any]:
        """Return first weights (Glorot and Bengio 2010)."""
        generator, weights = torch.Generator().manual_seed(seed), {}
        for part, outputs in self._outputs.items():
            widths = (self.bidders * self.items, *self.hidden, outputs)
            for layer, (a, b) in enumerate(itertools.pairwise(widths)):
                spread = math.sqrt(2.0 / (a + b))
                weights[f"{part}.{layer}.w"] = torch.randn((a, b), generator=generator) * spread
                weights[f"{part}.{layer}.b"] = torch.zeros(b)
        return weights

    def _lies(self, torch: Any, weights: Any, values: Any, tried: Any, ascents: int, ascent: float) -> Any:
        """Return the best misreports found (batch, bidders, items), from first ones (starts, batch, bidders, items)."""
        if len(tried) > 1:
            with torch.no_grad():
                best = self.gains(weights, values.expand(tried.shape), tried).argmax(dim=0)  # (batch, bidders)
            index = best[None, ..., None].expand(1, *tried.shape[1:])
            lies = tried.gather(0, index)[0]
        else:
            lies = tried[0]
        for _ in range(ascents):
            lies = lies.detach().requires_grad_(True)
            slope = torch.autograd.grad(self.gains(weights, values, lies).sum(), lies)[0]
            lies = (lies + ascent * (self.high - self.low) * slope).clamp(self.low, self.high)
        return lies.detach()


# ---- what was learned -----------------------------------------------------------------------------------------------


class Evaluation(NamedTuple):
    """What a rule is worth when all bid their values, an auction; in coins.

    ``regret`` is the mean over bidders and values of what the best misreport that was found gains, in hindsight;
    ``most_regret`` the largest. Both are lower bounds. ``violation`` is the largest loss of a bidder that bids its
    values. ``revenue_error`` is the standard error of revenue, nan on a grid.
    """

    revenue: float
    revenue_error: float
    welfare: float
    regret: float
    most_regret: float
    violation: float
    worlds: int


@dataclass(frozen=True, eq=False)
class LearnedRule:
    """A net with the weights that it learned.

    ``curve`` holds, update by update, the objective and the mean regret a bidder on the values of the update, both in
    coins; for ``RochetNet``, whose choice is soft in training, the second is 0. ``seconds`` is how long learning took.
    """

    net: RochetNet | RegretNet
    weights: Mapping[str, Host]
    values: Values = uniform
    curve: tuple[tuple[float, float], ...] = ()
    seconds: float = 0.0

    def rule(self, bids: Array) -> tuple[Array, Array]:
        """Return shares (*batch, bidders, items) and payments (*batch, bidders) at bids, for arrays of any library."""
        low, high = self.net.range
        weights = {name: constant(bids, part) for name, part in self.weights.items()}
        return self.net.rule(weights, namespace(bids).clip(bids, low, high))

    def evaluate(
        self,
        *,
        worlds: int = 4096,
        grid: int | None = None,
        reports: int = 21,
        starts: int = 16,
        ascents: int = 40,
        seed: int = 1_000_003,
        device: str | None = None,
    ) -> Evaluation:
        """Measure the rule on values that it has not seen, more sharply than in training.

        For each bidder and profile of values, all misreports on a grid (where there are few) and random ones are tried;
        the best four are improved by gradient ascent, in steps that become smaller (not those of a menu, which has no
        slope and no regret).

        Parameters
        ----------
        worlds
            Profiles of values that are drawn.
        grid
            Instead of drawn ones, uniform numbers in the middle of so many cells an axis: ``grid ** (bidders * items)``
            profiles.
        reports
            Misreports an item on the grid, the bounds included; there is no grid where these make more than 1000.
        starts, ascents
            Random misreports, and steps of ascent.
        seed
            Seed of values and misreports; another one than that of learning.
        device
            Where it is measured; None takes cuda if there is one.
        """
        import torch

        validate.whole("worlds", worlds, 2, 10_000_000)
        validate.whole("reports", reports, 2, 100_000)
        validate.whole("starts", starts, 1, 100_000)
        validate.whole("ascents", ascents, 0, 100_000)
        net, where = self.net, _device(torch, device)
        weights = {name: torch.asarray(part, dtype=torch.float64, device=where) for name, part in self.weights.items()}
        with _single(torch):
            if grid is None:
                drawn = net.draw(self.values, worlds, seed, 0, where)
            else:
                drawn = self.values(torch.asarray(middles(grid, net.shape), device=where))
            found = _Regret(torch, net, weights, reports, starts, ascents, seed, where)
            size = max(1, ROWS // (8 * net.shape[0]))
            parts = [found.measure(drawn[at : at + size], at) for at in range(0, len(drawn), size)]
        revenue, welfare, regret, utility = (torch.cat(column) for column in zip(*parts, strict=True))
        error = math.nan if grid is not None else float(revenue.std()) / math.sqrt(len(drawn))
        return Evaluation(
            float(revenue.mean()),
            error,
            float(welfare.mean()),
            float(regret.mean()),
            float(regret.max()),
            max(0.0, -float(utility.min())),
            len(drawn),
        )

    def save(self, folder: str | Path) -> None:
        """Write the weights as safetensors, and the net's parameters as JSON; the values are not kept."""
        from safetensors.numpy import save_file

        target = Path(folder)
        target.mkdir(parents=True, exist_ok=True)
        save_file({k: np.ascontiguousarray(v) for k, v in self.weights.items()}, target / "auction.safetensors")
        card = {"kind": self.net.kind, "parameters": dataclasses.asdict(self.net), "seconds": self.seconds}
        (target / "card.json").write_text(json.dumps(card, indent=1), encoding="utf-8")

    @classmethod
    def load(cls, folder: str | Path, values: Values = uniform) -> LearnedRule:
        """Read what ``save`` wrote; ``values`` are those to evaluate and to play it with."""
        from safetensors.numpy import load_file

        source = Path(folder)
        if not (source / "card.json").is_file():
            raise FileNotFoundError(f"folder: no card.json in {source}; give a folder that save() wrote")
        card = json.loads((source / "card.json").read_text(encoding="utf-8"))
        kinds: dict[str, type[RochetNet | RegretNet]] = {"rochet": RochetNet, "regret": RegretNet}
        validate.one_of("kind", card["kind"], tuple(kinds))
        net = kinds[card["kind"]](**card["parameters"])
        return cls(net, load_file(source / "auction.safetensors"), values, (), float(card["seconds"]))

    def game(self, repetitions: int = 1) -> LearnedAuction:
        """Return the auction as a game."""
        return LearnedAuction(self, repetitions)


def middles(count: int, shape: tuple[int, int]) -> Host:
    """Return the middles of a grid of cells, ``count`` an axis: (count ** (bidders * items), bidders, items)."""
    validate.whole("grid", count, 1, int(1e7 ** (1 / math.prod(shape))))
    axis = (np.arange(count) + 0.5) / count
    cells = np.meshgrid(*[axis] * math.prod(shape), indexing="ij")
    return np.stack(cells, axis=-1).reshape(-1, *shape)


class _Regret:
    """The measurement of regret: more misreports and more ascent than in training, in double precision."""

    def __init__(
        self, torch: Any, net: Net, weights: Any, reports: int, starts: int, ascents: int, seed: int, device: Any
    ) -> None:
        self.torch, self.net, self.weights, self.starts, self.device = torch, net, weights, starts, device
        self.ascents = ascents if net.smooth else 0
        self.seed, (low, high), items = seed, net.range, net.shape[1]
        axis = np.linspace(low, high, reports)
        points = np.zeros((0, items))
        if reports**items <= 1000:
            points = np.stack(np.meshgrid(*[axis] * items, indexing="ij"), axis=-1).reshape(-1, items)
        self.points = torch.asarray(points, device=device)

    def measure(self, values: Any, at: int) -> tuple[Any, Any, Any, Any]:
        """Return revenue and welfare (worlds,), and regret and utility (worlds, bidders)."""
        torch, net = self.torch, self.net
        worlds, n, m = values.shape
        low, high = net.range
        with torch.no_grad():
            shares, payments = net.rule(self.weights, values)
            truth = (shares * values).sum(dim=-1) - payments
            found = net.draw(uniform_on(low, high), self.starts * worlds, self.seed, 1 + at, self.device)
            grid = self.points[:, None, None, :].expand(-1, worlds, n, m)
            tried = torch.cat([found.reshape(self.starts, worlds, n, m), grid])
            size = max(1, ROWS // (worlds * n))
            gains = torch.cat([self._gains(values, tried[i : i + size]) for i in range(0, len(tried), size)])
            best, index = gains.topk(min(4, len(tried)), dim=0)
            lies = tried.gather(0, index[..., None].expand(*index.shape, m))
            best = best[0]
        for step in range(self.ascents):
            lies = lies.detach().requires_grad_(True)
            gains = self._gains(values, lies)
            best = torch.maximum(best, gains.detach().max(dim=0).values)
            slope = torch.autograd.grad(gains.sum(), lies)[0]
            lies = (lies + 0.3 * 0.9**step * (high - low) * slope).clamp(low, high)
        regret = (best - truth).clamp(min=0.0)
        return payments.sum(dim=-1), (shares * values).sum(dim=(-1, -2)), regret, truth

    def _gains(self, values: Any, lies: Any) -> Any:
        return self.net.gains(self.weights, values.expand(lies.shape), lies)


# ---- as a game ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class LearnedAuction(RoundGame):
    """A learned auction: bidders see what items are worth to them, bid, and the rule that was learned decides.

    A share of an item is worth that share of its value. Welfare is what the items are worth to those who get them; what
    is paid goes to the seller, who is not a player. Truth-telling is an equilibrium of a menu, and approximately one of
    ``RegretNet``: by how much it fails is what ``LearnedRule.evaluate`` and the incentive audit measure.

    Parameters
    ----------
    learned
        The rule; it and its values are taken as they are.
    repetitions
        Rounds of an episode, each with new values.
    """

    learned: LearnedRule
    repetitions: int = 1

    reports = (
        Measure("revenue", "what bidders pay, a round", "sum_i payment_i", "coins"),
        Measure("sold", "share of the items that is sold", "sum_ij share_ij / items"),
        Measure("shading", "mean of value less bid", "mean_ij (value_ij - bid_ij)", "coins"),
    )

    def __post_init__(self) -> None:
        """Refuse parameters out of range."""
        if not isinstance(self.learned, LearnedRule):
            raise ValueError(f"learned: a LearnedRule, from learn() or load(), got {self.learned!r}")
        validate.whole("repetitions", self.repetitions, 1, 1_000_000)

    @property
    def nature(self) -> int:  # type: ignore[override]
        """One number an item and bidder."""
        return math.prod(self.learned.net.shape)

    @property
    def about(self) -> str:
        """The rules in words."""
        (n, m), (low, high) = self.learned.net.shape, self.learned.net.range
        things = "An item is" if m == 1 else f"{m} items are"
        rule = (
            "a menu of shares and prices: the entry is taken that is best for a bidder of the values that are bid, or none"
            if isinstance(self.learned.net, RochetNet)
            else "a network that was trained to raise revenue or welfare while nobody gains by a false bid; all bids matter"
        )
        most = "" if self.learned.net.demand == "additive" else " Nobody gets shares of more than 1 in all."
        return (
            f"{things} sold to {n} bidder{'' if n == 1 else 's'}. Each bidder sees what each item is worth to it, from "
            f"{low:g} to {high:g} coins, drawn anew every round, and bids without seeing the others' bids. Shares of the items "
            f"and payments are then set by {rule}. A bidder's reward is its shares times its values, less its "
            f"payment. Nobody who bids its values ever pays more than its shares are worth to it.{most}"
        )

    @functools.cached_property
    def _names(self) -> tuple[tuple[str, str], ...]:
        m = self.learned.net.shape[1]
        return (("value", "bid"),) if m == 1 else tuple((f"value_{j}", f"bid_{j}") for j in range(1, m + 1))

    @property
    def truths(self) -> dict[str, dict[str, str]]:
        """Which bid reports which value, as the audit's ``reports`` take it."""
        return {"bidder": {bid: value for value, bid in self._names}}

    def cast(self) -> tuple[Role, ...]:
        """The bidders, who see their own values."""
        (n, m), space = self.learned.net.shape, Real(*self.learned.net.range)
        which = [""] if m == 1 else [f" {j}" for j in range(1, m + 1)]
        sees = tuple(
            Field(value, space, f"what item{k} is worth to you", "coins")
            for k, (value, _) in zip(which, self._names, strict=True)
        )
        acts = tuple(
            Field(bid, space, f"your bid for item{k}", "coins") for k, (_, bid) in zip(which, self._names, strict=True)
        )
        return (Role("bidder", n, sees, acts, "you want the items, at a low price"),)

    def open(self, u: Array) -> Record:
        """Draw the values."""
        return {"values": self.learned.values(namespace(u).reshape(u, (*u.shape[:-1], *self.learned.net.shape)))}

    def own(self, state: RoundState) -> dict[str, Seen]:
        """Show bidders their values."""
        values = state.nature["values"]
        return {"bidder": {value: values[..., j] for j, (value, _) in enumerate(self._names)}}

    def settle(self, nature: Record, acts: dict[str, Acts], memory: Record, u: Array) -> Settled:
        """Share out the items, and take the payments."""
        values, xp = nature["values"], namespace(nature["values"])
        n, m = self.learned.net.shape
        bids = [acts["bidder"][bid] if n > 1 else acts["bidder"][bid][..., None] for _, bid in self._names]
        offered = xp.stack(bids, axis=-1)
        shares, payments = self.learned.rule(offered)
        worth = xp.sum(shares * values, axis=-1)
        pay = worth - payments
        return Settled(
            {"bidder": pay if n > 1 else pay[..., 0]},
            welfare=xp.sum(worth, axis=-1),
            sums={
                "revenue": xp.sum(payments, axis=-1),
                "sold": xp.sum(shares, axis=(-2, -1)) / m,
                "shading": total(total(values - offered)) / (n * m),
            },
        )

    def benchmarks(self) -> Benchmarks:
        """Return the best use of the items, what truthful bids lead to, and nothing sold."""
        best, told, how = self._levels
        regret = "exact for a menu" if not self.learned.net.smooth else "up to the regret that evaluate() measures"

        def truthful(seen: Seen) -> Acts:
            return {bid: seen[value] * 1.0 for value, bid in self._names}

        return Benchmarks(
            first_best=Level(best * self.repetitions, f"items to those who value them most, mean over {how}"),
            equilibrium=Level(
                told * self.repetitions, f"all bid their values, {regret}; mean over {how}", {"bidder": truthful}
            ),
            baseline=Level(0.0, "nothing is sold"),
        )

    @functools.cached_property
    def _levels(self) -> tuple[float, float, str]:
        """First best, welfare of truth-telling, and over what they were averaged."""
        shape = self.learned.net.shape
        count = {1: 1 << 17, 2: 400}.get(math.prod(shape))
        if count is None:
            many = 1 << (17 if shape[0] == 1 or self.learned.net.demand == "additive" else 14)
            u, how = chance.uniform(chance.key(0, np.arange(many)), math.prod(shape)).reshape(-1, *shape), "draws"
        else:
            u, how = middles(count, shape), "a grid"
        values = self.learned.values(u)
        welfare = [
            float((self.learned.rule(part)[0] * part).sum(axis=(-1, -2)).mean()) for part in np.array_split(values, 16)
        ]
        sizes = [len(part) for part in np.array_split(np.arange(len(values)), 16)]
        told = float(np.average(welfare, weights=sizes))
        return float(_best(values, self.learned.net.demand).mean()), told, f"{how} of {len(u)} values"


def _best(values: Host, demand: str) -> Host:
    """Return the most that the items can be worth (worlds,), at values (worlds, bidders, items)."""
    if demand == "additive":
        return np.asarray(values.max(axis=1).sum(axis=-1))
    from scipy.optimize import linear_sum_assignment

    if values.shape[1] == 1:
        return np.asarray(values.max(axis=(1, 2)))
    found = [table[linear_sum_assignment(table, maximize=True)].sum() for table in values]
    return np.asarray(found)


# ---- learning -------------------------------------------------------------------------------------------------------


def _learn(
    torch: Any,
    net: Any,
    values: Values,
    weights: Mapping[str, Any],
    update: Callable[[int, Mapping[str, Any]], tuple[Any, tuple[float, float]]],
    steps: int,
    rate: float,
    device: Any,
    watch: Callable[[int, int], bool | None] | None,
) -> LearnedRule:
    from ...policies._optimise import Adam

    began, curve = time.perf_counter(), []
    with _single(torch):
        parts = {
            name: part.to(device=device, dtype=torch.float32).requires_grad_(True) for name, part in weights.items()
        }
        adam = Adam(torch, list(parts.values()))
        for step in range(steps):
            loss, found = update(step, parts)
            adam.step(loss, rate * (1.0 - step / steps))
            curve.append(found)
            if watch is not None and watch(step + 1, steps):
                break
        learned = {name: to_numpy(part).astype(np.float64) for name, part in zip(parts, adam.means, strict=True)}
    return LearnedRule(net, learned, values, tuple(curve), time.perf_counter() - began)


def _single(torch: Any) -> Any:
    """Keep torch to one thread: the same sums on every number of cores."""
    from ...policies.gradient import one_thread

    return one_thread(torch)


def _made(objective: str, values: Any, shares: Any, payments: Any) -> Any:
    """Return the mean of revenue or welfare."""
    return (payments.sum(dim=-1) if objective == "revenue" else (shares * values).sum(dim=(-1, -2))).mean()


def _plan(objective: str, steps: int, batch: int, rate: float) -> None:
    validate.one_of("objective", objective, OBJECTIVES)
    validate.whole("steps", steps, 1, 100_000_000)
    validate.whole("batch", batch, 1, 10_000_000)
    validate.real("rate", rate, 1e-9, 1.0)


def _ordered(low: float, high: float) -> None:
    validate.real("low", low, 0.0, 1e9)
    validate.real("high", high, 0.0, 1e9)
    if not high > low:
        raise ValueError(f"high: above low = {low:g}, got {high:g}")


def _device(torch: Any, device: str | None) -> Any:
    return torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))


def _dot(x: Array, weights: Array) -> Array:
    """Return x @ weights; with NumPy added up in an order that does not depend on the number of rows, unlike matmul's."""
    return np.einsum("...i,io->...o", x, weights) if namespace(x) is np else x @ weights


def _sigmoid(x: Array) -> Array:
    return 0.5 + 0.5 * namespace(x).tanh(x / 2)


def _softmax(x: Array, axis: int) -> Array:
    xp = namespace(x)
    odds = xp.exp(x - xp.max(x, axis=axis, keepdims=True))
    return odds / xp.sum(odds, axis=axis, keepdims=True)


# ---- what is known --------------------------------------------------------------------------------------------------

MANELLI_VINCENT = (12 + 2 * math.sqrt(2)) / 27
"""Most revenue from one bidder and two items of uniform value: 2/3 for one, (4 - sqrt 2) / 3 for both (2006, J. Econ. Theory)."""


def known(
    seed: int = 0, device: str | None = None, watch: Callable[[str], object] | None = None
) -> list[dict[str, Any]]:
    """Learn the auctions whose optimum is known, and compare; values are uniform from 0 to 1.

    About half a minute on one core. Each row holds the setting, what was learned (``found``), the optimum (``best``), the
    relative gap, mean and largest regret, and the seconds that learning took. A network's revenue may exceed the optimum,
    since some regret is left: the optimum is that of no regret.

    Parameters
    ----------
    seed
        Seed of learning.
    device
        Where it learns; None takes cuda if there is one.
    watch
        Called with the words for a setting before it is learned.
    """
    more: dict[str, Any] = {"seed": seed, "device": device}
    gentle: dict[str, Any] = {"objective": "welfare", "multiplier": 10.0, "penalty": (10.0, 100.0), "steps": 1000}
    cases: list[tuple[str, str, float, int, Callable[[], LearnedRule]]] = [
        ("1 bidder, 1 item", "revenue", 1 / 4, 2000, lambda: RochetNet().learn(**more)),
        ("1 bidder, 2 items", "revenue", MANELLI_VINCENT, 200, lambda: RochetNet(items=2).learn(**more)),
        ("2 bidders, 1 item", "revenue", 5 / 12, 40, lambda: RegretNet().learn(**more)),
        ("2 bidders, 1 item", "welfare", 2 / 3, 40, lambda: RegretNet().learn(**more, **gentle)),
    ]
    rows = []
    for setting, objective, best, grid, learn in cases:
        if watch is not None:
            watch(f"{setting}, for {objective}")
        learned = learn()
        found = learned.evaluate(grid=grid, reports=21 if grid < 100 else 3, device=device)
        value = found.revenue if objective == "revenue" else found.welfare
        rows.append(
            {
                "setting": setting,
                "objective": objective,
                "found": value,
                "best": best,
                "gap": value / best - 1.0,
                "regret": found.regret,
                "most_regret": found.most_regret,
                "seconds": learned.seconds,
            }
        )
    return rows
