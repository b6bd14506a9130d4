"""A monitor that judges acts through concepts: each concept has a sparse part of one network, which can be read and mended."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, Self

import numpy as np

from ...envs.core import validate
from ...envs.core.arrays import align, namespace, to_numpy
from ...envs.core.episodes import play
from ...envs.core.policy import Policy, default_acts
from .stable import Society

if TYPE_CHECKING:
    from ...envs.core.arrays import Array
    from ...envs.core.fields import Role
    from ...envs.core.game import Acts, Game, Seen

Table = np.ndarray[Any, Any]
EDITS = ("published", "signed", "specific", "random")


# ---- concepts, computed by the game ---------------------------------------------------------------------------------


class Concept(NamedTuple):
    """What an act may be in a situation: a name, its meaning, and a function of what is seen and done.

    ``holds`` takes arrays (*batch, seats, *components) and returns booleans (*batch, seats).
    """

    name: str
    means: str
    holds: Callable[[Seen, Acts], Array]


def commons(game: Any) -> tuple[Concept, ...]:
    """Return the concepts of a catch from a commons: compliant, fair, efficient.

    Parameters
    ----------
    game
        A commons: it has ``sustainable_share``, ``after`` and ``capacity``, and its users see stock, month, catches,
        caught and total and decide a harvest.
    """
    grown = np.asarray(game.after)

    def compliant(seen: Seen, acts: Acts) -> Array:
        return acts["harvest"] <= game.sustainable_share(seen["stock"], seen["month"] - 1)

    def fair(seen: Seen, acts: Acts) -> Array:
        share = game.sustainable_share(seen["stock"] * 0 + game.capacity, seen["month"] - 1)
        return seen["total"] + acts["harvest"] <= seen["month"] * share

    def efficient(seen: Seen, acts: Acts) -> Array:
        xp = namespace(seen["stock"])
        others = xp.sum(seen["catches"], axis=-1) - seen["caught"]
        left = np.clip(to_numpy(seen["stock"] - others - acts["harvest"]), 0, game.capacity).astype(int)
        return xp.asarray(grown[left] >= to_numpy(seen["stock"]))

    return (
        Concept("compliant", "takes no more than the sustainable share of the stock", compliant),
        Concept("fair", "has taken, with this catch, no more than an equal part of what could be taken so far", fair),
        Concept("efficient", "the stock grows back if the others take what they took last", efficient),
    )


def most(concepts: Sequence[Concept], name: str = "accepted") -> Concept:
    """Return the judgement that most of some concepts hold: more than half of them."""
    known = tuple(concepts)

    def holds(seen: Seen, acts: Acts) -> Array:
        found = sum(to_numpy(concept.holds(seen, acts)).astype(int) for concept in known)
        return np.asarray(2 * found > len(known))

    return Concept(name, f"most of: {', '.join(concept.name for concept in known)}", holds)


class Varied(Policy):
    """Decides every number of an act uniformly from its lowest value to a bound that depends on what is seen.

    Acts of all kinds are thereby seen by who learns to judge them.

    Parameters
    ----------
    upto
        {field: function of what is seen (*batch, seats)}; fields without one go up to their highest value.
    """

    def __init__(self, upto: Mapping[str, Callable[[Seen], Array]] | None = None) -> None:
        self.upto = dict(upto or {})

    def bind(self, game: Game, role: str, seats: tuple[int, ...]) -> Self:
        """Count the numbers to draw; refuse a field without bounds, or one that the role does not decide."""
        bound = super().bind(game, role, seats)
        names = [field.name for field in bound.role.acts]
        if unknown := sorted(set(self.upto) - set(names)):
            raise KeyError(f"upto: {role} decides {', '.join(names)}, got {unknown[0]!r}")
        for field in bound.role.acts:
            if (field.shape and len(field.shape) > 1) or not np.isfinite([field.space.low, field.space.high]).all():
                raise ValueError(f"acts: {field.name!r} of {role} has no bounds or is a text, and cannot be varied")
        bound.draws = sum(max(1, len(field.each)) for field in bound.role.acts)
        return bound

    def act(self, seen: Seen, stage: Array, u: Array, memory: Any) -> tuple[Acts, Any]:
        """Draw."""
        xp, acts, begin = namespace(u), default_acts(self.role, stage, len(self.seats)), 0
        for field in self.role.acts:
            count = max(1, len(field.each))
            part = u[..., begin : begin + count] if field.each else u[..., begin]
            begin += count
            bound = self.upto[field.name](seen) if field.name in self.upto else part * 0 + field.space.high
            high = xp.clip(align(bound, part) + part * 0.0, field.space.low, field.space.high)
            low = field.space.low
            drawn = xp.floor(part * (high - low + 1.0)) if field.discrete else part * (high - low)
            acts[field.name] = xp.astype(low + drawn, acts[field.name].dtype)
        return acts, memory


class Cases(NamedTuple):
    """Acts in situations: inputs x (cases, in), whether each concept holds (cases, concepts), and the label (cases,)."""

    x: Table
    concepts: Table
    label: Table


def features(role: Role) -> Callable[[Seen, Acts], Table]:
    """Return a function that lays what is seen and done out as numbers, (*batch, seats, in).

    Another function may stand for it, such as one that reads a hidden state of a language model.
    """
    from ...envs.views.spaces import Flat

    flat = Flat(role)

    def laid_out(seen: Seen, acts: Acts) -> Table:
        parts = [to_numpy(flat.flatten(seen)).astype(float)]
        for field in role.acts:
            values = to_numpy(acts[field.name]).astype(float)
            parts.append(values if field.each else values[..., None])
        return np.concatenate(parts, axis=-1)

    return laid_out


def cases(
    society: Society,
    policy: Policy,
    concepts: Sequence[Concept],
    label: Concept,
    *,
    worlds: int,
    seed: int,
    inputs: Callable[[Seen, Acts], Table] | None = None,
) -> Cases:
    """Play, and return every act of a role with what the game says of it.

    Parameters
    ----------
    society
        The game, the role, and the policies of the others.
    policy
        Plays the role; ``Varied`` shows acts of all kinds.
    concepts, label
        What is computed of each act.
    worlds, seed
        As for ``play``.
    inputs
        What a monitor reads; None for ``features``.
    """
    game, name = society.game, society.role
    role = game.role(name)
    read = inputs or features(role)
    played = play(game, {**society.others, name: policy}, worlds=worlds, seed=seed, keep=True)
    rows: list[tuple[Table, Table, Table]] = []
    for moment in played.moments:
        asked = [[bool(role.deciding(s.name, i)) for i in range(role.count)] for s in game.stages]
        here = np.asarray(asked)[np.asarray(moment.stage)] & np.asarray(moment.live)[:, None]
        seen, acts = moment.seen[name], moment.acts[name]
        holds = np.stack([to_numpy(concept.holds(seen, acts)) for concept in concepts], axis=-1)
        rows.append((read(seen, acts)[here], holds[here], to_numpy(label.holds(seen, acts))[here]))
    x, known, judged = (np.concatenate([row[i] for row in rows]) for i in range(3))
    return Cases(x.astype(np.float32), known.astype(bool), judged.astype(bool))


# ---- masks -----------------------------------------------------------------------------------------------------------


def importance(weights: Any, gradients: Any, *, block: int = 20, damp: float = 1e-7) -> Any:
    """Return w^2 / (2 [F^-1]_ii), what the loss would rise by if a weight were removed, of weights (p,).

    F = damp I + (1/m) sum_j g_j g_j^T, the empirical Fisher matrix of m gradients (m, p), in blocks of ``block`` weights
    that follow each other, all others zero: the optimal brain surgeon (Hassibi and Stork 1992) as oBERT takes it
    (Kurtic et al. 2022, arXiv:2203.07259). In double precision.
    """
    import torch

    count, size = gradients.shape
    if weights.shape != (size,) or not count:
        raise ValueError(f"gradients: (m, {len(weights)}) with m at least 1, got {tuple(gradients.shape)}")
    validate.whole("block", block, 1, 100_000)
    pad = -size % block
    rows = torch.nn.functional.pad(gradients.double(), (0, pad)).reshape(count, -1, block).transpose(0, 1)
    fisher = rows.transpose(1, 2) @ rows / count + validate.real("damp", damp, 1e-12, 1e6) * torch.eye(block).double()
    inverse = torch.linalg.inv(fisher).diagonal(dim1=1, dim2=2).reshape(-1)[:size]
    return weights.double() ** 2 / (2.0 * inverse.clamp(min=1e-300))


def pruned(mask: Any, scores: Any, sparsity: float) -> Any:
    """Return a mask (p,) of which the share ``sparsity`` is dropped, rounded down: the kept weights of lowest score go first.

    What was dropped before stays so, also if it is more than that.
    """
    import torch

    gone = int(validate.probability("sparsity", sparsity) * len(mask) + 1e-9)
    order = torch.where(mask, scores, -torch.inf).argsort(stable=True)
    kept = mask.clone()
    kept[order[:gone]] = False
    return kept


def edited(
    mask: Any, weights: Any, gradient: Any, count: int, rule: str = "published", seed: int = 0, usual: Any = None
) -> Any:
    """Return a mask (p,) with ``count`` weights dropped and as many others regrown.

    Parameters
    ----------
    mask
        Which weights are kept, booleans (p,).
    weights
        All weights, also those that are dropped, (p,).
    gradient
        Gradient g of a loss in the weights as masked, also for those that are dropped (p,).
    count
        How many are exchanged: at most as many as are kept, and as are dropped.
    rule
        ``"published"``: the lowest |M g W| are dropped, the largest |g W| regrown (Tan et al. 2024, after RigL, Evci et al.
        2020, arXiv:1911.11134). ``"signed"``: of g W, by which regrowing a weight changes the loss to first order, the
        largest are dropped and the lowest regrown. ``"specific"``: so also, with g divided by what is usual. ``"random"``: the
        control.
    seed
        Of the control.
    usual
        Root mean square of the gradient over other cases (p,), for ``"specific"``: a weight that matters here and seldom
        elsewhere is preferred.
    """
    import torch

    validate.one_of("rule", rule, EDITS)
    kept, gone = int(mask.sum()), int((~mask).sum())
    validate.whole("count", count, 0, min(kept, gone))
    if rule == "specific":
        if usual is None:
            raise ValueError("usual: the gradient's usual size, got none; give it, or take the rule 'signed'")
        gradient = gradient / (usual + 1e-3 * usual.max() + 1e-12)
    change = gradient * weights
    if rule == "random":
        drop = grow = torch.from_numpy(np.random.default_rng(seed).random(len(mask)))
    elif rule == "published":
        drop, grow = change.abs(), -change.abs()
    else:
        drop, grow = -change, change
    found = mask.clone()
    found[torch.where(mask, drop, torch.inf).argsort(stable=True)[:count]] = False
    found[torch.where(mask, torch.inf, grow).argsort(stable=True)[:count]] = True
    return found


def overlap(one: Any, two: Any) -> float:
    """Return the intersection over the union of two masks; 1 for two that keep nothing."""
    both, either = int((one & two).sum()), int((one | two).sum())
    return both / either if either else 1.0


# ---- the monitor -----------------------------------------------------------------------------------------------------


class Monitor:
    """A bottleneck of concepts: inputs, a network of which each concept uses its own part, concepts, and from these the label.

    Two hidden layers have weights W that all share; concept k uses M_k * W, in training as in use, and has a logit of its
    own; the label's logit is linear in those of the concepts, and reads nothing else (Koh et al. 2020,
    arXiv:2007.04612; with sparse parts, SparseCBM: Tan et al. 2024, "Sparsity-guided holistic explanation for LLMs with
    interpretable inference-time intervention", AAAI). In the published code the parts of different concepts were
    found but the forward pass always took the first one's; here each concept's own part is used.

    Attributes
    ----------
    concepts
        Names.
    weights
        Tensors: W1 (in, width), b1, W2 (width, width), b2, heads (concepts, width), c (concepts,), label (concepts,), d ();
        and middle and scale (in,) of the cases it learned from, by which inputs are standardised.
    masks
        Booleans (concepts, p = in width + width width): first W1's, then W2's, row by row.
    usual
        Root mean square of the gradient of each concept's loss, over cases one by one, in these weights (concepts, p).
    """

    def __init__(self, concepts: Sequence[str], inputs: int, width: int = 64, seed: int = 0) -> None:
        import torch

        self.concepts = tuple(concepts)
        many = validate.whole("concepts", len(self.concepts), 1, 1000)
        self.inputs = validate.whole("inputs", inputs, 1, 1_000_000)
        self.width = validate.whole("width", width, 1, 100_000)
        made = torch.Generator().manual_seed(validate.whole("seed", seed, 0, 2**40))

        def normal(*shape: int) -> Any:
            return torch.randn(shape, generator=made) * (2.0 / shape[-2 if len(shape) > 1 else -1]) ** 0.5

        self.weights: dict[str, Any] = {
            "W1": normal(inputs, width), "b1": torch.zeros(width), "W2": normal(width, width), "b2": torch.zeros(width),
            "heads": torch.randn((many, width), generator=made) / width**0.5, "c": torch.zeros(many),
            "label": torch.ones(many) / many, "d": torch.zeros(()),
            "middle": torch.zeros(inputs), "scale": torch.ones(inputs),
        }  # fmt: skip
        self.masks = torch.ones((many, inputs * width + width * width), dtype=torch.bool)
        self.usual = torch.zeros(self.masks.shape)

    @property
    def sparsity(self) -> list[float]:
        """Share of the shared weights that each concept does not use."""
        return [float(1.0 - mask.float().mean()) for mask in self.masks]

    def place(self, concept: str) -> int:
        """Return the number of a concept."""
        if concept not in self.concepts:
            raise KeyError(f"concept: one of {', '.join(self.concepts)}, got {concept!r}")
        return self.concepts.index(concept)

    def flat(self) -> Any:
        """Return the shared weights as one row (p,), in the order of the masks."""
        import torch

        return torch.cat([self.weights["W1"].reshape(-1), self.weights["W2"].reshape(-1)])

    def forward(self, x: Any, used: Any = None) -> tuple[Any, Any]:
        """Return logits of concepts (cases, concepts) and of the label (cases,).

        Parameters
        ----------
        x
            Inputs (cases, in).
        used
            The weights that each concept uses (concepts, p); None for the shared ones under the masks.
        """
        import torch

        w = self.weights
        used = self.masks * self.flat() if used is None else used
        one, two = used.split([self.inputs * self.width, self.width**2], dim=1)
        x = (x - w["middle"]) * w["scale"]
        hidden = torch.relu(x @ one.reshape(-1, self.inputs, self.width) + w["b1"])
        hidden = torch.relu(hidden @ two.reshape(-1, self.width, self.width) + w["b2"])
        logits = (hidden * w["heads"][:, None]).sum(-1).T + w["c"]
        return logits, logits @ w["label"] + w["d"]

    def judge(self, x: Table, masks: Any = None) -> tuple[Table, Table]:
        """Return the chances that each concept holds (cases, concepts) and that the label does (cases,)."""
        import torch

        used = None if masks is None else masks * self.flat()
        with torch.no_grad():
            logits, label = self.forward(torch.as_tensor(np.asarray(x), dtype=torch.float32), used)
        return torch.sigmoid(logits).numpy(), torch.sigmoid(label).numpy()

    def accuracy(self, cases: Cases, masks: Any = None) -> dict[str, float]:
        """Return the share of cases that it judges right, by concept, and ``"label"``."""
        chances, label = self.judge(cases.x, masks)
        right = ((chances > 0.5) == cases.concepts).mean(axis=0)
        found = dict(zip(self.concepts, right.tolist(), strict=True))
        return found | {"label": float(((label > 0.5) == cases.label).mean())}

    def gradients(self, cases: Cases, batches: int = 20, size: int = 32, seed: int = 0) -> Any:
        """Return gradients of each concept's own loss in the weights that it uses, (concepts, batches, p)."""
        import torch

        rng, found = np.random.default_rng(seed), []
        for _ in range(batches):
            rows = rng.integers(len(cases.x), size=size)
            used = (self.masks * self.flat()).detach().requires_grad_()
            logits, _ = self.forward(torch.from_numpy(cases.x[rows]), used)
            gold = torch.from_numpy(cases.concepts[rows]).float()
            loss = torch.nn.functional.binary_cross_entropy_with_logits(logits, gold, reduction="none").mean(0).sum()
            found.append(torch.autograd.grad(loss, used)[0])
        return torch.stack(found, dim=1)

    def prune(self, cases: Cases, sparsity: float, seed: int = 0) -> None:
        """Drop, of what each concept uses, what is of least ``importance`` to it, up to a sparsity."""
        import torch

        found, weights = self.gradients(cases, seed=seed), self.flat().detach()
        rows = []
        for mask, gradients in zip(self.masks, found, strict=True):
            rows.append(pruned(mask, importance(mask * weights, gradients), sparsity))
        self.masks = torch.stack(rows)

    # ---- mending --------------------------------------------------------------------------------------------------

    def mended(
        self, x: Table, concept: str, truth: bool, ratio: float = 0.001, rule: str = "specific", seed: int = 0
    ) -> Any:
        """Return masks in which that of a concept is ``edited``, for somebody has said what is true of a case.

        Feedback of an oracle: the truth of the concept is given by whoever knows it (a court, an arbitrator); the monitor
        cannot tell by itself that it is wrong. The masks are of use for this case; the monitor keeps its own.

        Parameters
        ----------
        x
            The case, (in,).
        concept, truth
            The concept, and whether it holds.
        ratio
            Share of the mask's weights that is exchanged, at least one.
        rule, seed
            As for ``edited``.
        """
        import torch

        k = self.place(concept)
        validate.real("ratio", ratio, 0.0, 1.0)
        used = (self.masks * self.flat()).detach().requires_grad_()
        logits, _ = self.forward(torch.as_tensor(np.asarray(x)[None], dtype=torch.float32), used)
        gold = torch.full((1,), float(truth))
        loss = torch.nn.functional.binary_cross_entropy_with_logits(logits[:, k], gold)
        gradient = torch.autograd.grad(loss, used)[0][k]
        kept = int(self.masks[k].sum())
        count = min(max(1, round(ratio * len(gradient))), kept, len(gradient) - kept)
        masks = self.masks.clone()
        masks[k] = edited(self.masks[k], self.flat().detach(), gradient, count, rule, seed, self.usual[k])
        return masks

    # ---- keeping --------------------------------------------------------------------------------------------------

    def save(self, path: Any) -> None:
        """Write it as a .safetensors file."""
        from .merge import write

        masks = {f"mask.{k}.{name}": mask for k, (name, mask) in enumerate(zip(self.concepts, self.masks, strict=True))}
        write({**self.weights, **masks, "usual": self.usual}, path)

    @classmethod
    def load(cls, path: Any) -> Monitor:
        """Read what ``save`` wrote."""
        import torch

        from .merge import read

        tensors = read(path)
        found = sorted((int(part[1]), part[2], name) for name in tensors if (part := name.split(".", 2))[0] == "mask")
        made = cls([name for _, name, _ in found], *tensors["W1"].shape)
        made.weights = {name: tensors[name] for name in made.weights}
        made.masks, made.usual = torch.stack([tensors[name] for _, _, name in found]), tensors["usual"]
        return made


def fit(
    concepts: Sequence[str],
    cases: Cases,
    budget: int,
    seed: int,
    *,
    width: int = 64,
    sparsity: float = 0.75,
    first: float = 0.2,
    weight: float = 5.0,
    rate: float = 3e-3,
    batch: int = 128,
) -> Monitor:
    """Learn a monitor; prune it on the way.

    The loss is ``weight`` times the mean cross-entropy of the concepts plus that of the label. Between a fifteenth and half of
    the epochs the sparsity rises from ``first`` to its target, epoch by epoch, as in the published recipe (of 30 epochs, the
    second to the fifteenth); the rest relearns.

    Parameters
    ----------
    concepts
        Names, in the order of ``cases.concepts``.
    cases
        What is learned from.
    budget
        Epochs, at least 2.
    seed
        Seed of all chance.
    width
        Width of the hidden layers.
    sparsity
        Share of the shared weights that no concept uses in the end; 0 for a dense monitor.
    first, weight, rate, batch
        Sparsity at first, weight of the concepts, learning rate (Adam), and cases of a step.
    """
    import torch

    validate.whole("budget", budget, 2, 1_000_000)
    validate.probability("sparsity", sparsity)
    validate.probability("first", first)
    if cases.concepts.shape != (len(cases.x), len(concepts)):
        raise ValueError(
            f"cases: concepts of shape {(len(cases.x), len(concepts))}, got {cases.concepts.shape}; name each concept once"
        )
    monitor = Monitor(concepts, cases.x.shape[1], width, seed)
    x, gold = torch.from_numpy(cases.x), torch.from_numpy(cases.concepts).float()
    deviation = x.std(dim=0, correction=0)
    scale = torch.where(deviation > 1e-6, 1.0 / deviation.clamp(min=1e-6), 0.0)
    monitor.weights |= {"middle": x.mean(dim=0), "scale": scale}
    learned = [tensor.requires_grad_() for name, tensor in monitor.weights.items() if name not in ("middle", "scale")]
    adam = torch.optim.Adam(learned, lr=validate.real("rate", rate, 1e-9, 1.0))
    rng = np.random.default_rng(seed)
    begin, end, begun = max(1, budget // 15), max(1, budget // 2), min(first, sparsity)
    judged, entropy = torch.from_numpy(cases.label).float(), torch.nn.functional.binary_cross_entropy_with_logits
    for epoch in range(budget):
        if sparsity and begin <= epoch <= end:
            share = (epoch - begin) / (end - begin) if end > begin else 1.0
            monitor.prune(cases, begun + share * (sparsity - begun), seed)
        order = torch.from_numpy(rng.permutation(len(x)))
        for rows in torch.split(order, batch):
            logits, label = monitor.forward(x[rows])
            loss = weight * entropy(logits, gold[rows]) + entropy(label, judged[rows])
            adam.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            adam.step()
    for tensor in monitor.weights.values():
        tensor.requires_grad_(False)
    monitor.usual = (monitor.gradients(cases, 256, 1, seed) ** 2).mean(dim=1).sqrt()
    return monitor


def trial(
    monitor: Monitor, cases: Cases, *, ratio: float = 0.001, rule: str = "specific", most: int = 60, seed: int = 0
) -> dict[str, float]:
    """Mend up to ``most`` wrong judgements, each by itself; return what that did.

    The truth comes from the game, so that this is an upper bound: what an expert could reach who names every error.

    Returns
    -------
    dict
        ``errors`` tried; ``fixed``, the share judged right afterwards; ``collateral``, the mean change of the concept's
        accuracy on all other cases if the edit stayed; ``label_before`` and ``label_after``, the share of these cases of which
        the label is right; ``edited``, the share of the concept's mask that an edit changes.
    """
    chances, label = monitor.judge(cases.x)
    wrong = np.argwhere((chances > 0.5) != cases.concepts)
    wrong = wrong[np.random.default_rng(seed).permutation(len(wrong))[:most]]
    fixed, collateral, after, changed = [], [], [], []
    for row, k in wrong:
        truth = bool(cases.concepts[row, k])
        masks = monitor.mended(cases.x[row], monitor.concepts[k], truth, ratio, rule, seed + int(row))
        now, judged = monitor.judge(cases.x, masks)
        right = (now[:, k] > 0.5) == cases.concepts[:, k]
        was = (chances[:, k] > 0.5) == cases.concepts[:, k]
        fixed.append(bool(right[row]))
        others = np.arange(len(right)) != row
        collateral.append(float(right[others].mean() - was[others].mean()))
        after.append((judged[row] > 0.5) == cases.label[row])
        changed.append(float((masks[k] != monitor.masks[k]).float().mean()))
    rows = wrong[:, 0]
    return {
        "errors": float(len(wrong)),
        "fixed": float(np.mean(fixed)) if fixed else float("nan"),
        "collateral": float(np.mean(collateral)) if fixed else float("nan"),
        "label_before": float(((label[rows] > 0.5) == cases.label[rows]).mean()) if fixed else float("nan"),
        "label_after": float(np.mean(after)) if fixed else float("nan"),
        "edited": float(np.mean(changed)) if fixed else float("nan"),
    }


# ---- in use ----------------------------------------------------------------------------------------------------------


class Watched(Policy):
    """A policy whose acts pass a monitor first; what does not is replaced.

    Parameters
    ----------
    policy
        Whose acts are judged.
    monitor
        The judge.
    demand
        What must hold for an act to pass: names of concepts, or ``"label"``.
    instead
        Who acts where an act does not pass; None for the null act. Its acts are not judged.
    inputs
        What the monitor reads; None for ``features`` of the role.
    """

    _read: Callable[[Seen, Acts], Table]
    _asked: Table

    def __init__(
        self,
        policy: Policy,
        monitor: Monitor,
        demand: Sequence[str] = ("label",),
        instead: Policy | None = None,
        inputs: Callable[[Seen, Acts], Table] | None = None,
    ) -> None:
        self.policy, self.monitor, self.instead, self.inputs = policy, monitor, instead, inputs
        self.demand = validate.names("demand", demand)
        for name in self.demand:
            if name != "label":
                monitor.place(name)

    def ready(self) -> None:
        """Ask both policies."""
        for policy in (self.policy, self.instead):
            if policy is not None:
                policy.ready()

    def bind(self, game: Game, role: str, seats: tuple[int, ...]) -> Self:
        """Bind both policies; refuse a role whose acts the monitor cannot read."""
        bound = copy.copy(super().bind(game, role, seats))
        bound.policy = self.policy.bind(game, role, seats)
        bound.instead = None if self.instead is None else self.instead.bind(game, role, seats)
        bound.draws = bound.policy.draws + (bound.instead.draws if bound.instead is not None else 0)
        bound._read = self.inputs or features(bound.role)
        asked = [[bool(bound.role.deciding(s.name, i)) for i in seats] for s in game.stages]
        bound._asked = np.asarray([*asked, [False] * len(seats)])  # -1: it is over
        return bound

    def begin(self, batch: tuple[int, ...], xp: Any, device: Any) -> Any:
        """Return the memories of both."""
        return tuple(None if p is None else p.begin(batch, xp, device) for p in (self.policy, self.instead))

    def act(self, seen: Seen, stage: Array, u: Array, memory: Any) -> tuple[Acts, Any]:
        """Act; where an act does not pass, act instead."""
        xp, mine = namespace(stage), self.policy.draws
        acts, kept = self.policy.act(seen, stage, u[..., :mine], memory[0])
        other, spare = default_acts(self.role, stage, len(self.seats)), None
        if self.instead is not None:
            other, spare = self.instead.act(seen, stage, u[..., mine:], memory[1])
        passes = xp.asarray(self.passes(seen, acts) | ~self._asked[to_numpy(stage)])
        return {n: xp.where(align(passes, v), v, other[n]) for n, v in acts.items()}, (kept, spare)

    def passes(self, seen: Seen, acts: Acts) -> Table:
        """Say which acts pass, (*batch, seats)."""
        x = self._read(seen, acts)
        chances, label = self.monitor.judge(x.reshape(-1, x.shape[-1]))
        rows = [label if name == "label" else chances[:, self.monitor.place(name)] for name in self.demand]
        return np.asarray(np.all([row > 0.5 for row in rows], axis=0)).reshape(x.shape[:-1])


def wrap(
    policy: Policy, monitor: Monitor, demand: Sequence[str] = ("label",), instead: Policy | None = None
) -> Watched:
    """Return the policy under the monitor's veto; the parameters are those of ``Watched``."""
    return Watched(policy, monitor, demand, instead)


def explain(monitor: Monitor, x: Table, label: str = "accepted") -> str:
    """Say in words how a case (in,) is judged: each concept, and what it adds to the label's log-odds."""
    import torch

    with torch.no_grad():
        logits, total = monitor.forward(torch.as_tensor(np.asarray(x)[None], dtype=torch.float32))
    odds = torch.sigmoid(logits)[0].tolist()
    adds = (logits[0] * monitor.weights["label"]).tolist()
    parts = [
        f"{name if chance > 0.5 else 'not ' + name} (chance {chance:.2f}, adds {add:+.2f})"
        for name, chance, add in zip(monitor.concepts, odds, adds, strict=True)
    ]
    verdict = f"{label if float(total) > 0 else 'not ' + label} (chance {float(torch.sigmoid(total)):.2f}"
    return f"{', '.join(parts)}; so {verdict}, log-odds {float(total):+.2f} with {float(monitor.weights['d']):+.2f} to begin with)"
