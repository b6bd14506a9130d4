"""Two small games whose best institutions are known by hand."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from societas.envs.core.arrays import constant, full, total
from societas.envs.core.fields import Field, Real, Role
from societas.envs.core.game import Benchmarks, Level, Measure
from societas.envs.core.rounds import RoundGame, Settled


@dataclass(frozen=True)
class Emissions(RoundGame):
    """Firms gain q - q^2 / 2 from emitting q, and lose a tenth of what all others emit together.

    Each emits 1; a charge of 0.2 = 0.1 (n - 1), the harm that a unit does to the others, makes it emit 0.8, the optimum.
    """

    repetitions: int = 1
    firms: int = 3
    harm: float = 0.1

    reports = (Measure("emitted", "mean emission", "sum_i q_i / n"),)

    @property
    def about(self) -> str:
        return "Each firm chooses how much to emit."

    def cast(self):
        sees = (Field("emitted", Real(0.0, 2.0), "what you last emitted", verifiable=True),)
        return (Role("firm", self.firms, sees, (Field("emit", Real(0.0, 2.0), "what you emit"),), "you emit"),)

    def recall(self, like):
        return {"emitted": full(like, (*like.shape, self.firms), 0.0)}

    def own(self, state):
        return {"firm": {"emitted": state.memory["emitted"]}}

    def settle(self, nature, acts, memory, u):
        q = acts["firm"]["emit"]
        pay = q - q * q / 2 - self.harm * (total(q)[..., None] - q)
        return Settled({"firm": pay}, total(pay), {"emitted": total(q) / self.firms}, {"emitted": q})

    def benchmarks(self):
        n, best = self.firms, 1.0 - self.harm * (self.firms - 1)
        own = n * (0.5 - self.harm * (n - 1))
        return Benchmarks(Level(n * best**2 / 2, "by hand"), Level(own, "by hand"))


@dataclass(frozen=True)
class Workers(RoundGame):
    """Two workers of skill 1 and 2 produce skill x effort, at a cost of effort^2 / 2.

    Under a tax at rate t on output that is shared by both, each keeps k = 1 - t / 2 of what it adds and works skill x k.
    Welfare is then 5 (k - k^2 / 2), and the payoff of the less skilled k (1 + 1.5 t) - k^2 / 2, largest at t = 6/7. From
    t = 2/3 on, where both get 10/9, the more skilled get less, so that this rate is best for the worst off.
    """

    repetitions: int = 1
    skills: tuple[float, ...] = (1.0, 2.0)

    reports = (Measure("made", "total output", "sum_i skill_i effort_i"),)

    @property
    def about(self) -> str:
        return "Each worker chooses an effort."

    def cast(self):
        sees = (Field("output", Real(0.0, 8.0), "what you last produced", verifiable=True),)
        return (Role("worker", 2, sees, (Field("effort", Real(0.0, 4.0), "your effort"),), "you work"),)

    def recall(self, like):
        return {"output": full(like, (*like.shape, 2), 0.0)}

    def own(self, state):
        return {"worker": {"output": state.memory["output"]}}

    def settle(self, nature, acts, memory, u):
        effort = acts["worker"]["effort"]
        output = constant(effort, self.skills) * effort
        pay = output - effort * effort / 2
        return Settled({"worker": pay}, total(pay), {"made": total(output)}, {"output": output})

    def benchmarks(self):
        best = sum(s * s for s in self.skills) / 2
        return Benchmarks(Level(best, "by hand"), Level(best, "by hand"))


@pytest.fixture
def emissions():
    return Emissions()


@pytest.fixture
def workers():
    return Workers()
