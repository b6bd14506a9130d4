"""The table of a run: one row a world and measure, with where it came from; read it with pandas, polars or DuckDB."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .spec import arm_name
from .statistics import paired_difference
from .work import write_atomically

if TYPE_CHECKING:
    import pandas as pd

PLACE = ("game", "institution", "uncertainty", "policy")
"""What names a cell."""

COLUMNS = (*PLACE, "world", "measure", "value", "spec", "seed", "code", "device")
"""Columns of the table; ``spec`` is the hash of the whole specification, ``code`` the state of the library."""

TABLE, PLAIN = "rows.parquet", "rows.csv"
"""The table, and the same without its origin as text."""


def write(run: Path, rows: Sequence[tuple[Any, ...]]) -> None:
    """Write the table of a run, rows in the order of COLUMNS."""
    import pandas as pd

    table = pd.DataFrame.from_records(list(rows), columns=list(COLUMNS))
    packed = io.BytesIO()
    table.astype(dict.fromkeys((*PLACE, "measure", "spec", "code", "device"), "category")).to_parquet(packed)
    write_atomically(run / TABLE, packed.getvalue())
    plain = table[[*PLACE, "world", "measure", "value"]].to_csv(index=False, lineterminator="\n")
    write_atomically(run / PLAIN, plain)


def read(run: str | Path) -> pd.DataFrame:
    """Return the table of a run, texts as texts.

    Raises
    ------
    FileNotFoundError
        If there is no table: the run has not finished, or the folder is another.
    """
    import pandas as pd

    path = Path(run) / TABLE
    if not path.is_file():
        raise FileNotFoundError(f"{run}: no table ({TABLE}) of a finished run; run it again to finish it")
    rows = pd.read_parquet(path)
    return rows.astype(dict.fromkeys(rows.columns[rows.dtypes == "category"], str))


def read_plain(path: str | Path) -> pd.DataFrame:
    """Return a table that a run keeps as text (CSV): names as texts, whatever they are, and an empty number as nan."""
    import pandas as pd

    texts = [*PLACE, "measure", "seat", "counter", "unit"]
    numbers = [name for name in pd.read_csv(path, nrows=0).columns if name not in texts]
    empty = {name: ["", "nan"] for name in numbers}
    return pd.read_csv(path, dtype=dict.fromkeys(texts, str), keep_default_na=False, na_values=empty)


def by_arm(table: pd.DataFrame) -> pd.DataFrame:
    """Return a table with its policies named with their game where there are several, as a report names them."""
    return table.assign(policy=[arm_name(*both) for both in zip(table["policy"], table["game"], strict=True)])


def compare(one: str | Path, other: str | Path, measures: Sequence[str] = ()) -> pd.DataFrame:
    """Return the difference of two runs, cell by cell and measure by measure, in the worlds that both have.

    Parameters
    ----------
    one, other
        Folders of finished runs. Where both have the same seed, worlds of the same number share their draws and the
        difference is paired.
    measures
        Which measures; all that both have by default.

    Returns
    -------
    pandas.DataFrame
        One row a cell and measure: what names it, ``one, other`` (means), ``difference`` (other minus one), ``low, high``
        (95% interval) and ``worlds``.
    """
    import pandas as pd

    key = [*PLACE, "measure", "world"]
    first, second = (read(run)[[*key, "value"]] for run in (one, other))
    both = first.merge(second, on=key, suffixes=("_one", "_other"))
    if measures:
        both = both[both["measure"].isin(list(measures))]
    records = []
    for place, cell in both.groupby([*PLACE, "measure"], sort=False):
        found = paired_difference(cell["value_other"], cell["value_one"])
        means = (cell["value_one"].mean(), cell["value_other"].mean())
        records.append((*place, *means, found.mean, found.low, found.high, found.n))
    names = [*PLACE, "measure", "one", "other", "difference", "low", "high", "worlds"]
    return pd.DataFrame.from_records(records, columns=names)
