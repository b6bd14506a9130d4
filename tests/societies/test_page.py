"""The page renders and its buttons work, as far as that can be seen without a browser."""

from __future__ import annotations

import importlib.util
import sys
from typing import Any

import pytest

from societas.experiments.societies.page import page

SHOWN = importlib.util.find_spec("solara") is not None and importlib.util.find_spec("altair") is not None
needs_solara = pytest.mark.skipif(not SHOWN, reason="the page takes the extra society")


def rendered(name: str, **options: Any) -> tuple[Any, Any, Any]:
    import ipyvuetify
    import solara

    _, context = solara.render(solara.AppLayout(children=[page(name, **options)]), handle_error=False)
    buttons = {button.children[0]: button for button in context.find(ipyvuetify.Btn).widgets}
    return context, buttons, ipyvuetify


def pictures(context: Any) -> list[bytes]:
    import ipywidgets

    return [bytes(image.value) for image in context.find(ipywidgets.Image).widgets]


@needs_solara
@pytest.mark.parametrize(("name", "options", "count"), [("norms", {"agents": 40}, 3), ("village", {}, 4)])
@pytest.mark.filterwarnings("ignore")  # Solara's and Mesa's own
def test_a_society_lives_on_the_page(name: str, options: dict[str, Any], count: int) -> None:
    context, buttons, vuetify = rendered(name, seed=1, **options)
    try:
        spans = lambda: [w.children for w in context.find(vuetify.Html, tag="span").widgets]  # noqa: E731
        assert ["Step: 0"] in spans()
        before = pictures(context)
        assert len(before) == count and all(image.startswith(b"\x89PNG") for image in before)
        for _ in range(3):
            buttons["Step"].click()
        assert ["Step: 3"] in spans()
        after = pictures(context)
        assert len(after) == count and all(a != b for a, b in zip(before, after, strict=True))
        sliders = {slider.label: slider for slider in context.find(vuetify.Slider).widgets}
        assert sliders["Fine"].v_model == (0.5 if name == "norms" else 2.0)
        sliders["Fine"].v_model = 0.0
        buttons["Reset"].click()
        assert ["Step: 0"] in spans()
        buttons["Step"].click()
        assert ["Step: 1"] in spans()
    finally:
        context.close()


@pytest.mark.parametrize("missing", ["solara", "altair"])
def test_without_the_extra_it_is_named(missing: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in [name for name in sys.modules if name.startswith("mesa.visualization")]:
        monkeypatch.delitem(sys.modules, module)
    import mesa

    monkeypatch.delattr(mesa, "visualization", raising=False)
    monkeypatch.setitem(sys.modules, missing, None)
    with pytest.raises(ImportError, match=r"missing: pip install 'societas\[society\]'"):
        page("norms", agents=20)


@needs_solara
def test_components_of_another_generation_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    import solara

    monkeypatch.delattr(solara.v, "TabsItems")
    with pytest.raises(ImportError, match="ipyvuetify below 2"):
        page("norms", agents=20)


def test_another_society_is_refused() -> None:
    with pytest.raises(ValueError, match="society: one of norms, village, got 'city'"):
        page("city")
