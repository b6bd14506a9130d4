"""Held-out populations: known games by hand, the same worlds for all, and seats in fair turns."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import pytest

from societas import make, play
from societas.envs.core.mechanism import Unfit
from societas.envs.norms.fishery import Fishery
from societas.envs.norms.matrix_game import MatrixGame
from societas.envs.norms.public_goods import PublicGoods
from societas.experiments.held_out import FEW, LOTS, MEASURES, HeldOut, held_out, report
from societas.policies.callable import Callable
from societas.policies.equilibrium import Equilibrium
from societas.policies.random import Random
from societas.policies.scripted import Scripted

DEFECTS = Callable(lambda seen: {"action": "defect"})
COOPERATES = Callable(lambda seen: {"action": "cooperate"})
GIVES = Callable(lambda seen: {"contribution": seen["contributions"][..., 0] * 0 + 20}, batched=True)
KEEPS = Callable(lambda seen: {"contribution": seen["contributions"][..., 0] * 0}, batched=True)
GRABS = Callable(lambda seen: {"harvest": seen["stock"]}, batched=True)


def figures(table: HeldOut, background: str, mode: str, measure: str) -> tuple[float, float, float]:
    """Return mean and differences of a row that chance does not touch."""
    row = table.row(background, mode, measure)
    for one in row[3:]:
        assert one.low == one.mean == one.high
    return row.value.mean, row.over_background.mean, row.over_focal.mean


def test_tit_for_tat_among_defectors() -> None:
    """Ten rounds: it is exploited once, (0 + 9 x 1) and (5 + 9 x 1); defectors get 10 each, its own kind 30 each."""
    game = MatrixGame.prisoners_dilemma(rounds=10)
    table = held_out(game, Scripted("tit_for_tat"), {"defectors": DEFECTS, "cooperators": COOPERATES}, worlds=4)
    assert {row.mode for row in table.rows} == {"even"}  # one of two is no minority
    assert figures(table, "defectors", "even", "focal") == (9.0, -1.0, -21.0)
    assert figures(table, "defectors", "even", "background") == (14.0, 4.0, -16.0)
    assert figures(table, "defectors", "even", "welfare") == (23.0, 3.0, -37.0)
    # welfare of 60 is the first best and 20 the equilibrium
    assert figures(table, "defectors", "even", "alignment") == pytest.approx((3 / 40, 3 / 40, -37 / 40))
    assert figures(table, "cooperators", "even", "focal") == (30.0, 0.0, 0.0)


def test_a_defector_gains_exactly_what_it_keeps() -> None:
    """A token is worth 0.4 to who gives it: who keeps 20 gains 12 a round and takes 8 from each of the others."""
    game = PublicGoods(members=4, mpcr=0.4, endowment=20, repetitions=10)
    table = held_out(game, KEEPS, {"givers": GIVES}, worlds=3)
    assert figures(table, "givers", "visitor", "focal") == pytest.approx((440.0, 120.0, 240.0))
    assert figures(table, "givers", "visitor", "background") == pytest.approx((240.0, -80.0, 40.0))
    assert figures(table, "givers", "visitor", "welfare") == pytest.approx((1160.0, -120.0, 360.0))
    # three who keep, visited by one who gives
    assert figures(table, "givers", "resident", "focal") == pytest.approx((280.0, -40.0, 80.0))
    assert figures(table, "givers", "resident", "background") == pytest.approx((80.0, -240.0, -120.0))
    assert figures(table, "givers", "resident", "alignment") == pytest.approx((0.25, -0.75, 0.25))


def test_seats_that_differ_do_not_bias() -> None:
    """Player 0 gets 10 and player 1 nothing, whoever they are: the focal player gets 5, and that is not its doing."""
    game = MatrixGame((((10, 10), (10, 10)), ((0, 0), (0, 0))), ("left", "right"))
    left, right = (Callable(lambda seen, side=side: {"action": side}) for side in ("left", "right"))
    table = held_out(game, left, {"other": right}, worlds=2)
    assert table.seatings["even"] == (("player_0",), ("player_1",))
    assert figures(table, "other", "even", "focal") == (5.0, 0.0, 0.0)
    assert np.isnan(table.row("other", "even", "alignment").value.mean)  # there is nothing to align
    assert "alignment   -" in str(table)


def test_twins_in_the_same_worlds_differ_in_nothing() -> None:
    """Grabbing is luck, and it is the same luck: two policies that do the same differ by zero in every world."""
    twin = Callable(lambda seen: {"harvest": seen["stock"]}, batched=True)
    table = held_out(Fishery(fishers=3, months=2, capacity=10), GRABS, {"twin": twin}, worlds=16, seed=5)
    for row in table.rows:
        assert tuple(row.over_background[:3]) == tuple(row.over_focal[:3]) == (0.0, 0.0, 0.0)
    spread = table.row("twin", "visitor", "focal").value
    assert spread.n == 16 and spread.low == spread.mean == spread.high  # over all seatings luck evens out
    alone = play(Fishery(fishers=3, months=2, capacity=10), {"fisher": GRABS}, worlds=16, seed=5)
    assert table.row("twin", "visitor", "welfare").value.mean == alone.welfare.mean()
    assert len({tuple(world) for world in alone.returns["fisher"].tolist()}) > 1


def test_many_seats_are_taken_in_turns_by_lot() -> None:
    game = Fishery(fishers=20, months=2)
    arguments: dict[str, Any] = {"background": {"opportunists": Scripted("opportunist")}, "visitors": 3, "worlds": 70}
    table = held_out(game, Scripted("fair"), **arguments)
    for mode, size in (("resident", 17), ("visitor", 3)):
        chosen = table.seatings[mode]
        assert len(chosen) == LOTS > FEW and all(len(set(who)) == size for who in chosen)
        turns = Counter(player for who in chosen for player in who)
        assert len(turns) == 20 and max(turns.values()) - min(turns.values()) <= 1
    row = table.row("opportunists", "visitor")
    assert row.value.n == row.over_background.n == LOTS
    assert "over groups of worlds" in str(table)
    # first month: 17 x 4 + 3 x 2 are taken of 100 and 26 left; the second: from 52 that grew, 17 x 2 + 3 x 1
    assert row.value.mean == 3.0 and table.row("opportunists", "visitor", "background").value.mean == 6.0
    assert held_out(game, Scripted("fair"), **arguments, seed=1).seatings != table.seatings


def test_it_is_repeatable_by_seed() -> None:
    game = Fishery(months=3)
    first, again, other = (
        held_out(game, Random(), {"fair": Scripted("fair"), "random": Random()}, worlds=8, seed=seed)
        for seed in (1, 1, 2)
    )
    assert first == again
    assert first.to_frame().equals(again.to_frame())
    assert first.rows != other.rows
    apart = held_out(game, Random(), {"random": Random()}, worlds=8, seed=1)
    assert apart.row("random", "visitor") == first.row("random", "visitor")  # whoever else is scored


def test_roles_are_taken_as_resident() -> None:
    """A principal that offers the optimal contract, among agents who answer at their best and who answer at random."""
    game = make("HiddenAction")
    backgrounds = {"best": Equilibrium(), "random": Random()}
    table = held_out(game, Equilibrium(), backgrounds, role="principal", worlds=200)
    assert {row.mode for row in table.rows} == {"resident"} and table.seatings["resident"] == (("principal_0",),)
    best = table.row("best", "resident")
    profit = game.expected(game.optimal_pay)[0]  # type: ignore[attr-defined]
    assert best.value.low < profit < best.value.high
    assert best.over_background.mean == best.over_focal.mean == 0.0
    assert table.row("random", "resident").over_focal.high < 0.0  # random agents shirk and refuse


def test_what_a_policy_does_not_play_is_left_out() -> None:
    """A policy for the principal alone has no society of its own kind; one for each role has."""
    game = make("HiddenAction")
    pays = Callable(lambda seen: {"pay": [0.0, 5.0]})
    table = held_out(game, {"principal": pays}, {"best": {"agent": Equilibrium()}}, role="principal", worlds=4)
    row = table.row("best", "resident")
    assert row.value.n == 4 and row.over_focal.n == row.over_background.n == 0
    with pytest.raises(ValueError, match="policies: none for agent; there are some for: principal"):
        held_out(game, {"principal": pays}, {"best": {"principal": pays}}, role="principal", worlds=1)


def test_the_table_reads_and_exports() -> None:
    game = PublicGoods(members=5, repetitions=2)
    table = held_out(game, KEEPS, {"givers": GIVES, "random": Random()}, visitors=2, worlds=8)
    frame = table.to_frame()
    assert len(frame) == 2 * 2 * len(MEASURES) == len(table.rows)
    assert list(frame.columns[:7]) == ["background", "mode", "measure", "mean", "low", "high", "n"]
    first = frame.iloc[0]
    assert (first["mean"], first["n"]) == (table.rows[0].value.mean, 8)
    assert (frame["low"] <= frame["mean"]).all() and (frame["mean"] <= frame["high"]).all()
    told = str(table)
    assert "resident: 3 of 5 seats focal; visitor: 2 of 5 seats focal" in told
    assert "givers      visitor   focal" in told
    assert len(table.seatings["visitor"]) == 10
    with pytest.raises(KeyError, match="givers/resident, givers/visitor"):
        table.row("saints", "visitor")


def test_report_names_policies() -> None:
    told = report(Fishery(months=3), "scripted:character=fair", ["random", "scripted:character=opportunist"], worlds=4)
    assert told.startswith("Focal: scripted:character=fair.\nFishery: resident: 4 of 5")
    assert "scripted:character=opportunist  visitor" in told
    with pytest.raises(ValueError, match=r"policy: NAME or NAME:PARAMETER=VALUE,\.\.\., got 'scripted:fair'"):
        report(Fishery(), "scripted:fair", ["random"])


def test_games_and_numbers_that_do_not_fit() -> None:
    fair, others = Scripted("fair"), {"random": Random()}
    with pytest.raises(Unfit, match="visitors: a minority of the 5 players of Fishery, from 1 to 2, got 3"):
        held_out(Fishery(), fair, others, visitors=3)
    with pytest.raises(Unfit, match="role: Fishery has no role baker; it has: fisher"):
        held_out(Fishery(), fair, others, role="baker")
    with pytest.raises(Unfit, match="role: HiddenAction has the roles principal, agent; name those"):
        held_out(make("HiddenAction"), Random(), others)
    with pytest.raises(Unfit, match="leave some to the background"):
        held_out(make("HiddenAction"), Random(), others, role=["agent", "principal"])
    with pytest.raises(ValueError, match="background: {name: policy}, at least one"):
        held_out(Fishery(), fair, {})
    with pytest.raises(ValueError, match="worlds: a whole number from 1"):
        held_out(Fishery(), fair, others, worlds=0)
    with pytest.raises(ValueError, match="character: Fair decides harvest"):
        held_out(make("Pricing"), fair, others, worlds=1)
