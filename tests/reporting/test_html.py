"""The HTML report: one file, nothing from outside, nothing that runs."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from flower_coded import __version__
from flower_coded.errors import ParameterError
from flower_coded.reporting import Report, RunDirectory, draw_lines, draw_matrix, explain, save_figure

VOID = {"img", "meta", "br"}


class Reader(HTMLParser):
    """Collects tags and attributes and checks that what opens also closes."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.attributes: list[tuple[str, str, str]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in VOID:
            self.open.append(tag)
        self.attributes += [(tag, name, value or "") for name, value in attrs]

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def full_report(tmp_path: Path) -> Report:
    figure = draw_matrix(np.eye(3), title="identity")
    png = save_figure(figure, tmp_path / "m.png")
    lines = draw_lines([{"x": 0, "y": 1.0, "g": "a"}, {"x": 1, "y": 2.0, "g": "a"}], x="x", y="y", group="g")
    report = Report("A & B", subtitle="seed `7`").add_heading("First").add_text("one\n\ntwo **strong** <b>")
    report.add_metrics({"accuracy": 0.5, "suspects": "3, 7"}).add_note("see", kind="good")
    report.add_figure(lines, caption="lines").add_figure(png, caption="from a file")
    report.add_figure(png.read_bytes(), caption="from bytes", alt="identity matrix")
    return report.add_table([{"a": 1}], caption="rows").add_details("Settings", {"seed": 7})


def test_the_page_is_well_formed_and_needs_nothing_from_outside(tmp_path: Path) -> None:
    reader = Reader()
    page = full_report(tmp_path).to_html()
    reader.feed(page)
    assert reader.open == []
    sources = [value for _, name, value in reader.attributes if name in {"src", "href"}]
    assert len(sources) == 3
    assert all(
        value.startswith(("data:image/png;base64,", "data:image/svg+xml;base64,")) for value in sources
    )
    assert "<script" not in page
    assert "url(" not in page


def test_text_is_escaped_and_marked_up(tmp_path: Path) -> None:
    page = full_report(tmp_path).to_html()
    assert "<title>A &amp; B</title>" in page
    assert "seed <code>7</code>" in page
    assert "<p>one</p>\n<p>two <strong>strong</strong> &lt;b&gt;</p>" in page


def test_every_picture_has_words_for_who_cannot_see_it(tmp_path: Path) -> None:
    reader = Reader()
    reader.feed(full_report(tmp_path).to_html())
    assert [value for _, name, value in reader.attributes if name == "alt"] == [
        "lines y by x; a from 1 at 0 to 2 at 1.",
        "from a file",
        "identity matrix",
    ]


def test_the_same_content_gives_the_same_page(tmp_path: Path) -> None:
    assert full_report(tmp_path).to_html() == full_report(tmp_path).to_html()


def test_write__makes_the_directory_and_returns_an_absolute_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    path = Report("t").write("new/page.html")
    assert path == tmp_path / "new" / "page.html"
    assert path.read_text().startswith("<!doctype html>")


def test_a_picture_of_an_unknown_kind_is_refused() -> None:
    with pytest.raises(ParameterError, match="PNG or an SVG"):
        Report("t").add_figure(b"GIF89a", caption="no")


def test_a_long_table_is_folded_and_says_how_long_it_is() -> None:
    records = [{"round": number} for number in range(60)]
    page = Report("Rounds").add_table(records, caption="Every round").add_table(records[:5]).to_html()
    assert page.count("<details>") == 1
    assert "<summary>Every round (60 rows)</summary>" in page


def test_a_written_page_says_where_its_numbers_come_from(tmp_path: Path) -> None:
    run = RunDirectory.create(tmp_path, "scenario", name="run")
    run.write_config({"seed": 7})
    begun = json.loads((run.path / "config.json").read_text())["provenance"]
    run.write_config({"seed": 8})  # the server of the run writes again what the command wrote
    assert json.loads((run.path / "config.json").read_text()) == {"seed": 8, "provenance": begun}
    assert run.config() == {"seed": 8}
    page = Report("A run").write(run.report_path).read_text()
    assert begun["date"] in page
    assert f"flower-coded {__version__}" in page
    assert not re.search(r"https?://", page)


def test_words_are_explained_once_and_folded() -> None:
    page = Report("A run").add_terms({"posterior": "what is believed after the answers"}).to_html()
    assert "<dt>posterior</dt><dd>what is believed after the answers</dd>" in page


def test_a_page_beside_is_linked_and_nothing_from_elsewhere() -> None:
    page = Report("A run").add_text("[there](other.html) [here](https://example.org/x.html)").to_html()
    assert '<a href="other.html">there</a>' in page
    assert "[here](https://example.org/x.html)" in page


def test_words_are_explained_once_for_all_reports() -> None:
    assert set(explain("posterior", "key")) == {"posterior", "key"}
    with pytest.raises(ParameterError, match="posterior"):
        explain("posteriour")
