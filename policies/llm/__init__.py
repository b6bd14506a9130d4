"""Language models as policies: how they are asked and held to legal acts, what they remember, who checks them, how they learn."""

from .answers import Ledger
from .constrained import Constrained
from .memory import Reflection, Summary, Window
from .policy import VALUES, LanguageModel
from .protocol import Answer, Answers, Message
from .record import Recorded, Replay
from .server import Function, Server
from .train import Tiny, Training, teach
from .verify import Verified

__all__ = [
    "VALUES",
    "Answer",
    "Answers",
    "Constrained",
    "Function",
    "LanguageModel",
    "Ledger",
    "Message",
    "Recorded",
    "Reflection",
    "Replay",
    "Server",
    "Summary",
    "Tiny",
    "Training",
    "Verified",
    "Window",
    "teach",
]
