"""A fixed, versioned suite of games that says how aligned a model's conduct is, and what moves it.

``evaluate`` runs it, ``suite`` says what it is made of, ``metrics`` what is reported, and ``inspect`` gives it to Inspect.
"""

from .run import evaluate

__all__ = ["evaluate"]
