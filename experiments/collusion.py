"""Do learners collude? Profit gain, reward and punishment, equilibrium play, and institutions against it.

Run ``python -m societas.experiments.collusion`` (options: ``--sessions``, ``--seed``, ``--picture FILE``, ``--json FILE``).

The experiment is that of Calvano et al. (2020), doi:10.1257/aer.20190623: firms in a repeated pricing game learn by
Q-learning until their strategies have settled. Prices above the equilibrium are no collusion yet: learners who cannot care
about the future (delta = 0) also end above it, by a profit gain of about .22. What makes the rest collusion is that a firm
which undercuts is punished and forgiven, so that undercutting does not pay.
"""

from __future__ import annotations

import argparse
import functools
import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from ..envs.core import chance
from ..envs.core.game import Game
from ..envs.core.mechanism import Institution, Mechanism
from ..envs.markets.pricing import Pricing
from ..mechanisms.tax import Tax
from ..policies.calvano import Calvano, payoffs

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from rich.console import Console

Host = np.ndarray[Any, Any]

PUBLISHED = {"beta 4e-6": 0.85, "beta 2e-5": 0.80, "beta 2e-5, delta 0": 0.22}
"""Mean profit gains of the cells (Calvano et al. 2020), with alpha = .15."""

NEGLIGIBLE = 1e-10
"""Discount at which the future is cut off."""


class Deviation(NamedTuple):
    """What follows when one firm is made to undercut.

    ``prices`` (sessions, 1 + periods, firms), the first before it undercuts; ``kept``, the same without; ``gain``
    (sessions,) what the firm gains by it in discounted profit, as a share of what it would have had.
    """

    prices: Host
    kept: Host
    gain: Host


@dataclass(frozen=True)
class Market:
    """Firms that have learned to price, one market a session.

    Parameters
    ----------
    game
        The pricing game, under whatever mechanisms they learned it.
    learned
        The learners.
    """

    game: Game
    learned: Calvano

    @property
    def pricing(self) -> Pricing:
        """The pricing game itself."""
        return _pricing(self.game)

    @functools.cached_property
    def profits(self) -> Host:
        """Profits before any transfers, (profiles, firms)."""
        return payoffs(self.pricing, "firm")

    def gains(self, profits: Host) -> Host:
        """Return the profit gain of profits (*, firms): 0 at the one-shot equilibrium, 1 at the joint maximum."""
        low, high = self.pricing.nash_profit, self.pricing.monopoly_profit
        return np.asarray((profits.mean(axis=-1) - low) / (high - low))

    @functools.cached_property
    def gain(self) -> Host:
        """Profit gain in the cycle in which play ends, before transfers, (sessions,)."""
        return self.gains(self.learned.settled(self.profits)[0])

    def prices(self, profiles: Host) -> Host:
        """Return the prices of profiles of any shape, (*, firms)."""
        digits = np.unravel_index(profiles, (self.pricing.prices,) * self.pricing.firms)
        return np.asarray(self.pricing.grid)[np.stack(digits, axis=-1)]

    def deviation(self, periods: int = 15, lasting: int = 1, player: int = 0) -> Deviation:
        """Let a firm undercut, for ``lasting`` periods, by the best reply to what the others would charge.

        Play starts on the cycle in which learning has ended; nobody learns anew, and from then on all play as learned.
        """
        learned, m = self.learned, self.pricing.prices
        horizon = max(periods, _horizon(learned.delta))
        start, sessions = learned.limit(), np.arange(len(learned.strategies))
        state, forced = start, {}
        for period in range(lasting):
            acts = learned.strategies[sessions, :, state]
            forced[period, player] = acts[:, player] = learned.pay[_each(acts, player, m), player].argmax(axis=-1)
            state = _numbers(acts, m)
        paths = [learned.path(horizon, start, acts) for acts in (forced, None)]
        discount = learned.delta ** np.arange(horizon)
        worth, kept = ((path.pay[:, :, player] * discount).sum(axis=1) for path in paths)
        shown = [self.prices(np.column_stack([start, path.profiles[:, :periods]])) for path in paths]
        return Deviation(shown[0], shown[1], (worth - kept) / kept)

    def regret(self, player: int = 0, *, once: bool = False) -> Host:
        """Return what another strategy would add to a firm's discounted pay, as a share, the others' given; (sessions,).

        Play is on the cycle in which learning has ended. With ``once`` the firm deviates in one period, by whatever price
        is best, and then plays as learned; otherwise it plays the best reply of all, found by value iteration, and can
        exploit how the others act where they have hardly ever been. 0 is a best response.
        """
        learned, m, horizon = self.learned, self.pricing.prices, _horizon(self.learned.delta)
        regrets = []
        for strategies, start in zip(learned.strategies, learned.limit(), strict=True):
            after = _each(strategies.T, player, m)  # (profiles, actions)
            pay, place = learned.pay[after, player], np.arange(len(after))
            followed = after[place, strategies[player]]
            kept, best = np.zeros(len(after)), np.zeros(len(after))
            for _ in range(horizon):
                kept = learned.pay[followed, player] + learned.delta * kept[followed]
                if not once:
                    best = (pay + learned.delta * best[after]).max(axis=1)
            if once:
                best = (pay + learned.delta * kept[after]).max(axis=1)
            regrets.append((best[start] - kept[start]) / kept[start])
        return np.asarray(np.clip(np.array(regrets), 0.0, None))

    def forget(self, periods: int = 50, seed: int = 0) -> Host:
        """Return the mean profit gain of each period after the memory is wiped: last prices drawn at random, (periods,)."""
        u = chance.uniform(chance.key(seed, np.arange(len(self.learned.strategies), dtype=np.int64)), 1)[:, 0]
        start = chance.whole(u, 0, len(self.profits) - 1)
        return np.asarray(self.gains(self.profits[self.learned.path(periods, start).profiles]).mean(axis=0))

    def summary(self) -> dict[str, float]:
        """Return the measures of the markets: means over sessions, and the standard error of the profit gain."""
        undercut = self.deviation()
        return {
            "sessions": float(len(self.gain)),
            "converged": float(self.learned.converged.mean()),
            "periods": float(self.learned.periods.mean()),
            "profit_gain": float(self.gain.mean()),
            "standard_error": float(self.gain.std() / math.sqrt(len(self.gain))),
            "price": float(self.prices(self.learned.limit()).mean()),
            "undercutting_pays": float((undercut.gain > 1e-9).mean()),
            "gain_of_undercutting": float(undercut.gain.mean()),
        }


def learn(
    game: Game | None = None,
    *,
    sessions: int = 256,
    seed: int = 0,
    watch: Callable[[int, int], None] | None = None,
    **options: Any,
) -> Market:
    """Let firms learn to price.

    Parameters
    ----------
    game
        The pricing game, alone or under mechanisms that leave it one stage and no chance; by default ``Pricing()``.
    sessions, seed, watch
        As for ``Calvano.learn``.
    **options
        Of ``Calvano``: alpha, beta, delta, window, most.
    """
    game = Pricing() if game is None else game
    _pricing(game)
    return Market(game, Calvano(**options).learn(game, "firm", sessions=sessions, seed=seed, watch=watch))


def interventions(pricing: Pricing) -> dict[str, Mechanism | None]:
    """Return the institutions that are compared: taxes on profit, burnt, shared among the firms, on what is excessive.

    What is excessive begins a tenth of the way from the profit of the one-shot equilibrium to the cartel's. A fine for
    it that an audit imposes with some probability is, in the mean, such a tax.
    """
    excess = pricing.nash_profit + 0.1 * (pricing.monopoly_profit - pricing.nash_profit)
    return {
        "none": None,
        "tax 30%": Tax(rates=(0.3,), revenue="burnt"),
        "tax 30%, shared": Tax(rates=(0.3,), revenue="shared"),
        "excess profit 50%": Tax(rates=(0.5,), thresholds=(excess,), revenue="burnt"),
        "excess profit 90%": Tax(rates=(0.9,), thresholds=(excess,), revenue="burnt"),
    }


def compare(sessions: int = 256, seed: int = 0, watch: Callable[[str], None] | None = None) -> dict[str, Market]:
    """Learn the published cells and, in the fast one, under every institution; each on the same random numbers.

    ``watch`` is called with the name of each cell before it is learned.
    """
    fast: Mapping[str, Any] = {"beta": 2e-5}
    pricing = Pricing()
    cells: dict[str, tuple[Game, Mapping[str, Any]]] = {
        "beta 4e-6": (pricing, {}),
        "beta 2e-5": (pricing, fast),
        "beta 2e-5, delta 0": (pricing, {**fast, "delta": 0.0}),
    }
    for name, mechanism in interventions(pricing).items():
        if mechanism is not None:
            cells[name] = (pricing | mechanism, fast)
    found = {}
    for name, (game, options) in cells.items():
        if watch is not None:
            watch(name)
        found[name] = learn(game, sessions=sessions, seed=seed, **options)
    return found


def picture(markets: Mapping[str, Market]) -> Figure:
    """Draw what ``compare`` found: profit gains by session, what follows when a firm undercuts, and the institutions."""
    from .pictures import FAINT, GREY, OKABE_ITO, _blank, _panel, _style, _title

    with _style():
        figure = _blank(7.6)
        blue, red, green = OKABE_ITO[:3]
        axes = _panel(figure, 0.4, 1.6)
        _title(axes, "Profit gain of single markets")
        bins = np.linspace(-0.2, 1.1, 53).tolist()
        colours = {"beta 4e-6": blue, "beta 2e-5": green, "beta 2e-5, delta 0": FAINT}
        labels = {"beta 4e-6": "patient, slow", "beta 2e-5": "patient, fast", "beta 2e-5, delta 0": "myopic"}
        for name, colour in colours.items():
            market = markets[name]
            text = f"{labels[name]}: {market.gain.mean():.2f}"
            share = np.full(len(market.gain), 100.0 / len(market.gain))
            axes.hist(
                market.gain, bins=bins, weights=share, histtype="stepfilled", color=colour, alpha=0.55, label=text
            )
        axes.set_xlabel("0 = one-shot equilibrium, 1 = cartel")
        axes.set_ylabel("% of markets")
        axes.set_ylim(0, 1.45 * axes.get_ylim()[1])  # room for the legend
        axes.legend(frameon=False, fontsize=8.5, loc="upper left")

        market = markets["beta 4e-6"]
        undercut = market.deviation()
        axes = _panel(figure, 2.85, 1.75, right=0.95)
        _title(axes, "After one firm is made to undercut once")
        periods = np.arange(undercut.prices.shape[1])
        for firm, colour, text in ((0, red, "undercuts"), (1, blue, "rival")):
            line = undercut.prices[:, :, firm].mean(axis=0)
            axes.plot(periods, line, "o-", color=colour, markersize=3.5, linewidth=1.6, label=text)
        pricing = market.pricing
        for level, text in ((pricing.nash_price, "equilibrium"), (pricing.monopoly_price, "cartel")):
            axes.axhline(level, color=GREY, linewidth=0.8, linestyle=(0, (4, 3)), zorder=0)
            axes.annotate(
                text,
                xy=(1.02, level),
                xycoords=("axes fraction", "data"),
                va="center",
                fontsize=9,
                color=GREY,
                annotation_clip=False,
            )
        axes.set_xlabel("period")
        axes.set_ylabel("mean price")
        axes.legend(frameon=False, fontsize=8.5, loc="lower right")

        names = ["beta 2e-5", *(name for name in markets if name not in colours)]
        axes = _panel(figure, 5.5, 1.5)
        _title(axes, "Under institutions (fast cell)")
        for row, name in enumerate(names):
            gain = markets[name].gain
            half = 1.96 * gain.std() / math.sqrt(len(gain))
            axes.plot([gain.mean() - half, gain.mean() + half], [row, row], color=green, linewidth=2.0)
            axes.plot(gain.mean(), row, "o", color=green, markersize=6)
            text = f"{name if row else 'no tax'}: {gain.mean():.2f}"
            axes.annotate(
                text, xy=(gain.mean(), row), xytext=(0, 5), textcoords="offset points", ha="center", fontsize=9
            )
        axes.axvline(float(markets["beta 2e-5, delta 0"].gain.mean()), color=GREY, linewidth=0.8, linestyle=(0, (4, 3)))
        axes.set(ylim=(len(names) - 0.5, -0.8), xlim=(-0.05, 1.05))
        axes.set_yticks([])
        axes.set_xlabel("profit gain, 95% interval; dashed: myopic")
    return figure


def show(rows: Mapping[str, Mapping[str, float]], console: Console) -> None:
    """Print the measures of the cells, {name: measures}."""
    from rich.table import Table

    table = Table(title=f"{rows['beta 4e-6']['sessions']:,.0f} markets of two firms a cell")
    for head in ("cell", "paper", "gain", "s.e.", "converged", "periods", "price", "undercutting pays"):
        table.add_column(head, justify="left" if head == "cell" else "right")
    for name, row in rows.items():
        table.add_row(
            name,
            f"{PUBLISHED[name]:.2f}" if name in PUBLISHED else "",
            f"{row['profit_gain']:.3f}",
            f"{row['standard_error']:.3f}",
            f"{row['converged']:.0%}",
            f"{row['periods']:,.0f}",
            f"{row['price']:.3f}",
            f"{row['undercutting_pays']:.0%}",
        )
    console.print(table)
    for name, row in rows.items():
        if "regret" in row:
            console.print(
                f"{name}: in {row['equilibrium']:.0%} of markets neither firm gains by any single deviation (mean gain "
                f"{row['regret_once']:.1%}); the best reply of all would gain {row['regret']:.0%}. After the memory is wiped "
                f"the profit gain is {row['wiped']:.2f}, and ten periods later {row['recovered']:.2f}."
            )


def main(arguments: Sequence[str] | None = None) -> None:
    """Learn all cells, print a table, and draw the picture where asked."""
    from rich.console import Console

    from .pictures import png

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sessions", type=int, default=256, help="markets a cell")
    parser.add_argument("--seed", type=int, default=0, help="seed of the learners' chance")
    parser.add_argument("--picture", type=Path, help="PNG file to which the picture is written")
    parser.add_argument("--json", type=Path, help="file to which the results are written as data")
    options = parser.parse_args(arguments)
    console = Console()
    markets = compare(options.sessions, options.seed, lambda name: console.print(f"learning: {name}", style="dim"))
    rows = {name: market.summary() for name, market in markets.items()}
    for name in ("beta 4e-6", "beta 2e-5"):
        once, ever = (np.array([markets[name].regret(i, once=flag) for i in (0, 1)]) for flag in (True, False))
        wiped = markets[name].forget(11)
        rows[name] |= {
            "equilibrium": float((once.max(axis=0) < 1e-6).mean()),
            "regret_once": float(once.mean()),
            "regret": float(ever.mean()),
            "wiped": float(wiped[0]),
            "recovered": float(wiped[10]),
        }
    show(rows, console)
    if options.picture:
        options.picture.write_bytes(png(picture(markets)))
    if options.json:
        options.json.write_text(json.dumps(rows, indent=1) + "\n")


def _pricing(game: Game) -> Pricing:
    """Return the pricing game under the mechanisms."""
    base = game
    while isinstance(base, Institution):
        base = base.base
    if not isinstance(base, Pricing):
        raise ValueError(f"game: Pricing, alone or under mechanisms, got {game.name}")
    return base


def _horizon(delta: float) -> int:
    """Return after how many periods the future counts for nothing."""
    return 1 if delta == 0.0 else math.ceil(math.log(NEGLIGIBLE) / math.log(delta))


def _numbers(acts: Host, m: int) -> Host:
    """Return the profile numbers of acts (*, players)."""
    return np.asarray(np.ravel_multi_index(tuple(np.moveaxis(acts, -1, 0)), (m,) * acts.shape[-1]))


def _each(acts: Host, player: int, m: int) -> Host:
    """Return the profile numbers (*, m) that follow from each action of a player, the others' acts (*, players) given."""
    tried = np.repeat(acts[..., None, :], m, axis=-2)
    tried[..., player] = np.arange(m)
    return _numbers(tried, m)


if __name__ == "__main__":
    main()
