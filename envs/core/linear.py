"""Linear and quadratic forms of parameters, in arrays and in words.

In arrays they are summed column by column, so that a batch of any size gives the same bits.
"""

from __future__ import annotations

import math

from .arrays import Array, namespace

Matrix = tuple[tuple[float, ...], ...]


def dot(row: tuple[float, ...], x: Array) -> Array:
    """Return a linear form (*batch) of x (*batch, n)."""
    terms = [x[..., j] * factor for j, factor in enumerate(row) if factor] or [x[..., 0] * 0.0]
    return sum(terms[1:], terms[0])


def times(rows: Matrix, x: Array) -> Array:
    """Return a matrix times x (*batch, n)."""
    return namespace(x).stack([dot(row, x) for row in rows], axis=-1)


def inner(x: Array, y: Array) -> Array:
    """Return the inner product (*batch) of x and y (*batch, n)."""
    return sum((x[..., i] * y[..., i] for i in range(1, x.shape[-1])), x[..., 0] * y[..., 0])


def square(matrix: Matrix, x: Array) -> Array:
    """Return the quadratic form x'Ax (*batch), not below 0, of a positive semidefinite matrix."""
    form = inner(x, times(matrix, x))
    return form * (form > 0.0)


def say_linear(row: tuple[float, ...], names: tuple[str, ...]) -> str:
    """Write a linear form, zeros included."""
    return " + ".join(f"{factor:.4g} {name}" for factor, name in zip(row, names, strict=True)).replace("+ -", "- ")


def say_quadratic(matrix: Matrix, names: tuple[str, ...], scale: float) -> str:
    """Write a quadratic form x'Ax times a number."""
    terms = []
    for i, name in enumerate(names):
        terms += [(scale * matrix[i][i], f"{name}^2")]
        terms += [(2 * scale * matrix[i][j], f"{name} {names[j]}") for j in range(i + 1, len(names))]
    text = " + ".join(f"{factor:.4g} {product}" for factor, product in terms if factor)
    return text.replace("+ -", "- ") or "0"


def cholesky(matrix: Matrix) -> Matrix:
    """Return a lower triangular L with LL' = a positive semidefinite matrix; a pivot may be 0."""
    count = len(matrix)
    rows = [[0.0] * count for _ in range(count)]
    for i in range(count):
        for j in range(i + 1):
            rest = matrix[i][j] - sum(rows[i][k] * rows[j][k] for k in range(j))
            if i == j:
                rows[i][i] = math.sqrt(rest) if rest > 1e-12 * matrix[i][i] else 0.0
            else:
                rows[i][j] = rest / rows[j][j] if rows[j][j] else 0.0
    return tuple(map(tuple, rows))
