"""How many auctions a second: a batch of worlds beside the loop that one writes around a PettingZoo environment.

The peer is the same auction written for PettingZoo by hand, as lean as its interface allows: a ``ParallelEnv`` in plain Python
numbers, with NumPy arrays only where a ``Box`` asks for them. It passes PettingZoo's test of that interface and earns what
theory says before anything is timed. A third contestant is our own game behind its PettingZoo face, one world. All play
episodes of the same number of auctions: values are drawn, bidders see theirs and bid what equilibrium says, the good is sold.
Chance and bids are part of what is timed, as they are of what a learner does. Times are of the processor, on one thread.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import platform
import random
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pettingzoo
from gymnasium.spaces import Box
from pettingzoo import ParallelEnv

import societas
from societas.envs.core.worlds import Worlds
from societas.envs.markets.sealed_bid import SealedBid

GOAL = 100.0
BATCH = 4096
ROUNDS = 1000


class PlainAuction(ParallelEnv[str, np.ndarray[Any, Any], np.ndarray[Any, Any]]):
    """A sealed-bid auction of one good among bidders with private values, one world, by hand.

    Parameters
    ----------
    bidders
        How many.
    second
        Whether the winner pays the second highest bid, or its own.
    """

    metadata = {"name": "auction"}  # noqa: RUF012

    def __init__(self, bidders: int, *, second: bool) -> None:
        self.second, self.possible_agents = second, [f"bidder_{i}" for i in range(bidders)]
        self.agents: list[str] = []
        self.box = Box(0.0, 1.0, (1,), np.float64)
        self.random = random.Random()

    def observation_space(self, agent: str) -> Box:
        """A value."""
        return self.box

    def action_space(self, agent: str) -> Box:
        """A bid."""
        return self.box

    def reset(self, seed: int | None = None, options: Any = None) -> tuple[dict[str, Any], dict[str, Any]]:
        """Draw the values and show each bidder its own."""
        if seed is not None:
            self.random.seed(seed)
        self.agents, self.played = self.possible_agents[:], 0
        return self._drawn(), {agent: {} for agent in self.agents}

    def _drawn(self) -> dict[str, Any]:
        draw = self.random.random
        self.values = {agent: draw() for agent in self.agents}
        return {agent: np.array([value]) for agent, value in self.values.items()}

    def step(self, actions: dict[str, Any]) -> tuple[dict[str, Any], ...]:
        """Sell the good, and draw values for the next."""
        bids = [actions[agent].item() for agent in self.agents]
        top = max(bids)
        best = [agent for agent, bid in zip(self.agents, bids, strict=True) if bid == top]
        winner = best[0] if len(best) == 1 else self.random.choice(best)
        rewards = dict.fromkeys(self.agents, 0.0)
        rewards[winner] = self.values[winner] - (sorted(bids)[-2] if self.second else top)
        self.played += 1
        done = self.played == ROUNDS
        over, cut = dict.fromkeys(self.agents, done), dict.fromkeys(self.agents, False)
        told: dict[str, Any] = {agent: {} for agent in self.agents}
        seen = self._drawn()
        if done:
            self.agents = []
        return seen, rewards, over, cut, told


def shade(pricing: str, bidders: int) -> float:
    """Return the bid in equilibrium, as a share of the value."""
    return 1.0 if pricing == "second" else (bidders - 1) / bidders


def loop(env: Any, bid: Callable[[Any], Any], seed: int) -> Callable[[int], float]:
    """Return what plays so many auctions of an environment; it returns what bidders earned together in an auction."""
    seen, _ = env.reset(seed=seed)

    def run(auctions: int) -> float:
        nonlocal seen
        earned = 0.0
        for _ in range(auctions):
            seen, rewards, *_ = env.step({agent: bid(own) for agent, own in seen.items()})
            earned += sum(rewards.values())
            if not env.agents:
                seen, _ = env.reset()
        return earned / auctions

    return run


def by_hand(pricing: str, bidders: int, seed: int) -> Callable[[int], float]:
    """Return the loop over the peer."""
    share = shade(pricing, bidders)
    return loop(PlainAuction(bidders, second=pricing == "second"), lambda value: value * share, seed)


def face(pricing: str, bidders: int, seed: int) -> Callable[[int], float]:
    """Return the loop over our game's PettingZoo face."""
    share = shade(pricing, bidders)
    env = pettingzoo.make("parallel", "societas/SealedBid-v0", bidders=bidders, pricing=pricing, repetitions=ROUNDS)
    own = next(iter(env.reset(seed=seed)[0].values()))
    if isinstance(own, dict):
        return loop(env, lambda seen: {"bid": seen["signal"] * share}, seed)
    place = [field.name for field in env.unwrapped.game.role("bidder").sees].index("signal")
    return loop(env, lambda seen: seen[place : place + 1] * share, seed)


def batch(pricing: str, bidders: int, seed: int, worlds: int = BATCH) -> Callable[[int], float]:
    """Return what plays at least so many auctions of ours, in a batch; it returns what ``loop`` does."""
    share = shade(pricing, bidders)
    game = SealedBid(bidders, pricing, repetitions=ROUNDS)
    many, every, played = Worlds(game, worlds, seed=seed, check=False), np.ones(worlds, dtype=bool), 0

    def run(auctions: int) -> float:
        nonlocal played
        steps, earned = -(-auctions // worlds), 0.0
        for _ in range(steps):
            bids = many.view()["bidder"]["signal"] * share
            earned += float(many.step({"bidder": {"bid": bids}}).rewards["bidder"].sum())
            played += 1
            if played % ROUNDS == 0:
                many.restart(every)
        return earned / (steps * worlds)

    return run


def agree(pricing: str, bidders: int) -> None:
    """Check the peer by PettingZoo's own test, and that all earn what theory says: 1 / (n + 1) together, an auction."""
    from pettingzoo.test import parallel_api_test

    with contextlib.redirect_stdout(io.StringIO()):
        parallel_api_test(PlainAuction(bidders, second=pricing == "second"), num_cycles=20)
    expected = 1.0 / (bidders + 1)
    for name, run, auctions in (
        ("the loop by hand", by_hand(pricing, bidders, 1), 20_000),
        ("our face", face(pricing, bidders, 1), 4_000),
        ("ours", batch(pricing, bidders, 1), 200_000),
    ):
        found = run(auctions)
        assert abs(found - expected) < 4.0 * 0.3 / auctions**0.5, (
            f"{pricing}, {bidders}: {name} earns {found}, not {expected}"
        )


def timed(run: Callable[[int], float], seconds: float, least: int) -> Callable[[], float]:
    """Warm up, and return what measures seconds an auction in a sample of about such length, of ``least`` auctions or more."""
    auctions = least
    while True:
        begin = time.process_time()
        run(auctions)
        took = time.process_time() - begin
        if took > seconds / 4:
            break
        auctions *= 2
    auctions = max(1, round(auctions * seconds / took / least)) * least

    def sample() -> float:
        begin = time.process_time()
        run(auctions)
        return (time.process_time() - begin) / auctions

    return sample


def measure(rounds: int = 9, seconds: float = 0.4) -> list[dict[str, Any]]:
    """Return auctions a second of all, and the median over rounds of the ratio of ours to the peer, for every case."""
    rows = []
    for pricing, bidders in (("first", 2), ("second", 3), ("first", 5)):
        agree(pricing, bidders)
        runners = {"batch": (batch, BATCH), "by hand": (by_hand, 64), "face": (face, 64)}
        samples = {name: timed(make(pricing, bidders, 2), seconds, least) for name, (make, least) in runners.items()}
        times = [{name: sample() for name, sample in samples.items()} for _ in range(rounds)]
        rates = {name: 1.0 / statistics.median(one[name] for one in times) for name in samples}
        ratio = {name: statistics.median(one[name] / one["batch"] for one in times) for name in ("by hand", "face")}
        rows.append({"pricing": pricing, "bidders": bidders, "rates": rates, "ratio": ratio})
    return rows


def main() -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description="Measure auctions a second.")
    parser.add_argument("--quick", action="store_true", help="fewer and shorter samples")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the results to a file")
    options = parser.parse_args()
    rows = measure(3, 0.1) if options.quick else measure()
    print(f"societas {societas.__version__}, Python {platform.python_version()}, NumPy {np.__version__}, one thread")
    print("Auctions a second of the processor; in brackets how many times as many the batch makes")
    print(f"{'auction':<24}{'batch of ' + format(BATCH, ','):>16}{'PettingZoo, by hand':>26}{'PettingZoo face':>24}")
    for row in rows:
        told = f"{row['pricing']} price, {row['bidders']} bidders"
        print(f"{told:<24}{row['rates']['batch']:>16,.0f}", end="")
        for name, width in (("by hand", 26), ("face", 24)):
            verdict = "met" if row["ratio"][name] >= GOAL else "missed"
            print(f"{row['rates'][name]:,.0f} ({row['ratio'][name]:.0f}, {verdict})".rjust(width), end="")
        print()
    print(f"Goal: at least {GOAL:g} times as many auctions a second.")
    if options.json is not None:
        options.json.write_text(json.dumps(rows, indent=2) + "\n")


if __name__ == "__main__":
    main()
