"""A game of your own: one period of the public goods game of Fehr and Gächter (2002), doi:10.1038/415137a."""
# ruff: noqa: D102  (societas.Game says what each method is for)

from dataclasses import dataclass
from typing import NamedTuple

import gymnasium

import societas
from societas import Benchmarks, Field, Game, Integer, Level, Measure, Outcome, Role
from societas.envs.core.arrays import Array, full, namespace, to_float, to_int
from societas.testing import check_game


class Books(NamedTuple):
    """The state, an immutable record: periods played (*batch), coins that each kept (*batch, n)."""

    played: Array
    kept: Array


@dataclass(frozen=True)
class PublicGoods(Game):
    """Each of n members keeps part of an endowment; each coin given instead pays ``mpcr`` to every member."""

    n: int = 4
    endowment: int = 20
    mpcr: float = 0.4
    rounds = 1
    reports = (Measure("given", "share of the endowments that was given", "1 - sum_i kept_i / (n e)"),)

    @property
    def about(self):
        rule = f"keeps some and gives the rest. Every coin given pays {self.mpcr} to each member, the giver too."
        return f"Each of {self.n} members has {self.endowment} coins, {rule}"

    @property
    def roles(self):
        coins = Integer(0, self.endowment)
        sees = (Field("kept", coins, "what you have kept", "coins", verifiable=True),)
        acts = (Field("keep", coins, "what you keep for yourself", "coins"),)
        return (Role("member", self.n, sees, acts, "you want many coins"),)

    def start(self, u):
        batch = tuple(u.shape[:-1])
        return Books(full(u, batch, 0, integer=True), full(u, (*batch, self.n), 0, integer=True))

    def view(self, state):
        return {"member": {"kept": state.kept}}

    def step(self, state, acts, u):
        kept, xp = to_int(acts["member"]["keep"]), namespace(state.kept)
        given = self.n * self.endowment - xp.sum(kept, axis=-1)
        pay = to_float(kept) + self.mpcr * to_float(given)[..., None]
        return Outcome(Books(state.played + 1, kept), {"member": pay}, state.played >= 0, xp.sum(pay, axis=-1))

    def round(self, state):
        return state.played

    def measures(self, state):
        return {"given": 1.0 - namespace(state.kept).mean(to_float(state.kept), axis=-1) / self.endowment}

    def benchmarks(self):
        pot = float(self.n * self.endowment)
        best = {"member": lambda seen: {"keep": seen["kept"] * 0}}
        grab = {"member": lambda seen: {"keep": seen["kept"] * 0 + self.endowment}}
        return Benchmarks(Level(pot * self.n * self.mpcr, "all give all", best), Level(pot, "mpcr < 1: all keep", grab))


def selfish(seen):
    fined = seen.get("agreement") == "in force" and seen["enforcement"] * seen["agreed_fine"] > 0.6
    return {"keep": 0 if fined else 20} | ({"accept": "accept"} if "agreement" in seen else {})


if __name__ == "__main__":
    check_game(PublicGoods())
    societas.register("games", "PublicGoods", PublicGoods)
    game = societas.make("PublicGoods")
    terms = societas.mechanisms.terms.Quota(limit=0, fine=1.0, field="kept")
