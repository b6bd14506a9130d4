"""Calvano's learners: against a plain rewriting, against the published profit gains, and what they learn."""

from __future__ import annotations

import builtins
import copy
import math
import os
import runpy
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import societas
from societas import Game, play, policy
from societas.envs.core import chance
from societas.envs.markets.pricing import Pricing
from societas.envs.norms.matrix_game import MatrixGame
from societas.experiments import collusion
from societas.mechanisms.shock import Shock
from societas.mechanisms.talk import Talk
from societas.mechanisms.tax import Tax
from societas.policies import calvano
from societas.policies.calvano import Calvano, payoffs
from societas.testing import check_policy

DILEMMA = MatrixGame.prisoners_dilemma(rounds=10)
QUICK: dict[str, Any] = {"beta": 2e-3, "window": 2_000}


def plainly(game: Game, role: str, number: int, seed: int, options: dict[str, Any]) -> tuple[Any, Any, int]:
    """Learn one session as the paper says, in plain Python: Q, greedy strategies, and periods."""
    alpha, beta, delta, window = (options[name] for name in ("alpha", "beta", "delta", "window"))
    n = game.role(role).count
    pay = payoffs(game, role)
    m = round(len(pay) ** (1 / n))
    table = pay.reshape((m,) * n + (n,))
    u = iter(chance.uniform(chance.key(seed, np.array([number])), 400_000)[0].tolist())
    q = np.zeros((n, *(m,) * n, m))
    for i in range(n):
        for act in range(m):
            q[i, ..., act] = table[(slice(None),) * i + (act,)].reshape(-1, n)[:, i].mean() / (1 - delta)
    state = tuple(int(next(u) * m) for _ in range(n))
    quiet, period = 0, 0
    while quiet < window:
        epsilon = math.exp(-beta * period)
        acts = []
        for i in range(n):
            draw = next(u)
            acts.append(int(draw / epsilon * m) if draw < epsilon else int(q[(i, *state)].argmax()))
        after, before = tuple(acts), [int(q[(i, *state)].argmax()) for i in range(n)]
        worth = [q[(i, *after)].max() for i in range(n)]
        for i in range(n):
            place = (i, *state, acts[i])
            q[place] = (1 - alpha) * q[place] + alpha * (table[after][i] + delta * worth[i])
        same = all(int(q[(i, *state)].argmax()) == before[i] for i in range(n))
        quiet = quiet + 1 if same else 0
        state, period = after, period + 1
    return q.reshape(n, -1, m), q.argmax(axis=-1).reshape(n, -1), period


@pytest.mark.parametrize(
    ("game", "role"),
    [
        (Pricing(prices=4), "firm"),
        (Pricing(prices=5) | Tax(rates=(0.4,), thresholds=(0.25,), revenue="shared"), "firm"),
        (MatrixGame.public_goods(players=3), "player"),
        (MatrixGame.stag_hunt(rounds=5), "player"),
    ],
    ids=lambda part: getattr(part, "name", None),
)
def test_same_as_in_plain_python(game: Game, role: str) -> None:
    options = {"alpha": 0.15, "delta": 0.9, **QUICK}
    learned = Calvano(**options).learn(game, role, sessions=3, seed=7)
    assert learned.converged.all()
    for number in range(3):
        q, strategies, periods = plainly(game, role, number, 7, options)
        np.testing.assert_allclose(learned.tables[number], q, rtol=1e-9)
        np.testing.assert_array_equal(learned.strategies[number], strategies)
        assert learned.periods[number] == periods


def test_a_session_is_the_same_however_many_there_are() -> None:
    many, one = (Calvano(**QUICK).learn(DILEMMA, "player", sessions=k, seed=3) for k in (5, 1))
    np.testing.assert_array_equal(many.tables[:1], one.tables)
    assert many.periods[0] == one.periods[0] and len(set(many.periods.tolist())) > 1


# ---- the published numbers ------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def fast() -> collusion.Market:
    return collusion.learn(sessions=256, seed=0, beta=2e-5)


def test_fast_cell(fast: collusion.Market) -> None:
    assert fast.learned.converged.all()
    assert 0.78 < fast.gain.mean() < 0.82
    assert 450_000 < fast.learned.periods.mean() < 650_000


def test_myopic_learners_end_above_the_equilibrium_but_do_not_collude(fast: collusion.Market) -> None:
    myopic = collusion.learn(sessions=64, seed=0, beta=2e-5, delta=0.0)
    assert 0.17 < myopic.gain.mean() < 0.29
    assert fast.gain.mean() - myopic.gain.mean() > 0.5


def test_a_loop_in_c_finds_the_same(capsys: pytest.CaptureFixture[str]) -> None:
    script = Path(__file__).resolve().parents[2] / "benchmarks" / "calvano.py"
    if not script.exists() or shutil.which(os.environ.get("CC", "cc")) is None:
        pytest.skip("the benchmark takes its script, which is not part of the distribution, and a C compiler")
    bench = runpy.run_path(str(script))
    rows = bench["measure"]({"beta 2e-5": 32}, 1)
    ours, peer = rows[0]["ours"], rows[0]["C"]
    assert ours["gain"] == pytest.approx(peer["gain"], abs=0.07) and ours["gain"] == pytest.approx(0.8, abs=0.05)
    assert ours["periods"] == pytest.approx(peer["periods"], rel=0.15)
    bench["show"](rows)
    assert "published" in capsys.readouterr().out


@pytest.mark.slow
def test_own_cell_of_the_paper() -> None:
    market = collusion.learn(sessions=1_000, seed=0)
    assert market.learned.converged.all()
    assert 0.835 < market.gain.mean() < 0.865
    assert 1.75e6 < market.learned.periods.mean() < 1.95e6


def test_undercutting_is_punished_and_forgiven(fast: collusion.Market) -> None:
    undercut = fast.deviation(periods=20)
    own, rival = undercut.prices[:, :, 0].mean(axis=0), undercut.prices[:, :, 1].mean(axis=0)
    assert own[1] < own[0] - 0.05  # it undercuts
    assert rival[1] > own[1] and rival[2] < rival[0] - 0.05  # the rival answers a period later
    assert abs(own[20] - own[0]) < 0.03 and abs(rival[20] - rival[0]) < 0.03  # and both come back
    assert (undercut.gain > 1e-9).mean() < 0.25 and undercut.gain.mean() < 0
    np.testing.assert_array_equal(undercut.prices[:, 0], undercut.kept[:, 0])


def test_a_lasting_deviation_lasts(fast: collusion.Market) -> None:
    once, five = fast.deviation(periods=20), fast.deviation(periods=20, lasting=5)
    np.testing.assert_array_equal(once.prices[:, :2], five.prices[:, :2])
    assert five.prices[:, 5].mean() < once.prices[:, 5].mean()
    assert abs(five.prices[:, 20].mean() - five.prices[:, 0].mean()) < 0.05


def test_regret_is_that_of_the_best_path(fast: collusion.Market) -> None:
    few = copy.copy(fast.learned)
    few.strategies, few.state = few.strategies[:40], few.state[:40]
    market = collusion.Market(fast.game, few)
    once, ever = market.regret(1, once=True), market.regret(1)
    assert (once <= ever + 1e-9).all() and (once >= 0).all()
    learned, horizon = few, 450  # try every single deviation by playing it
    start, best = learned.limit(), np.full(40, -np.inf)
    discount = learned.delta ** np.arange(horizon)
    for action in range(15):
        path = learned.path(horizon, start, {(0, 1): action})
        best = np.maximum(best, (path.pay[:, :, 1] * discount).sum(axis=1))
    kept = (learned.path(horizon, start).pay[:, :, 1] * discount).sum(axis=1)
    np.testing.assert_allclose(once, (best - kept) / kept, atol=1e-7)


def test_after_the_memory_is_wiped_high_prices_come_back(fast: collusion.Market) -> None:
    gains = fast.forget(30, seed=1)
    assert gains[0] < 0.5 and gains[25] == pytest.approx(fast.gain.mean(), abs=0.05)


def test_limit_cycles(fast: collusion.Market) -> None:
    learned = fast.learned
    values, length = learned.settled(fast.profits)
    path = learned.path(400)
    for number in range(40):
        cycle = path.profiles[number, 225 : 225 + length[number]]
        assert path.profiles[number, 225 + length[number]] == cycle[0] and len(set(cycle)) == length[number]
        np.testing.assert_allclose(values[number], fast.profits[cycle].mean(axis=0))
        assert learned.limit()[number] in cycle


# ---- institutions -----------------------------------------------------------------------------------------------------


def test_a_linear_tax_changes_nothing_and_one_on_excess_does(fast: collusion.Market) -> None:
    pricing, number = Pricing(), 32
    made = collusion.interventions(pricing)
    assert isinstance(made["tax 30%"], Tax) and isinstance(made["excess profit 90%"], Tax)
    linear, excess = (
        collusion.learn(pricing | made[name], sessions=number, seed=0, beta=2e-5)  # type: ignore[operator]
        for name in ("tax 30%", "excess profit 90%")
    )
    np.testing.assert_allclose(linear.learned.tables, 0.7 * fast.learned.tables[:number], rtol=1e-6)
    np.testing.assert_array_equal(linear.learned.strategies, fast.learned.strategies[:number])
    np.testing.assert_allclose(linear.gain, fast.gain[:number])  # gains are of profits before the tax
    assert excess.gain.mean() < fast.gain[:number].mean() - 0.15


def test_pay_is_that_of_the_game() -> None:
    game = Pricing(firms=3, prices=4)
    pay = payoffs(game, "firm")
    np.testing.assert_allclose(np.moveaxis(pay.reshape(4, 4, 4, 3), -1, 0), game._cells[0])
    taxed = payoffs(game | Tax(rates=(0.3,), revenue="shared"), "firm")
    np.testing.assert_allclose(taxed, 0.7 * pay + 0.3 * pay.mean(axis=1, keepdims=True))


# ---- a policy among others ----------------------------------------------------------------------------------------------


def test_plays_what_it_has_learned() -> None:
    game = Pricing(periods=600)
    learned = Calvano(beta=2e-4, window=5_000).learn(game, "firm", sessions=4, seed=2)
    found = play(game, {"firm": learned}, worlds=4, seed=5)
    start = game.start(societas.Worlds(game, 4, seed=5).first_numbers()).last @ [15, 1]
    path = learned.path(600, start)
    np.testing.assert_allclose(found.returns["firm"], path.pay.sum(axis=1))
    one = play(game, {"firm_0": learned, "firm_1": learned}, worlds=4, seed=5)
    np.testing.assert_allclose(one.returns["firm"], found.returns["firm"])


def test_examined() -> None:
    check_policy(Calvano(**QUICK).learn(DILEMMA, "player", sessions=3), DILEMMA)


def test_gives_up_after_the_episodes_that_it_is_given() -> None:
    learned = Calvano().learn(DILEMMA, "player", episodes=7, sessions=2)
    assert learned.periods.tolist() == [70, 70] and not learned.converged.any()


def test_patient_learners_of_the_dilemma_cooperate_more_than_myopic_ones() -> None:
    first = []
    for delta in (0.95, 0.0):
        learned = Calvano(alpha=0.1, beta=1e-4, delta=delta, window=10_000).learn(DILEMMA, "player", sessions=64)
        first.append(float((learned.settled(np.array([2.0, 1.0, 1.0, 0.0]))[0] / 2).mean()))
    assert first[1] == 0.0 and first[0] > 0.1


# ---- what is refused ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"alpha": 0.0}, "alpha: above 0 and at most 1"),
        ({"alpha": 1.5}, "alpha: a number from 0 to 1"),
        ({"beta": -1e-6}, "beta: a number from 0 to 1"),
        ({"delta": 1.0}, "delta: from 0 to below 1"),
        ({"window": 0}, "window: a whole number from 1"),
        ({"most": 1.5}, "most: a whole number from 1"),
    ],
)
def test_options_out_of_range(wrong: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Calvano(**wrong)


@pytest.mark.parametrize(
    ("game", "role", "message"),
    [
        (societas.make("Ultimatum"), "proposer", "game: Ultimatum has 2 stages; .* take policy 'tabular'"),
        (
            societas.make("Fishery", fishers=2, capacity=20),
            "fisher",
            "'.*', which fisher of Fishery sees, is not what each",
        ),
        (societas.make("SealedBid"), "bidder", "game: bidder of SealedBid decides bid; .* one choice"),
        (Pricing(prices=400), "firm", "at most 100,000 action profiles, Pricing has 400\\^2"),
        (Pricing(prices=3) | Shock(probability=0.5), "firm", "depends on chance or on earlier rounds"),
        (
            Pricing(prices=3) | Tax(base="wealth", rates=(0.5,), revenue="burnt"),
            "firm",
            "depends on chance or on earlier",
        ),
        (DILEMMA | Talk(), "player", "has 2 stages"),
    ],
    ids=lambda part: getattr(part, "name", None),
)
def test_games_that_do_not_suit(game: Game, role: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Calvano(**QUICK).learn(game, role, sessions=1)


def test_refusals_of_use() -> None:
    role = DILEMMA.role("player")
    with pytest.raises(ValueError, match="player sees no field that shows the last 'action' of each of 2 players"):
        calvano._last(replace(role, sees=role.sees[:1]), role.acts[0])
    with pytest.raises(RuntimeError, match="nothing learned yet"):
        play(DILEMMA, {"player": Calvano()})
    learned = Calvano(**QUICK).learn(DILEMMA, "player", sessions=1)
    with pytest.raises(ValueError, match="learned for 2 players and 4 profiles; player of MatrixGame has 3 and 8"):
        play(MatrixGame.public_goods(players=3), {"player": learned})
    with pytest.raises(ValueError, match="others: none can play along"):
        Calvano().learn(DILEMMA, "player", others={"player_1": policy("random")})
    with pytest.raises(ValueError, match="game: Pricing, alone or under mechanisms, got MatrixGame"):
        collusion.learn(DILEMMA)


def test_without_numba_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def without(name: str, *rest: Any) -> Any:
        if name == "numba":
            raise ImportError("no numba")
        return real(name, *rest)

    calvano._learner.cache_clear()
    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(ImportError, match=r"needs numba, which is not installed; pip install 'societas\[numba\]'"):
        Calvano().ready()
    monkeypatch.undo()
    calvano._learner.cache_clear()


def test_where_nothing_can_be_written_it_is_compiled_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    import numba

    real = numba.njit

    def unwritable(*, cache: bool = False, **options: Any) -> Any:
        if cache:
            raise RuntimeError("cannot cache function: no locator available")
        return real(**options)

    calvano._learner.cache_clear()
    monkeypatch.setattr(numba, "njit", unwritable)
    anew = Calvano(**QUICK).learn(DILEMMA, "player", sessions=1)
    monkeypatch.undo()
    calvano._learner.cache_clear()
    np.testing.assert_array_equal(anew.tables, Calvano(**QUICK).learn(DILEMMA, "player", sessions=1).tables)


def test_picture_and_table(capsys: pytest.CaptureFixture[str], tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    quick = collusion.learn

    def shortened(game: Game | None = None, **options: Any) -> collusion.Market:
        return quick(game, **{**options, "beta": 1e-3, "window": 1_000})

    monkeypatch.setattr(collusion, "learn", shortened)
    collusion.main(["--sessions", "8", "--picture", str(tmp_path / "c.png"), "--json", str(tmp_path / "c.json")])
    told = capsys.readouterr().out
    assert "tax 30%, shared" in told and "0.85" in told and "After the memory is wiped" in told.replace("\n", " ")
    assert (tmp_path / "c.png").read_bytes().startswith(b"\x89PNG") and (tmp_path / "c.json").stat().st_size > 500
