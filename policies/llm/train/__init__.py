"""Learning of language models: by rewards in any game, or from scripted play."""

from .learning import teach
from .tiny import Tiny
from .training import Training

__all__ = ["Tiny", "Training", "teach"]
