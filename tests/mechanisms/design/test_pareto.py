import numpy as np
import pytest

from societas.envs.contracting.multitask import Multitask
from societas.envs.norms.fishery import Fishery
from societas.mechanisms import design
from societas.mechanisms.design.pareto import undominated, volume
from societas.mechanisms.sanction import Sanction
from societas.mechanisms.tax import Tax
from societas.policies.equilibrium import Equilibrium
from societas.policies.random import Random

DEAL = {"principal": lambda x: {"slopes": [x["slope"]], "base": 0.5}}


def apart(found, curve):
    """Return the largest distance from a point of one set to the nearest of the other, both ways."""
    gaps = np.linalg.norm(found[:, None] - curve[None, :], axis=-1)
    return gaps.min(axis=1).max(), gaps.min(axis=0).max()


def test_front_of_surplus_and_risk():
    # a slope b makes the agent work b: worth b, at a cost of b^2 / 2, and a risk worth r s^2 b^2 / 2 = b^2 / 2
    front = design.pareto(
        Multitask.linear(),
        {"slope": (0.0, 1.0)},
        designer=DEAL,
        respond={"agent": Equilibrium()},
        objectives={
            "made": (lambda e: e.measures["value"] - e.measures["value"] ** 2 / 2, "max"),
            "risk": (lambda e: e.measures["slope"] ** 2 / 2, "min"),
        },
        reference={"made": 0.0, "risk": 0.5},
        worlds=2,
        budget=300,
    )
    b = np.linspace(0.0, 1.0, 400)
    curve = np.stack([b - b**2 / 2, b**2 / 2], axis=-1)
    there, back = apart(front.values, curve)
    assert there < 0.002 and back < 0.02
    # volume: the integral over made of (0.5 - risk), d made = (1 - b) db
    assert front.hypervolume == pytest.approx(0.25 - 1 / 24, rel=0.02)
    assert all(np.diff(front.values[:, 0]) > 0) and front.objectives == ("made", "risk")


def test_front_of_welfare_and_the_worst_off(workers):
    # k = 1 - t / 2 from 2/3 to 1: welfare 5 (k - k^2 / 2), worst off 4 k - 3.5 k^2; beyond t = 2/3 both fall
    def works(game):
        rate = game.mechanism.rates[0] if hasattr(game, "mechanism") else 0.0
        return {f"worker_{i}": design.Constant({"effort": s * (1 - rate / 2)}) for i, s in enumerate(workers.skills)}

    front = design.pareto(
        design.vary(workers, Tax("output", rates=(0.5,)), {"rates.0": (0.0, 1.0)}),
        respond=works,
        objectives={"welfare": "max", "least": "max"},
        worlds=1,
        budget=300,
        population=30,
    )
    k = np.linspace(2 / 3, 1.0, 400)
    curve = np.stack([5 * (k - k**2 / 2), 4 * k - 3.5 * k**2], axis=-1)
    there, back = apart(front.values, curve)
    assert there < 0.005 and back < 0.03
    assert max(p.parameters["rates.0"] for p in front.points) == pytest.approx(2 / 3, rel=0.02)


def test_mixed_front_and_grid_front():
    options = {"respond": {"agent": Equilibrium()}, "designer": DEAL, "worlds": 2}
    goals = {"value": "max", "slope": "min"}
    whole = design.pareto(Multitask.linear(), {"slope": [0.0, 0.5, 1.0]}, objectives=goals, **options)
    assert whole.how == "all 3 candidates"
    assert [p.values for p in whole.points] == [(0.0, 0.0), (0.5, 0.5), (1.0, 1.0)]
    assert whole.hypervolume == pytest.approx(0.25)  # from the worst of the front: only the middle has any
    mixed = design.pareto(
        Multitask.linear(),
        {"slope": (0.0, 1.0), "size": range(1000)},
        objectives={**goals, "size": (lambda e: 0.0, "max")},
        budget=60,
        population=20,
        **options,
    )
    assert mixed.how.startswith("NSGA-II") and len(mixed.points) > 5


def test_same_seed_same_front_in_other_worlds():
    family = design.vary(Fishery(months=4), Sanction(), {"fine": (0.0, 4.0), "cost": (0.0, 2.0)})
    punish = {"fisher": Random()}
    goals = {"welfare": "max", "least": "max"}
    one, again = (
        design.pareto(family, respond=punish, objectives=goals, worlds=32, budget=60, population=12, seed=3)
        for _ in "ab"
    )
    assert one == again
    assert one.points != one.searched and [p.parameters for p in one.points] == [p.parameters for p in one.searched]
    assert all(p.errors[0] > 0 for p in one.points)
    assert one.rows()[0].keys() == {"fine", "cost", "welfare", "least", "welfare_error", "least_error"}


def test_undominated():
    costs = np.asarray([[1.0, 3.0], [2.0, 2.0], [3.0, 1.0], [2.0, 3.0], [2.0, 2.0], [3.0, 3.0]])
    assert sorted(undominated(costs)) in ([0, 1, 2], [0, 2, 4])


@pytest.mark.parametrize("seed", range(3))
def test_volume_is_that_of_pymoo(seed):
    from pymoo.indicators.hv import HV

    costs = np.random.default_rng(seed).random((30, 2))
    assert volume(costs, np.ones(2)) == pytest.approx(float(HV(ref_point=np.ones(2))(costs)))
    three = np.random.default_rng(seed).random((10, 3))
    assert volume(three, np.ones(3)) == pytest.approx(float(HV(ref_point=np.ones(3))(three)))
    assert volume(costs + 5.0, np.ones(2)) == 0.0


def test_bad_input():
    with pytest.raises(ValueError, match="objectives: at least 2, got welfare; for one use search"):
        design.pareto(Fishery(), {"a": (0.0, 1.0)}, objectives={"welfare": "max"})
    with pytest.raises(ValueError, match="reference: objectives"):
        design.pareto(
            Fishery(months=2),
            {"a": [0, 1]},
            objectives={"welfare": "max", "least": "max"},
            reference={"joy": 0.0},
            worlds=2,
        )
