"""Mesa: any game as a society of persons who meet, earn and imitate; and any Mesa model as an environment for learners.

Importing Mesa sets Python's start method for new processes to "spawn".
"""

from __future__ import annotations

import functools
import importlib
import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import mesa
import numpy as np
from mesa.discrete_space import DiscreteSpace, FixedAgent, Network, OrthogonalMooreGrid, OrthogonalVonNeumannGrid
from pettingzoo import ParallelEnv

from ..core import chance, registry, validate
from ..core.arrays import Array, align, common, select, tree_map
from ..core.fields import Choice, Field, Role, Text
from ..core.game import Acts, Game, Seen
from ..core.policy import Policy, default_acts
from ..core.words import ActError, check
from ..core.worlds import Worlds
from .seat import find_game
from .spaces import Flat

Vector = np.ndarray[Any, Any]

NETWORKS = ("ring", "small_world", "random", "scale_free", "grid", "moore")
MEETINGS = ("edges", "pairs", "hosts", "groups", "fixed")
PACES = ("episode", "round")


# ---- a game as a Mesa model ------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Imitation:
    """Who adopts whose strategy after a step: pairwise comparison with one neighbour drawn by lot.

    A person adopts the other's strategy with probability 1 / (1 + exp((own - other) / noise)), the Fermi rule (Szabó and
    Tőke 1998, doi:10.1103/PhysRevE.58.69; Traulsen, Nowak and Pacheco 2006, doi:10.1103/PhysRevE.74.011909). All who
    compare do so at once.

    Parameters
    ----------
    noise
        K, in units of reward; 0 copies whoever earned more, and a coin decides between equals.
    rate
        Probability that a person compares.
    mutation
        Probability that a person takes up any strategy, all equally likely, instead.
    payoff
        What is compared of the rewards of the step: the ``"mean"`` of the games that a person played, or the ``"sum"``.
    """

    noise: float = 0.1
    rate: float = 1.0
    mutation: float = 0.0
    payoff: str = "mean"

    def __post_init__(self) -> None:
        """Refuse parameters out of range."""
        validate.real("noise", self.noise, 0.0, 1e12)
        validate.probability("rate", self.rate)
        validate.probability("mutation", self.mutation)
        validate.one_of("payoff", self.payoff, ("mean", "sum"))

    def probability(self, own: Vector, other: Vector) -> Vector:
        """Return the probability of adopting the strategy of one who earned ``other``."""
        gain = other - own
        if not self.noise:
            return np.asarray((np.sign(gain) + 1.0) / 2.0)
        return np.asarray(0.5 * (1.0 + np.tanh(np.clip(gain / (2.0 * self.noise), -20.0, 20.0))))


class Person(FixedAgent):
    """A member of a society; what it has and does is in the society's arrays, at ``index``."""

    model: Society

    def __init__(self, model: Society, index: int) -> None:
        super().__init__(model)
        self.index = index

    @property
    def strategy(self) -> str:
        """Name of the strategy that it follows."""
        return self.model.names[int(self.model.strategies[self.index])]

    @strategy.setter
    def strategy(self, name: str) -> None:
        self.model.strategies[self.index] = self.model.number(name)

    @property
    def reward(self) -> float:
        """What it earned in the last step, over all games that it played."""
        return float(self.model.rewards[self.index])

    @property
    def games(self) -> int:
        """Games that it plays in."""
        return int(self.model.games[self.index])

    @property
    def neighbours(self) -> list[Person]:
        """The persons next to it; none where anyone can meet anyone."""
        return [self.model.people[i] for i in self.model.neighbours(self.index)]

    def remove(self) -> None:
        """Refuse: the persons of a society are fixed."""
        raise RuntimeError("a person cannot leave: the seats of the games are filled from a fixed number of persons")


class _Collector(mesa.DataCollector):
    """Mesa's data collector, which takes the persons' columns from the arrays if they are the society's own."""

    def _record_agents(self, model: Any) -> Any:
        columns = model.columns()
        if list(columns) != list(self.agent_reporters):
            return super()._record_agents(model)  # type: ignore[no-untyped-call]
        return zip(itertools.repeat(model.steps), model.ids, *columns.values(), strict=False)


class Society(mesa.Model):
    """A Mesa model whose agents are persons that play a game with whom they meet.

    At each step groups of persons fill the seats of the game, one world of the game a group, and all groups of a step are
    one batch. Persons then imitate neighbours who earned more, if they are to. What happens follows from the seed.

    Parameters
    ----------
    game
        A game under any mechanisms, or the name of a registered one, made with ``parameters``.
    policies
        Strategies by name: {name: strategy}. A strategy is a policy, the name of a registered one, {role: policy}, or
        the acts that it always takes, {field: value}. A single one, or {role: policy}, is what all follow.
    agents
        Number of persons, N.
    network
        Who is next to whom: None for anyone, a networkx graph or a Mesa space (one person a cell), or a name:
        ``"ring"``, ``"small_world"`` (Watts and Strogatz 1998, doi:10.1038/30918), ``"random"`` (all neighbours by lot),
        ``"scale_free"`` (Barabási and Albert 1999, doi:10.1126/science.286.5439.509), ``"grid"`` (4 neighbours, without
        borders) or ``"moore"`` (8 neighbours).
    degree
        Neighbours a person of a named network, on average.
    rewiring
        Share of the ties of a small world that lead anywhere.
    meet
        Who plays whom: along ``"edges"``, each with every neighbour (games of two); in ``"pairs"``, each with one
        neighbour at most, drawn by lot (games of two); each ``"hosts"`` a game with itself and as many neighbours as it
        needs, by lot; in ``"groups"`` by lot among all, each in one; in ``"fixed"`` groups of persons with neighbouring
        numbers. Or a function from the society to whole numbers (groups, seats), the persons in each seat. None is
        "groups" without a network, "edges" for two players and else "hosts". Seats within a group are drawn by lot but
        where groups are fixed or given by a function.
    shares
        Share of persons who start with each strategy, {name: share}, or the strategy of each person, a list of names;
        None for equal shares.
    imitation
        How strategies spread; None if they do not.
    pace
        What a step is: an ``"episode"`` of the game, or one ``"round"`` of it in groups that stay together until all
        their episodes are over.
    check
        Whether acts are checked against their fields.
    seed
        Seed of everything; None for a new one.
    parameters
        Of the game, where it is given by name.

    Attributes
    ----------
    strategies, rewards, games
        Number of the strategy, reward of the last step and number of games played at once, of each person (N,).
    seats
        The persons in each seat of each group (groups, seats); seats role by role, in the game's order.
    measures
        The game's measures, mean over the groups, and ``welfare`` a group in the last step; NaN before the first one.
    tables
        Of a subclass: further tables of the data collector, {name: columns}.
    """

    tables: ClassVar[Mapping[str, Sequence[str]]] = {}

    def __init__(
        self,
        game: Game | str,
        policies: Mapping[str, Any] | Policy | str,
        *,
        agents: int = 100,
        network: Any = None,
        degree: int = 4,
        rewiring: float = 0.1,
        meet: str | Callable[[Any], Vector] | None = None,
        shares: Mapping[str, float] | Sequence[str] | None = None,
        imitation: Imitation | None = None,
        pace: str = "episode",
        check: bool = True,
        seed: int | None = None,
        **parameters: Any,
    ) -> None:
        super().__init__(seed=seed)
        self.game = find_game(game, parameters)
        self.size = len(self.game.players)
        validate.whole("agents", agents, max(2, self.size), 10_000_000)
        self.pace = validate.one_of("pace", pace, PACES)
        self.imitation = imitation
        self._check = check
        self._seed_number = int(self.rng.integers(2**31)) if seed is None else int(seed)
        self._rows = np.arange(agents, dtype=np.int64)
        self.people: list[Person] = [Person(self, i) for i in range(agents)]
        self.ids = [person.unique_id for person in self.people]
        self.grid = self._space(network, degree, rewiring)
        self._tie()
        self._meet = self._meeting(meet)
        self._bind(policies)
        self.strategies = self._begin_with(shares)
        self.rewards: Vector = np.zeros(agents)
        self.games: Vector = np.zeros(agents, dtype=np.int64)
        self.seats: Vector = np.zeros((0, self.size), dtype=np.int64)
        self.worlds: Worlds | None = None
        self._live: Vector = np.zeros(0, dtype=bool)
        self._episodes = 0
        self.measures = dict.fromkeys((*(measure.name for measure in self.game.reports), "welfare"), np.nan)
        self.datacollector = _Collector(  # type: ignore[no-untyped-call]
            model_reporters={name: functools.partial(_told, name=name) for name in self.report()},
            agent_reporters={name: name for name in self.columns()},
            tables={name: list(columns) for name, columns in self.tables.items()},
        )
        self._collect()

    # ---- who is next to whom, and who plays whom ---------------------------------------------------------------------

    def _space(self, network: Any, degree: int, rewiring: float) -> Any:
        """Return the space, with a person in a cell each; None if there is none."""
        count = len(self.people)
        if isinstance(network, str):
            network = self._named(network, degree, rewiring)
        if network is None:
            return None
        if not isinstance(network, DiscreteSpace):
            if not (hasattr(network, "nodes") and hasattr(network, "neighbors")):
                raise TypeError(
                    f"network: None, a networkx graph, a space of mesa.discrete_space, or one of {', '.join(NETWORKS)}, "
                    f"got {network!r}"
                )
            network = Network(network, capacity=1, random=self.random)
        cells = list(network.all_cells.cells)
        if len(cells) < count:
            raise ValueError(f"network: a place for each of {count} persons, got {len(cells)}")
        for person, cell in zip(self.people, cells[:count], strict=True):
            person.cell = cell
        return network

    def _named(self, name: str, degree: int, rewiring: float) -> Any:
        validate.one_of("network", name, NETWORKS)
        count, seed = len(self.people), self._seed_number
        if name in ("grid", "moore"):
            width = next(w for w in range(int(count**0.5), 0, -1) if count % w == 0)
            if width < 3:
                raise ValueError(f"agents: width x height of at least 3 x 3 for a grid, got {count}")
            kind = OrthogonalVonNeumannGrid if name == "grid" else OrthogonalMooreGrid
            return kind((width, count // width), torus=True, capacity=1, random=self.random)
        nx = _networkx(name)
        validate.whole("degree", degree, 2, count - 1)
        validate.probability("rewiring", rewiring)
        if name == "random":
            if degree * count % 2:
                raise ValueError(f"degree: degree x agents must be even, got {degree} x {count}")
            return nx.random_regular_graph(degree, count, seed=seed)
        if degree % 2:
            raise ValueError(f"degree: an even number for {name!r}, got {degree}")
        if name == "scale_free":
            return nx.barabasi_albert_graph(count, degree // 2, seed=seed)
        return nx.watts_strogatz_graph(count, degree, rewiring if name == "small_world" else 0.0, seed=seed)

    def _tie(self) -> None:
        """Read the ties between persons from the space: pairs, and each one's neighbours."""
        count = len(self.people)
        pairs: set[tuple[int, ...]] = set()
        if self.grid is not None:
            cells = [person.cell for person in self.people]
            place = {id(cell): index for index, cell in enumerate(cells)}
            for person, home in zip(self.people, cells, strict=True):
                others = (place.get(id(cell)) for cell in home.connections.values()) if home is not None else ()
                pairs.update(tuple(sorted((person.index, i))) for i in others if i is not None and i != person.index)
        self.edges: Vector = np.array(sorted(pairs), dtype=np.int64).reshape(-1, 2)
        both = np.concatenate([self.edges, self.edges[:, ::-1]])
        both = both[np.lexsort((both[:, 1], both[:, 0]))]
        self._degrees = np.bincount(both[:, 0], minlength=count)
        self._first = np.concatenate([[0], np.cumsum(self._degrees)])
        self._others = both[:, 1]

    def neighbours(self, index: int) -> list[int]:
        """Return the numbers of the persons next to one."""
        return [int(i) for i in self._others[self._first[index] : self._first[index + 1]]]

    def _meeting(self, meet: str | Callable[[Any], Vector] | None) -> Callable[[Any], Vector]:
        if callable(meet):
            return meet
        if meet is None:
            meet = "groups" if self.grid is None else "edges" if self.size == 2 else "hosts"
        validate.one_of("meet", meet, MEETINGS)
        if meet in ("edges", "pairs", "hosts") and self.grid is None:
            raise ValueError(f"meet: {meet!r} takes a network; give one, or meet in 'groups'")
        if meet in ("edges", "pairs") and self.size != 2:
            raise ValueError(f"meet: {meet!r} is for games of two, {self.game.name} has {self.size}; use 'hosts'")
        if meet in ("edges", "pairs") and not len(self.edges):
            raise ValueError(f"network: no two persons are next to each other, so nobody can meet in {meet!r}")
        if meet == "hosts" and (self._degrees < self.size - 1).all():
            most = int(self._degrees.max())
            raise ValueError(f"network: nobody has the {self.size - 1} neighbours that a game takes, only {most}")
        return getattr(type(self), f"_{meet}")  # type: ignore[no-any-return]

    def luck(self, purpose: str, rows: Vector | None = None, count: int = 1) -> Vector:
        """Return uniform numbers (rows, count) for a purpose and step, one row a person unless told otherwise."""
        rows = self._rows if rows is None else rows
        keys = chance.key(self._seed_number, rows, self.steps, chance.code(purpose))
        return np.asarray(chance.uniform(keys, count))

    def _edges(self) -> Vector:
        return self.edges

    def _pairs(self) -> Vector:
        """Match neighbours: ties in random order, each taken if both are still free."""
        order = np.argsort(self.luck("pairs", np.arange(len(self.edges)))[:, 0], kind="stable")
        edges, chosen = self.edges[order], []
        while len(edges):
            first = np.full(len(self.people), len(edges))
            rank = np.arange(len(edges))
            np.minimum.at(first, edges.ravel(), np.repeat(rank, 2))
            taken = (first[edges] == rank[:, None]).all(axis=1)
            chosen.append(edges[taken])
            free = np.ones(len(self.people), dtype=bool)
            free[edges[taken]] = False
            edges = edges[free[edges].all(axis=1)]
        return np.concatenate(chosen)

    def _hosts(self) -> Vector:
        guests = self.size - 1
        hosts = np.flatnonzero(self._degrees >= guests)
        table = self._table[hosts]
        if table.shape[1] > guests:
            u = self.luck("hosts", hosts, table.shape[1])
            order = np.argsort(np.where(table < 0, 2.0, u), axis=1)[:, :guests]
            table = np.take_along_axis(table, order, axis=1)
        return np.concatenate([hosts[:, None], table], axis=1)

    @functools.cached_property
    def _table(self) -> Vector:
        """Neighbours of each person in a row, -1 after the last one."""
        place = np.arange(max(int(self._degrees.max()), 1))
        there = place < self._degrees[:, None]
        return np.where(there, self._others[np.where(there, self._first[:-1, None] + place, 0)], -1)

    def _groups(self) -> Vector:
        order = np.argsort(self.luck("groups")[:, 0], kind="stable")
        return self._cut(order)

    def _fixed(self) -> Vector:
        return self._cut(self._rows)

    def _cut(self, order: Vector) -> Vector:
        return order[: len(order) // self.size * self.size].reshape(-1, self.size)

    # ---- strategies --------------------------------------------------------------------------------------------------

    def _bind(self, policies: Mapping[str, Any] | Policy | str) -> None:
        roles = {role.name: role for role in self.game.roles}
        if not isinstance(policies, Mapping):
            policies = {policies if isinstance(policies, str) else type(policies).__name__.lower(): policies}
        elif policies and set(policies) <= set(roles):
            policies = {"all": policies}
        if not policies:
            raise ValueError("policies: at least one strategy, {name: policy}, got none")
        self.names = tuple(map(str, policies))
        self._bound: list[dict[str, Policy]] = []
        for name, strategy in policies.items():
            bound = {}
            for role, policy in self._parts(name, strategy).items():
                bound[role] = policy.bind(self.game, role, tuple(range(roles[role].count)))
                bound[role].ready()
            self._bound.append(bound)
        self._memory: list[dict[str, Any]] = [{} for _ in self._bound]
        ends = np.cumsum([0, *(role.count for role in self.game.roles)]).tolist()
        self._columns = {
            role.name: slice(low, high) for role, low, high in zip(self.game.roles, ends[:-1], ends[1:], strict=True)
        }

    def _parts(self, name: str, strategy: Any) -> dict[str, Policy]:
        """Return the policy of a strategy for each role that decides anything."""
        deciders = [role for role in self.game.roles if role.acts]
        if isinstance(strategy, Mapping):
            known = {role.name for role in self.game.roles}
            if strategy and set(strategy) <= known:
                return {role: _made(name, policy) for role, policy in strategy.items()}
            found: dict[str, Policy] = {}
            for role in deciders:
                fields = {field.name: field for field in role.acts}
                mine = {key: _number(fields[key], value) for key, value in strategy.items() if key in fields}
                if mine:
                    found[role.name] = _Always(mine)
            decided = {field.name for role in deciders for field in role.acts}
            wrong = sorted(set(strategy) - decided)
            if wrong or not found:
                raise KeyError(
                    f"strategy {name!r}: {wrong[0] if wrong else 'nothing'!r} is neither a role ({', '.join(sorted(known))}) "
                    f"nor a field that is decided ({', '.join(sorted(decided))})"
                )
            return found
        return {role.name: _made(name, strategy) for role in deciders}

    def number(self, name: str) -> int:
        """Return the number of a strategy."""
        if name not in self.names:
            raise KeyError(f"no strategy {name!r}; there are: {', '.join(self.names)}")
        return self.names.index(name)

    def _begin_with(self, shares: Mapping[str, float] | Sequence[str] | None) -> Vector:
        count = len(self.people)
        if shares is not None and not isinstance(shares, Mapping):
            if isinstance(shares, str) or len(shares) != count:
                raise ValueError(f"shares: {{name: share}}, or a strategy for each of {count} persons, got {shares!r}")
            return np.array([self.number(name) for name in shares], dtype=np.int64)
        wanted = dict.fromkeys(self.names, 1.0) if shares is None else shares
        weights = np.zeros(len(self.names))
        for name, share in wanted.items():
            weights[self.number(name)] = validate.real(f"shares[{name}]", share, 0.0, 1e9)
        if not weights.sum():
            raise ValueError("shares: at least one above 0")
        exact = weights / weights.sum() * count
        whole = np.floor(exact).astype(np.int64)
        spare = np.argsort(whole - exact, kind="stable")[: count - int(whole.sum())]
        whole[spare] += 1  # largest remainders
        return np.repeat(np.arange(len(self.names)), whole)[np.argsort(self.luck("shares")[:, 0], kind="stable")]

    # ---- a step ------------------------------------------------------------------------------------------------------

    def step(self) -> None:
        """Meet, play, imitate, and collect."""
        if not self._live.any():
            self._open()
        assert self.worlds is not None
        paid, welfare = self._play(self.worlds)
        self.measures = {name: float(np.mean(values)) for name, values in self.game.measures(self.worlds.state).items()}
        self.measures["welfare"] = float(welfare.mean())
        paid = self.settle(paid)
        self.rewards = np.bincount(self.seats.ravel(), weights=paid.ravel(), minlength=len(self.people))
        if self.imitation is not None:
            self.imitate(self.imitation)
        self._collect()

    def settle(self, paid: Vector) -> Vector:
        """Return what persons get of what the game paid, both (groups, seats): here just that. Societies override it."""
        return paid

    def _open(self) -> None:
        """Form the groups and start an episode in each."""
        seats = np.asarray(self._meet(self))
        if seats.ndim != 2 or seats.shape[1] != self.size or not seats.size:
            raise ValueError(f"meet: whole numbers (groups, {self.size}), at least one group, got shape {seats.shape}")
        if self._meet in (Society._edges, Society._pairs, Society._hosts, Society._groups):
            seats = self._drawn(seats)
        if self.worlds is None or self.worlds.count != len(seats):
            self.worlds = Worlds(self.game, len(seats), seed=self._seed_number, check=self._check)
            if self._episodes:
                self.worlds.episode = self.worlds.episode + (self._episodes - 1)
                self.worlds.reset()
            self._null = {role.name: default_acts(role, self.worlds.world, role.count) for role in self.game.roles}
        else:
            self.worlds.reset()
        self._episodes += 1
        self.seats = seats
        self.games = np.bincount(seats.ravel(), minlength=len(self.people))
        self._live = np.ones(len(seats), dtype=bool)
        xp, device = self.worlds.xp, self.worlds.device
        self._memory = [
            {role: policy.begin((len(seats),), xp, device) for role, policy in bound.items()} for bound in self._bound
        ]

    def _drawn(self, seats: Vector) -> Vector:
        """Draw who takes which seat of a group by lot."""
        u = self.luck("seats", np.arange(len(seats)), 1 if self.size == 2 else self.size)
        if self.size == 2:
            return np.where(u < 0.5, seats, seats[:, ::-1])
        return np.take_along_axis(seats, np.argsort(u, axis=1), axis=1)

    def _play(self, worlds: Worlds) -> tuple[Vector, Vector]:
        """Play an episode or a round; return rewards (groups, seats) and welfare (groups,)."""
        paid, welfare = np.zeros(self.seats.shape), np.zeros(len(self.seats))
        held = self.strategies[self.seats]
        until = self.game.round(worlds.state) + 1 if self.pace == "round" else None
        for _ in range(self.game.horizon):
            active = self._live if until is None else self._live & (self.game.round(worlds.state) < until)
            if not active.any():
                return paid, welfare
            every = bool(active.all())
            before = worlds.state
            acts = self._acts(worlds, held, None if every else active)
            outcome = worlds.step(acts)
            rewards = [outcome.rewards[role.name] for role in self.game.roles]
            gained = rewards[0] if len(rewards) == 1 else np.concatenate(rewards, axis=1)
            if every:
                paid, welfare = paid + gained, welfare + outcome.welfare
            else:
                paid, welfare = paid + gained * active[:, None], welfare + outcome.welfare * active
                worlds.state = select(active, outcome.state, before)
            self._live = self._live & ~(outcome.done & active)
        if until is None and self._live.any():
            raise RuntimeError(f"{self.game.name}: an episode outlasted its horizon of {self.game.horizon} steps")
        return paid, welfare

    def _acts(self, worlds: Worlds, held: Vector, active: Vector | None) -> dict[str, Acts]:
        """Return everyone's acts: each strategy decides for a whole role, where somebody follows it.

        One that most follow is asked in all worlds, and so is one that remembers, since persons can take it up at any time.
        """
        seen, stage = worlds.view(), worlds.stage
        now = common(stage)
        if active is not None:
            stage = np.where(active, stage, -1)
        acts: dict[str, Acts] = {}
        alone = len(self.names) == 1
        for role in self.game.roles:
            mine = acts[role.name] = dict(self._null[role.name])
            asked = now is None or role.deciding(self.game.stages[now].name)
            holders = None if alone else held[:, self._columns[role.name]]
            for k, bound in enumerate(self._bound):
                policy = bound.get(role.name)
                if policy is None or (not asked and self._memory[k][role.name] is None):
                    continue
                mask = None if holders is None else holders == k
                done = self._decide(worlds, k, policy, seen[role.name], stage, mask)
                for name, values in done.items():
                    mine[name] = values if mask is None else np.where(align(mask, values), values, mine[name])
        return acts

    def _decide(self, worlds: Worlds, k: int, policy: Policy, seen: Seen, stage: Array, mask: Vector | None) -> Acts:
        """Return what a strategy does in all worlds, where it is followed at all."""
        role, count = policy.role, policy.role.count
        memory, rows = self._memory[k][role.name], None
        if mask is not None and memory is None:
            rows = np.flatnonzero(mask.any(axis=1))
            if not len(rows):
                return {}
            if 2 * len(rows) > worlds.count:
                rows = None  # picking the worlds out would cost more than most policies do
        u = worlds.uniform(policy.draws * count, f"{role.name}:{self.names[k]}") if policy.draws else worlds._nothing
        u = u.reshape((worlds.count, count, policy.draws))
        if rows is None:
            done, self._memory[k][role.name] = policy.act(seen, stage, u, memory)
            return done
        done, _ = policy.act(tree_map(lambda values: values[rows], seen), stage[rows], u[rows], None)
        whole = {}
        for name, values in done.items():
            whole[name] = np.zeros((worlds.count, *values.shape[1:]), dtype=values.dtype)
            whole[name][rows] = values
        return whole

    # ---- imitation ---------------------------------------------------------------------------------------------------

    def imitate(self, how: Imitation) -> None:
        """Let persons adopt the strategies of neighbours who earned more, all at once."""
        u = self.luck("imitation", count=5)
        others = self._someone(u[:, 0])
        worth = self.rewards / np.maximum(self.games, 1) if how.payoff == "mean" else self.rewards
        adopts = (u[:, 1] < how.rate) & (u[:, 2] < how.probability(worth, worth[others]))
        after = np.where(adopts, self.strategies[others], self.strategies)
        if how.mutation:
            after = np.where(u[:, 3] < how.mutation, chance.whole(u[:, 4], 0, len(self.names) - 1), after)
        self.strategies = after

    def _someone(self, u: Vector) -> Vector:
        """Draw a neighbour of each, or anyone else where there is no network; who has none gets herself."""
        if self.grid is None:
            other = chance.whole(u, 0, len(u) - 2)
            return np.asarray(other + (other >= self._rows))
        if not len(self._others):
            return self._rows
        place = self._first[:-1] + np.floor(u * self._degrees).astype(np.int64)
        return np.where(self._degrees > 0, self._others[np.minimum(place, len(self._others) - 1)], self._rows)

    # ---- data --------------------------------------------------------------------------------------------------------

    def share(self, name: str) -> float:
        """Return the share of persons who follow a strategy."""
        return float(np.mean(self.strategies == self.number(name)))

    def report(self) -> dict[str, float]:
        """Return what the data collector keeps of the society at each step."""
        counts = np.bincount(self.strategies, minlength=len(self.names)) / len(self.people)
        shares = {f"share_{name}": float(share) for name, share in zip(self.names, counts, strict=True)}
        return {**self.measures, "reward": float(self.rewards.mean()) if self.steps else np.nan, **shares}

    def columns(self) -> dict[str, list[Any]]:
        """Return what the data collector keeps of each person at each step, {attribute of Person: N values}."""
        return {"strategy": [self.names[k] for k in self.strategies.tolist()], "reward": self.rewards.tolist()}

    def _collect(self) -> None:
        self.told = self.report()
        self.datacollector.collect(self)  # type: ignore[no-untyped-call]


def _networkx(name: str) -> Any:
    try:
        return importlib.import_module("networkx")
    except ImportError:
        raise ImportError(f"network: {name!r} takes networkx: pip install networkx") from None


def _told(model: Society, name: str) -> float:
    return model.told[name]


def _made(name: str, policy: Any) -> Policy:
    if isinstance(policy, str):
        made: Policy = registry.create("policies", policy)
        return made
    if not isinstance(policy, Policy):
        raise TypeError(f"strategy {name!r}: a policy, its name, {{role: policy}} or {{field: value}}, got {policy!r}")
    return policy


class _Always(Policy):
    """Takes the same acts always; fields that it is silent about are the null act."""

    def __init__(self, values: Mapping[str, Any]) -> None:
        self.values = values

    def act(self, seen: Seen, stage: Array, u: Array, memory: Any) -> tuple[Acts, Any]:
        """Return the acts."""
        shape = (*stage.shape, len(self.seats))
        return {name: np.broadcast_to(value, (*shape, *value.shape)) for name, value in self.values.items()}, memory


def society(game: Game | str, policies: Mapping[str, Any] | Policy | str, **options: Any) -> Society:
    """Return a game as a Mesa model whose agents are persons; see ``Society`` for the options.

    ``mesa.batch_run`` takes the class ``Society``; it tries every element of a value that can be iterated over, so put
    a mapping or a graph into a list of one.
    """
    return Society(game, policies, **options)


# ---- a Mesa model as an environment ----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Part:
    """A part that agents of a Mesa model play: what they see and decide, as fields that are their attributes.

    Parameters
    ----------
    agents
        Their class.
    sees
        Fields that are read before each step, each the attribute (or method) of that name of the agent, or else of
        the model. Options of choices are strings, several components a list.
    acts
        Fields that are written before each step as attributes of the agent, whose own ``step`` is to heed them.
    reward
        Attribute (or method) of the agent that says what the step paid it.
    name
        Name of the role; the name of the class in small letters if empty.
    means
        What the role is, in words.
    """

    agents: type[mesa.Agent]
    sees: tuple[Field, ...]
    acts: tuple[Field, ...]
    reward: str = "reward"
    name: str = ""
    means: str = ""

    def __post_init__(self) -> None:
        """Refuse a part without anything to see or decide."""
        for what in ("sees", "acts"):
            object.__setattr__(self, what, tuple(getattr(self, what)))
            if not getattr(self, what):
                raise ValueError(f"{what}: at least one field for agents of class {self.agents.__name__}")
        object.__setattr__(self, "name", self.name or self.agents.__name__.lower())


class ModelParallelEnv(ParallelEnv[str, Vector, Any]):
    """A Mesa model whose agents are played from outside; see ``parallel_env``."""

    def __init__(
        self,
        model: Callable[..., mesa.Model],
        parts: Sequence[Part] | None = None,
        max_cycles: int | None = None,
        **parameters: Any,
    ) -> None:
        parts = tuple(parts if parts is not None else getattr(model, "parts", ()))
        if not parts:
            raise ValueError(
                "parts: what agents see and decide; give a list of Part, or the model class an attribute `parts`"
            )
        if max_cycles is not None:
            validate.whole("max_cycles", max_cycles, 1, 1_000_000_000)
        self.parts, self.max_cycles = parts, max_cycles
        self._make, self._parameters = model, parameters
        self.metadata = {"name": getattr(model, "__name__", "model"), "render_modes": [], "is_parallelizable": True}
        self.render_mode = None
        self.model = self._new(0)
        self.roles: list[Role] = []
        for part in parts:
            count = len(self._agents(part))
            if not count:
                raise ValueError(f"parts: the model has no agents of class {part.agents.__name__}")
            self.roles.append(Role(part.name, count, part.sees, part.acts, part.means))
        self._flats = [Flat(role) for role in self.roles]
        self.possible_agents = [player for role in self.roles for player in role.players]
        if len(set(self.possible_agents)) < len(self.possible_agents):
            raise ValueError(f"parts: roles of distinct names, got {', '.join(role.name for role in self.roles)}")
        self.agents: list[str] = []
        self._at = {player: (k, i) for k, role in enumerate(self.roles) for i, player in enumerate(role.players)}
        self.observation_spaces = {name: self._flats[k].observation_space() for name, (k, _) in self._at.items()}
        self.action_spaces = {name: self._flats[k].action_space() for name, (k, _) in self._at.items()}
        self._seeds = np.random.default_rng()

    def _new(self, seed: int) -> mesa.Model:
        return self._make(seed=seed, **self._parameters)

    def _agents(self, part: Part) -> list[Any]:
        """Return the agents of a part, in the order in which they were made."""
        return sorted((a for a in self.model.agents if isinstance(a, part.agents)), key=lambda agent: agent.unique_id)

    def observation_space(self, agent: str) -> Any:
        """Return the agent's space of observations, always the same object."""
        return self.observation_spaces[agent]

    def action_space(self, agent: str) -> Any:
        """Return the agent's space of actions, always the same object."""
        return self.action_spaces[agent]

    def reset(
        self, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[dict[str, Vector], dict[str, dict[str, Any]]]:
        """Make the model of a seed; without one that of the next seed, which follows from the last one given."""
        if seed is not None:
            self._seeds = np.random.default_rng(seed)
        self.model = self._new(int(self._seeds.integers(2**31)) if seed is None else int(seed))
        self._people: dict[str, Any] = {}
        for part, role in zip(self.parts, self.roles, strict=True):
            found = self._agents(part)
            if len(found) != role.count:
                raise ValueError(f"the model has {len(found)} agents of class {part.agents.__name__}, not {role.count}")
            self._people.update(zip(role.players, found, strict=True))
        self._cycles = 0
        self.agents = self.possible_agents[:]
        self._seen = {name: self._observe(name) for name in self.agents}
        return dict(self._seen), {name: {} for name in self.agents}

    def _observe(self, name: str) -> Vector:
        k, _ = self._at[name]
        agent = self._people[name]
        seen = {field.name: _read(field, agent)[None] for field in self.roles[k].sees}
        return np.asarray(self._flats[k].flatten(seen)[0])

    def step(
        self, actions: dict[str, Any]
    ) -> tuple[dict[str, Vector], dict[str, float], dict[str, bool], dict[str, bool], dict[str, dict[str, Any]]]:
        """Write what the agents decide, step the model, and read what they see and were paid.

        An agent that the model has removed is terminated, and sees what it last saw.
        """
        if not self.agents:
            return {}, {}, {}, {}, {}
        for name in self.agents:
            k, _ = self._at[name]
            flat = self._flats[k]
            acts = flat.acts(flat.read(actions[name])[None])
            for field in self.roles[k].acts:
                setattr(self._people[name], field.name, _plain(field, acts[field.name][0]))
        self.model.step()
        self._cycles += 1
        alive = set(self.model.agents)
        done = not self.model.running
        over = self.max_cycles is not None and self._cycles >= self.max_cycles and not done
        rewards, terminated, truncated = {}, {}, {}
        for name in self.agents:
            agent = self._people[name]
            pay = _value(agent, self.parts[self._at[name][0]].reward)
            rewards[name] = float(pay)
            terminated[name] = done or agent not in alive
            truncated[name] = over and not terminated[name]
            if agent in alive:
                self._seen[name] = self._observe(name)
        observations = {name: self._seen[name] for name in self.agents}
        infos: dict[str, dict[str, Any]] = {name: {} for name in self.agents}
        self.agents = [name for name in self.agents if not (terminated[name] or truncated[name])]
        return observations, rewards, terminated, truncated, infos

    def render(self) -> None:
        """Show nothing; Mesa's visualization shows ``model``."""

    def state(self) -> Vector:
        """Return what all agents see in one vector."""
        return np.concatenate([self._seen[name] for name in self.possible_agents])

    def close(self) -> None:
        """Release nothing: there is nothing to release."""


def _value(agent: Any, name: str) -> Any:
    """Return the attribute of an agent, or else of its model; a method is called."""
    for owner in (agent, agent.model):
        if hasattr(owner, name):
            found = getattr(owner, name)
            return found() if callable(found) else found
    raise AttributeError(f"neither {type(agent).__name__} nor {type(agent.model).__name__} has {name!r}")


def _read(field: Field, agent: Any) -> Vector:
    """Return what an agent sees in a field, as an array of the field's shape."""
    value = _value(agent, field.name)
    array = np.asarray(_number(field, value))
    try:
        if array.shape != field.shape:
            raise ActError(f"shape {field.shape}, got {array.shape}")
        check(field, array)
    except ActError as error:
        raise ValueError(f"{field.name} of {type(agent).__name__} {agent.unique_id}: {error}") from None
    return array


def _number(field: Field, value: Any) -> Vector:
    """Return a value in plain words as an array: options by name, texts as text."""
    space = field.space
    if isinstance(space, Choice | Text) and isinstance(value, list | tuple):
        return np.array([_number(field, part) for part in value])
    if isinstance(value, str):
        if isinstance(space, Choice):
            if value not in space.options:
                raise ValueError(f"{field.name}: {space}, got {value!r}")
            return np.asarray(space.options.index(value))
        if isinstance(space, Text):
            return space.encode(value)
    array = np.asarray(value)
    if field.discrete and array.dtype.kind == "f":
        return array.astype(np.int64) if (array == np.round(array)).all() else array
    return array.astype(np.float64) if not field.discrete and array.dtype.kind in "iub" else array


def _plain(field: Field, values: Vector) -> Any:
    """Return a value as people write it: options by name, texts as text, numbers as Python's."""
    space = field.space
    if isinstance(space, Choice):
        return [space.options[int(v)] for v in values] if np.ndim(values) else space.options[int(values)]
    if isinstance(space, Text):
        return [space.decode(row) for row in values] if field.each else space.decode(values)
    return np.asarray(values).tolist()


def parallel_env(
    model: Callable[..., mesa.Model],
    parts: Sequence[Part] | None = None,
    max_cycles: int | None = None,
    **parameters: Any,
) -> ModelParallelEnv:
    """Return a Mesa model as a PettingZoo Parallel environment.

    Parameters
    ----------
    model
        The model's class, or a function that makes it; it must take ``seed``.
    parts
        What agents see and decide; None for the attribute ``parts`` of the class.
    max_cycles
        Steps after which it is truncated; None to go on as long as the model runs.
    parameters
        Passed to the model.
    """
    return ModelParallelEnv(model, parts, max_cycles, **parameters)
