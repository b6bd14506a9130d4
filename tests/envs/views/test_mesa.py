"""Games as societies of persons, and Mesa models as environments for learners."""

from __future__ import annotations

import itertools
import warnings
from typing import Any, ClassVar

import mesa
import networkx as nx
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mesa.discrete_space import HexGrid, OrthogonalVonNeumannGrid
from pettingzoo.test import parallel_api_test, parallel_seed_test
from scipy.special import expit

import societas
from societas import Choice, Field, Integer, Policy, Real, Text
from societas.envs.norms.matrix_game import MatrixGame
from societas.envs.views.mesa import Imitation, Part, Society, parallel_env, society

DILEMMA = MatrixGame.prisoners_dilemma()
PURE = {"cooperate": {"action": "cooperate"}, "defect": {"action": "defect"}}
PAY = {("c", "c"): 3.0, ("c", "d"): 0.0, ("d", "c"): 5.0, ("d", "d"): 1.0}


def letters(model: Society) -> list[str]:
    return [person.strategy[0] for person in model.people]


# ---- who plays whom --------------------------------------------------------------------------------------------------


def test_along_ties_each_plays_with_every_neighbour() -> None:
    graph = nx.gnp_random_graph(40, 0.15, seed=3)
    model = society(DILEMMA, PURE, agents=40, network=graph, shares={"cooperate": 1, "defect": 3}, seed=5)
    model.step()
    letter = letters(model)
    assert letter.count("c") == 10
    for person in model.people:
        mine = letter[person.index]
        expected = sum(PAY[mine, letter[j]] for j in graph.neighbors(person.index))
        assert person.reward == expected and person.games == graph.degree[person.index]
        assert sorted(other.index for other in person.neighbours) == sorted(graph.neighbors(person.index))
    cells = [PAY[letter[i], letter[j]] + PAY[letter[j], letter[i]] for i, j in graph.edges]
    assert model.measures["welfare"] == pytest.approx(np.mean(cells))
    assert model.measures["payoff"] == pytest.approx(np.mean(cells) / 2)


@settings(max_examples=15, deadline=None)
@given(st.integers(4, 30), st.integers(0, 1000))
def test_pairs_are_a_matching_that_nobody_could_extend(count: int, seed: int) -> None:
    graph = nx.gnp_random_graph(count, 0.3, seed=seed)
    graph.add_edge(0, 1)
    model = society(DILEMMA, PURE, agents=count, network=graph, meet="pairs", seed=seed)
    for _ in range(2):
        model.step()
        taken = model.seats.ravel().tolist()
        assert len(set(taken)) == len(taken)
        assert all(graph.has_edge(i, j) for i, j in model.seats.tolist())
        assert not any(i not in taken and j not in taken for i, j in graph.edges)


def test_pairs_and_seats_are_drawn_anew() -> None:
    model = society(DILEMMA, PURE, agents=60, network="random", meet="pairs", seed=1)
    drawn = []
    for _ in range(30):
        model.step()
        drawn.append({tuple(pair) for pair in model.seats.tolist()})
    assert all(a != b for a, b in itertools.pairwise(drawn))
    everyone = set().union(*drawn)
    assert any((j, i) in everyone for i, j in everyone)  # either may be first


def test_hosts_invite_as_many_neighbours_as_they_need() -> None:
    goods = MatrixGame.public_goods(players=4)
    graph = nx.barabasi_albert_graph(50, 2, seed=2)
    model = society(goods, {"give": {"action": "give"}}, agents=50, network=graph, seed=3)
    tables = set()
    for _ in range(3):
        model.step()
        groups = [set(row) for row in model.seats.tolist()]
        hosts = [person for person in model.people if len(person.neighbours) >= 3]
        assert 0 < len(hosts) < 50 and len(groups) == len(hosts)
        for host, group in zip(hosts, groups, strict=True):
            assert len(group) == 4 and host.index in group
            assert group <= {host.index, *(other.index for other in host.neighbours)}
        tables.add(tuple(map(tuple, map(sorted, groups))))
    assert len(tables) == 3  # guests are drawn by lot


def test_groups_by_lot_are_a_partition_and_fixed_ones_stay() -> None:
    goods = MatrixGame.public_goods(players=3)
    model = society(goods, {"give": {"action": "give"}}, agents=20, seed=3)
    model.step()
    first = model.seats
    assert first.shape == (6, 3) and len(np.unique(first)) == 18
    idle = [person for person in model.people if person.games == 0]
    assert len(idle) == 2 and all(person.reward == 0 for person in idle)
    model.step()
    assert (model.seats != first).any()
    fixed = society(goods, {"give": {"action": "give"}}, agents=20, meet="fixed", seed=3)
    fixed.step()
    assert fixed.seats.tolist() == np.arange(18).reshape(6, 3).tolist()


def test_a_function_may_say_who_meets() -> None:
    def ends(model: Society) -> Any:
        return [[model.steps, len(model.people) - 1 - model.steps]]

    model = society(DILEMMA, PURE, agents=10, meet=ends, seed=1)
    for step in (1, 2, 3):
        model.step()
        assert model.seats.tolist() == [[step, 9 - step]]


@pytest.mark.parametrize(
    ("network", "degree"),
    [("ring", 4), ("random", 5), ("grid", 4), ("moore", 8), ("small_world", 6), ("scale_free", 4)],
)
def test_named_networks(network: str, degree: int) -> None:
    model = society(DILEMMA, PURE, agents=36, network=network, degree=degree, seed=2)
    degrees = np.array([len(person.neighbours) for person in model.people])
    if network == "scale_free":
        assert degrees.max() >= 10 and 2 * len(model.edges) == degrees.sum()
    elif network == "small_world":
        assert degrees.mean() == 6 and degrees.std() > 0
    else:
        assert (degrees == degree).all()
    for person in model.people:
        assert all(person in other.neighbours for other in person.neighbours)
    if network == "ring":
        assert {other.index for other in model.people[0].neighbours} == {1, 2, 34, 35}


def test_a_space_of_mesa_holds_the_persons() -> None:
    space = HexGrid((6, 6), torus=True, capacity=1, random=mesa.Model(seed=1).random)
    model = society(DILEMMA, PURE, agents=36, network=space, seed=2)
    assert model.grid is space and {len(person.neighbours) for person in model.people} == {6}
    assert len({person.cell.coordinate for person in model.people}) == 36


# ---- the game is the game --------------------------------------------------------------------------------------------


def test_fixed_groups_of_one_strategy_are_worlds_of_the_game() -> None:
    """Scarce fish are drawn by lot: the chance is that of the library's worlds."""
    game = societas.make("Fishery", fishers=4, months=5, capacity=30)
    greedy = {"harvest": 9}
    model = society(game, {"greedy": greedy}, agents=20, meet="fixed", seed=11)
    always = societas.policy("callable", function=lambda seen: greedy)
    played = societas.play(game, {"fisher": always}, worlds=5, seed=11)
    model.step()
    assert model.rewards.tolist() == played.returns["fisher"].ravel().tolist()
    assert len(set(model.rewards.tolist())) > 2
    for name, values in played.measures.items():
        assert model.measures[name] == pytest.approx(values.mean())
    model.step()  # the next episode meets new chance
    assert model.rewards.tolist() != played.returns["fisher"].ravel().tolist()


def test_rounds_add_up_to_the_episode() -> None:
    def make(pace: str) -> Society:
        game = societas.make("Fishery", fishers=3, months=4, capacity=60) | societas.mechanism("Sanction")
        policies = {"fair": "scripted", "keen": societas.policy("scripted", character="reciprocator")}
        return society(game, policies, agents=30, pace=pace, seed=4)

    whole, monthly = make("episode"), make("round")
    whole.step()
    total, seats = np.zeros(30), None
    for month in range(4):
        monthly.step()
        assert seats is None or (monthly.seats == seats).all()  # groups stay together
        seats = monthly.seats
        total += monthly.rewards
        assert monthly.measures["survival"] == month + 1
    assert total.tolist() == pytest.approx(whole.rewards.tolist())
    monthly.step()
    assert (monthly.seats != seats).any() and monthly.measures["survival"] == 1


@pytest.mark.parametrize("pace", ["episode", "round"])
def test_groups_whose_episode_is_over_wait_for_the_others(pace: str) -> None:
    game = societas.make("Fishery", fishers=2, months=6, capacity=40)
    takes = {"all": 40, "half": 20, "most": 19, "little": 5}
    names = ["all", "all", "little", "little", "half", "most", "most", "most"]
    policies = {name: {"harvest": take} for name, take in takes.items()}
    model = society(game, policies, agents=8, meet="fixed", shares=names, pace=pace, seed=2)
    total = np.zeros(8)
    for _ in range(6 if pace == "round" else 1):
        model.step()
        total += model.rewards
    survival = []
    for k in range(4):
        players = {
            f"fisher_{i}": societas.policy(
                "callable", function=lambda seen, take=takes[names[2 * k + i]]: {"harvest": take}
            )
            for i in range(2)
        }
        played = societas.play(game, players, worlds=4, seed=2)
        assert total[2 * k : 2 * k + 2].tolist() == played.returns["fisher"][k].tolist()
        survival.append(played.measures["survival"][k])
    assert len(set(survival)) > 1 and model.measures["survival"] == pytest.approx(np.mean(survival))


def test_strategies_that_remember_meet_as_in_the_game() -> None:
    game = MatrixGame.prisoners_dilemma(rounds=6)
    policies: dict[str, Any] = {
        "tit_for_tat": societas.policy("scripted", character="tit_for_tat"),
        "defect": {"action": "defect"},
        "equilibrium": "equilibrium",
    }
    model = society(game, policies, agents=24, meet="groups", pace="round", seed=9)
    total = np.zeros(24)
    for _ in range(6):
        model.step()
        total += model.rewards
    named = {
        "tit_for_tat": policies["tit_for_tat"],
        "defect": societas.policy("callable", function=lambda seen: {"action": "defect"}),
        "equilibrium": societas.policy("equilibrium"),
    }
    kinds = set()
    for row in model.seats.tolist():
        names = [model.people[i].strategy for i in row]
        played = societas.play(game, {f"player_{k}": named[name] for k, name in enumerate(names)})
        assert total[row].tolist() == played.returns["player"][0].tolist()
        kinds.add(tuple(sorted(names)))
    assert len(kinds) > 3


def test_roles_are_filled_by_lot_and_theory_holds() -> None:
    game = societas.make("HiddenAction")
    model = society(game, {"principal": "equilibrium", "agent": "equilibrium"}, agents=2000, seed=2)
    welfare = []
    first = np.zeros(2000)
    for _ in range(10):
        model.step()
        welfare.append(model.measures["welfare"])
        first[model.seats[:, 0]] += 1
    assert model.names == ("all",)
    assert np.mean(welfare) == pytest.approx(game.benchmarks().equilibrium.value, abs=0.4)
    assert abs(first.mean() - 5) < 1e-9 and 1 < first.std() < 2.2  # binomial: sqrt(2.5) is 1.58


def test_a_strategy_followed_by_few_is_asked_in_their_worlds_only() -> None:
    asked = []

    class Watched(Policy):
        def act(self, seen: Any, stage: Any, u: Any, memory: Any) -> Any:
            asked.append(stage.shape[0])
            return {"action": seen["own"] * 0}, memory

    policies = {"rare": Watched(), "defect": {"action": "defect"}}
    model = society(DILEMMA, policies, agents=100, shares={"rare": 3, "defect": 97}, seed=1)
    model.step()
    worlds = {
        row for row, pair in enumerate(model.seats.tolist()) if "rare" in [model.people[i].strategy for i in pair]
    }
    assert asked == [len(worlds)]
    cooperating = [person for person in model.people if person.strategy == "rare"]
    assert len(cooperating) == 3 and all(person.reward in (0.0, 3.0) for person in cooperating)


# ---- imitation -------------------------------------------------------------------------------------------------------


def test_the_fermi_rule() -> None:
    gain = np.linspace(-3, 3, 13)
    found = Imitation(noise=0.4).probability(np.zeros(13), gain)
    np.testing.assert_allclose(found, expit(gain / 0.4), atol=1e-12)
    assert Imitation(noise=0).probability(np.zeros(3), np.array([-1.0, 0.0, 1.0])).tolist() == [0.0, 0.5, 1.0]


@pytest.mark.parametrize("rate", [1.0, 0.3])
@pytest.mark.parametrize("network", ["complete", None])
def test_strategies_spread_at_the_expected_speed(rate: float, network: str | None) -> None:
    """The mean change in the number of cooperators is that of pairwise comparison with a random other."""
    count, cooperators, noise = 40, 12, 2.0
    graph = nx.complete_graph(count) if network else None
    how = Imitation(noise=noise, rate=rate)
    model = society(DILEMMA, PURE, agents=count, network=graph, imitation=how, seed=1)
    first = np.array([0] * cooperators + [1] * (count - cooperators))
    low, high = 1.0, 2.5
    model.rewards = np.where(first == 0, low, high)
    model.games = np.ones(count, dtype=int)
    changes = []
    for step in range(600):
        model.steps, model.strategies = step, first
        model.imitate(how)
        changes.append((model.strategies == 0).sum() - cooperators)
    met = cooperators * (count - cooperators) / (count - 1)
    gained, lost = rate * met / (1 + np.exp((high - low) / noise)), rate * met / (1 + np.exp((low - high) / noise))
    assert abs(np.mean(changes) - (gained - lost)) < 4 * np.std(changes) / np.sqrt(600)
    assert np.std(changes) > 0


def test_mean_and_sum_of_rewards() -> None:
    """The centre of a star has many games: it leads by the sum, and trails by the mean."""
    names = ["cooperate"] + ["defect"] * 5
    for payoff, centre in (("sum", "defect"), ("mean", "defect")):
        model = society(DILEMMA, PURE, agents=6, network=nx.star_graph(5), shares=names, seed=1)
        model.step()
        assert model.rewards.tolist() == [0, 5, 5, 5, 5, 5]
        model.imitate(Imitation(noise=0, payoff=payoff))
        assert model.people[0].strategy == centre
    hunt = MatrixGame.stag_hunt(4, 3)
    stags = {"stag": {"action": "stag"}, "hare": {"action": "hare"}}
    for payoff, leaves in (("sum", "stag"), ("mean", "hare")):
        # the centre hunts stag with leaf 1 only: it earns 4 in 5 games; leaf 2 to 5 earn 3 in one
        shares = ["stag", "stag", "hare", "hare", "hare", "hare"]
        model = society(hunt, stags, agents=6, network=nx.star_graph(5), shares=shares, seed=1)
        model.step()
        assert model.rewards.tolist() == [4, 4, 3, 3, 3, 3]
        model.imitate(Imitation(noise=0, payoff=payoff))
        assert {person.strategy for person in model.people[2:]} == {leaves}


def test_mutation_and_rest() -> None:
    model = society(DILEMMA, PURE, agents=2000, shares={"defect": 1}, imitation=Imitation(mutation=1.0), seed=1)
    model.step()
    assert 0.44 < model.share("cooperate") < 0.56
    still = society(DILEMMA, PURE, agents=50, imitation=Imitation(rate=0.0), seed=1)
    before = letters(still)
    still.step()
    assert letters(still) == before


def test_defection_takes_over_and_coordination_does_not() -> None:
    how = Imitation(noise=0.1)
    dilemma = society(DILEMMA, PURE, agents=100, imitation=how, seed=3)
    for _ in range(40):
        dilemma.step()
    assert dilemma.share("defect") == 1.0
    hunt = {"stag": {"action": "stag"}, "hare": {"action": "hare"}}
    stags = society(
        MatrixGame.stag_hunt(5, 3),
        hunt,
        agents=100,
        network="grid",
        shares={"stag": 9, "hare": 1},
        imitation=how,
        seed=3,
    )
    for _ in range(40):
        stags.step()
    assert stags.share("stag") > 0.9  # next to one hare in four a stag earns 3.75, the hare 3


# ---- seeds, data, batches --------------------------------------------------------------------------------------------


def run(seed: int | None, steps: int = 5, **options: Any) -> Society:
    game = societas.make("Fishery", fishers=3, months=3, capacity=20)
    policies = {"random": "random", "fair": "scripted"}
    options = {"agents": 30, "network": "small_world", "imitation": Imitation(1.0, mutation=0.1), **options}
    model = society(game, policies, seed=seed, **options)
    for _ in range(steps):
        model.step()
    return model


@pytest.mark.parametrize("meet", ["hosts", "groups", "fixed"])
def test_everything_follows_from_the_seed(meet: str) -> None:
    one, same, other = run(3, meet=meet), run(3, meet=meet), run(4, meet=meet)
    frames = [model.datacollector.get_agent_vars_dataframe().reset_index() for model in (one, same, other)]
    assert frames[0].equals(frames[1]) and not frames[0].equals(frames[2])
    told = [model.datacollector.get_model_vars_dataframe() for model in (one, same)]
    assert told[0].equals(told[1])


def test_without_a_seed_societies_differ() -> None:
    assert run(None).rewards.tolist() != run(None).rewards.tolist()


def test_the_data_collector_keeps_measures_and_persons() -> None:
    model = run(3)
    told = model.datacollector.get_model_vars_dataframe()
    reports = [measure.name for measure in model.game.reports]
    assert list(told.columns) == [*reports, "welfare", "reward", "share_random", "share_fair"]
    assert len(told) == 6 and told.iloc[0][[*reports, "reward"]].isna().all() and not told.iloc[1:].isna().any().any()
    assert told["share_random"].iloc[0] == 0.5 and (told["share_random"] + told["share_fair"]).eq(1).all()
    persons = model.datacollector.get_agent_vars_dataframe()
    assert len(persons) == 6 * 30
    last = persons.loc[5]
    assert last["reward"].tolist() == [person.reward for person in model.agents]
    assert last["strategy"].tolist() == [person.strategy for person in model.agents]
    assert last.index.tolist() == [person.unique_id for person in model.agents]
    assert told["reward"].iloc[-1] == pytest.approx(last["reward"].mean())


def test_reporters_of_your_own() -> None:
    model = society(DILEMMA, PURE, agents=10, seed=1)
    model.datacollector._new_agent_reporter("games", "games")
    model.datacollector._new_model_reporter("defectors", lambda m: letters(m).count("d"))
    model.step()
    persons = model.datacollector._agent_records[1]  # step, person, strategy, reward, games
    assert [row[4] for row in persons] == [1] * 10 and [row[3] for row in persons] == model.rewards.tolist()
    assert model.datacollector.model_vars["defectors"] == [5]


@pytest.mark.parametrize("processes", [1, 2])
def test_batch_run(processes: int) -> None:
    parameters = {
        "game": "MatrixGame",
        "policies": [PURE],
        "agents": 20,
        "network": ["ring", "random"],
        "repetitions": [1, 2],
        "seed": 5,
    }
    rows = mesa.batch_run(Society, parameters, number_processes=processes, max_steps=2, display_progress=False)
    assert len(rows) == 4 * 20
    model = society("MatrixGame", PURE, agents=20, network="ring", repetitions=2, seed=5)
    model.step()
    model.step()
    mine = [row for row in rows if row["network"] == "ring" and row["repetitions"] == 2]
    assert {row["Step"] for row in mine} == {2} and {row["payoff"] for row in mine} == {model.measures["payoff"]}
    assert [row["reward"] for row in mine] == model.rewards.tolist()


def test_a_person_takes_up_a_strategy_and_cannot_leave() -> None:
    model = society(DILEMMA, PURE, agents=10, network="ring", shares={"defect": 1}, seed=1)
    model.people[3].strategy = "cooperate"
    model.step()
    assert model.people[3].reward == 0.0 and model.people[4].reward == 8.0
    with pytest.raises(RuntimeError, match="cannot leave"):
        model.people[3].remove()
    with pytest.raises(KeyError, match="no strategy 'forgive'; there are: cooperate, defect"):
        model.people[3].strategy = "forgive"


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"agents": 1}, ValueError, "agents: a whole number from 2"),
        ({"network": "village"}, ValueError, "network: one of 'ring'"),
        ({"network": 3}, TypeError, "network: None, a networkx graph"),
        ({"network": nx.path_graph(4)}, ValueError, "network: a place for each of 10 persons, got 4"),
        ({"network": nx.empty_graph(10)}, ValueError, "no two persons are next to each other"),
        ({"network": "ring", "degree": 3}, ValueError, "degree: an even number"),
        ({"network": "ring", "degree": 10}, ValueError, "degree: a whole number from 2 to 9"),
        ({"network": "random", "degree": 3, "agents": 11}, ValueError, "degree x agents must be even"),
        ({"network": "grid", "agents": 7}, ValueError, "at least 3 x 3"),
        ({"network": "small_world", "rewiring": 2}, ValueError, "rewiring: a number from 0 to 1"),
        ({"meet": "edges"}, ValueError, "'edges' takes a network"),
        ({"meet": "anyhow"}, ValueError, "meet: one of"),
        ({"pace": "day"}, ValueError, "pace: one of 'episode', 'round'"),
        ({"shares": {"kind": 1}}, KeyError, "no strategy 'kind'"),
        ({"shares": {"defect": -1}}, ValueError, r"shares\[defect\]: a number from 0"),
        ({"shares": {"defect": 0}}, ValueError, "shares: at least one above 0"),
        ({"shares": ["defect"]}, ValueError, "a strategy for each of 10 persons"),
        ({"policies": {}}, ValueError, "policies: at least one strategy"),
        ({"policies": {"a": 3}}, TypeError, "strategy 'a': a policy, its name"),
        ({"policies": {"a": {"move": "defect"}}}, KeyError, "'move' is neither a role"),
        ({"policies": {"a": {"action": "wait"}}}, ValueError, "action: one of"),
        ({"policies": "nobody"}, KeyError, "nobody"),
        ({"colour": "red"}, TypeError, "parameters colour are for a game given by name"),
    ],
)
def test_bad_input(options: dict[str, Any], error: type[Exception], message: str) -> None:
    made = {"policies": PURE, "agents": 10, **options}
    with pytest.raises(error, match=message):
        society(DILEMMA, made.pop("policies"), **made)


def test_bad_meetings() -> None:
    goods = MatrixGame.public_goods(4)
    with pytest.raises(ValueError, match="'edges' is for games of two"):
        society(goods, "random", agents=10, network="ring", meet="edges")
    with pytest.raises(ValueError, match="nobody has the 3 neighbours"):
        society(goods, "random", agents=10, network="ring", degree=2)
    model = society(goods, "random", agents=10, meet=lambda model: [[1, 2, 3]])
    with pytest.raises(ValueError, match=r"whole numbers \(groups, 4\)"):
        model.step()
    for field in ("noise", "rate", "mutation"):
        with pytest.raises(ValueError, match=f"{field}: a number from 0"):
            Imitation(**{field: -0.1})
    with pytest.raises(ValueError, match="payoff: one of"):
        Imitation(payoff="median")


def test_illegal_acts_are_refused() -> None:
    class Wild(Policy):
        def act(self, seen: Any, stage: Any, u: Any, memory: Any) -> Any:
            return {"action": seen["own"] * 0 + 7}, memory

    with pytest.raises(societas.ActError, match="action"):
        society(DILEMMA, Wild(), agents=10).step()


# ---- a Mesa model as an environment ----------------------------------------------------------------------------------


class Trader(mesa.Agent):
    """Puts coins into a pot and says a word; who has none left leaves."""

    def __init__(self, model: Market) -> None:
        super().__init__(model)
        self.coins, self.reward, self.mood = 3, 0.0, "calm"
        self.heard: list[Any] = []

    def step(self) -> None:
        self.heard.append((self.give, self.word, self.where))
        self.coins -= min(self.give, self.coins)
        self.reward = self.model.random.random() - self.give
        self.mood = "calm" if self.coins else "worried"

    def neighbours_coins(self) -> list[int]:
        return [self.coins, 0]


class Watchman(mesa.Agent):
    """Guards with some strength."""

    reward = 1.0

    def step(self) -> None:
        self.model.guarded += self.strength


class Market(mesa.Model):
    """Traders and a watchman."""

    parts: ClassVar = (
        Part(
            Trader,
            sees=(
                Field("coins", Integer(0, 3), "your coins", "coins"),
                Field("day", Integer(0, 9), "the day"),
                Field("mood", Choice(("calm", "worried")), "how you feel"),
                Field("neighbours_coins", Integer(0, 3), "coins of two", each=("left", "right")),
            ),
            acts=(
                Field("give", Integer(0, 2), "coins into the pot", "coins"),
                Field("word", Text(3), "what you say"),
                Field("where", Choice(("here", "there")), "where you stand"),
            ),
        ),
        Part(
            Watchman,
            sees=(Field("guarded", Real(0, 100), "strength so far"),),
            acts=(Field("strength", Real(0, 2), "how hard you look"),),
            name="guard",
        ),
    )

    def __init__(self, traders: int = 3, days: int = 6, seed: int | None = None) -> None:
        super().__init__(seed=seed)
        Trader.create_agents(self, traders)
        Watchman.create_agents(self, 1)
        self.days, self.guarded, self.day = days, 0.0, 0

    def step(self) -> None:
        self.day += 1
        self.agents.do("step")
        for trader in list(self.agents_by_type[Trader]):
            if not trader.coins:
                trader.remove()
        self.running = self.day < self.days


def test_a_mesa_model_passes_pettingzoos_suite() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the checker advises on style
        parallel_api_test(parallel_env(Market), num_cycles=60)
        parallel_api_test(parallel_env(Market, max_cycles=2), num_cycles=20)
        parallel_seed_test(lambda: parallel_env(Market), num_cycles=20)


def test_fields_are_attributes() -> None:
    env = parallel_env(Market, traders=2)
    assert env.possible_agents == ["trader_0", "trader_1", "guard_0"]
    seen, _ = env.reset(seed=4)
    assert seen["trader_0"].tolist() == [3, 0, 1, 0, 3, 0] and seen["guard_0"].tolist() == [0]
    act = [1, ord("h"), ord("i"), 0, 1]
    seen, rewards, ended, cut, _ = env.step(
        {"trader_0": np.array(act), "trader_1": np.array([2, 0, 0, 0, 0]), "guard_0": np.array([1.5])}
    )
    first = env.model.agents_by_type[Trader][0]
    assert first.heard == [(1, "hi", "there")] and first.coins == 2 and env.model.guarded == 1.5
    assert seen["trader_0"].tolist() == [2, 1, 1, 0, 2, 0] and seen["guard_0"].tolist() == [1.5]
    assert rewards["guard_0"] == 1.0 and rewards["trader_0"] == first.reward < 0
    assert not any(ended.values()) and not any(cut.values())
    assert env.state().tolist() == [v for player in env.possible_agents for v in seen[player].tolist()]


def test_who_leaves_is_terminated_and_the_rest_go_on() -> None:
    env = parallel_env(Market, traders=2, days=4)
    env.reset(seed=1)
    spend, save = np.array([2, 0, 0, 0, 0]), np.array([0, 0, 0, 0, 0])
    gone = []
    for day in range(1, 5):
        actions = {"trader_0": spend, "trader_1": save, "guard_0": np.array([0.0])}
        seen, _, ended, cut, _ = env.step({name: actions[name] for name in env.agents})
        gone.append(sorted(name for name, over in ended.items() if over))
        assert not any(cut.values()) and set(seen) >= set(env.agents), day
    assert gone == [[], ["trader_0"], [], ["guard_0", "trader_1"]]
    assert env.agents == [] and env.step({}) == ({}, {}, {}, {}, {})


def test_resets_follow_from_the_last_seed() -> None:
    env = parallel_env(Market)
    rewards = []
    for seed in (7, None, None, 7, None):
        env.reset(seed=seed)
        actions = {name: env.action_space(name).sample() * 0 for name in env.agents}
        rewards.append(env.step(actions)[1]["trader_0"])
    assert rewards[:2] == rewards[3:] and len(set(rewards)) == 3


def test_what_a_model_lacks_is_named() -> None:
    with pytest.raises(ValueError, match="parts: what agents see and decide"):
        parallel_env(mesa.Model)
    with pytest.raises(ValueError, match="no agents of class Trader"):
        parallel_env(mesa.Model, Market.parts)
    missing = Part(Trader, [Field("hope", Integer(0, 1), "hope")], Market.parts[0].acts)
    with pytest.raises(AttributeError, match="neither Trader nor Market has 'hope'"):
        parallel_env(Market, [missing]).reset(seed=1)
    narrow = Part(Trader, [Field("coins", Integer(0, 2), "coins")], Market.parts[0].acts)
    with pytest.raises(ValueError, match="coins of Trader 1: coins: 3 is not a whole number from 0 to 2"):
        parallel_env(Market, [narrow]).reset(seed=1)
    with pytest.raises(ValueError, match="acts: at least one field for agents of class Trader"):
        Part(Trader, Market.parts[0].sees, [])
    env = parallel_env(Market)
    env.reset(seed=1)
    wrong = {name: env.action_space(name).sample() for name in env.agents} | {"trader_1": np.array([9, 0, 0, 0, 0])}
    with pytest.raises(societas.ActError, match="give: 9.0 is not a whole number from 0 to 2"):
        env.step(wrong)
    with pytest.raises(ValueError, match="max_cycles"):
        parallel_env(Market, max_cycles=0)


def test_grids_with_spare_cells() -> None:
    space = OrthogonalVonNeumannGrid((4, 4), capacity=1, random=mesa.Model(seed=1).random)
    model = society(DILEMMA, PURE, agents=8, network=space, seed=1)
    assert [len(person.neighbours) for person in model.people] == [2, 3, 3, 2, 2, 3, 3, 2]
