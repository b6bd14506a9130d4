"""Lewis's signalling game: what words come to mean, and whether the parts of a message name the parts of what is meant."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ..core import validate
from ..core.arrays import Array, namespace, numbered, to_float, to_int, to_numpy, total
from ..core.fields import Choice, Field, Role
from ..core.game import Acts, Benchmarks, Level, Measure, Seen, Stage
from ..core.rounds import Record, RoundGame, Settled

if TYPE_CHECKING:
    from ..core.policy import Policy

LETTERS = "abcdefghijklmnopqrstuvwxyz"
MOST_OBJECTS = 10_000
MOST_COMPARED = 2_000
SOURCE = "a signalling system (Lewis 1969, Convention, chapter 4)"


@dataclass(frozen=True)
class Lewis(RoundGame):
    """A sender knows an object and a receiver must find it from a message that means nothing yet (Lewis 1969).

    An object has a attributes of v values each; all N = v^a objects are equally likely. The sender sees it and sends m
    symbols of a vocabulary of w. The receiver answers with an object, attribute by attribute, or picks one of k
    ``candidates`` among which it is (as in Lazaridou et al. 2018, arXiv:1804.03984); the sender does not see these. Both
    are paid the same: 1 if it is the object. What each message means is nobody's decision: any code that tells all
    objects apart, with a receiver who reads it, is an equilibrium and a first best, and so many such codes exist that
    which one agents come to share is a convention. Codes differ in structure: ``topographic_similarity`` tells how far
    similar objects have similar messages.

    Of M = w^m messages at most N are of use. If the code puts s_c objects on message c, the receiver finds the object
    with probability (1/k) sum_c [1 - C(N - s_c, k) / C(N, k)], the expected number of messages among k candidates over k
    (k = N where it answers with an object). This is concave in s_c, so that it is highest where the s_c differ by at
    most 1; babbling (one message for all) leaves 1/k.

    Parameters
    ----------
    attributes
        a, attributes of an object.
    values
        v, values of an attribute.
    symbols
        m, symbols of a message.
    vocabulary
        w, how many symbols there are.
    candidates
        k, the distinct objects of which the receiver picks one; 0 if it says what the object is.
    partial
        Whether the pay is the share of attributes that are right, instead of 1 if all are; without candidates only.
    repetitions
        Rounds of an episode, each with a new object.
    """

    attributes: int = 2
    values: int = 4
    symbols: int = 2
    vocabulary: int = 4
    candidates: int = 0
    partial: bool = False
    repetitions: int = 1

    stages = (
        Stage("say", "the sender, who knows the object, sends a message"),
        Stage("answer", "the receiver, who has read the message, answers"),
    )
    reports = (
        Measure("accuracy", "share of rounds in which the receiver found the object", "#found / T"),
        Measure("credit", "share of the attributes that were right", "sum_t #right attributes / (a T)"),
    )

    def __post_init__(self) -> None:
        """Refuse parameters out of range."""
        validate.whole("attributes", self.attributes, 1, 12)
        validate.whole("values", self.values, 2, 1000)
        validate.whole("symbols", self.symbols, 1, 12)
        validate.whole("vocabulary", self.vocabulary, 2, len(LETTERS))
        if self.objects > MOST_OBJECTS:
            raise ValueError(
                f"values: at most {MOST_OBJECTS} objects, got {self.values}^{self.attributes} = {self.objects}; take fewer "
                "values or attributes"
            )
        if self.candidates != 0:
            validate.whole("candidates", self.candidates, 2, min(self.objects, 64))
        if not isinstance(self.partial, bool):
            raise ValueError(f"partial: true or false, got {self.partial!r}")
        if self.partial and self.candidates:
            raise ValueError(f"partial: false where there are candidates ({self.candidates}); a pick is right or wrong")
        if self.partial and self.messages < self.objects:
            raise ValueError(
                f"partial: false where {self.messages} messages are fewer than {self.objects} objects, as no formula tells "
                "what they could then earn; take more symbols or a larger vocabulary"
            )
        validate.whole("repetitions", self.repetitions, 1, 1_000_000)

    @property
    def objects(self) -> int:
        """N, how many objects there are."""
        return int(self.values**self.attributes)

    @property
    def messages(self) -> int:
        """M, how many messages there are."""
        return int(self.vocabulary**self.symbols)

    @property
    def nature(self) -> int:  # type: ignore[override]
        """Uniform numbers with which a round opens: the object; the other candidates, and the object's place."""
        return 1 + self.candidates

    # ---- the game in words and fields ---------------------------------------------------------------------------

    @property
    def about(self) -> str:
        """The rules in words, with all numbers."""
        if self.candidates:
            answer = (
                f"The receiver is shown {self.candidates} different objects, one of which is the sender's, and picks one; the "
                "sender does not see the others."
            )
        else:
            answer = "The receiver then says what each attribute of the object is."
        pay = "the share of attributes that are right" if self.partial else "1 if it is the object, and 0 if not"
        return (
            f"A sender sees an object, drawn anew every round; it has {self.attributes} attributes with {self.values} values each, "
            f"and all {self.objects} objects are equally likely. It sends {self.symbols} symbols out of "
            f"{self.vocabulary}: {', '.join(self.alphabet)}. They mean only what the players take them to mean, and the receiver "
            f"sees nothing else of the object. {answer} Both players are paid the same: {pay}."
        )

    @property
    def alphabet(self) -> tuple[str, ...]:
        """The symbols."""
        return tuple(LETTERS[: self.vocabulary])

    def cast(self) -> tuple[Role, ...]:
        """The sender, who sees the object, and the receiver, who sees the message."""
        value, symbol = Choice(tuple(f"value_{i + 1}" for i in range(self.values))), Choice(self.alphabet)
        parts = tuple(f"attribute_{i + 1}" for i in range(self.attributes))
        places = tuple(f"symbol_{i + 1}" for i in range(self.symbols))
        target = Field("object", value, "this round's object, which only you see", each=parts)
        say = Field("message", symbol, "the symbols that you send, in their order", each=places, stage="say")
        heard = Field(
            "message",
            symbol,
            f"the symbols last sent; all {self.alphabet[0]} before the first",
            each=places,
            verifiable=True,
        )
        guess = Field("guess", value, "what you take the object to be", each=parts, stage="answer")
        sees: tuple[Field, ...] = (heard,)
        if self.candidates:
            named = tuple(f"candidate_{i + 1}" for i in range(self.candidates))
            each = tuple(f"{one}_{part}" for one in named for part in parts)
            sees += (Field("shown", value, "the attributes of the candidates, one after another", each=each),)
            guess = Field("pick", Choice(named), "the candidate that you take to be the object", stage="answer")
        wish = "you want the receiver to find the object"
        return Role("sender", 1, (target,), (say,), wish), Role(
            "receiver", 1, sees, (guess,), "you want to find the object"
        )

    # ---- the game in arrays -------------------------------------------------------------------------------------

    def open(self, u: Array) -> Record:
        """Draw the object and, where there are candidates, other objects and the place of the object among them."""
        xp, n, k = namespace(u), self.objects, self.candidates
        target = _below(u[..., 0], n)
        nature = {"object": self.digits(target)}
        if k:
            taken = target[..., None]
            for j in range(1, k):  # of those left: past each taken one, from the least on
                one = _below(u[..., j], n - j)
                least = xp.sort(taken, axis=-1)
                for i in range(j):
                    one = one + to_int(one >= least[..., i])
                taken = xp.concat([taken, one[..., None]], axis=-1)
            place = _below(u[..., k], k)[..., None]
            where = numbered(u, k)
            source = xp.where(where == place, 0, where + to_int(where < place))
            shown = self.digits(xp.take_along_axis(taken, source, axis=-1))
            nature |= {"shown": xp.reshape(shown, (*u.shape[:-1], k * self.attributes))}
        return nature

    def digits(self, number: Array) -> Array:
        """Return the attributes (..., a) of the objects with these numbers (...), 0 to N - 1."""
        return _digits(number, self.values, self.attributes)

    def settle(self, nature: Record, acts: dict[str, Acts], memory: Record, u: Array) -> Settled:
        """Compare what is answered with the object."""
        if self.candidates:
            shown = self._shown(nature["shown"])
            pick = to_int(acts["receiver"]["pick"])[..., None]
            chosen = (numbered(pick, self.candidates) == pick)[..., None]
            answer = total(shown * to_int(chosen), axis=-2)
        else:
            answer = to_int(acts["receiver"]["guess"])
        credit = total(to_float(answer == nature["object"])) / self.attributes
        found = to_float(credit == 1.0)
        pay = credit if self.partial else found
        return Settled({"sender": pay, "receiver": pay}, 2.0 * pay, {"accuracy": found, "credit": credit})

    def _shown(self, values: Array) -> Array:
        """Return what is shown of the candidates as (..., k, a)."""
        return namespace(values).reshape(to_int(values), (*values.shape[:-1], self.candidates, self.attributes))

    # ---- what theory says ---------------------------------------------------------------------------------------

    @property
    def compositional(self) -> bool:
        """Whether each attribute can have a symbol of its own, which names its value."""
        return self.symbols >= self.attributes and self.vocabulary >= self.values

    def code(self, target: Array) -> Array:
        """Return the message (..., m) for an object (..., a) in the signalling system that the levels play.

        It is compositional where it can be, symbol i for the value of attribute i; else objects are numbered, and the
        number, less a multiple of M, is written in the symbols.
        """
        if self.compositional:
            xp, target = namespace(target), to_int(target)
            rest = xp.zeros_like(target[..., :1])
            return xp.concat([target, *[rest] * (self.symbols - self.attributes)], axis=-1)
        return _digits(_number(target, self.values) % self.messages, self.vocabulary, self.symbols)

    def first_best_accuracy(self, messages: int | None = None) -> float:
        """Return the highest probability of finding the object with so many messages (None for M), as in the class's formula."""
        n, k = self.objects, self.candidates or self.objects
        cells = min(self.messages if messages is None else messages, n)
        size, larger = divmod(n, cells)
        sets = math.comb(n, k)  # of candidates; those without a message, for messages of either size
        missed = sum(many * math.comb(n - s, k) for many, s in ((larger, size + 1), (cells - larger, size)) if many)
        return (cells * sets - missed) / (k * sets)

    def benchmarks(self) -> Benchmarks:
        """Return what a signalling system and babbling yield."""

        def says(seen: Seen) -> Acts:
            return {"message": self.code(seen["object"])}

        def reads(seen: Seen) -> Acts:
            message, xp = seen["message"], namespace(seen["message"])
            if self.candidates:
                same = self.code(self._shown(seen["shown"])) == message[..., None, :]
                return {"pick": xp.argmax(to_int(xp.all(same, axis=-1)), axis=-1)}
            if self.compositional:
                return {"guess": xp.clip(to_int(message[..., : self.attributes]), 0, self.values - 1)}
            return {"guess": self.digits(xp.clip(_number(message, self.vocabulary), 0, self.objects - 1))}

        def babbles(seen: Seen) -> Acts:
            return {"message": self.code(seen["object"]) * 0}

        def ignores(seen: Seen) -> Acts:
            if self.candidates:
                return {"pick": to_int(seen["round"] * 0)}
            return {"guess": self.digits(to_int(seen["round"] * 0))}

        both = 2.0 * self.repetitions
        best = both * self.first_best_accuracy()
        alone = both * (1.0 / self.values if self.partial else self.first_best_accuracy(1))
        how = {"sender": says, "receiver": reads}
        few = f", with {self.messages} messages for {self.objects} objects" if self.messages < self.objects else ""
        return Benchmarks(
            first_best=Level(best, f"{SOURCE}{few}: no code finds more objects", how),
            equilibrium=Level(best, f"{SOURCE}{few}: who says or reads it otherwise finds no more", how),
            baseline=Level(
                alone,
                "babbling, which is an equilibrium too: one message for all objects, and any answer to it",
                {"sender": babbles, "receiver": ignores},
            ),
        )


def topographic_similarity(game: Lewis, policy: Policy, *, edits: bool = True, seed: int = 0) -> float:
    """Return how far similar objects have similar messages: 1 if the distances are in the same order, 0 if unrelated.

    The correlation, over all pairs of objects, of the distance between objects with that between their messages (Brighton
    and Kirby 2006, doi:10.1162/artl.2006.12.2.229), by ranks (Spearman's, as in Lazaridou et al. 2018, arXiv:1804.03984).
    Objects are as far apart as the number of attributes in which they differ, which orders pairs as the cosine of one-hot
    codes does. It is 0 on average over all ways to give the messages of a code to the objects, and taken to be 0 where all
    have one message.

    Parameters
    ----------
    game
        The game; at most 2000 objects.
    policy
        The sender's.
    edits
        Whether messages are compared by their edit distance (Levenshtein), as in these papers; else by the places at
        which they differ, in which a code with a symbol for each attribute has exactly 1 (with edits up to 2 symbols).
    seed
        Of the uniform numbers of a policy that draws.
    """
    if game.objects > MOST_COMPARED:
        raise ValueError(
            f"game: at most {MOST_COMPARED} objects can be compared, got {game.objects}; take fewer values"
        )
    return similarity(game.digits(np.arange(game.objects)), language(game, policy, seed=seed), edits=edits)


def similarity(things: np.ndarray[Any, Any], words: np.ndarray[Any, Any], *, edits: bool = True) -> float:
    """Return the ``topographic_similarity`` of objects (N, a) and their messages (N, m), integers."""
    i, j = np.triu_indices(len(things), 1)
    meant = (things[i] != things[j]).sum(axis=-1)
    said = _edits(words[i], words[j]) if edits else (words[i] != words[j]).sum(axis=-1)
    if (said == said[0]).all() or (meant == meant[0]).all():
        return 0.0
    from scipy.stats import spearmanr

    return float(spearmanr(meant, said).statistic)


def language(game: Lewis, policy: Policy, *, seed: int = 0) -> np.ndarray[Any, Any]:
    """Return the message, integers (N, m), that a sender's policy has for each object in the first round of an episode."""
    count = game.objects
    bound, zero = policy.bind(game, "sender", (0,)), np.zeros(count, dtype=np.int64)
    seen = {"stage": zero[:, None], "round": zero[:, None] + 1, "object": game.digits(np.arange(count))[:, None, :]}
    u = np.random.default_rng(seed).random((count, 1, bound.draws))
    acts, _ = bound.act(seen, zero, u, bound.begin((count,), namespace(zero), None))
    return to_numpy(to_int(acts["message"]))[:, 0]


def _edits(one: np.ndarray[Any, Any], other: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Return the least number of symbols to insert, delete or replace, (rows,), between messages (rows, m)."""
    length = one.shape[-1]
    row = [np.full(len(one), j) for j in range(length + 1)]
    for i in range(length):
        new = [np.full(len(one), i + 1)]
        for j in range(length):
            replaced = row[j] + (one[:, i] != other[:, j])
            new.append(np.minimum(replaced, np.minimum(row[j + 1], new[j]) + 1))
        row = new
    return row[-1]


def _below(u: Array, count: int) -> Array:
    """Return a whole number from 0 to count - 1 for a uniform one."""
    return to_int(namespace(u).floor(u * count))


def _digits(number: Array, base: int, count: int) -> Array:
    """Return the last digits (..., count) of whole numbers (...), the lowest first."""
    xp = namespace(number)
    return xp.stack([(to_int(number) // base**i) % base for i in range(count)], axis=-1)


def _number(digits: Array, base: int) -> Array:
    """Return the whole number (...) with these digits (..., count), the lowest first."""
    return sum((to_int(digits[..., i]) * base**i for i in range(1, digits.shape[-1])), to_int(digits[..., 0]))
