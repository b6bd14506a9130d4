"""The incentive audit: which incentive claims hold in a game as it is played, by how much they fail, what was not checked."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from ...envs.core import registry, validate
from ...envs.core.game import Game
from ...envs.core.policy import Policy
from ...envs.core.statistics import interval
from ...envs.core.words import figure
from ...envs.core.worlds import Cast
from .claims import CLAIMS, TOLERANCE, Audit, Claim, judged, unchecked
from .conduct import budget, layers_of, renegotiation, truth
from .deviations import Seat
from .play import Host, run
from .search import Case, Found, Respond, search

PAIRS = 10
"""Most pairs that are searched for collusion."""


def audit(
    game: Game,
    policies: Mapping[str, Policy],
    *,
    base: Game | None = None,
    base_policies: Mapping[str, Policy] | None = None,
    reports: Mapping[str, Mapping[str, str]] | None = None,
    alike: Sequence[str] = (),
    worlds: int = 512,
    seed: int = 0,
    limit: int = 100_000,
    learn: int = 100,
    grid: int = 11,
    learner: str | Respond | None = None,
    watch: Callable[[int, int], None] | None = None,
) -> Audit:
    """Audit the incentives in a game as it is played.

    Seven claims are checked, each for those whom it is about:

    - *equilibrium*: no deviation of a player gains it anything;
    - *participation*: nobody gets less than in the base game (individual rationality);
    - *budget balance*: the mechanisms pay all players together what welfare accounts for, in every step;
    - *truth-telling*: nobody gains by reporting anything but what it sees (incentive compatibility);
    - *collusion-proof*: no two players gain together by a joint deviation;
    - *sabotage-proof*: nobody can harm the others at no cost to itself;
    - *renegotiation-proof*: once the contract is signed, no other contract of its kind is better for all parties.

    Where nothing is left to chance the answer is exact (for real numbers and long ranges: on a grid): every plan of own
    acts is played, or, where there are too many, dynamic programming goes through the situations that they lead to.
    Otherwise constant plans, changes at one moment, plans on a coarser grid, acts by what is seen and a learned response
    are tried, which bounds the gain from below; what is best is searched in other worlds than those in which it is
    measured, so that the search does not flatter it. All
    differences are taken in the same worlds with the same chance. With chance a claim fails if the whole interval is
    above 0: of 40 that hold exactly, about one is said to fail.

    Parameters
    ----------
    game
        The game, under any mechanisms.
    policies
        {role or player: policy}: how it is played. Seats without one play the null act.
    base
        The game without the institution, for participation and the budget; None takes the game beneath all mechanisms.
    base_policies
        How the base game is played; None takes the equilibrium of its benchmarks.
    reports
        {role: {act field: seen field}}: acts that report what is seen, in the same units.
    alike
        Roles whose players are alike, so that the first stands for all; one policy must play them all.
    worlds
        Draws of chance behind every number.
    seed
        Seed of all chance.
    limit
        Most plans that are tried at a time, and most acts of dynamic programming; with chance, most plans times worlds.
    learn
        How many times all worlds are played to learn a best response; 0 learns none.
    grid
        Values to which real numbers and long ranges are reduced.
    learner
        What trains one more response where there is chance: a function (game, player, policies) -> policy, or for roles
        of one player the name of a registered policy that learns, such as ``"gradient"``; it learns ``learn`` episodes.
    watch
        Called as ``watch(part, parts)`` after every part of the audit.

    Returns
    -------
    Audit
        A row for each claim and player.
    """
    validate.whole("worlds", worlds, 2, 10_000_000)
    validate.whole("limit", limit, 1, 1_000_000_000)
    validate.whole("learn", learn, 0, 1_000_000)
    validate.whole("grid", grid, 2, 100_000)
    case = Case(game, policies, worlds, seed, limit, learn, grid, learner)
    seats = _seats(case, alike)
    parts: list[Callable[[], list[Claim]]] = [
        *(functools.partial(_alone, case, seat, note) for seat, note in seats),
        functools.partial(_participation, case, base, base_policies),
        functools.partial(budget, case, base),
        functools.partial(truth, case, seats, reports or {}),
        functools.partial(_collusion, case, seats, alike),
        functools.partial(renegotiation, case),
    ]
    rows: list[Claim] = []
    for number, part in enumerate(parts, 1):
        rows += part()
        if watch is not None:
            watch(number, len(parts))
    rows.sort(key=lambda row: CLAIMS.index(row.name))
    return Audit(game.name, tuple(rows))


def _seats(case: Case, alike: Sequence[str]) -> list[tuple[Seat, str]]:
    """Return the players who decide something, with a note on whom else they stand for."""
    cast = Cast(case.game, case.policies)
    for name in alike:
        role = case.game.role(name)
        if [seats for part, seats, _ in cast.parts if part == name] not in ([], [tuple(range(role.count))]):
            raise ValueError(f"alike: role {name!r} is played by several policies, so that its players are not alike")
    seats = []
    for role in case.game.roles:
        for index in range(1 if role.name in alike else role.count):
            if any(role.deciding(stage.name, index) for stage in case.game.stages):
                stands = role.name in alike and role.count > 1
                seats.append((Seat(role, index), f"; stands for all {role.count}" if stands else ""))
    return seats


def _alone(case: Case, seat: Seat, note: str) -> list[Claim]:
    """Check what a player gains by a deviation, and what harm it can do."""
    player = seat.player
    try:
        found = search(case, seat)
    except ValueError as error:
        return [unchecked(name, player, str(error) + note) for name in ("equilibrium", "sabotage-proof")]
    best = found.best(lambda gains: gains[player].mean(axis=-1))
    told = f"; best: {best.words}" if best.words else ""
    alone = judged("equilibrium", player, best.gains[player], case.size, found.how + told + note)
    return [alone, _sabotage(case, found, player, note)]


def _sabotage(case: Case, found: Found, player: str, note: str) -> Claim:
    if len(case.game.players) == 1:
        return unchecked("sabotage-proof", player, "there is nobody else")

    def harm(gains: Mapping[str, Host]) -> Host:
        return -np.asarray(sum(gain for name, gain in gains.items() if name != player))

    def free(gains: Mapping[str, Host]) -> Host:
        costless = gains[player].mean(axis=-1) >= -TOLERANCE * max(1.0, case.size)
        return np.where(costless, harm(gains).mean(axis=-1), -np.inf)

    worst = found.best(lambda gains: harm(gains).mean(axis=-1))
    cheap = found.best(free)
    if not worst.words or harm(worst.gains).mean() <= 0.0:
        told = "no deviation was found to harm the others"
    else:
        cost = figure(-worst.gains[player].mean())
        told = (
            f"at worst it does {figure(harm(worst.gains).mean())} of harm, at a cost of {cost} to itself: {worst.words}"
        )
    if cheap.words and cheap.words != worst.words:
        told += f"; at no cost: {cheap.words}"
    claim = judged("sabotage-proof", player, harm(cheap.gains), case.size, f"{told}; {found.how}{note}")
    if claim.verdict == "fails" and interval(cheap.gains[player], resamples=2000).high < 0.0:
        claim = claim._replace(verdict="holds", how=f"{claim.how}; what seemed to cost nothing does cost something")
    return claim


def _collusion(case: Case, seats: list[tuple[Seat, str]], alike: Sequence[str]) -> list[Claim]:
    """Check what two players gain together."""
    name, players = "collusion-proof", [seat for seat, _ in seats]
    twins = [(seat, Seat(seat.role, 1)) for seat in players if seat.role.name in alike and seat.role.count > 1]
    pairs = [*twins, *itertools.combinations(players, 2)]
    if not pairs:
        return [unchecked(name, "all", "there are no two players who decide something")]
    rows = []
    for one, two in pairs[:PAIRS]:
        who = f"{one.player} and {two.player}"
        try:
            found = search(case, one, two)
        except ValueError as error:
            rows.append(unchecked(name, who, str(error)))
            continue
        best = found.best(lambda gains, a=one.player, b=two.player: (gains[a] + gains[b]).mean(axis=-1))  # type: ignore[misc]
        both = best.gains[one.player] + best.gains[two.player]
        told = f"; best: {best.words}" if best.words else ""
        told += "; stands for all pairs who are alike" if alike else ""
        claim = judged(name, who, both, case.size, f"sum of both gains; {found.how}{told}")
        if claim.verdict == "holds" and not found.exact:
            claim = unchecked(name, who, f"no gain was found, but only joint constant plans were tried; {found.how}")
        rows.append(claim)
    if len(pairs) > PAIRS:
        rows.append(unchecked(name, f"{len(pairs) - PAIRS} other pairs", f"only the first {PAIRS} pairs are searched"))
    return rows


# ---- participation and budget ---------------------------------------------------------------------------------------


def _participation(case: Case, base: Game | None, policies: Mapping[str, Policy] | None) -> list[Claim]:
    """Check that nobody gets less than in the base game."""
    name = "participation"
    if base is None:
        layers = layers_of(case.game)
        if not layers:
            return [unchecked(name, "all", f"{case.game.name} is under no mechanism, and no base game was given")]
        base = layers[-1].base
    try:
        how = "as given" if policies is not None else "in equilibrium"
        if policies is None:
            policies = {role.name: registry.create("policies", "equilibrium") for role in base.roles if role.acts}
        outside = run(base, policies, worlds=case.worlds, seed=case.seed)
    except ValueError as error:
        return [unchecked(name, "all", f"how {base.name} is played is not known, give base_policies ({error})")]
    rows = []
    for player, pay in case.follow.returns.items():
        if player not in outside.returns:
            rows.append(unchecked(name, player, f"{base.name} has no such player"))
            continue
        alone = outside.returns[player][0]
        told = f"return in {base.name}, played {how} ({figure(alone.mean())}), less return here ({figure(pay.mean())})"
        rows.append(judged(name, player, alone - pay[0], case.size, told))
    return rows
