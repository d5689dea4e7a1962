"""One self-contained HTML file that tells what a run did: text, headline numbers, tables and pictures.

The file holds its pictures (as data URIs) and its style, names no outside resource, runs no script, and
prints well. A report is composed call by call, in reading order::

    report = Report("Backdoors against coded aggregation", subtitle="digits, 12 users, seed 7")
    report.add_metrics({"FedAvg under attack": 0.08, "coded under attack": 0.96})
    report.add_text("Two of twelve users poison `5 %` of their images.")
    report.add_figure(draw_lines(records, x="attackers", y="accuracy", group="method"), caption="Figure 6")
    report.add_table(records, caption="Every run").write("results/report.html")

Left out: templates and scripts. Somebody who wants another page reads the CSV beside it.
"""

from __future__ import annotations

import base64
import html
import io
import json
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from flower_coded.errors import ParameterError
from flower_coded.reporting.figures import describe_figure, figure_bytes
from flower_coded.reporting.provenance import describe_provenance, provenance_now, read_provenance
from flower_coded.reporting.style import STYLE
from flower_coded.reporting.tables import Record, Table, Value, plain, shown_number

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["Report"]

_MOST_OPEN_ROWS = 24  # a longer table is folded: it would push what follows off the screen

_LINK = re.compile(r"\[([^\]]+)\]\(([\w./-]+\.html)\)")  # pages beside this one, nothing from elsewhere


class Report:
    """A page composed block by block; every ``add_…`` returns the report, so that calls chain.

    Parameters
    ----------
    title : str
        The page's heading and window title.
    subtitle : str
        One line below it: data set, users, seed.
    reload_seconds : int
        A browser loads the page anew so often, while more is to come; 0: never.

    Examples
    --------
    >>> report = Report("Ramp-shared Krum").add_metrics({"rejected users": 2}).add_text("All is well.")
    >>> page = report.to_html()
    >>> "<b>2</b>" in page and "http" not in page
    True
    """

    def __init__(self, title: str, *, subtitle: str = "", reload_seconds: int = 0) -> None:
        self.title, self.subtitle, self.reload_seconds = title, subtitle, reload_seconds
        self._blocks: list[str] = []

    def add_heading(self, text: str, *, level: Literal[2, 3] = 2) -> Report:
        """Begin a section (level 2) or a part of one (level 3)."""
        return self._add(f"<h{level}>{_inline(text)}</h{level}>")

    def add_text(self, text: str) -> Report:
        """Add paragraphs (blank lines part them).

        Backticks make code, double stars bold, and ``[words](page.html)`` a link to a page beside this one.
        """
        paragraphs = (block.strip() for block in re.split(r"\n\s*\n", text))
        return self._add("\n".join(f"<p>{_inline(block)}</p>" for block in paragraphs if block))

    def add_note(self, text: str, *, kind: Literal["", "good", "bad"] = "") -> Report:
        """Add one highlighted sentence: a warning, or what to see in the figures that follow."""
        return self._add(f'<div class="note {kind}">{_inline(text)}</div>')

    def add_metrics(self, metrics: Mapping[str, Any], *, digits: int = 3) -> Report:
        """Add headline numbers as tiles, each with its name below."""
        tiles = (
            f'<div class="metric"><b>{html.escape(_number(plain(value), digits))}</b>'
            f"<span>{_inline(name)}</span></div>"
            for name, value in metrics.items()
        )
        return self._add(f'<div class="metrics">{"".join(tiles)}</div>')

    def add_table(self, table: Table | Iterable[Record], *, caption: str = "", digits: int = 3) -> Report:
        """Add a table, or records as one."""
        shown = table if isinstance(table, Table) else Table.from_records(table)
        heading = _inline(caption or shown.caption)
        body = f'<div class="wide">{shown.to_html(digits=digits)}</div>'
        if len(shown.rows) > _MOST_OPEN_ROWS:
            summary = f"{heading or 'Table'} ({len(shown.rows)} rows)"
            return self._add(f"<details><summary>{summary}</summary>{body}</details>")
        return self._add(f'<p class="caption">{heading}</p>{body}' if heading else body)

    def add_figure(self, figure: Figure | str | Path | bytes, *, caption: str, alt: str = "") -> Report:
        """Add a picture: a matplotlib figure (as SVG, sharp at any size), PNG bytes, or the path of a file.

        Parameters
        ----------
        figure : Figure, path or bytes
            What to show; its content is copied into the page.
        caption : str
            What a reader should see in it.
        alt : str
            Text for readers who cannot see it. By default the caption and, for a matplotlib figure, what its
            axes say: titles, and where each line begins and ends.

        Raises
        ------
        ParameterError
            If bytes or file are neither PNG nor SVG.
        """
        if not isinstance(figure, str | Path | bytes):
            content = figure_bytes(figure, kind="svg")
            alt = alt or f"{caption} {describe_figure(figure)}".strip()
        else:
            content = figure if isinstance(figure, bytes) else Path(figure).read_bytes()
        source = f"data:{_media_type(content)};base64,{base64.b64encode(content).decode('ascii')}"
        image = f'<img src="{source}" alt="{html.escape(alt or caption)}">'
        return self._add(f"<figure>{image}<figcaption>{_inline(caption)}</figcaption></figure>")

    def add_details(self, summary: str, content: str | Mapping[str, Any]) -> Report:
        """Add something folded away: preformatted text, or a mapping as JSON (a run's configuration)."""
        text = content if isinstance(content, str) else json.dumps(dict(content), indent=2, default=str)
        return self._add(
            f"<details><summary>{_inline(summary)}</summary><pre>{html.escape(text)}</pre></details>"
        )

    def add_terms(self, terms: Mapping[str, str]) -> Report:
        """Explain words that the page uses, each once."""
        items = "".join(f"<dt>{_inline(word)}</dt><dd>{_inline(said)}</dd>" for word, said in terms.items())
        return self._add(f"<details><summary>Words on this page</summary><dl>{items}</dl></details>")

    def to_html(self, *, footer: str = "Made by flower-coded.") -> str:
        """Give the whole page as text."""
        subtitle = f'<p class="subtitle">{_inline(self.subtitle)}</p>' if self.subtitle else ""
        body = "\n".join(self._blocks)
        reload = (
            f'<meta http-equiv="refresh" content="{self.reload_seconds}">\n' if self.reload_seconds else ""
        )
        return (
            '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
            '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
            f"{reload}<title>{html.escape(self.title)}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n"
            f"<header><h1>{_inline(self.title)}</h1>{subtitle}</header>\n{body}\n"
            f"<footer>{_inline(footer)}</footer>\n</body>\n</html>\n"
        )

    def write(self, path: str | Path) -> Path:
        """Write the page, making the directory if it is missing, and return its absolute path.

        Its last line says when, by which command and with which versions the run beside it began.
        """
        target = Path(path).resolve()
        target.parent.mkdir(parents=True, exist_ok=True)
        provenance = read_provenance(target.parent) or provenance_now()
        target.write_text(self.to_html(footer=describe_provenance(provenance)), encoding="utf-8")
        return target

    def _add(self, block: str) -> Report:
        self._blocks.append(block)
        return self


def _inline(text: str) -> str:
    escaped = html.escape(text)
    escaped = re.sub(r"`([^`]+)`", r"<code>\1</code>", escaped)
    escaped = _LINK.sub(r'<a href="\2">\1</a>', escaped)
    return re.sub(r"\*\*([^*]+)\*\*", r"<strong>\1</strong>", escaped)


def _number(value: Value, digits: int) -> str:
    return shown_number(value, digits) if isinstance(value, float) else str(value)


def _media_type(content: bytes) -> str:
    if content.startswith(b"\x89PNG\r\n"):
        return "image/png"
    if b"<svg" in io.BytesIO(content).read(2000):
        return "image/svg+xml"
    raise ParameterError("figure", "must be a matplotlib figure, a PNG or an SVG", content[:8])
