"""Tidy tables: one row per observation, one column per variable; as CSV, JSON, text, Markdown and HTML.

A table is made from records (dictionaries of plain values, one per observation) in the order they were made,
so that the row order of a run's files says in which order things happened. Nothing here computes statistics:
a mean over seeds is taken with NumPy where it is wanted, and put into a record.

Left out on purpose: data frames. The tables of this package have tens of rows, and whoever wants pandas reads
the CSV.
"""

from __future__ import annotations

import csv
import html
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from flower_coded.errors import ParameterError

__all__ = ["Record", "Table", "Value", "plain", "shown_number", "write_json"]

_LARGE, _HUGE = 1e5, 1e12  # from here on no decimals, and powers of ten
Value = str | int | float | bool | None
Record = Mapping[str, Any]


@dataclass(frozen=True)
class Table:
    """Rows of plain values under named columns.

    Parameters
    ----------
    columns : tuple of str
        Column names, in the order they are shown.
    rows : tuple of tuple
        One value per column; ``None`` where nothing was observed.
    caption : str
        One sentence above the table.

    Raises
    ------
    ParameterError
        If a column name occurs twice or a row has another length than the header.

    Examples
    --------
    >>> runs = [{"method": "FedAvg", "attackers": 0, "accuracy": 0.97},
    ...         {"method": "FedAvg", "attackers": 2, "accuracy": 0.081},
    ...         {"method": "BCC", "attackers": 0, "accuracy": 0.965},
    ...         {"method": "BCC", "attackers": 2, "accuracy": 0.961}]
    >>> table = Table.from_records(runs).pivot(index="method", column="attackers", value="accuracy")
    >>> print(table.to_text())
    method      0      2
    FedAvg  0.970  0.081
    BCC     0.965  0.961
    """

    columns: tuple[str, ...]
    rows: tuple[tuple[Value, ...], ...]
    caption: str = ""

    def __post_init__(self) -> None:
        if len(set(self.columns)) != len(self.columns):
            raise ParameterError("columns", "must be different from each other", self.columns)
        for row in self.rows:
            if len(row) != len(self.columns):
                raise ParameterError("rows", f"must have {len(self.columns)} values each, as the header", row)

    @classmethod
    def from_records(
        cls, records: Iterable[Record], *, columns: Sequence[str] | None = None, caption: str = ""
    ) -> Table:
        """Collect records; columns are those named, or all that occur, in order of first occurrence."""
        found = [dict(record) for record in records]
        names = tuple(columns) if columns is not None else tuple({key: None for r in found for key in r})
        rows = tuple(tuple(plain(record.get(name)) for name in names) for record in found)
        return cls(columns=names, rows=rows, caption=caption)

    @classmethod
    def read_json(cls, path: str | Path) -> Table:
        """Read back what :meth:`write_json` wrote: a list of records."""
        return cls.from_records(json.loads(Path(path).read_text(encoding="utf-8")))

    def records(self) -> list[dict[str, Value]]:
        """Give the rows back as dictionaries."""
        return [dict(zip(self.columns, row, strict=True)) for row in self.rows]

    def pivot(self, *, index: str, column: str, value: str) -> Table:
        """Spread ``value`` over one row per ``index`` and one column per ``column``, in order of occurrence.

        Raises
        ------
        ParameterError
            If a name is no column of the table, or two rows claim the same cell.
        """
        for name in (index, column, value):
            if name not in self.columns:
                raise ParameterError("column", f"must be one of {', '.join(self.columns)}", name)
        records = self.records()
        cells: dict[tuple[Value, Value], Value] = {}
        for record in records:
            key = (record[index], record[column])
            if key in cells:
                raise ParameterError("records", f"must have one row for each {index} and {column}", key)
            cells[key] = record[value]
        heads = list(dict.fromkeys(record[column] for record in records))
        rows = tuple(
            (name, *(cells.get((name, head)) for head in heads))
            for name in dict.fromkeys(record[index] for record in records)
        )
        return Table(columns=(index, *map(str, heads)), rows=rows, caption=self.caption)

    def to_text(self, *, digits: int = 3) -> str:
        """Format for a terminal: columns aligned, numbers to the right, floats with ``digits`` decimals."""
        cells, widths, numeric = self._layout(digits)
        lines = (
            "  ".join(c.rjust(w) if n else c.ljust(w) for c, w, n in zip(row, widths, numeric, strict=True))
            for row in [list(self.columns), *cells]
        )
        return "\n".join(line.rstrip() for line in lines)

    def to_markdown(self, *, digits: int = 3) -> str:
        """Format as a Markdown table."""
        cells, _, numeric = self._layout(digits)
        rule = ["---:" if n else "---" for n in numeric]
        return "\n".join("| " + " | ".join(row) + " |" for row in [list(self.columns), rule, *cells])

    def to_html(self, *, digits: int = 3) -> str:
        """Format as an HTML table element, every value escaped."""
        cells, _, numeric = self._layout(digits)
        kinds = [' class="number"' if n else "" for n in numeric]
        head = "".join(f"<th{k}>{html.escape(c)}</th>" for c, k in zip(self.columns, kinds, strict=True))
        body = "\n".join(
            "<tr>" + "".join(f"<td{k}>{html.escape(c)}</td>" for c, k in zip(r, kinds, strict=True)) + "</tr>"
            for r in cells
        )
        return f"<table>\n<thead><tr>{head}</tr></thead>\n<tbody>\n{body}\n</tbody>\n</table>"

    def write_csv(self, path: str | Path) -> None:
        """Write a header and one line per row: an absent value as an empty field, a float in full."""
        with Path(path).open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            writer.writerow(self.columns)
            writer.writerows(self.rows)

    def write_json(self, path: str | Path) -> None:
        """Write a JSON list of records."""
        write_json(path, self.records())

    def _layout(self, digits: int) -> tuple[list[list[str]], list[int], list[bool]]:
        floats = [any(isinstance(row[i], float) for row in self.rows) for i in range(len(self.columns))]
        cells = [
            [_shown(v, digits, as_float=f) for v, f in zip(row, floats, strict=True)] for row in self.rows
        ]
        widths = [max(len(name), *(len(row[i]) for row in cells), 0) for i, name in enumerate(self.columns)]
        numeric = [
            any(isinstance(row[i], int | float) for row in self.rows)
            and not any(isinstance(row[i], str) for row in self.rows)
            for i in range(len(self.columns))
        ]
        return cells, widths, numeric


def plain(value: Any) -> Value:
    """Turn a NumPy scalar into a Python one, a sequence into text, and leave the rest as it is.

    Examples
    --------
    >>> import numpy as np
    >>> plain(np.float32(0.5)), plain([3, 7]), plain(None)
    (0.5, '3 7', None)
    """
    if isinstance(value, np.generic):
        return plain(value.item())
    if isinstance(value, np.ndarray | list | tuple):
        return " ".join(str(plain(item)) for item in value)
    return value if value is None or isinstance(value, str | int | float) else str(value)


def write_json(path: str | Path, content: Any) -> None:
    """Write JSON with NumPy values as plain numbers and lists; a NaN or an infinity becomes ``null``."""
    Path(path).write_text(json.dumps(_jsonable(content), indent=1) + "\n", encoding="utf-8")


def _jsonable(content: Any) -> Any:
    if isinstance(content, Mapping):
        return {str(key): _jsonable(value) for key, value in content.items()}
    if isinstance(content, np.ndarray | np.generic):
        return _jsonable(content.tolist())
    if isinstance(content, list | tuple | set):
        return [_jsonable(item) for item in content]
    if isinstance(content, float):
        return content if math.isfinite(content) else None
    return content if content is None or isinstance(content, str | int) else str(content)


def shown_number(value: float, digits: int) -> str:
    """Show a number with as many digits as say something.

    Examples
    --------
    >>> [shown_number(value, 3) for value in (0.97, 12.5, 301970.0, 2.5e-7, 0.0, float("nan"))]
    ['0.970', '12.500', '301,970', '2.5e-07', '0.000', 'nan']
    """
    if abs(value) >= _LARGE and math.isfinite(value):
        return f"{value:,.0f}" if abs(value) < _HUGE else f"{value:.3g}"
    if 0 < abs(value) < 0.5 * 10.0**-digits:
        return f"{value:.2g}"
    return f"{value:.{digits}f}"


def _shown(value: Value, digits: int, *, as_float: bool = False) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float) or (as_float and isinstance(value, int)):
        return shown_number(value, digits)
    return str(value)
