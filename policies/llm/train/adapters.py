"""What a language model has learned, kept: safetensors and a card."""

from __future__ import annotations

import functools
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ..policy import LanguageModel
    from ..scorer import Scorer


def described(model: Any) -> Any:
    """Return a model in words that JSON takes, by which it can be told from others."""
    from .tiny import Tiny

    if isinstance(model, Tiny):
        return {"Tiny": model.parameters}
    return str(model) if isinstance(model, str | Path) else type(model).__name__


def save(policy: LanguageModel, folder: Path) -> None:
    """Write adapters or weights as safetensors, and the card: base, game, role, mechanisms, training, versions, curve."""
    from ..scorer import Scorer, quiet

    learned = getattr(policy, "learned", None)
    if learned is None or not isinstance(policy.model, Scorer):
        raise RuntimeError("LanguageModel: nothing learned yet; call learn(game, role, episodes=...) first")
    folder.mkdir(parents=True, exist_ok=True)
    with quiet():
        policy.model.model.save_pretrained(folder)  # safetensors, of adapters alone where there are such
        if policy.training.lora is None:
            policy.model.tokenizer.save_pretrained(folder)
    card_ = {**learned, "curve": policy.curve, "training": policy.training.plain()}
    (folder / "card.json").write_text(json.dumps(card_, indent=1, default=str), encoding="utf-8")


def card(folder: str | Path) -> dict[str, Any]:
    """Read the card that ``save`` wrote."""
    path = Path(folder) / "card.json"
    if not path.is_file():
        raise FileNotFoundError(f"adapter: no card.json in {folder}; give a folder that save() wrote")
    found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return found


def restored(folder: str | Path, model: Any, device: str | None) -> Scorer:
    """Return a model with what it learned; it is loaded once a process.

    Raises
    ------
    ValueError
        If adapters were learned for another model.
    """
    about = card(folder)
    if about["training"]["lora"] is not None and about["base"] != described(model):
        raise ValueError(
            f"adapter: {folder} was learned on model {about['base']!r}, and this is {described(model)!r}; give that model"
        )
    stamp = (Path(folder) / "card.json").stat().st_mtime_ns
    return _restored(str(folder), stamp, about["training"]["lora"] is not None, _Held(model), about["seed"], device)


class _Held:
    """A model as a key: two are the same if they are described alike and, where that says little, the same object."""

    def __init__(self, model: Any) -> None:
        self.model = model
        text = json.dumps(described(model))
        self.key = text if text[0] == "{" or isinstance(model, str | Path) else (text, id(model))

    def __hash__(self) -> int:
        return hash(self.key)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Held) and self.key == other.key


@functools.lru_cache(maxsize=2)
def _restored(folder: str, stamp: int, adapters: bool, held: _Held, seed: int, device: str | None) -> Scorer:
    from ..scorer import Scorer

    if not adapters:
        import torch

        return Scorer.load(folder, device=device, dtype=torch.float32)
    from peft import PeftModel

    base = start(held.model, seed, device)
    return Scorer(PeftModel.from_pretrained(base.model, folder), base.tokenizer, device=str(base.device))


def start(model: Any, seed: int, device: str | None) -> Scorer:
    """Return a model of one's own to train, in single precision; others keep theirs.

    Raises
    ------
    TypeError
        If there are no weights to train: a server, a function.
    """
    import copy

    from ..models import locate
    from ..scorer import Scorer
    from .tiny import Tiny

    if isinstance(model, str | Path):
        import torch

        return Scorer.load(locate(str(model)), device=device, dtype=torch.float32)
    if isinstance(model, Tiny):
        return model.fresh(seed)
    if isinstance(model, Scorer):
        return Scorer(copy.deepcopy(model.model).float(), model.tokenizer, device=str(model.device), chunk=model.chunk)
    raise TypeError(
        f"model: {type(model).__name__} has no weights here to train; give a folder, a hub id, a Scorer, or {{'Tiny': {{}}}}"
    )
