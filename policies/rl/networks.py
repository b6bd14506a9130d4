"""Networks as plain dictionaries of weights: several of one shape side by side, on NumPy to play and on torch to learn."""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ...envs.core.arrays import Array, namespace

ACTIVATIONS = ("tanh", "relu")

Weights = Mapping[str, Array]


def build(torch: Any, generator: Any, nets: int, sizes: Sequence[int], memory: int, last: float) -> dict[str, Any]:
    """Return the weights of ``nets`` networks: inputs, a GRU of width ``memory`` unless 0, hidden layers, outputs.

    Each matrix has orthogonal rows or columns (Saxe, McClelland and Ganguli 2014), the hidden ones of gain sqrt 2, the
    one of the outputs ``last`` (Andrychowicz et al. 2021, arXiv:2006.05990).

    Parameters
    ----------
    torch, generator
        The library and the source of its chance.
    nets
        How many networks.
    sizes
        Numbers of inputs, of units a hidden layer, and of outputs.
    memory
        Width of the GRU; 0 for none.
    last
        Gain of the outputs.
    """

    def matrix(rows: int, columns: int, gain: float) -> Any:
        drawn = torch.randn(nets, max(rows, columns), min(rows, columns), generator=generator, dtype=torch.float64)
        q, r = torch.linalg.qr(drawn)
        q = q * torch.sign(torch.diagonal(r, dim1=-2, dim2=-1))[:, None, :]
        return (gain * (q if rows >= columns else q.mT)).float().contiguous()

    weights = {}
    inputs, *rest = sizes
    if memory:
        gates = [torch.cat([matrix(width, memory, 1.0) for _ in range(3)], dim=-1) for width in (inputs, memory)]
        zero = torch.zeros(nets, 1, 3 * memory)
        weights = {"gru.weight": gates[0], "gru.recurrent": gates[1], "gru.bias": zero, "gru.inner": zero.clone()}
        inputs = memory
    for i, (width, height) in enumerate(itertools.pairwise((inputs, *rest))):
        weights[f"weight.{i}"] = matrix(width, height, last if i == len(rest) - 1 else math.sqrt(2))
        weights[f"bias.{i}"] = torch.zeros(nets, 1, height)
    return weights


def linear(x: Array, weight: Array, bias: Array, quick: bool = True) -> Array:
    """Return x W + b for rows x (nets, rows, in).

    Not ``quick``, NumPy adds up in an order that does not depend on the number of rows, as that of BLAS does.
    """
    if isinstance(x, np.ndarray):
        return (x @ weight if quick else np.einsum("nri,nio->nro", x, weight)) + bias
    import torch

    return torch.baddbmm(bias, x, weight)


def tanh(x: Array) -> Array:
    """Return the hyperbolic tangent; that of torch on the host is slow, and the logistic function says the same."""
    if isinstance(x, np.ndarray):
        return np.tanh(x)
    import torch

    if x.device.type != "cpu" or torch.compiler.is_compiling():
        return x.tanh()
    return _quick_tanh()(x)


@functools.cache
def _quick_tanh() -> Any:
    """Return the hyperbolic tangent 2 s(2 x) - 1 of torch, s the logistic function, with its derivative."""
    import torch

    class Tanh(torch.autograd.Function):
        @staticmethod
        def forward(found: Any, x: Any) -> Any:
            y = (x + x).sigmoid_().mul_(2.0).sub_(1.0)
            found.save_for_backward(y)
            return y

        @staticmethod
        def backward(found: Any, slope: Any) -> Any:
            (y,) = found.saved_tensors
            return torch.ops.aten.tanh_backward(slope, y)

    return Tanh.apply


def remember(w: Weights, x: Array, memory: Array, quick: bool = True) -> Array:
    """Return the memory (nets, rows, width) of a GRU after it has seen x (Cho et al. 2014, arXiv:1406.1078)."""
    width = memory.shape[-1]
    new, old = (
        linear(x, w["gru.weight"], w["gru.bias"], quick),
        linear(memory, w["gru.recurrent"], w["gru.inner"], quick),
    )
    gates = 0.5 + 0.5 * tanh(0.5 * (new[..., : 2 * width] + old[..., : 2 * width]))  # the logistic function
    reset, keep = gates[..., :width], gates[..., width:]
    fresh = tanh(new[..., 2 * width :] + reset * old[..., 2 * width :])
    return fresh + keep * (memory - fresh)


def forward(w: Weights, x: Array, activation: str, quick: bool = True) -> Array:
    """Return the outputs (nets, rows, out) of the layers above the GRU, for rows x (nets, rows, in)."""
    xp, layers = namespace(x), sum(name.startswith("weight.") for name in w)
    for i in range(layers):
        if i:
            x = tanh(x) if activation == "tanh" else xp.clip(x, 0.0, None)
        x = linear(x, w[f"weight.{i}"], w[f"bias.{i}"], quick)
    return x


def rows(values: Array, nets: int) -> Array:
    """Lay (*batch, seats, n) out as rows (nets, rows, n): all seats for one network, or each seat for its own."""
    if nets == 1:
        return values.reshape((1, -1, values.shape[-1]))
    moved = namespace(values).moveaxis(values, -2, 0)
    return moved.reshape((nets, -1, values.shape[-1]))


def unrows(values: Array, shape: tuple[int, ...], nets: int) -> Array:
    """Undo ``rows``: (nets, rows, n) to (*shape, n), whose ``shape`` ends in the seats."""
    if nets == 1:
        return values.reshape((*shape, values.shape[-1]))
    return namespace(values).moveaxis(values.reshape((nets, *shape[:-1], values.shape[-1])), 0, -2)
