"""Any Python function as a policy."""

from __future__ import annotations

from collections.abc import Callable as Function
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from ..envs.core.arrays import Array, constant, to_numpy
from ..envs.core.fields import Choice, Field, Text
from ..envs.core.policy import Policy, default_acts
from ..envs.core.words import ActError, Complaint, check, read

if TYPE_CHECKING:
    from ..envs.core.game import Acts, Seen


class Callable(Policy):
    """Plays what a function says.

    Parameters
    ----------
    function
        With ``batched=False`` it is called once a world and seat with {field: number, or list of numbers for a field
        with several components; choices and free texts as strings} and returns {field: value} for the fields it
        decides (strings for choices and texts). With ``batched=True`` it is called once with arrays {field: (*batch,
        seats, *components)} and returns arrays, texts as the code points that ``Text.encode`` gives.
    batched
        Which of the two.
    """

    def __init__(self, function: Function[[dict[str, Any]], Mapping[str, Any]], *, batched: bool = False) -> None:
        if not callable(function):
            raise TypeError(f"function: a callable, got {function!r}")
        self.function = function
        self.batched = batched

    def act(self, seen: Seen, stage: Array, u: Array, memory: Any) -> tuple[Acts, Any]:
        """Call the function; what it does not decide is the null act."""
        acts = default_acts(self.role, stage, len(self.seats))
        if self.batched:
            decided = self.function(seen)
            self._known(decided)
            return {**acts, **decided}, memory
        host = {name: to_numpy(values) for name, values in acts.items()}
        sight = {field.name: to_numpy(seen[field.name]) for field in self.role.sees}
        for place in np.ndindex(*stage.shape, len(self.seats)):
            told = {field.name: _plain(field, sight[field.name][place]) for field in self.role.sees}
            answer = self.function(told)
            self._known(answer)
            for field in self.role.acts:
                if field.name in answer:
                    value = np.asarray(_index(field, answer[field.name]))
                    check(field, value, f"answer of {self.function!r}")
                    host[field.name][place] = value
        return {name: constant(acts[name], values) for name, values in host.items()}, memory

    def _known(self, answer: Mapping[str, Any]) -> None:
        known = [field.name for field in self.role.acts]
        for name in answer:
            if name not in known:
                raise KeyError(f"the function decided {name!r}; a {self.role.name} decides: {', '.join(known)}")


def _plain(field: Field, values: Any) -> Any:
    space = field.space
    if isinstance(space, Choice):
        return [space.options[int(v)] for v in values] if np.ndim(values) else space.options[int(values)]
    if isinstance(space, Text):
        return [space.decode(row) for row in values] if field.each else space.decode(values)
    return values.tolist()


def _index(field: Field, value: Any) -> Any:
    """Return a value as arrays hold it: the index of a choice, the code points of a text."""
    space = field.space
    if isinstance(value, list | tuple) and isinstance(space, Choice | Text):
        return [_index(field, part) for part in value]
    if isinstance(space, Choice):
        return space.options.index(value) if value in space.options else -1
    if isinstance(space, Text) and isinstance(value, str):
        codes = read(field, value)
        if isinstance(codes, Complaint):
            raise ActError(str(codes))
        return codes
    return value
