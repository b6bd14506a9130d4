"""Population dynamics: closed forms, other solvers, whole chains, published numbers, and the same population in any batch."""

from __future__ import annotations

import itertools
import math
import runpy
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.integrate import solve_ivp

from societas.envs.contracting.hidden_action import HiddenAction
from societas.envs.core import chance
from societas.envs.norms.matrix_game import MatrixGame
from societas.envs.norms.norms_game import NormsGame
from societas.policies.populations import fermi, moran, replicator, stationary
from societas.policies.populations.norms import PUBLISHED, axelrod, fates
from societas.policies.populations.payoffs import Groups, compositions, groups, groups_of, matrix_of, pairs
from societas.policies.populations.public_goods import PublicGoods
from societas.policies.populations.selection import RESIZE, History, Selection, evolve

BENCHMARK = Path(__file__).resolve().parents[2] / "benchmarks" / "populations.py"
HAWK_DOVE = ((-1.0, 4.0), (0.0, 2.0))  # prize 4, cost 6: hawks are 4/6
CYCLE = ((0.0, -1.0, 1.0), (1.0, 0.0, -1.0), (-1.0, 1.0, 0.0))  # rock, paper, scissors
matrices = st.integers(2, 4).flatmap(
    lambda k: st.lists(st.lists(st.integers(-4, 4).map(float), min_size=k, max_size=k), min_size=k, max_size=k)
)


# ---- replicator dynamics ------------------------------------------------------------------------------------------


def test_hawks_and_doves_reach_the_mixed_equilibrium_from_everywhere() -> None:
    hawks = np.linspace(0.05, 0.95, 7)
    x = np.stack([hawks, 1 - hawks], axis=-1)
    np.testing.assert_allclose(replicator.continuous(x, HAWK_DOVE, time=40, steps=800)[:, 0], 2 / 3, atol=1e-9)
    found = replicator.discrete(x, HAWK_DOVE, generations=400, background=2.0)
    np.testing.assert_allclose(found[:, 0], 2 / 3, atol=1e-9)
    np.testing.assert_array_equal(replicator.continuous(np.eye(2), HAWK_DOVE, time=5, steps=50), np.eye(2))


def test_rock_paper_scissors_keeps_the_product_in_continuous_time_and_loses_it_in_discrete() -> None:
    x = np.array([[0.5, 0.3, 0.2], [0.1, 0.1, 0.8], [1 / 3, 1 / 3, 1 / 3]])
    path = replicator.continuous(x, CYCLE, time=30, steps=3000, path=True)
    product = path.prod(axis=-1)
    np.testing.assert_allclose(product, np.broadcast_to(product[0], product.shape), rtol=1e-7)
    assert path[:, 0, 0].min() < 0.21 and path[:, 0, 0].max() > 0.49  # it does go round
    product = replicator.discrete(x[:2], CYCLE, generations=50, background=3.0, path=True).prod(axis=-1)
    assert (np.diff(product, axis=0) < 0).all()


@settings(max_examples=25, deadline=None)
@given(matrices, st.sampled_from([0.0, 0.1]), st.integers(0, 2**32))
def test_runge_kutta_against_another_integrator(matrix: list[list[float]], mutation: float, seed: int) -> None:
    a, k = np.array(matrix), len(matrix)
    x = np.random.default_rng(seed).dirichlet(np.ones(k))

    def slope(_: float, y: Any) -> Any:
        born = y * (a @ y)
        return (1 - mutation) * born + mutation * born.sum() / k - y * born.sum()

    other = solve_ivp(slope, (0, 2), x, method="DOP853", rtol=1e-11, atol=1e-12).y[:, -1]
    found = replicator.continuous(x, a, time=2, steps=400, mutation=mutation)
    np.testing.assert_allclose(found, other, atol=1e-7)
    assert found.sum() == pytest.approx(1.0)


def test_every_population_has_its_own_payoffs_and_torch_agrees() -> None:
    import torch

    a = np.random.default_rng(0).normal(size=(5, 3, 3))
    x = np.random.default_rng(1).dirichlet(np.ones(3), size=5)
    many = replicator.continuous(x, a, time=1, steps=20)
    for i in range(5):
        np.testing.assert_allclose(replicator.continuous(x[i], a[i], time=1, steps=20), many[i], atol=1e-14)
    found = replicator.continuous(torch.asarray(x), torch.asarray(a), time=1, steps=20)
    np.testing.assert_allclose(found.numpy(), many, atol=1e-13)
    np.testing.assert_allclose(replicator.continuous(x, lambda y: (a @ y[..., None])[..., 0], time=1, steps=20), many)


# ---- what strategies earn -----------------------------------------------------------------------------------------


@settings(max_examples=40, deadline=None)
@given(st.integers(2, 3), st.integers(2, 4), st.integers(0, 2**32))
def test_payoffs_are_means_over_all_groups(strategies: int, size: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    counts = rng.multinomial(7, np.ones(strategies) / strategies)
    values = {(i, way): rng.normal() for i in range(strategies) for way in compositions(size - 1, strategies)}
    found = groups(lambda i, others: values[i, others], strategies, size, 7)(counts)
    players = [i for i, count in enumerate(counts) for _ in range(count)]
    for own in range(strategies):
        if counts[own] == 0:
            continue
        rest = list(players)
        rest.remove(own)
        paid = [
            values[own, tuple(group.count(j) for j in range(strategies))]
            for group in itertools.combinations(rest, size - 1)
        ]
        assert found[own] == pytest.approx(np.mean(paid), abs=1e-10)


def test_games_of_the_library_as_payoffs() -> None:
    assert matrix_of(MatrixGame()) == ((3, 0), (5, 1))
    game = MatrixGame.public_goods(players=3, endowment=10, mpcr=0.5)
    paid = groups_of(game, 6)(np.array([2, 4]))
    # a giver meets two of 1 giver and 4 keepers, a keeper two of 2 givers and 3 keepers
    np.testing.assert_allclose(paid, [5 * (1 + 2 / 5), 10 + 5 * 4 / 5])
    with pytest.raises(ValueError, match="game: a symmetric game for two"):
        matrix_of(MatrixGame.matching_pennies())
    with pytest.raises(ValueError, match="game: the same payoffs for all 2 players"):
        groups_of(MatrixGame.matching_pennies(), 10)


# ---- fixation -----------------------------------------------------------------------------------------------------


def absorbed(up: Any, down: Any) -> float:
    """Probability that a chain on 0..M that starts in 1 ends in M, by a linear system."""
    m = len(up) + 1
    system, side = np.eye(m - 1), np.zeros(m - 1)
    for j in range(m - 1):
        total = up[j] + down[j]
        if j > 0:
            system[j, j - 1] = -down[j] / total
        if j < m - 2:
            system[j, j + 1] = -up[j] / total
        else:
            side[j] = up[j] / total
    return float(np.linalg.solve(system, side)[0])


def test_constant_fitness_has_morans_formula() -> None:
    r = np.array([0.5, 0.9, 1.0, 1.1, 2.0])
    for m in (2, 5, 20):
        with np.errstate(invalid="ignore"):
            formula = np.where(r == 1.0, 1 / m, (1 - 1 / r) / (1 - r**-m))
        np.testing.assert_allclose(stationary.moran_fixation(r, m), formula, rtol=1e-12)
    assert stationary.moran_fixation(np.array(2.0), 5000) == pytest.approx(0.5)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(0, 8).map(float), min_size=4, max_size=4), st.floats(0.0, 1.0), st.integers(2, 12))
def test_fixation_solves_the_chain_of_the_process(values: list[float], s: float, m: int) -> None:
    payoffs = pairs([values[:2], values[2:]], m)
    mutant, resident = stationary.duels(payoffs)
    for process in ("fermi", "moran", "exponential"):
        beta = 0.9 * s
        rho = stationary.transitions(payoffs, beta, process)
        for i, j in ((0, 1), (1, 0)):
            good, bad, count = mutant[i, j], resident[i, j], np.arange(1, m)
            if process == "fermi":
                up, down = 1 / (1 + np.exp(beta * (bad - good))), 1 / (1 + np.exp(beta * (good - bad)))
            else:
                f = [1 - beta + beta * p if process == "moran" else np.exp(beta * p) for p in (good, bad)]
                mean = count * f[0] + (m - count) * f[1]
                up, down = count * f[0] / mean * (m - count) / m, (m - count) * f[1] / mean * count / m
            assert rho[i, j] == pytest.approx(absorbed(up, down), rel=1e-7)
        assert rho[0, 0] == pytest.approx(1 / m)


def test_the_ratio_of_fixation_probabilities_under_imitation_is_exponential() -> None:
    """rho_AB / rho_BA = exp(beta sum_k (pi_B - pi_A)), here by the closed sum for games of two (Traulsen et al. 2006)."""
    (a, b), (c, d) = (3.0, 0.5), (4.0, 1.0)
    for m, beta in ((10, 0.1), (50, 0.02), (30, 1.0)):
        rho = stationary.transitions(pairs([[a, b], [c, d]], m), beta)
        # with j of B, A earns ((M-j-1) a + j b) / (M-1) and B ((M-j) c + (j-1) d) / (M-1); the sum over j is
        gain = m * (c - a + d - b) / 2 + a - d
        assert math.log(rho[0, 1] / rho[1, 0]) == pytest.approx(beta * gain, rel=1e-9)


@pytest.mark.parametrize("process", ["fermi", "moran"])
def test_simulated_mutants_take_over_as_often_as_they_should(process: str) -> None:
    payoffs, many = pairs([[1.0, 3.0], [2.0, 1.5]], 8), 6000
    start = np.tile([7, 1], (many, 1))
    if process == "fermi":
        end = fermi.run(start, payoffs, beta=0.5, steps=400, seed=1)
    else:
        end = moran.run(start, payoffs, w=0.5, steps=400, seed=1)
    assert (end.sum(axis=1) == 8).all()
    open_ = (end.min(axis=1) > 0).mean()
    rho = stationary.transitions(payoffs, 0.5, process)[0, 1]
    assert open_ < 0.02
    assert (end[:, 1] == 8).mean() == pytest.approx(rho, abs=5 * math.sqrt(rho * (1 - rho) / many) + open_)


@pytest.mark.parametrize("process", [fermi, moran])
def test_a_population_is_the_same_in_any_batch_and_library(process: Any) -> None:
    import torch

    payoffs = pairs([[0.0, 2.0, 1.0], [1.0, 0.5, 2.0], [2.0, 1.0, 0.0]], 9)
    start = np.tile([4, 3, 2], (20, 1))
    options: dict[str, Any] = {"mutation": 0.1, "steps": 60, "seed": 4, "beta" if process is fermi else "w": 0.7}
    many = process.run(start, payoffs, path=True, **options)
    np.testing.assert_array_equal(process.run(start[7:9], payoffs, first=7, **options), many[-1, 7:9])
    np.testing.assert_array_equal(process.run(torch.asarray(start), payoffs, **options).numpy(), many[-1])
    assert (many.sum(axis=-1) == 9).all() and (many >= 0).all()
    assert len(np.unique(many[-1], axis=0)) > 3
    assert (np.abs(np.diff(many, axis=0)).sum(axis=-1) <= 2).all()


# ---- the long run -------------------------------------------------------------------------------------------------


def test_voluntary_public_goods_spend_half_the_time_alone() -> None:
    """Sigmund et al. 2010: with strong imitation and rare mutation, cooperators, defectors, loners 1/4, 1/4, 1/2."""
    np.testing.assert_allclose(stationary.stationary(PublicGoods().groups()), [1 / 4, 1 / 4, 1 / 2], atol=1e-12)


@pytest.mark.parametrize("population", [20, 50, 100])
def test_peer_punishers_prevail_where_joining_is_voluntary(population: int) -> None:
    """Sigmund et al. 2010: cooperators, defectors, loners, punishers (2, 2, 2, M + 2) / (M + 8)."""
    names = ("cooperator", "defector", "loner", "peer")
    found = stationary.stationary(PublicGoods(names, population=population).groups())
    np.testing.assert_allclose(found, np.array([2, 2, 2, population + 2]) / (population + 8), atol=1e-12)


@pytest.mark.parametrize("punisher", [(), ("peer",), ("pool",)])
def test_in_the_compulsory_game_all_defect(punisher: tuple[str, ...]) -> None:
    found = stationary.stationary(PublicGoods(("cooperator", "defector", *punisher)).groups())
    np.testing.assert_allclose(found, np.eye(2 + len(punisher))[1], atol=1e-12)


def test_a_pool_needs_to_fine_those_who_do_not_pay_into_it() -> None:
    names = ("cooperator", "defector", "loner", "pool")
    alone = stationary.stationary(PublicGoods(names).groups())
    np.testing.assert_allclose(alone, np.array([2, 2, 2, 1]) / 7, atol=1e-12)
    np.testing.assert_allclose(stationary.stationary(PublicGoods(names, second_order=True).groups()), [0, 0, 0, 1])


@settings(max_examples=40, deadline=None)
@given(matrices, st.integers(2, 9))
def test_strong_imitation_is_the_limit(matrix: list[list[float]], m: int) -> None:
    """Ties, and states that are left with vanishing probability only, included: all differences are multiples of 1/(M-1)."""
    payoffs = pairs(matrix, m)
    np.testing.assert_allclose(stationary.stationary(payoffs), stationary.stationary(payoffs, 500.0), atol=1e-9)


@settings(max_examples=40, deadline=None)
@given(matrices, st.integers(2, 9), st.sampled_from(["fermi", "exponential"]))
def test_the_chain_is_solved_as_by_linear_algebra(matrix: list[list[float]], m: int, process: str) -> None:
    payoffs, k = pairs(matrix, m), len(matrix)
    rho = stationary.transitions(payoffs, 0.3, process)
    chain = rho * (1 - np.eye(k)) / k
    chain += np.diag(1 - chain.sum(axis=1))
    system = np.vstack([chain.T - np.eye(k), np.ones(k)])
    other = np.linalg.lstsq(system, np.r_[np.zeros(k), 1.0], rcond=None)[0]
    np.testing.assert_allclose(stationary.stationary(payoffs, 0.3, process), other, atol=1e-9)
    np.testing.assert_allclose(stationary.stationary_of(np.stack([rho, 0.1 * rho]))[1], other, atol=1e-9)


def test_rare_mutation_is_the_limit_of_the_whole_chain() -> None:
    """All states of a population of 6 with three strategies, with their mutations, by linear algebra."""
    m, beta, payoffs = 6, 0.8, pairs([[0.0, 2.0, 1.0], [1.0, 0.5, 2.5], [2.0, 1.0, 0.0]], 6)
    states = compositions(m, 3)
    paid = payoffs(np.array(states))

    def uniform_states(mutation: float) -> Any:
        chain = np.zeros((len(states), len(states)))
        for s, counts in enumerate(states):
            for i, j in itertools.permutations(range(3), 2):
                if counts[i] == 0:
                    continue
                copies = counts[j] / (m - 1) / (1 + math.exp(-beta * (paid[s, j] - paid[s, i]))) if counts[j] else 0.0
                after = list(counts)
                after[i], after[j] = after[i] - 1, after[j] + 1
                chain[s, states.index(tuple(after))] = counts[i] / m * ((1 - mutation) * copies + mutation / 2)
        chain += np.diag(1 - chain.sum(axis=1))
        system = np.vstack([chain.T - np.eye(len(states)), np.ones(len(states))])
        law = np.linalg.lstsq(system, np.r_[np.zeros(len(states)), 1.0], rcond=None)[0]
        return [law[states.index(tuple(m if j == i else 0 for j in range(3)))] for i in range(3)]

    limit = stationary.stationary(payoffs, beta)
    gaps = [np.abs(uniform_states(mutation) - limit).max() for mutation in (1e-2, 1e-3, 1e-5)]
    assert gaps[0] > gaps[1] > gaps[2] and gaps[2] < 1e-3


def test_rates_may_be_as_small_as_numbers_get() -> None:
    found = stationary.stationary_of(np.array([[0.5, 3e-300], [1e-300, 0.5]]))
    np.testing.assert_allclose(found, [0.25, 0.75], rtol=1e-12)


# ---- selection ----------------------------------------------------------------------------------------------------


def test_offspring_by_standard_deviations() -> None:
    scores = np.array([0.0, 0.0, 2.0, 2.0])  # mean 1, standard deviation 1: all are exactly one away
    assert Selection().offspring(scores).tolist() == [0, 0, 2, 2]
    assert Selection(upper="one").offspring(scores).tolist() == [0, 0, 1, 1]
    assert Selection(lower="one").offspring(scores).tolist() == [1, 1, 2, 2]
    assert Selection(deviation="sample").offspring(scores).tolist() == [1, 1, 1, 1]
    assert Selection().offspring(np.array([-5.0, 0, 0, 0, 0, 5.0])).tolist() == [0, 1, 1, 1, 1, 2]
    same = np.full((2, 3), 0.1) * 3
    assert Selection().offspring(same).tolist() == [[2] * 3] * 2
    assert Selection(flat="one").offspring(same).tolist() == [[1] * 3] * 2


@pytest.mark.parametrize("resize", RESIZE)
@pytest.mark.parametrize("scores", [[-5.0, 0, 0, 0, 0, 5.0, 5.0], [-5.0, -5.0, 0, 0, 0, 1.0, 5.0]])
def test_parents_are_those_with_offspring(resize: str, scores: list[float]) -> None:
    selection, many = Selection(resize=resize), 4000
    u = chance.uniform(chance.key(1, np.arange(many)), selection.draws(7))
    right = selection.offspring(np.array(scores))
    parents = selection.parents(np.tile(scores, (many, 1)), u)
    children = np.stack([(parents == i).sum(axis=1) for i in range(7)], axis=1)
    assert (children.sum(axis=1) == 7).all()
    surplus = int(right.sum()) - 7
    if resize == "sample":
        np.testing.assert_allclose(children.mean(axis=0), 7 * right / right.sum(), atol=0.1)
    elif resize == "best":
        assert (children == children[0]).all() or surplus > 0  # ties of surplus offspring are broken at random
        best = right.copy()
        if surplus < 0:
            best[np.argsort(scores)[::-1][:-surplus]] += 1
            assert children[0].tolist() == best.tolist()
        else:
            assert (children[:, 5:] == 2).all() and (children <= right).all()
    elif surplus > 0:
        assert (children <= right).all()
        np.testing.assert_allclose(children.mean(axis=0), 7 * right / right.sum(), atol=0.1)
    else:
        assert (children >= right).all()
        wanted = right * 7 / right.sum() if resize == "offspring" else right - surplus / 7
        np.testing.assert_allclose(children.mean(axis=0), wanted, atol=0.1)


def test_bits_mutate_one_by_one() -> None:
    genes = np.full(100_000, 5)
    found = Selection(mutation=0.1).mutate(genes, 3, chance.uniform(chance.key(0, np.arange(100_000)), 3))
    turned = [((found ^ 5) >> k & 1).mean() for k in range(3)]
    np.testing.assert_allclose(turned, 0.1, atol=0.005)
    np.testing.assert_array_equal(Selection(mutation=0.0).mutate(genes, 3, np.zeros((100_000, 3))), genes)


@pytest.mark.parametrize("resize", RESIZE)
def test_evolution_is_the_same_in_any_batch_and_library(resize: str) -> None:
    game, selection = NormsGame(agents=8, metanorms=True), Selection(0.05, resize=resize)
    options: dict[str, Any] = {"generations": 12, "seed": 3}
    many = evolve(game, selection, populations=11, chunk=4, **options)
    part = evolve(game, selection, populations=3, first=5, **options)
    other = evolve(game, selection, populations=11, library="torch", device="cpu", **options)
    for name in ("boldness", "vengefulness"):
        assert many.genes[name].shape == (11, 8) and many.means[name].shape == (13, 11)
        np.testing.assert_array_equal(part.genes[name], many.genes[name][5:8])
        np.testing.assert_array_equal(part.means[name], many.means[name][:, 5:8])
        np.testing.assert_array_equal(other.genes[name].numpy(), many.genes[name])
        np.testing.assert_allclose(many.means[name][-1], many.genes[name].mean(axis=1))
    np.testing.assert_allclose(other.scores.numpy(), many.scores)
    assert many.scores.shape == (12, 11)


def test_what_pays_spreads_in_other_games() -> None:
    game = MatrixGame.public_goods(players=8, mpcr=0.2, rounds=2)
    found = evolve(game, populations=100, generations=30)
    assert found.means["action"][0].mean() == pytest.approx(0.5, abs=0.06)
    assert found.means["action"][-1].mean() > 0.95  # all keep


# ---- norms --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["norms", "metanorms"])
def test_norms_are_established_and_collapse_as_published(name: str) -> None:
    """Within 4 points of the published shares at generation 100, over 500 populations."""
    found = axelrod(metanorms=name == "metanorms", populations=500, generations=100, seed=1)
    assert found.established == pytest.approx(PUBLISHED[name]["established"], abs=0.04)
    assert found.collapsed == pytest.approx(PUBLISHED[name]["collapsed"], abs=0.04)


def test_other_readings_give_other_results() -> None:
    """Which choices matter: to keep the best makes the norm collapse, and so metanorms for those who saw it twice."""
    assert axelrod(populations=200, selection=Selection(resize="best")).collapsed > 0.35
    assert axelrod(populations=200, selection=Selection(resize="sample")).established > 0.08
    twice = NormsGame(metanorms=True, observers="witnesses again")
    assert axelrod(populations=200, game=twice).established < 0.6


@pytest.mark.skipif(shutil.which("cc") is None or not BENCHMARK.exists(), reason="needs a C compiler and the benchmark")
@pytest.mark.parametrize("metanorms", [False, True])
def test_a_loop_in_another_language_finds_the_same(metanorms: bool, tmp_path: Path) -> None:
    """The benchmark's loop in C, whose random numbers are others: after 10 generations, within 4.5 standard errors."""
    bench, many = runpy.run_path(str(BENCHMARK)), 2000
    program = bench["compiled"](tmp_path)
    theirs, ours = (bench[who](*args, metanorms, many, 10, 7)[0] for who, args in (("loop", (program,)), ("ours", ())))
    for p, q in zip(theirs, ours, strict=True):
        assert p == pytest.approx(q, abs=4.5 * math.sqrt(2 * max(p * (1 - p), 1 / many) / many))
    assert ours.established > 0.002


def test_fates_by_their_definition() -> None:
    means = {"boldness": np.array([[2.0, 6.0, 2.1, 6.0]]), "vengefulness": np.array([[5.0, 1.0, 5.0, 1.1]])}
    assert fates(NormsGame(), History({}, means, np.zeros((0, 4)))) == (0.25, 0.25)


# ---- what is refused ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: Selection(mutation=1.5), "mutation: a number from 0 to 1, got 1.5"),
        (lambda: Selection(resize="worst"), "resize: one of 'offspring', 'parents', 'best', 'sample', got 'worst'"),
        (lambda: evolve(HiddenAction()), "game: one role that evolves, got HiddenAction with 2"),
        (lambda: evolve(MatrixGame(CYCLE_GAME, ("r", "p", "s"))), "game: field action needs 2, 4, 8, ... values"),
        (lambda: evolve(NormsGame(), populations=0), "populations: .* got 0"),
        (lambda: PublicGoods(("cooperator", "saint")), "strategies: one of .* got 'saint'"),
        (lambda: PublicGoods(players=1), "players: a whole number from 2 to 100, got 1"),
        (lambda: Groups(((1.0,),), 3, 2), "size: a whole number from 2 to 2, got 3"),
        (lambda: Groups(((1.0, 2.0), (1.0,)), 2, 5), "table: 2 rows of 2 numbers|table: .* rows of 2 numbers"),
        (lambda: stationary.stationary(pairs(CYCLE, 5), -1.0), "beta: a number from 0 to .* got -1.0"),
        (
            lambda: stationary.stationary(pairs(CYCLE, 5), 1.0, "best"),
            "process: one of 'fermi', 'moran', 'exponential'",
        ),
        (
            lambda: stationary.stationary(pairs(CYCLE, 5), 0.9, "moran"),
            "w: every fitness 1 - w \\+ w payoff must be positive",
        ),
        (lambda: replicator.continuous(np.ones(2) / 2, HAWK_DOVE, time=1, steps=0), "steps: .* got 0"),
    ],
)
def test_what_makes_no_sense_is_refused(call: Any, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        call()


CYCLE_GAME = (CYCLE, tuple(tuple(-v for v in row) for row in CYCLE))
