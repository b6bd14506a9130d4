"""Who decides where a contract is silent: the owner of an asset."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from ..envs.core.arrays import Array, constant, full, namespace, to_float, to_int
from ..envs.core.fields import Choice, Field, Role, Space
from ..envs.core.game import Acts, Game, Outcome, Seen, Stage, spread
from ..envs.core.mechanism import Layered, Unfit
from ._contracted import Contracted, SelfEnforced
from ._party import IN_FORCE, ContractState
from .column import Column

if TYPE_CHECKING:
    from .contract import Contract

FREE = "free"
"""The permission of a choice that holds nobody to anything."""


class Owned(Contracted):
    """A game under a contract in which, while no contract is in force, the owner of an asset decides over its use."""

    def __init__(self, base: Game, mechanism: Contract) -> None:
        super().__init__(base, mechanism)
        owner = mechanism.owner
        if owner not in base.players:
            raise Unfit(f"owner: one of {', '.join(base.players)}, got {owner!r}")
        column = Column.of(base, mechanism.asset, "acts")
        self.asset = column.field
        if self.asset.shape:
            raise Unfit(f"asset: a single number or choice, {self.asset.name!r} is several")
        self.users = tuple(player for player in column.players if player != owner)
        if not self.users:
            raise Unfit(f"asset: nobody but {owner} decides {self.asset.name!r}")
        _ = self._permission  # refuses an option with the name of a permission
        self.held = {
            role.name: tuple(int(player in self.users) for player in role.players)
            for role in base.roles
            if any(player in self.users for player in role.players)
        }
        role_name, _, seat = owner.rpartition("_")
        self.owner = role_name, int(seat)
        means = f"before each round in which no contract is in force: {owner} says what the others may do as {self.asset.name}"
        self.opening = (*self.opening, Stage(self.named("permit"), means))

    @property
    def _permission(self) -> Space:
        """Values of a permission: that of a number, or of a choice one more option."""
        space = self.asset.space
        if not isinstance(space, Choice):
            return space
        if FREE in space.options:
            raise Unfit(f"asset: {self.asset.name!r} has an option {FREE!r} already")
        return Choice((FREE, *space.options))

    @property
    def terms(self) -> str:
        """The contract in words, and who decides where there is none."""
        owner, asset = self.mechanism.owner, self.asset.name
        what = f"sets the most {asset} of each of the others; who decides more does that much"
        if isinstance(self.asset.space, Choice):
            what = f"leaves the {asset} of the others free, or holds them to one option, whatever they decide"
        return f"{super().terms} While no contract is in force {owner} decides, as the owner: before each round {owner} {what}."

    def sees(self, role: Role) -> tuple[Field, ...]:
        """Show the permission."""
        chooses = isinstance(self.asset.space, Choice)
        kind, free = ("what", FREE) if chooses else ("the most that", "the highest number")
        means = (
            f"{kind} the others may do as {self.asset.name}, as the owner {self.mechanism.owner} said; {free} while a contract "
            "is in force"
        )
        return (*super().sees(role), Field(self.named("permitted"), self._permission, means, self.asset.unit))

    def acts(self, role: Role) -> tuple[Field, ...]:
        """Ask the owner."""
        asked, (owner, seat) = super().acts(role), self.owner
        if role.name != owner:
            return asked
        means = f"the most {self.asset.name} that you permit each of the others in this round"
        if isinstance(self.asset.space, Choice):
            means = f'the {self.asset.name} to which you hold the others in this round, or "{FREE}" to leave it to them'
        by = None if role.count == 1 else (seat,)
        permit = Field(
            self.named("permit"), self._permission, means, self.asset.unit, stage=self.named("permit"), by=by
        )
        return (*asked, permit)

    def begin(self, base: Any, u: Array) -> ContractState:
        """Start with everything permitted."""
        own = super().begin(base, u)
        own.more["permit"] = full(u, tuple(u.shape[:-1]), self._free, integer=self.asset.discrete)
        return own

    @property
    def _free(self) -> float:
        """The permission that holds nobody back."""
        return 0 if isinstance(self.asset.space, Choice) else self.asset.space.high

    def _own_step(self, state: Layered, acts: Mapping[str, Acts], own_u: Array) -> Outcome:
        """Play an added stage; where a contract has just been accepted the owner is not asked."""
        outcome = super()._own_step(state, acts, own_u)
        after, xp = outcome.state, namespace(state.stage)
        silent = (after.stage == self._low - 1) & (after.own.status == IN_FORCE)
        stage = xp.where(silent, self.base.stage(after.base) + self._low, after.stage)
        return outcome._replace(state=after._replace(stage=stage))

    def meet(
        self, stage: Array, own: ContractState, base: Any, acts: Mapping[str, Acts], u: Array
    ) -> tuple[ContractState, dict[str, Array], Array | None]:
        """Take down what the owner permits."""
        own, rewards, welfare = super().meet(stage, own, base, acts, u)
        role, seat = self.owner
        said = acts[role][self.named("permit")][..., seat]
        said = to_int(said) if self.asset.discrete else to_float(said)
        permit = namespace(stage).where(self._is(stage, "permit"), said, own.more["permit"])
        return own._replace(more=own.more | {"permit": permit}), rewards, welfare

    def _in_force(self, own: ContractState) -> Array:
        """Return the permission that holds now, (*batch): none is needed under a contract."""
        permit = own.more["permit"]
        return namespace(permit).where(own.status == IN_FORCE, permit * 0 + self._free, permit)

    def bend(self, own: ContractState, base: Any, acts: Mapping[str, Acts], u: Array) -> Mapping[str, Acts]:
        """Hold the others to what the owner permits."""
        bent, name, permit = dict(acts), self.asset.name, self._in_force(own)[..., None]
        xp = namespace(permit)
        for role, users in self.held.items():
            values = acts[role][name]
            values = to_int(values) if self.asset.discrete else to_float(values)
            most = xp.minimum(values, permit)
            if isinstance(self.asset.space, Choice):
                most = xp.where(permit > 0, permit - 1, values)
            bent[role] = {**acts[role], name: xp.where(constant(values, users) == 1, most, values)}
        return bent

    def foreseen(self, state: Layered, acts: Mapping[str, Acts]) -> Mapping[str, Acts]:
        """Return the acts as the owner permits them."""
        return self.bend(state.own, state.base, acts, full(state.stage, (*state.stage.shape, 0), 0.0))

    def show(self, own: ContractState, base: Any, seen: dict[str, Seen]) -> dict[str, Seen]:
        """Show everyone what is permitted."""
        shown, permit = super().show(own, base, seen), self._in_force(own)
        return {
            role.name: {**shown[role.name], self.named("permitted"): spread(permit, role.count)} for role in self.roles
        }


class OwnedSelfEnforced(Owned, SelfEnforced):
    """A game under a contract that no court enforces, in which the owner of an asset decides where there is none."""
