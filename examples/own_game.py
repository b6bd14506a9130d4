"""A game of your own: one period of the public goods game of Fehr and Gächter (2002), doi:10.1038/415137a."""
# ruff: noqa: D102  (societas.Game says what each method is for)

from dataclasses import dataclass

import gymnasium

from societas import Benchmarks, Field, Game, Integer, Level, Measure, Outcome, Role, mechanism, play, policy, register
from societas.envs.core.arrays import full, namespace, to_float, to_int
from societas.testing import check_game


@dataclass(frozen=True)
class Charity(Game):
    """Four members keep or give 20 coins each; a coin given pays ``mpcr`` to every member. State: coins kept, or -1."""

    mpcr: float = 0.4
    rounds = 1
    kept = Field("kept", Integer(0, 20), "what you have kept, 0 before you decide", "coins", verifiable=True)
    keep = Field("keep", Integer(0, 20), "what you keep for yourself; the rest is given", "coins")
    roles = (Role("member", 4, sees=(kept,), acts=(keep,), means="you want many coins"),)
    reports = (Measure("given", "share of the coins that was given", "1 - sum_i kept_i / 80"),)

    @property
    def about(self):
        return f"Each of 4 members has 20 coins. A coin that is given pays {self.mpcr} to each member, the giver too."

    def start(self, u):
        return full(u, (*u.shape[:-1], 4), -1, integer=True)

    def view(self, state):
        return {"member": {"kept": namespace(state).clip(state, 0, None)}}

    def step(self, state, acts, u):
        kept, xp = to_int(acts["member"]["keep"]), namespace(state)
        given = to_float(xp.sum(20 - kept, axis=-1))
        pay = to_float(kept) + self.mpcr * given[..., None]
        return Outcome(kept, {"member": pay}, kept[..., 0] >= 0, xp.sum(pay, axis=-1))

    def round(self, state):
        return to_int(state[..., 0] >= 0)

    def measures(self, state):
        return {"given": 1.0 - namespace(state).mean(to_float(state), axis=-1) / 20}

    def benchmarks(self):
        give = Level(4 * 80 * self.mpcr, "all give all", {"member": lambda seen: {"keep": seen["kept"] * 0}})
        keep = Level(80.0, "all keep all: mpcr < 1", {"member": lambda seen: {"keep": seen["kept"] * 0 + 20}})
        return Benchmarks(first_best=give, equilibrium=keep)


check_game(Charity())
register("games", "Charity", Charity)
giver = policy("callable", function=lambda seen: {"keep": 0, "punish": "member_3"})
rider = policy("callable", function=lambda seen: {"keep": 20})
society = Charity() | mechanism("Sanction", cost=1, fine=5)
print(play(society, {"member": giver, "member_3": rider}, keep=True).tell())
print(gymnasium.make("societas/Charity-v0", mpcr=0.75).reset(seed=0))
