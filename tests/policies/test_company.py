"""Company: who has which seat, that each is asked as if alone, and who of them learns."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import societas
from societas.envs.core.policy import Policy, default_acts
from societas.experiments import spec as specs
from societas.policies.callable import Callable
from societas.policies.company import Company
from societas.policies.constant import Constant
from societas.policies.random import Random
from societas.policies.scripted import Scripted
from societas.policies.tabular import TabularQ
from societas.testing import check_policy

FISHERY = societas.make("Fishery", months=4)
FEW, MANY = Constant({"harvest": 1}), Constant({"harvest": 9})


def harvests(done: Any) -> Any:
    """What all fishers took: (months, worlds, fishers)."""
    return np.stack([moment.acts["fisher"]["harvest"] for moment in done.moments])


@settings(max_examples=20, deadline=None)
@given(st.integers(2, 6), st.integers(0, 8))
def test_guests_have_the_last_seats(fishers: int, count: int) -> None:
    game = societas.make("Fishery", fishers=fishers, months=2)
    done = societas.play(game, {"fisher": Company(FEW, MANY, count=count)}, worlds=2, keep=True)
    guests = count if count < fishers else 0  # with no seat left for the others they do not come
    expected = [1] * (fishers - guests) + [9] * guests
    assert (harvests(done) == expected).all()


def test_a_guest_comes_where_there_is_room_among_the_seats_that_are_given() -> None:
    """Bound to single seats it is alone; the other seats belong to whoever else is cast."""
    cast = {"fisher_0": Company(FEW, MANY), "fisher": MANY}
    assert (harvests(societas.play(FISHERY, cast, keep=True)) == [1, 9, 9, 9, 9]).all()
    bound = Company(FEW, MANY, count=2).bind(FISHERY, "fisher", (1, 2, 4))
    assert [part.seats for part in bound.parts] == [(1,), (2, 4)]


def test_it_is_as_if_each_were_cast_for_its_own_seats() -> None:
    """With a memory, and without chance: there is a single greediest fisher, who remembers that he was punished."""
    game = societas.make("Fishery", months=6) | societas.mechanism("Sanction")
    most, guest = Scripted("reciprocator"), Scripted("opportunist")
    together = societas.play(game, {"fisher": Company(most, guest)}, worlds=3, seed=4, keep=True)
    cast = {f"fisher_{i}": most if i < 4 else guest for i in range(5)}
    alone = societas.play(game, cast, worlds=3, seed=4, keep=True)
    np.testing.assert_array_equal(harvests(together), harvests(alone))
    np.testing.assert_array_equal(together.returns["fisher"], alone.returns["fisher"])
    assert len(np.unique(harvests(together)[..., 4])) > 1  # he does


class Counter(Policy):
    """Harvests one more each month, counting for itself; keeps the uniform numbers that it is given."""

    def __init__(self, first: int, draws: int) -> None:
        self.first, self.draws = first, draws
        self.given: list[Any] = []

    def begin(self, batch: tuple[int, ...], xp: Any, device: Any) -> Any:
        return xp.full((*batch, len(self.seats)), self.first, dtype=xp.int64, device=device)

    def act(self, seen: Any, stage: Any, u: Any, memory: Any) -> tuple[Any, Any]:
        assert all(values.shape[: stage.ndim + 1] == (*stage.shape, len(self.seats)) for values in seen.values())
        assert u.shape == (*stage.shape, len(self.seats), self.draws)
        self.given.append(u)
        return {**default_acts(self.role, stage, len(self.seats)), "harvest": memory}, memory + 1


def test_each_keeps_its_own_memory_and_has_the_numbers_that_it_needs() -> None:
    most, guest = Counter(3, draws=2), Counter(10, draws=5)
    company = Company(most, guest, count=2)
    assert company.bind(FISHERY, "fisher", (0, 1, 2, 3, 4)).draws == 5
    done = societas.play(FISHERY, {"fisher": company}, worlds=2, seed=1, keep=True)
    months = np.arange(len(done.moments))[:, None, None]
    assert (harvests(done) == np.array([3, 3, 3, 10, 10]) + months).all()
    seen = [np.concatenate([u.reshape(-1) for u in who.given]) for who in (most, guest)]
    assert all(len(np.unique(u)) == len(u) for u in seen) and not set(seen[0]) & set(seen[1])


@pytest.mark.parametrize(
    "company",
    [Company("random", "random"), Company({"scripted": {"character": "reciprocator"}}, "random", count=3)],
    ids=["random", "scripted"],
)
def test_the_examiner_is_content(company: Company) -> None:
    check_policy(company, FISHERY | societas.mechanism("Sanction"), worlds=6)


def test_a_model_on_the_host_and_a_policy_of_arrays_play_in_torch() -> None:
    pytest.importorskip("torch")
    pytest.importorskip("transformers")
    from societas.policies.llm.policy import LanguageModel

    tiny = {"Tiny": {"games": ["Fishery"], "width": 8, "layers": 1, "heads": 1, "vocabulary": 300}}
    model = LanguageModel(tiny, levels=4, template={"system": "Play.", "user": "{{ brief }}"}, device="cpu")
    game = societas.make("Fishery", fishers=3, months=3)
    check_policy(Company(model, "random"), game, worlds=3)
    found = [
        societas.play(game, {"fisher": Company("random", model, count=2)}, worlds=2, seed=2, backend=backend)
        for backend in ("numpy", "torch")
    ]
    np.testing.assert_array_equal(*(np.asarray(done.returns["fisher"]) for done in found))


# ---- learning -----------------------------------------------------------------------------------------------------


class Pupil(Constant):
    """Learns to harvest 2, and keeps what it was told."""

    told: Mapping[str, Any]

    def learn(self, game: Any, role: str, **told: Any) -> Pupil:
        after = Pupil({"harvest": 2})
        after.told, after.curve = {"game": game, "role": role, **told}, [0.0, 1.0]  # type: ignore[attr-defined]
        return after


def test_most_learn_as_they_do_alone_and_guests_do_not() -> None:
    others, company = {"fisher_4": Random()}, Company(Pupil({"harvest": 7}), MANY)
    learned = company.learn(FISHERY, "fisher", episodes=3, sessions=5, seed=6, others=others)
    assert learned.most.told == {
        "game": FISHERY,
        "role": "fisher",
        "episodes": 3,
        "sessions": 5,
        "seed": 6,
        "others": others,
        "watch": None,
    }
    assert learned.curve == [0.0, 1.0]
    for who, expected in ((learned, [2, 2, 2, 2, 9]), (company, [7, 7, 7, 7, 9])):  # itself it has not changed
        assert (harvests(societas.play(FISHERY, {"fisher": who}, keep=True)) == expected).all()


def test_real_learners_learn_in_company() -> None:
    game = societas.make("MatrixGame")  # a prisoner's dilemma
    start = Company(TabularQ(epsilon=(1.0, 0.1)), Constant({"action": "cooperate"}))
    learned = start.learn(game, "player", episodes=200, sessions=4, seed=1)
    alone = TabularQ(epsilon=(1.0, 0.1)).learn(game, "player", episodes=200, sessions=4, seed=1)
    assert learned.curve == alone.curve and len(learned.curve)
    done = societas.play(game, {"player": learned}, worlds=4, keep=True)
    assert (done.moments[0].acts["player"]["action"] == [1, 0]).all()  # it has learned to defect, the guest has not


def test_who_does_not_learn_is_named() -> None:
    with pytest.raises(ValueError, match="most: Random does not learn; leave out learning"):
        Company("random").learn(FISHERY, "fisher", episodes=1)


# ---- made of data -------------------------------------------------------------------------------------------------


def test_in_a_spec_it_is_made_of_names() -> None:
    given = {"most": {"constant": {"acts": {"harvest": 4}}}, "guests": "random", "count": 2}
    player = specs.Player(policy="company", parameters=given)
    made = specs.build_policy(player, "none")
    assert isinstance(made, Company) and isinstance(made.most, Constant) and isinstance(made.guests, Random)
    assert made.count == 2 and made.most.acts == {"harvest": 4}
    assert isinstance(Company("random").guests, Random)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"most": 3}, "most: a policy, its name, or {name: {parameters}}, got 3"),
        ({"most": {"random": None, "constant": None}}, "most: a policy, its name"),
        ({"most": "random", "guests": {}}, "guests: a policy, its name"),
        ({"most": "random", "count": -1}, "count: a whole number from 0"),
        ({"most": "random", "count": 1.5}, "count: a whole number from 0"),
    ],
)
def test_what_is_none_is_named(given: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said.replace("{", r"\{").replace("}", r"\}")):
        Company(**given)
    with pytest.raises(KeyError, match="did you mean 'random'"):
        Company("randon")


@pytest.mark.parametrize("place", ["most", "guests"])
def test_what_either_lacks_is_said_before_anything_runs(
    place: str, tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SOCIETAS_CACHE", str(tmp_path))
    company = Company(**{"most": "random", "guests": Callable(lambda seen: {"harvest": 1}), place: "llm"})
    with pytest.raises(FileNotFoundError, match="societas fetch smollm2"):
        company.ready()
