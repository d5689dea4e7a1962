"""The page in a headless Chromium: Python starts there, and answers what it answers here."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import pytest
from headless_browser import CHROMIUM, Page, opened

from flower_coded.cli.playground import page_server, write_page
from flower_coded.errors import DownloadError
from flower_coded.lesson import respond

pytestmark = [
    pytest.mark.experiment,
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine"),
]
SETTINGS = {
    "vote": {"liars": [2, 5], "spared": [1], "seed": 4},
    "break": {"liars": [3, 9]},
    "worker": {"liars": 3, "lie": -6},
}


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    directory = tmp_path_factory.mktemp("page")
    try:
        write_page(directory, None)
    except DownloadError as error:
        pytest.skip(str(error))
    with page_server(directory, "127.0.0.1", 0) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()


def answered(page: Page, part: str, times: int) -> None:
    page.wait_for(f"Number(document.querySelector('#{part}').dataset.answers ?? 0) >= {times}")


def cells(page: Page, part: str) -> list[list[str]]:
    """The rows of the part's table of results, as they stand on the page."""
    rows = f"[...document.querySelectorAll('#{part} .blocks table:not(.matrix) tbody tr')]"
    return list(page.evaluate(f"{rows}.map((row) => [...row.children].map((cell) => cell.textContent))"))


def test_a_link_is_answered_as_it_is_here(address: str, tmp_path: Path) -> None:
    link = "&".join(f"{part}={quote(json.dumps(sent))}" for part, sent in SETTINGS.items())
    with opened(f"{address}#{link}") as page:
        for part, sent in SETTINGS.items():
            answered(page, part, 1)
            blocks = json.loads(respond(part, json.dumps(sent)))["blocks"]
            [expected] = [block["rows"] for block in blocks if block["kind"] == "table"]
            if part == "worker":  # rounding differs from machine to machine; who is caught does not
                expected, found = [row[:2] for row in expected], [row[:2] for row in cells(page, part)]
            else:
                found = cells(page, part)
            assert found == expected
        page.screenshot(tmp_path / "playground.png", height=3200)
    assert (tmp_path / "playground.png").stat().st_size > 50_000


def test_what_is_clicked_is_answered_and_can_be_linked(address: str) -> None:
    with opened(address) as page:
        page.wait_for("document.querySelector('#status').textContent.startsWith('Ready')")
        page.evaluate("document.querySelectorAll('#vote .matrix th button')[2].click()")
        answered(page, "vote", 1)
        assert page.evaluate("document.querySelectorAll('#vote .matrix td.liar').length") > 0
        assert page.evaluate("JSON.parse(new URLSearchParams(location.hash.slice(1)).get('vote')).liars") == [
            0,
            1,
            2,
        ]
        page.evaluate("document.querySelector('#vote .matrix td button').click()")
        answered(page, "vote", 2)
        assert page.text("#vote .matrix td button") == "spared"
        page.evaluate(
            "const slider = document.querySelectorAll('#secret input')[1]; slider.value = 3;"
            "slider.dispatchEvent(new Event('input'))"
        )
        answered(page, "secret", 1)
        assert "Together they know the number: 2026" in page.text("#secret .blocks")


def test_a_link_that_asks_for_nonsense_is_refused_on_the_page(address: str) -> None:
    with opened(f"{address}#break={quote(json.dumps({'liars': [99]}))}&vote=%7B") as page:
        answered(page, "break", 1)
        assert page.text("#break .blocks").startswith("Not possible: liars must be different whole numbers")
