"""Hook of MkDocs: writes the page of games, mechanisms and policies from what they declare."""

from __future__ import annotations

import dataclasses
import html
import inspect
import re
from collections.abc import Iterable
from typing import Any

import societas
from societas.envs.core import registry
from societas.envs.core.fields import Field
from societas.envs.core.game import Game

MARK = "<!-- everything registered -->"


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Fill in the page of games."""
    if page.file.src_uri != "games.md":
        return markdown
    if MARK not in markdown:
        raise ValueError(f"games.md: the line {MARK!r} is missing")
    parts = ["## Games", *(game(name) for name in societas.list("games"))]
    for kind, title in (("mechanisms", "Mechanisms"), ("parts", "Parts of mechanisms"), ("policies", "Policies")):
        parts += [f"## {title}", *(thing(kind, name) for name in registry.entries(kind))]
    return markdown.replace(MARK, "\n\n".join(parts))


def game(name: str) -> str:
    """Return the section of a game: its docstring, then roles, rules, benchmarks and measures at the defaults."""
    made = societas.make(name)
    parts = [thing("games", name), "At the default parameters:"]
    for role in made.roles:
        parts.append(f"**{role.count} × {role.name}**: {role.means}.")
        parts.append(
            table(("field", "", "space", "unit", "verifiable", "what it is"), rows(made, role.sees, role.acts))
        )
    parts += [
        f'??? quote "The rules, as a {role.name} is told them"\n\n{indented(fenced(made.rules(role.name)))}'
        for role in made.roles
    ]
    levels = made.benchmarks().levels.items()
    parts.append(table(("benchmark", "welfare", "source"), [(f"`{n}`", f"{v.value:.6g}", v.source) for n, v in levels]))
    measures = [(f"`{m.name}`", m.means, code(m.formula), m.unit, linked(m.source)) for m in made.reports]
    parts.append(table(("measure", "what it is", "formula", "unit", "source"), measures))
    return "\n\n".join(parts)


def rows(made: Game, sees: Iterable[Field], acts: Iterable[Field]) -> list[tuple[str, ...]]:
    """Return the rows of a table of fields."""
    found = []
    for way, fields in (("sees", sees), ("decides", acts)):
        for field in fields:
            when = f" at {field.stage}" if field.stage else ""
            each = f", for each of {len(field.each)}" if field.each else ""
            court = "yes" if field.verifiable else ""
            found.append((f"`{field.name}`", way + when, f"{field.space}{each}", field.unit, court, field.means))
    return found


def thing(kind: str, name: str) -> str:
    """Return the section of anything registered: its signature and its docstring."""
    target = registry.resolve(kind, name)
    how = {"games": "make", "mechanisms": "mechanism", "policies": "policy"}.get(kind)
    given = ", ".join(signature(target))
    call = f'societas.{how}("{name}"{", " if given else ""}{given})' if how else f"{name}({given})"
    return f"### {name}\n\n{fenced(call, '{.python}')}\n\n{docstring(inspect.getdoc(target) or '')}"


def signature(target: type) -> Iterable[str]:
    """Yield the parameters of a class with their defaults, as they are written in a call."""
    for parameter in inspect.signature(target).parameters.values():
        if parameter.kind is parameter.VAR_KEYWORD:
            continue
        default = parameter.default
        if dataclasses.is_dataclass(target) and "factory" in repr(default):
            default = getattr(target(), parameter.name)
        if inspect.isroutine(default):
            yield f"{parameter.name}={default.__name__}"
        else:
            yield parameter.name if default is parameter.empty else f"{parameter.name}={default!r}"


def docstring(text: str) -> str:
    """Turn a NumPy-style docstring into Markdown: the sections of parameters become lists."""
    lines, section, entry = [], "", ""
    for line, below in zip(text.splitlines(), [*text.splitlines()[1:], ""], strict=True):
        if re.fullmatch(r"-{3,}", line):
            continue
        if re.fullmatch(r"-{3,}", below):
            section = line
            lines += [f"*{line}*", ""]
        elif not section:
            lines.append(line)
        elif line and not line.startswith(" "):
            entry = ", ".join(f"`{name.strip()}`" for name in line.split(","))
        elif line:
            lines.append(f"- {entry}: {line.strip()}" if entry else f"  {line.strip()}")
            entry = ""
    return linked("\n".join(lines).replace("``", "`"))


def linked(text: str) -> str:
    """Link what is cited by arXiv or DOI number."""
    text = re.sub(r"arXiv:(\d{4}\.\d{4,5})", r"[arXiv:\1](https://arxiv.org/abs/\1)", text)
    return re.sub(r"doi:(10\.\d+/[^\s),;]*[^\s),;.])", r"[doi:\1](https://doi.org/\1)", text)


def table(head: tuple[str, ...], body: Iterable[tuple[str, ...]]) -> str:
    """Return a table; what would end a cell is escaped."""
    lines = [head, ("---",) * len(head), *body]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)


def code(text: str) -> str:
    """Return inline code that may stand in a table whatever is in it."""
    return f"<code>{html.escape(text).replace('|', '&#124;').replace('*', '&#42;').replace('_', '&#95;')}</code>"


def fenced(text: str, language: str = "text") -> str:
    """Return a block of code."""
    return f"```{language}\n{text}\n```"


def indented(text: str) -> str:
    """Return a text as the body of an admonition."""
    return "\n".join(f"    {line}" if line else "" for line in text.splitlines())
