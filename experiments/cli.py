"""The command line: what is there, play, experiments, claims, audits, evaluations."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from ..envs.core.game import Game

app = typer.Typer(
    help="societas: which incentives, norms and institutions make agents do what no contract can fully say?",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,  # plain help: rich takes a third of the time of --help
)


def _fail(error: object) -> typer.Exit:
    typer.secho(str(error), fg=typer.colors.RED, err=True)
    return typer.Exit(2)


def _value(text: str) -> Any:
    import yaml

    return yaml.safe_load(text)


def _options(pairs: list[str]) -> dict[str, Any]:
    options = {}
    for pair in pairs:
        name, sign, value = pair.partition("=")
        if not sign:
            raise _fail(f"--set: NAME=VALUE, got {pair!r}")
        options[name] = _value(value)
    return options


Set = Annotated[list[str], typer.Option("--set", help="A parameter, NAME=VALUE; may be repeated.")]


@app.command("list")
def list_() -> None:
    """List games, mechanisms, policies and experiments."""
    from ..envs.core import registry
    from .spec import shipped

    for kind in registry.KINDS:
        typer.secho(kind, bold=True)
        for name in registry.entries(kind):
            about = (registry.resolve(kind, name).__doc__ or "").strip().splitlines()[0]
            typer.echo(f"  {name:<14} {about}")
    typer.secho("experiments", bold=True)
    for name in shipped():
        from .spec import load

        typer.echo(f"  {name:<27} {load(name).title}")


def _game(name: str, pairs: list[str]) -> Game:
    from ..envs.core import registry

    try:
        game: Game = registry.create("games", name, **_options(pairs))
    except (KeyError, TypeError, ValueError) as error:
        raise _fail(error.args[0]) from error
    return game


@app.command()
def describe(name: str, set_: Set = []) -> None:  # noqa: B006  (typer reads the default)
    """Describe a game (fields, rules, benchmarks), mechanism or policy."""
    import inspect

    from rich.console import Console
    from rich.table import Table

    from ..envs.core import registry

    kinds = [kind for kind in registry.KINDS if name in registry.entries(kind)]
    if kinds and kinds[0] != "games":
        found = registry.resolve(kinds[0], name)
        typer.echo(f"{name}{inspect.signature(found)}\n\n{inspect.getdoc(found)}")
        return
    game, console = _game(name, set_), Console()
    console.print(f"[bold]{game.name}[/bold]  {(inspect.getdoc(type(game)) or '').splitlines()[0]}\n")
    for role in game.roles:
        console.rule(f"{role.count} x {role.name}")
        console.print(game.rules(role.name), highlight=False, markup=False)
        table = Table("field", "seen / done", "space", "unit", "verifiable", "what it is")
        for way, fields in (("seen", role.sees), ("done", role.acts)):
            for field in fields:
                each = f", each of {len(field.each)}" if field.each else ""
                stage = f" at {field.stage}" if field.stage else ""
                verifiable = "yes" if field.verifiable else ""
                table.add_row(field.name, way + stage, f"{field.space}{each}", field.unit, verifiable, field.means)
        console.print(table)
    table = Table("benchmark", "welfare", "source")
    for level_name, level in game.benchmarks().levels.items():
        table.add_row(level_name, f"{level.value:.6g}", level.source)
    console.print(table)
    table = Table("measure", "unit", "formula", "source")
    for measure in game.reports:
        table.add_row(measure.name, measure.unit, f"{measure.means}: {measure.formula}", measure.source)
    console.print(table)


@app.command()
def play(
    name: str,
    role: Annotated[str, typer.Option(help="The role you play; the first one by default.")] = "",
    others: Annotated[str, typer.Option(help="The policy of all other players.")] = "random",
    watch: Annotated[bool, typer.Option("--watch", help="Play nobody: let the policy play all and read on.")] = False,
    seed: int = 0,
    set_: Set = [],  # noqa: B006  (typer reads the default)
) -> None:
    """Play a game in the terminal against a policy, or watch one."""
    from ..envs.core import registry
    from ..envs.core.episodes import play as play_episode
    from ..policies.person import Person

    game = _game(name, set_)
    try:
        mine = game.role(role or game.roles[0].name)
        policies = {r.name: registry.create("policies", others) for r in game.roles}
        if not watch:

            def ask(question: str) -> str:
                return str(typer.prompt("\n" + question, prompt_suffix="\n> "))

            policies[mine.player(0)] = Person(ask, typer.echo)
        episodes = play_episode(game, policies, seed=seed, keep=True)
    except (KeyError, ValueError) as error:
        raise _fail(error.args[0]) from error
    typer.echo("\n" + episodes.tell())


@app.command()
def run(
    spec: Annotated[str, typer.Argument(help="Name of a shipped experiment, or a YAML file.")],
    out: Annotated[Path, typer.Option(help="Folder that holds the runs.")] = Path("runs"),
    workers: Annotated[int, typer.Option(help="Processes; 0 takes one a core.")] = 0,
    without: Annotated[list[str], typer.Option(help="A policy of the spec to leave out; may be repeated.")] = [],  # noqa: B006
    set_: Set = [],  # noqa: B006  (typer reads the default)
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what would be run and how long it will take, and stop.")
    ] = False,
    plan_: Annotated[
        float | None,
        typer.Option(
            "--plan", metavar="EFFECT", help="Say which effects it can find, and the worlds for this one, and stop."
        ),
    ] = None,
    record: Annotated[bool, typer.Option("--record", help="Keep every call of a language model.")] = False,
    replay: Annotated[
        Path | None, typer.Option(help="Folder of a recorded run: its calls stand in for the language models.")
    ] = None,
    on: Annotated[str, typer.Option(help="Where cells are played: processes (of this machine) or ray.")] = "processes",
) -> None:
    """Run an experiment: progress, table, and a report to open in a browser. A killed run goes on where it stopped."""
    import sys
    import time

    from rich.console import Console

    from .spec import SpecError, load

    console, begun = Console(), time.monotonic()
    try:
        plan = load(spec, _options(set_), without)
    except SpecError as error:
        raise _fail(error) from error
    if dry_run or plan_ is not None:
        from .foresee import print_estimate, print_plan

        try:
            if dry_run:
                print_estimate(plan, workers or None, console)
            if plan_ is not None:
                with _Bar(console, len(plan.cells())) as bar:
                    print_plan(plan, plan_, out, workers or None, bar, console)
        except (FileNotFoundError, ConnectionError, PermissionError) as error:
            raise _fail(f"{error}\n(or leave that policy out: --without NAME)") from error
        except (ImportError, RuntimeError, ValueError) as error:
            raise _fail(error) from error
        return
    from .report import print_tables, write_report
    from .run import run as run_spec
    from .work import JobsFailed

    console.print(f"[bold]{plan.title}[/bold]\n{plan.question.strip()}\n", highlight=False)
    command = " ".join(["societas", *sys.argv[1:]])
    try:
        with _Bar(console, len(plan.cells())) as bar:
            how = {"workers": workers or None, "record": record, "replay": replay, "on": on}
            target = run_spec(plan, out, progress=bar, command=command, **how)  # type: ignore[arg-type]
    except (FileNotFoundError, ConnectionError, PermissionError) as error:
        raise _fail(f"{error}\n(or leave that policy out: --without NAME)") from error
    except (ImportError, JobsFailed, ValueError) as error:
        raise _fail(error) from error
    except KeyboardInterrupt:
        raise _fail("stopped; what is finished is kept, the same command goes on from there") from None
    page = write_report(target)
    print_tables(target, console)
    console.print(f"\n{time.monotonic() - begun:.0f} s. Report: {page}", soft_wrap=True)


class _Bar:
    """Progress over cells or claims, with time left."""

    def __init__(self, console: Any, count: int, what: str = "cells") -> None:
        from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

        columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.percentage:>3.0f}%"))
        self.progress = Progress(
            *columns, TimeElapsedColumn(), TextColumn("left"), TimeRemainingColumn(), console=console
        )
        self.count, self.what = count, what
        self.done: dict[str, float] = {}
        self.plain = not console.is_terminal
        self.console = console

    def __enter__(self) -> _Bar:
        self.task = self.progress.add_task(f"0 of {self.count} {self.what}", total=float(self.count))
        if not self.plain:
            self.progress.start()
        return self

    def __call__(self, name: str, fraction: float) -> None:
        if self.plain and fraction == 1.0 and self.done.get(name) != 1.0:
            self.console.print(f"{sum(f == 1.0 for f in self.done.values()) + 1} of {self.count} {self.what}: {name}")
        self.done[name] = max(fraction, self.done.get(name, 0.0))
        finished = sum(f == 1.0 for f in self.done.values())
        text = f"{finished} of {self.count} {self.what}"
        self.progress.update(self.task, completed=sum(self.done.values()), description=text)

    def __exit__(self, *_: object) -> None:
        if not self.plain:
            self.progress.stop()


@app.command()
def audit(
    name: str,
    under: Annotated[
        list[str],
        typer.Option(help="A mechanism on top, 'Tax' or '{Tax: {rates: [0.5]}}'; may be repeated, innermost first."),
    ] = [],  # noqa: B006  (typer reads the default)
    policy: Annotated[
        list[str], typer.Option(help="Who plays a role, ROLE=NAME; by default all play the equilibrium.")
    ] = [],  # noqa: B006
    set_: Set = [],  # noqa: B006
) -> None:
    """Audit incentives: who gains by doing otherwise, alone or together, and what else theory asks of an institution."""
    from rich.console import Console

    from ..envs.core import registry
    from ..mechanisms.audit import report as audited
    from .spec import build

    game, console = _game(name, set_), Console()
    try:
        for layer in under:
            part = _value(layer)
            game = game | (
                registry.resolve("mechanisms", part).suited(game)
                if isinstance(part, str)
                else build("mechanisms", part)
            )
        names = dict.fromkeys((role.name for role in game.roles), "equilibrium") | _options(policy)
        policies = {role: registry.create("policies", played) for role, played in names.items()}
        typer.echo(
            audited(game, policies, width=console.width if console.is_terminal else 120, colour=console.is_terminal)
        )
    except (KeyError, TypeError, ValueError) as error:
        raise _fail(error.args[0]) from error


@app.command("held-out")
def held_out(
    name: str,
    focal: Annotated[str, typer.Argument(help="The policy that is scored, 'tabular' or 'scripted:character=fair'.")],
    background: Annotated[list[str], typer.Argument(help="Policies that it meets, each by itself.")],
    visitors: Annotated[int, typer.Option(help="How many are in the minority.", min=1)] = 1,
    worlds: Annotated[int, typer.Option(min=2)] = 256,
    seed: int = 0,
    set_: Set = [],  # noqa: B006  (typer reads the default)
) -> None:
    """Score a policy as majority and as minority among policies that it never met."""
    from .held_out import report as scored

    game = _game(name, set_)
    try:
        typer.echo(scored(game, focal, background, visitors=visitors, worlds=worlds, seed=seed))
    except (KeyError, TypeError, ValueError) as error:
        raise _fail(error.args[0]) from error


@app.command()
def show(folder: Path) -> None:
    """Show the tables of a finished run, and where its numbers come from."""
    import json

    import yaml
    from rich.console import Console

    from . import store
    from .report import print_tables

    try:
        origin = store.read(folder)[["spec", "seed", "code", "device"]].drop_duplicates()
    except FileNotFoundError as error:
        raise _fail(error) from error
    console = Console()
    shown = yaml.safe_load((folder / "spec.yaml").read_text(encoding="utf-8"))
    meta = json.loads((folder / "meta.json").read_text(encoding="utf-8"))
    console.print(f"[bold]{shown['title']}[/bold]\n{shown['question'].strip()}\n", highlight=False)
    print_tables(folder, console)
    for row in origin.to_dict("records"):
        said = f"spec {row['spec'][:8]}, seed {row['seed']}, societas {row['code']}, on {row['device']}"
        console.print(said, highlight=False)
    console.print(f"{meta['seconds']:.0f} s of computing, begun {meta['started']}: {meta['command']}", highlight=False)


@app.command("trace")
def trace(
    folder: Path,
    cell: Annotated[str, typer.Argument(help="Name of a cell, as its file in cells/ has it.")],
    worlds: Annotated[int, typer.Option(help="How many worlds.", min=1)] = 1,
) -> None:
    """Play a cell of a run again and write what everyone saw, did and got, as JSON lines."""
    from .run import traces

    try:
        typer.echo(traces(folder, cell, worlds))
    except (FileNotFoundError, ValueError) as error:
        raise _fail(error) from error


@app.command()
def compare(
    one: Path,
    other: Path,
    measure: Annotated[list[str], typer.Option(help="A measure to compare; may be repeated. All by default.")] = [],  # noqa: B006
) -> None:
    """Compare two finished runs: the difference in every cell that both have, in the same worlds."""
    from rich.console import Console
    from rich.table import Table

    from . import store

    try:
        found = store.compare(one, other, measure)
    except FileNotFoundError as error:
        raise _fail(error) from error
    if found.empty:
        raise _fail(f"{one}, {other}: no cell and measure that both runs have")
    table = Table("cell", "measure", str(one.name), str(other.name), "difference", "95% interval", "worlds")
    for row in found.to_dict("records"):
        cell = " x ".join(row[part] for part in ("policy", "game", "uncertainty", "institution") if row[part])
        numbers = [f"{row['one']:.4g}", f"{row['other']:.4g}", f"{row['difference']:+.4g}"]
        table.add_row(cell, row["measure"], *numbers, f"{row['low']:+.4g} to {row['high']:+.4g}", str(row["worlds"]))
    Console().print(table)


@app.command("eval")
def evaluate(
    model: Annotated[str, typer.Argument(help="'smollm2', a folder, a hub id, the address of a server, or a policy.")],
    out: Annotated[Path, typer.Option(help="Folder that holds the runs.")] = Path("runs"),
    quick: Annotated[bool, typer.Option("--quick", help="The short form of the suite.")] = False,
    name: Annotated[str, typer.Option(help="The model's name, as the server knows it.")] = "",
    key: Annotated[str | None, typer.Option(help="Environment variable that holds the server's key.")] = None,
    prices: Annotated[
        tuple[float, float] | None, typer.Option(help="US dollars for a million tokens read and a million written.")
    ] = None,
    temperature: Annotated[float, typer.Option(help="0 takes the most probable act, 1 samples.", min=0.0)] = 1.0,
    worlds: Annotated[int, typer.Option(help="Worlds a case; 0 takes what the suite says.", min=0)] = 0,
    scenario: Annotated[list[str], typer.Option(help="A scenario of the suite; may be repeated. All by default.")] = [],  # noqa: B006
    seed: int = 0,
) -> None:
    """Evaluate a model on a fixed suite: alignment, legality, exploitability, wording, values, cost, with a report."""
    import sys

    from rich.console import Console

    from .evaluation import evaluate as run_suite
    from .evaluation.page import Bar, show

    console = Console()
    try:
        with Bar(console) as bar:
            found = run_suite(
                model,
                out,
                quick=quick,
                name=name,
                key=key,
                prices=prices,
                temperature=temperature,
                worlds=worlds or None,
                seed=seed,
                scenarios=scenario,
                progress=bar,
                command=" ".join(["societas", *sys.argv[1:]]),
            )
    except (ImportError, KeyError, OSError, TypeError, ValueError) as error:
        raise _fail(error.args[0] if isinstance(error, KeyError) else error) from error
    except KeyboardInterrupt:
        raise _fail("stopped; what is finished is kept, the same command goes on from there") from None
    show(found.folder, console)
    console.print(f"Report: {found.page}", soft_wrap=True, highlight=False)


@app.command()
def report(folder: Path) -> None:
    """Write the report of a run anew."""
    from .report import write_report

    if not (folder / "rows.csv").is_file():
        raise _fail(f"{folder}: no finished run (rows.csv is missing)")
    typer.echo(write_report(folder))


@app.command()
def auctions(seed: int = 0) -> None:
    """Learn four auctions whose optimum is known, and print what was found beside it (half a minute)."""
    from rich.console import Console
    from rich.table import Table

    from ..mechanisms.design.auctions import known

    console = Console()
    table = Table("setting", "objective", "found", "best possible", "gap", "mean regret", "largest", "seconds")
    for row in known(seed, watch=lambda text: console.print(f"learning: {text}", highlight=False)):
        table.add_row(
            row["setting"],
            row["objective"],
            f"{row['found']:.4f}",
            f"{row['best']:.4f}",
            f"{row['gap']:+.1%}",
            f"{row['regret']:.5f}",
            f"{row['most_regret']:.4f}",
            f"{row['seconds']:.0f}",
        )
    console.print(table)


@app.command()
def populations(
    count: Annotated[int, typer.Option(help="Populations that evolve in each game of norms.", min=2)] = 500,
    seed: int = 0,
) -> None:
    """Evolve populations under norms and punishment, and print what papers report beside what is found."""
    from rich.console import Console
    from rich.table import Table
    from scipy.stats import binomtest

    from ..policies.populations.norms import PUBLISHED, SOURCE, axelrod
    from ..policies.populations.public_goods import PublicGoods
    from ..policies.populations.stationary import stationary

    console = Console()
    table = Table("game", "share of populations", "published", "found", "95% interval", title=SOURCE)
    for game, published in PUBLISHED.items():
        found = axelrod(metanorms=game == "metanorms", populations=count, seed=seed)
        for what, share in found._asdict().items():
            ends = binomtest(round(share * count), count).proportion_ci(method="wilson")
            table.add_row(game, what, f"{published[what]:.1%}", f"{share:.1%}", f"{ends.low:.1%} to {ends.high:.1%}")
    console.print(table)
    table = Table("strategies", "theory", "found", title="Rare mutation, strong imitation: Sigmund et al. 2010, exact")
    for strategies, theory in (
        (("cooperator", "defector", "loner"), "1/4, 1/4, 1/2"),
        (("cooperator", "defector", "loner", "peer"), "2/108, 2/108, 2/108, 102/108"),
        (("cooperator", "defector", "peer"), "0, 1, 0"),
    ):
        shares = stationary(PublicGoods(strategies).groups())
        table.add_row(", ".join(strategies), theory, ", ".join(f"{share:.4f}" for share in shares))
    console.print(table)


@app.command()
def claims(
    only: Annotated[
        list[str] | None, typer.Argument(help="Claims by the beginning of their names, 'markets'; all by default.")
    ] = None,
    tier: Annotated[str, typer.Option(help="fast (minutes), or full (all).")] = "fast",
    out: Annotated[Path, typer.Option(help="Folder that holds the runs.")] = Path("runs"),
    workers: Annotated[int, typer.Option(help="Processes; 0 takes one a core.")] = 0,
    page: Annotated[Path | None, typer.Option(help="A Markdown file into which the tables are written, too.")] = None,
    on: Annotated[
        str, typer.Option(help="Where claims are checked: processes (of this machine) or ray.")
    ] = "processes",
) -> None:
    """Check what papers and theorems say: the published number beside ours, with its interval and a verdict."""
    from rich.console import Console

    from .claims import page as pages
    from .spec import SpecError

    console = Console()
    try:
        chosen = pages.chosen(tier, only or ())
        with _Bar(console, len(chosen), "claims") as bar:
            target, verdicts = pages.check_claims(chosen, out, workers=workers or None, progress=bar, on=on)
    except (ImportError, SpecError, ValueError) as error:
        raise _fail(error) from error
    except KeyboardInterrupt:
        raise _fail("stopped; what is checked is kept, the same command goes on from there") from None
    for area in dict.fromkeys(verdict.name.partition("/")[0] for verdict in verdicts):
        console.print(pages.table([v for v in verdicts if v.name.startswith(f"{area}/")], area))
    if page is not None:
        command = " ".join(("societas claims", *(only or ()), f"--tier {tier} --page {page}"))
        page.write_text(pages.markdown(verdicts, command), encoding="utf-8")
    console.print(f"{pages.summary(verdicts)}. Page: {target / 'claims.html'}", soft_wrap=True, highlight=False)
    if not all(verdict.holds for verdict in verdicts):
        raise typer.Exit(1)


@app.command()
def fairness(
    policy: Annotated[str, typer.Argument(help="'random', 'llm:model=smollm2', ...")],
    mode: Annotated[list[str], typer.Option(help="generate or menu; both by default.")] = [],  # noqa: B006  (typer copies it)
    worlds: Annotated[int, typer.Option(help="How often each instance is asked.")] = 100,
    seed: Annotated[int, typer.Option(help="Seed of all chance.")] = 0,
    picture: Annotated[Path | None, typer.Option(help="Draw the shares into this SVG file.")] = None,
) -> None:
    """Ask a policy to divide goods; say which notions of fairness its allocations satisfy, beside people's."""
    from .fairness import MODES, save
    from .fairness import fairness as ask

    try:
        found = [ask(policy, mode=one, worlds=worlds, seed=seed) for one in mode or MODES]
    except (FileNotFoundError, ImportError, KeyError, TypeError, ValueError) as error:
        raise _fail(error.args[0] if isinstance(error, KeyError) else error) from error
    for one in found:
        typer.echo(one)
    if picture is not None:
        typer.echo(save(found, picture))


@app.command()
def fetch(
    model: Annotated[str, typer.Argument(help="smollm2, or substrate, which is trained here.")] = "smollm2",
) -> None:
    """Fetch a language model once, or make it, into the user's cache."""
    if model == "substrate":
        from rich.console import Console
        from rich.progress import Progress

        from ..policies.align.substrate import make

        with Progress(console=Console(stderr=True)) as progress:
            task = progress.add_task("", total=1.0)
            folder = make(tell=lambda what, part: progress.update(task, description=what, completed=part))
        typer.echo(folder)
        return
    from ..policies.llm.models import fetch_smollm2

    if model != "smollm2":
        raise _fail(
            f"model: 'smollm2' or 'substrate', got {model!r}; any folder with a transformers model can be used as it is"
        )
    typer.echo(fetch_smollm2(progress=typer.echo))


def main() -> None:
    """Enter from the command line."""
    app()
