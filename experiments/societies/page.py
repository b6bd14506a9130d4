"""A page in the browser on which a society lives, with Mesa's Solara components; it takes the extra ``society``."""

from __future__ import annotations

import importlib
import inspect
import warnings
from typing import Any

from .norms import NormDiffusion
from .village import Village

COLOURS = {
    "defector": "#c44e52",
    "cooperator": "#55a868",
    "punisher": "#4c72b0",
    "hypocrite": "#8172b3",
    "greedy": "#c44e52",
    "restrained": "#55a868",
}

SOCIETIES: dict[str, tuple[type[Any], tuple[tuple[str, ...], ...], dict[str, tuple[str, float, float, float]]]] = {
    "norms": (
        NormDiffusion,
        (("cooperating", "punishing"), ("reward",)),
        {
            "fine": ("Fine", 0.0, 2.0, 0.1),
            "cost": ("Cost of punishing", 0.0, 1.0, 0.05),
            "mpcr": ("Return of a unit given, to each", 0.25, 0.95, 0.05),
            "rewiring": ("Ties that lead anywhere", 0.0, 1.0, 0.05),
            "mutation": ("Mutation", 0.0, 0.1, 0.01),
        },
    ),
    "village": (
        Village,
        (("stock", "limit", "catch"), ("price",), ("share_greedy",), ("reward",)),
        {
            "villages": ("Villages", 1, 20, 1),
            "greedy": ("Greedy at the start", 0.0, 1.0, 0.05),
            "greed": ("Greed", 1.0, 2.0, 0.1),
            "concern": ("Concern for the lake", 0.0, 4.0, 0.1),
            "fine": ("Fine", 0.0, 4.0, 0.1),
        },
    ),
}
"""Of each society: its class, what is drawn against time (one picture each), and sliders {parameter: (label, low, high, step)}."""


def page(society: str = "norms", **parameters: Any) -> Any:
    """Return a page on which a society lives: its network, measures against time, and sliders for its parameters.

    Put ``page = page("norms")`` into a file, and run ``solara run FILE``.

    Parameters
    ----------
    society
        ``"norms"`` or ``"village"``.
    parameters
        Of the society; sliders begin there.

    Raises
    ------
    ImportError
        Without Solara and Altair of fitting versions, which the extra ``society`` installs.
    """
    if society not in SOCIETIES:
        raise ValueError(f"society: one of {', '.join(SOCIETIES)}, got {society!r}")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Solara warns of Mesa's own components
            from mesa.visualization import Slider, SolaraViz, SpaceRenderer, make_plot_component
            from mesa.visualization.components import AgentPortrayalStyle
    except ImportError as error:
        raise ImportError(
            f"the page takes Solara and Altair, and {error.name} is missing: pip install 'societas[society]'"
        ) from None
    if not hasattr(importlib.import_module("solara").v, "TabsItems"):
        raise ImportError("the page takes an ipyvuetify below 2, as Mesa does: pip install 'societas[society]'")
    kind, pictures, sliders = SOCIETIES[society]
    model = kind(**parameters)
    given = dict(parameters)
    for name, (label, low, high, step) in sliders.items():
        value = given.get(name, _default(kind, name))
        given[name] = Slider(label, value=value, min=low, max=high, step=step)  # type: ignore[no-untyped-call]
    renderer = None
    if model.grid is not None:
        renderer = SpaceRenderer(model, backend="matplotlib")
        lines = {"node_kwargs": {"node_size": 0}, "edge_kwargs": {"alpha": 0.15, "style": "-"}}
        renderer.draw_structure(**lines)  # type: ignore[no-untyped-call]
        renderer.draw_agents(lambda person: AgentPortrayalStyle(color=COLOURS[person.strategy], size=20))
    return SolaraViz(
        model,
        renderer,
        components=[make_plot_component(list(names)) for names in pictures],
        model_params=given,
        name=kind.__name__,
    )


def _default(kind: type[Any], name: str) -> Any:
    return inspect.signature(kind).parameters[name].default
