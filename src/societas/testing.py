"""The examiner: checks that a game, a mechanism or a policy keeps what the library promises its users.

Run it in the tests of your own::

    from societas.testing import check_game, check_mechanism, check_policy

    def test_my_game():
        check_game(MyGame())

Every failure is an ``ExaminationError``, an ``AssertionError`` whose message says where, what is wrong, and what to do.
"""

from __future__ import annotations

from ._examine.acting import check_role, roles_of
from ._examine.arrays import check_arrays
from ._examine.declared import check_declarations
from ._examine.institution import check_against_base, check_kept, check_null
from ._examine.language import check_words
from ._examine.theory import check_levels, check_play
from ._examine.walk import ExaminationError, during, fail, is_frozen
from .envs.core.game import Game
from .envs.core.mechanism import Mechanism
from .envs.core.policy import Policy

BACKENDS = ("numpy", "torch")

__all__ = ["ExaminationError", "check_game", "check_mechanism", "check_policy"]


def check_game(
    game: Game,
    *,
    worlds: int = 64,
    seed: int = 0,
    backends: tuple[str, ...] = BACKENDS,
    theory: bool = True,
) -> None:
    """Examine a game.

    It is an immutable value in which everything has words; what roles see has the declared shape and type and stays
    within its space; a step is a pure function that ends the episode in time; batches of any size and all backends
    agree; measures are those reported; every legal act survives the way through JSON and every illegal one is refused
    by name; the levels of its benchmarks are attained by their play, and its equilibrium withstands simple deviations.

    Parameters
    ----------
    game
        The game.
    worlds
        Worlds of the random play.
    seed
        Its seed.
    backends
        ``"numpy"``, ``"torch"`` (on the host) or ``"torch:cuda"``; each is compared with NumPy.
    theory
        Whether the levels of the benchmarks are played.

    Raises
    ------
    ExaminationError
        At the first thing that is wrong.
    """
    check_declarations(game)
    check_arrays(game, worlds, seed, backends)
    check_words(game, seed)
    check_levels(game)
    if theory:
        check_play(game, seed)


def check_mechanism(
    mechanism: Mechanism,
    game: Game,
    *,
    null: Mechanism | None = None,
    worlds: int = 64,
    seed: int = 0,
    backends: tuple[str, ...] = BACKENDS,
) -> None:
    """Examine a mechanism on a game.

    The result passes ``check_game`` (its levels are the base game's, and are not played); the base game's acts and
    measures are still there, and the rules say what is new; the same acts meet the same chance; players together are
    paid what welfare accounts for, up to ``mechanism.budget``.

    Parameters
    ----------
    mechanism, game
        The mechanism and a game that it suits.
    null
        The mechanism with the parameters at which it changes nothing, where it has such: the result must then be the
        game, bit for bit.
    worlds, seed, backends
        As for ``check_game``.

    Raises
    ------
    ExaminationError
        At the first thing that is wrong.
    """
    who = type(mechanism).__name__
    if not is_frozen(mechanism):
        fail(who, "its parameters can be changed", "decorate the class with @dataclass(frozen=True)")
    with during(f"{game.name} | {who}", "apply"):
        under = game | mechanism
    check_kept(mechanism, game, under)
    check_game(under, worlds=worlds, seed=seed, backends=backends, theory=False)
    check_against_base(mechanism, game, under, worlds, seed)
    if null is not None:
        check_null(null, game, worlds, seed)


def check_policy(
    policy: Policy,
    game: Game,
    role: str | None = None,
    *,
    worlds: int = 64,
    seed: int = 0,
    backends: tuple[str, ...] = BACKENDS,
) -> None:
    """Examine a policy in a game.

    It decides every field of its role, with the declared shape and type and within its space; what it decides follows
    from what it is given; it decides for all seats or for one, and in one world as in the same world among many.

    Parameters
    ----------
    policy, game
        The policy and a game that it can play.
    role
        The role that it plays; None for every role that decides something.
    worlds, seed, backends
        As for ``check_game``.

    Raises
    ------
    ExaminationError
        At the first thing that is wrong.
    """
    with during(type(policy).__name__, "ready"):
        policy.ready()
    for part in roles_of(policy, game, role):
        check_role(policy, game, part, worlds, seed, backends)
