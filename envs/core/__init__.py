"""The vocabulary: fields, roles, games, outcomes, benchmarks, mechanisms, policies; no game in it."""

from .arrays import Array, backend, namespace, to_numpy
from .episodes import Episodes, play
from .fields import Choice, Field, Integer, Real, Role, Text
from .game import Acts, Benchmarks, Game, Level, Measure, Outcome, Seen, Stage, shared, spread, stage_field
from .mechanism import Institution, Mechanism, Unfit
from .policy import Policy
from .rounds import Record, RoundGame, RoundState, Settled
from .words import ActError, Complaint
from .worlds import Cast, Worlds

__all__ = [
    "ActError",
    "Acts",
    "Array",
    "Benchmarks",
    "Cast",
    "Choice",
    "Complaint",
    "Episodes",
    "Field",
    "Game",
    "Institution",
    "Integer",
    "Level",
    "Measure",
    "Mechanism",
    "Outcome",
    "Policy",
    "Real",
    "Record",
    "Role",
    "RoundGame",
    "RoundState",
    "Seen",
    "Settled",
    "Stage",
    "Text",
    "Unfit",
    "Worlds",
    "backend",
    "namespace",
    "play",
    "shared",
    "spread",
    "stage_field",
    "to_numpy",
]
