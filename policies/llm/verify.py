"""The verifier's loop: critics check what a model proposes against the game, and the model is asked again with their reasons.

S. Kambhampati et al., "LLMs Can't Plan, But Can Help Planning in LLM-Modulo Frameworks", ICML 2024, arXiv:2402.01817: a
language model guesses, sound critics that know the domain's model judge, and what passes is right whatever guessed it.
"""

from __future__ import annotations

import functools
import json
import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple, cast

import numpy as np

from ...envs.core import validate, words
from ...envs.core.fields import Choice, Field, Integer, Role, Text, one_line
from .answers import form, understand
from .protocol import Answer, Answers, Message

if TYPE_CHECKING:
    from ...envs.core.game import Game

Critic = Callable[["Game", str, int, dict[str, Any], words.Act], str | None]
"""Judges the act of player ``seat`` of a role who sees ``seen`` {field: value, or values of its components}: a reason
against it, or None. A critic is sound: it never has a reason against what is right by its definition. Where it is silent
though something is wrong, it is incomplete; its docstring says where. What it needs and ``seen`` lacks, it does not judge."""

SLACK = 1e-9
"""By how much, relative to the amounts, an offer may miss what it must reach: the rounding of sums."""

BACK = ("reasons", "refusal", "nothing")
"""What a model is told when its answer fails: all reasons against it; that it will not do, without a reason; or nothing, so that
it is merely asked anew."""

LONGEST = 2_000
"""Characters of an answer that the model is reminded of."""

_STEP = 0.41421356237309515  # steps of it fill the unit interval evenly, and are not those of a policy that asks again


# ---- critics --------------------------------------------------------------------------------------------------------


def legal(game: Game, role: str, seat: int, seen: dict[str, Any], act: words.Act) -> str | None:
    """Object to an act that is not what the player decides at one stage, each value in its space.

    Complete: what it passes can be played.
    """
    part = game.role(role)
    stages = [{f.name for f in part.deciding(stage.name, seat)} for stage in game.stages]
    if set(act) not in stages or not act:
        asked = " or ".join(", ".join(sorted(names)) for names in stages if names) or "nothing"
        return f"act: {', '.join(sorted(act)) or 'nothing'} is not what {part.player(seat)} decides; give {asked}"
    for one in part.acts:
        if one.name in act:
            try:
                values = np.asarray(act[one.name])
            except ValueError:  # lists of unequal lengths
                return f"{one.name}: give {_count(one)}"
            if values.shape != one.shape:
                return f"{one.name}: {_many(values)} given; give {_count(one)}"
            try:
                words.check(one, values)
            except words.ActError as error:
                return str(error)
    return None


def feasible(game: Game, role: str, seat: int, seen: dict[str, Any], act: words.Act) -> str | None:
    """Object to a harvest above the stock, and to a side payment that the commons can never yield.

    What is right: what the rules would carry out to the letter in some case, whatever the others do. Complete for the
    harvest of a single user; silent on users who together want too much, on other games, and where the stock is shown with
    an error. A side payment is judged where a contract is made about a commons, by the most that can be harvested in all.
    """
    commons = _commons(game)
    if commons is None or role not in {part.name for part in commons.roles}:
        return None
    if "harvest" in act and "stock" in seen and _shown(game, role, "stock"):
        want, stock = float(_one(act["harvest"])), float(_one(seen["stock"]))
        if want > stock:
            return f"harvest: {want:g} is more than the stock of {stock:g}; take at most {stock:g}"
    for name, others in _side_payments(game):
        if name in act:
            side, most = float(_one(act[name])), _most(commons)
            if abs(side) * others > most * (1.0 + SLACK):
                whom = f"{'to' if side > 0 else 'from'} each of {others} others"
                return (
                    f"{name}: {abs(side):g} {whom} is more than the {most:g} that can be harvested in all; "
                    f"give a number from {-most / others:.6g} to {most / others:.6g}"
                )
    return None


def budget_balanced(game: Game, role: str, seat: int, seen: dict[str, Any], act: words.Act) -> str | None:
    """Object to a division that gives out more than there is (``Allocation`` with coins).

    What is right: everybody gets what the proposal says. Complete there; silent elsewhere, where what players decide
    cannot break a budget.
    """
    from ...envs.norms.allocation import Allocation

    base = _base(game)
    if not isinstance(base, Allocation) or "give" not in act:
        return None
    given = float(np.sum(np.asarray(act["give"], dtype=float)))
    if given > base.coins:
        return f"give: {given:g} coins are given out and there are {base.coins}; give at most {base.coins} in all"
    return None


def individually_rational(game: Game, role: str, seat: int, seen: dict[str, Any], act: words.Act) -> str | None:
    """Object to an offer that leaves the other less than its outside option, whatever it then does.

    What is right: an offer that a player who answers at its best accepts, when it is indifferent, too; and any offer where
    no such offer is worth making. Complete for ``HiddenAction``, ``Multitask``, ``Ultimatum``, ``GiftExchange`` and menus
    (``Screening``, ``Procurement``: some type takes some item), where the game's solver finds the best offer. Silent on
    other games, and under mechanisms, which may change what an offer is worth.
    """
    for kind, judge in _OFFERS.items():
        if any(kind == each.__name__ for each in type(game).__mro__):
            try:
                return judge(game, act)
            except RuntimeError:  # the game's solver has no answer
                return None
    return None


def incentive_compatible(game: Game, role: str, seat: int, seen: dict[str, Any], act: words.Act) -> str | None:
    """Object to a menu with an item that no type would pick (``Screening``, ``Procurement``).

    What is right: every item is some type's best choice, none included, or is empty: size 0 at pay 0. By the revelation
    principle nothing is lost by that. Complete there, for finitely many types and a continuum; silent elsewhere and under
    mechanisms.
    """
    menu, model = _menu(game, act), cast(Any, game)
    if menu is None:
        return None
    low, high, empty = menu
    slack = SLACK * (1.0 + float(np.abs(low).max()) + float(np.abs(high).max()))
    for item in np.flatnonzero(~empty):
        others = [np.zeros(len(low)), *(low[:, other] for other in range(len(empty)))]
        best = low[:, item] >= np.max(others, axis=0) - slack
        if model.continuum:
            others_high = [np.zeros(1), *(high[:, other] for other in range(len(empty)))]
            best = _somewhere(low[0, item] - np.ravel(others) + slack, high[0, item] - np.ravel(others_high) + slack)
        if not np.any(best):
            name = model.names[item]
            return f"{name}: no type would pick it rather than another item or none; make it better, or 0 at 0"
    return None


def _somewhere(first: np.ndarray[Any, Any], last: np.ndarray[Any, Any]) -> bool:
    """Say whether lines that lead from ``first`` to ``last`` are anywhere all at least 0."""
    start, end = 0.0, 1.0
    for a, b in zip(first.tolist(), last.tolist(), strict=True):
        if a < 0.0 and b < 0.0:
            return False
        if a < 0.0:
            start = max(start, a / (a - b))
        elif b < 0.0:
            end = min(end, a / (a - b))
    return start <= end + SLACK


CRITICS: dict[str, Critic] = {
    each.__name__: each for each in (legal, feasible, budget_balanced, individually_rational, incentive_compatible)
}
"""The critics that come with the library, by name."""


def _hidden_action(game: Any, act: words.Act) -> str | None:
    if "pay" not in act:
        return None
    pay = np.asarray(act["pay"], dtype=float)
    if bool(game.response(pay)[0]) or not _worth_hiring(game):
        return None
    best = float((np.asarray(game.chances) @ game.felt(pay) - np.asarray(game.costs)).max())
    return (
        f"pay: at its best the agent gets {best:.4g} utils, less than the {game.reservation:g} of refusing; "
        "offer more, for what comes of the effort that you want"
    )


def _worth_hiring(game: Any) -> bool:
    return bool(game.response(np.asarray(game.optimal_pay))[0]) and game.expected(game.optimal_pay)[0] > SLACK


def _multitask(game: Any, act: words.Act) -> str | None:
    if "base" not in act or "slopes" not in act:
        return None
    base, slopes = np.asarray(float(_one(act["base"]))), np.asarray(act["slopes"], dtype=float)
    if bool(game.accepts(base, slopes)):
        return None
    if float(game.surplus(np.asarray(game.optimal_slopes))) <= game.reservation + SLACK:  # not even the best offer pays
        return None
    return f"base: {float(base):g} is less than the {float(game.fair_base(slopes)):.6g} from which the agent accepts these slopes"


def _ultimatum(game: Any, act: words.Act) -> str | None:
    least = game.least() if game.veto else None
    if "offer" not in act or least is None or game.pie - least * game.coin < game.outside[0]:
        return None
    units = int(_one(act["offer"]))
    if units >= least:
        return None
    return f"offer: {units} units are worth less to the responder than the {game.outside[1]:g} of refusing; offer {least} or more"


def _gift_exchange(game: Any, act: words.Act) -> str | None:
    if "wage" not in act or game.payoffs(game.lowest_wage, 0)[0] <= 0.0:
        return None
    wage, least = float(_one(act["wage"])), game.fixed_cost + min(game.costs)
    if wage >= least - SLACK * (1.0 + abs(least)):
        return None
    return f"wage: {wage:g} does not cover the worker's least cost of {least:g}; offer {least:g} or more"


def _taken(game: Any, act: words.Act) -> str | None:
    menu = _menu(game, act)
    if menu is None:
        return None
    low, high, empty = menu
    utility = np.concatenate([low, high])[:, ~empty]  # at the ends of a continuum: utilities are linear in the type
    if utility.size and utility.max() >= -SLACK * (1.0 + float(np.abs(utility).max())):
        return None
    if not utility.size:
        return f"{game.size}: all items are empty and nobody is served; offer one that some type takes"
    return f"{game.pay}: no type gains by any item, and all will pick none; the best leaves {utility.max():.4g} coins"


_OFFERS: dict[str, Callable[[Any, words.Act], str | None]] = {
    "HiddenAction": _hidden_action,
    "Multitask": _multitask,
    "Ultimatum": _ultimatum,
    "GiftExchange": _gift_exchange,
    "MenuGame": _taken,
}


def _menu(game: Any, act: words.Act) -> tuple[Any, Any, Any] | None:
    """Return utilities of a menu's items (types, items), and which items are empty; None if the act is no menu.

    The utilities are twice those of each type, or those of the lowest and of the highest type of a continuum.
    """
    from ...envs.contracting.menu import MenuGame

    if not isinstance(game, MenuGame) or game.size not in act or game.pay not in act:
        return None
    sizes, pays = (np.asarray(act[name], dtype=float) for name in (game.size, game.pay))
    kinds = np.asarray(game.types, dtype=float)
    ends = (kinds[:1], kinds[1:]) if game.continuum else (kinds, kinds)
    low, high = (np.asarray(game.payoffs(kind[:, None], sizes, pays)[1]) for kind in ends)
    return low, high, (sizes == 0.0) & (pays == 0.0)


def _one(value: Any) -> Any:
    return np.asarray(value).reshape(-1)[0]


def _many(values: np.ndarray[Any, Any]) -> str:
    return "1 value" if values.size == 1 else f"{values.size} values"


def _count(one: Field) -> str:
    if isinstance(one.space, Text):
        return f"the code points of {one.space}" + (f", for each of {', '.join(one.each)}" if one.each else "")
    return f"one value for each of {', '.join(one.each)}" if one.each else "one value"


def _layers(game: Any) -> list[Any]:
    """Return a game and those that it is made of, from the outside in."""
    layers = [game]
    while hasattr(layers[-1], "base"):
        layers.append(layers[-1].base)
    return layers


def _base(game: Game) -> Any:
    return _layers(game)[-1]


def _commons(game: Game) -> Any:
    from ...envs.norms.commons import Harvest

    base = _base(game)
    return base if isinstance(base, Harvest) else None


@functools.lru_cache(maxsize=32)
def _most(commons: Any) -> float:
    """Return the most that all users of a commons can harvest together."""
    return float(commons.benchmarks().first_best.value)


def _shown(game: Game, role: str, name: str) -> bool:
    """Say whether a field is shown as it is: no mechanism puts an error on it or makes it void."""
    from ...mechanisms.noise import Blurred
    from ...mechanisms.unforeseen import Surprised

    for layer in _layers(game):
        if isinstance(layer, Blurred) and role in layer.blurred and layer.blurred[role][0].name == name:
            return False
        if isinstance(layer, Surprised) and name in {one.name for one in layer.voided[role]}:
            return False
    return True


def _side_payments(game: Game) -> list[tuple[str, int]]:
    """Return the names of the fields of side payments, and to how many each is paid."""
    from ...mechanisms._proposal import Proposed

    found = [layer for layer in _layers(game) if isinstance(layer, Proposed) and layer.proposes]
    return [(layer.named("side"), len(layer.parties) - 1) for layer in found if layer.mechanism.side_payment]


# ---- what a conversation is about -----------------------------------------------------------------------------------


class Sight(NamedTuple):
    """Who is asked, and what this player sees, as far as the words tell it: reals in four digits."""

    seat: int
    seen: dict[str, Any]


def sight(role: Role, conversation: Sequence[Message]) -> Sight | None:
    """Read back the last prompt (``words.prompt``) of a conversation; None if there is none to a player of the role."""
    who = re.compile(rf"You are {re.escape(role.name)}_(\d+)\.")
    for message in reversed(conversation):
        lines = message.content.split("\n") if message.role == "user" else []
        for end in reversed(range(len(lines))):
            found = who.fullmatch(lines[end])
            begin = end  # a prompt ends in what is seen, line by line, and in who sees it
            while found and begin and lines[begin - 1].startswith("- "):
                begin -= 1
            if found and int(found[1]) < role.count and begin and lines[begin - 1] == "You see:":
                return Sight(int(found[1]), _seen(role, lines[begin:end]))
    return None


def _seen(role: Role, lines: Sequence[str]) -> dict[str, Any]:
    """Read the fields of a role from the lines that tell them; what cannot be read is left out."""
    told = dict(line.removeprefix("- ").split(": ", 1) for line in lines if ": " in line)
    read = {one.name: _understood(one, told[one.name]) for one in role.sees if one.name in told}
    return {name: value for name, value in read.items() if value is not None}


def _understood(one: Field, told: str) -> Any:
    """Read the value of a field as it is told (``words.told``); None where that fails."""
    if not one.each:
        value, rest = _value(one, told)
        return None if rest else value
    values = []
    for i, label in enumerate(one.each):
        before = f"{', ' if i else ''}{label} "
        if not told.startswith(before):
            return None
        value, told = _value(one, told[len(before) :])
        if value is None:
            return None
        values.append(value)
    return None if told else np.asarray(values)


def _value(one: Field, told: str) -> tuple[Any, str]:
    """Read one value at the beginning of a text; the value, None if there is none, and the rest."""
    if isinstance(one.space, Text):
        try:
            text, end = json.JSONDecoder().raw_decode(told)
            return one.space.encode(text), told[end:]
        except (ValueError, TypeError):
            return None, told
    if isinstance(one.space, Choice):
        fitting = [option for option in one.space.options if told.startswith(option)]
        best = max(fitting, key=len, default="")
        return (one.space.options.index(best), told[len(best) :]) if fitting else (None, told)
    number = re.match(r"-?(\d+(\.\d*)?(e[+-]?\d+)?|inf)", told)
    if number is None:
        return None, told
    rest, unit = told[number.end() :], f" {one.unit}" if one.unit else ""
    if not rest.startswith(unit):
        return None, told
    value = float(number.group())
    return int(value) if isinstance(one.space, Integer) else value, rest[len(unit) :]


# ---- the loop -------------------------------------------------------------------------------------------------------


@dataclass
class Counts:
    """What a verifier has done so far.

    ``rounds`` {answers asked for: conversations}; ``passed`` and ``failed`` {critic: answers judged}, where ``parse`` is the
    reading of the answer. The rest are conversations: ``accepted``, whose answer all critics passed; ``rejected``, whose
    last answer one did not; ``silent``, in which the model gave no text; ``unjudged``, whose answer is an act, but whose words
    do not tell who is asked and what that player sees; and ``others``, which were about no act of the role.
    """

    rounds: Counter[int] = field(default_factory=Counter)
    passed: Counter[str] = field(default_factory=Counter)
    failed: Counter[str] = field(default_factory=Counter)
    accepted: int = 0
    rejected: int = 0
    silent: int = 0
    unjudged: int = 0
    others: int = 0

    def __str__(self) -> str:
        rounds = ", ".join(f"{count} after {asked}" for asked, count in sorted(self.rounds.items())) or "none"
        lines = [
            f"{self.accepted} accepted, {self.rejected} rejected, {self.silent} without an answer, {self.unjudged} not judged, "
            f"{self.others} about no act",
            f"rounds: {rounds}",
        ]
        names = dict.fromkeys([*self.passed, *self.failed])
        lines += [f"{name}: {self.passed[name]} passed, {self.failed[name]} failed" for name in names]
        return "\n".join(lines)


class Verdict(NamedTuple):
    """What is said of an answer: the reasons against it, whether it could be read, and whether anyone could judge it."""

    reasons: list[str]
    readable: bool = True
    judged: bool = True


class Verified:
    """A model whose answers are judged by critics and mended before they are played.

    It is itself a model that answers, so that it stands wherever the model stood, ``LanguageModel(Verified(...))``: the
    policy does not change. Each answer is read as that policy reads it (``answers.understand``, which ends in
    ``words.parse``), so that what is judged is what is played, and shown to every critic; if there are reasons against it,
    the model is told all of them and asked again, until the answer passes or the budget ends. What the act is about is read
    from the words of the last prompt. No critic objects to what is right by its definition; what it does not judge it
    leaves alone. What nobody can judge is never accepted: where the words do not tell who is asked, as those of a policy
    with a ``template`` of its own may not, the answer is kept back if ``strict``, and else returned and counted as not
    judged; ``align.modulo`` tells critics what players see whatever the words.

    Parameters
    ----------
    model
        The model that answers.
    critics
        Critics, or names of those in ``CRITICS``.
    game, role
        The game that is played and the role that the model plays, against which the critics judge.
    budget
        Most answers asked for in a conversation, the first one included; a policy that asks again begins anew.
    strict
        Whether an answer that failed to the end, or could not be judged, is kept back, with the reasons as the error: the
        policy then plays its default. Otherwise the last answer that can be read is returned, if there is one: critics then
        advise.
    back
        ``"reasons"``: who fails is told all reasons; ``"refusal"``: that the answer will not do, and no more; ``"nothing"``: it
        is asked anew, as if for the first time.
    """

    def __init__(
        self,
        model: Answers,
        critics: Sequence[Critic | str],
        game: Game,
        role: str,
        *,
        budget: int = 3,
        strict: bool = False,
        back: str = "reasons",
    ) -> None:
        if not isinstance(model, Answers):
            raise TypeError(
                f"model: {type(model).__name__} does not answer; give an object with a method answer(conversations, "
                "schemas, *, temperature, luck)"
            )
        if isinstance(critics, str) or not critics:
            raise ValueError(f"critics: a list of critics or of {', '.join(CRITICS)}, got {critics!r}")
        self.critics: dict[str, Critic] = {}
        for critic in critics:
            if isinstance(critic, str):
                critic = CRITICS[validate.one_of("critics", critic, tuple(CRITICS))]
            if not callable(critic):
                raise TypeError(f"critics: functions (game, role, seat, seen, act), or names, got {critic!r}")
            name = getattr(critic, "__name__", type(critic).__name__)
            if name in self.critics:
                raise ValueError(f"critics: distinct names, got {name!r} twice; rename one")
            self.critics[name] = critic
        self.model, self.game, self.role = model, game, game.role(role)
        self.budget = validate.whole("budget", budget, 1, 100)
        self.strict = strict
        self.back = validate.one_of("back", back, BACK)
        self.counts = Counts()

    def answer(
        self,
        conversations: Sequence[Sequence[Message]],
        schemas: Sequence[dict[str, Any]],
        *,
        temperature: float,
        luck: Sequence[float],
    ) -> list[Answer]:
        """Answer every conversation with what the critics pass or, when the budget ends, with the last attempt."""
        talks = [list(conversation) for conversation in conversations]
        last: list[Answer | None] = [None] * len(talks)  # all that an answer took, whichever text is kept
        kept: list[str | None] = [None] * len(talks)
        open_ = list(range(len(talks)))
        for asked in range(1, self.budget + 1):
            if not open_:
                break
            given = self.model.answer(
                [talks[i] for i in open_],
                [schemas[i] for i in open_],
                temperature=temperature,
                luck=[(luck[i] + (asked - 1) * _STEP) % 1.0 for i in open_],
            )
            still = []
            for i, answer in zip(open_, given, strict=True):
                last[i] = answer = _both(last[i], answer)
                if answer.error:
                    self.counts.silent += 1
                    if kept[i] is not None and not self.strict:  # an earlier answer can be played
                        last[i] = answer._replace(text=kept[i] or "", error="")
                    self.counts.rounds[asked] += 1
                    continue
                reasons, readable, judged = self.judge(talks[i], schemas[i], answer.text)
                if readable:
                    kept[i] = answer.text
                if not judged and self.strict:
                    last[i] = answer._replace(text="", error=UNJUDGED.format(role=self.role.name))
                if not reasons:
                    self.counts.rounds[asked] += 1
                    continue
                if asked < self.budget:
                    if self.back != "nothing":
                        said = answer.text[:LONGEST].encode("utf-8", "replace").decode().strip() or "(nothing)"
                        back = _feedback(reasons if self.back == "reasons" else (), self._asked(schemas[i]))
                        talks[i] += [Message("assistant", words.disarm(said)), Message("user", back)]
                    still.append(i)
                    continue
                self.counts.rounds[asked] += 1
                self.counts.rejected += 1
                if self.strict:
                    why = f"no answer passed in {asked} round{'s' if asked > 1 else ''}: {' '.join(reasons)}"
                    last[i] = answer._replace(text="", error=why)
                elif kept[i] is not None:
                    last[i] = answer._replace(text=kept[i] or "")
            open_ = still
        return [answer for answer in last if answer is not None]

    def judge(self, conversation: Sequence[Message], schema: dict[str, Any], text: str) -> Verdict:
        """Return what is said of an answer, and count what every critic said."""
        fields = self._asked(schema)
        if not fields:  # nothing that is played
            self.counts.others += 1
            return Verdict([])
        act, _, complaint = understand(text, fields)
        self._count("parse", act is None)
        if act is None:
            return Verdict([str(complaint)], readable=False)
        sights = self.sights(conversation)
        if not sights:
            self.counts.unjudged += 1
            return Verdict([], judged=False)
        reasons: dict[str, None] = {}
        for name, critic in self.critics.items():
            found = (critic(self.game, self.role.name, s.seat, dict(s.seen), dict(act)) for s in sights)
            reason = next((one for one in found if one is not None), None)
            self._count(name, reason is not None)
            if reason is not None:
                reasons[reason] = None
        self.counts.accepted += not reasons
        return Verdict(list(reasons))

    def sights(self, conversation: Sequence[Message]) -> Sequence[Sight]:
        """Return who may be asked, and what they see; what is accepted must be right for all of them."""
        about = sight(self.role, conversation)
        return () if about is None else (about,)

    def _asked(self, schema: dict[str, Any]) -> tuple[Field, ...]:
        """Return the fields that an answer of a schema decides."""
        asked = schema.get("properties", {})
        return tuple(one for one in self.role.acts if one.name in asked)

    def _count(self, name: str, failed: bool) -> None:
        (self.counts.failed if failed else self.counts.passed)[name] += 1


UNJUDGED = "the question does not tell which {role} is asked and what it sees: no critic could judge the answer; show the prompt"


def _feedback(reasons: Sequence[str], fields: tuple[Field, ...]) -> str:
    lines = [f"- {words.disarm(one_line(reason))}" for reason in reasons]
    return "\n".join(
        [
            "Your answer will not do" + (":" if lines else "."),
            *lines,
            f"Mend it, and answer again with JSON only, of the form {form(fields)}",
        ]
    )


def _both(before: Answer | None, now: Answer) -> Answer:
    """Return an answer with what all rounds took: tokens, time, cost (None where one is not known) and attempts."""
    if before is None:
        return now
    known = before.cost is not None and now.cost is not None
    return now._replace(
        tokens_read=before.tokens_read + now.tokens_read,
        tokens_written=before.tokens_written + now.tokens_written,
        seconds=before.seconds + now.seconds,
        cost=(before.cost or 0.0) + (now.cost or 0.0) if known else None,
        attempts=before.attempts + now.attempts,
    )
