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
    assert (tmp_path / "playground.png").stat().st_size > 10_000


def test_what_is_clicked_is_answered_and_can_be_linked(address: str) -> None:
    with opened(address) as page:
        page.wait_for("document.querySelector('#status').textContent.startsWith('Ready')")
        page.evaluate("document.querySelectorAll('#vote .matrix th button')[2].click()")
        answered(page, "vote", 1)
        assert page.evaluate("document.querySelectorAll('#vote .matrix td.liar').length") > 0
        page.wait_for("location.hash !== ''")
        linked = "JSON.parse(new URLSearchParams(location.hash.slice(1)).get('vote')).liars"
        assert page.evaluate(linked) == [0, 1, 2]
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
        assert "settings of vote cannot be read" in page.text("#status")
        page.evaluate("document.querySelector('#break .note button').click()")  # begin again
        answered(page, "break", 2)
        assert len(cells(page, "break")) == 4
        page.wait_for("location.hash === ''")


@pytest.mark.parametrize(
    "settings",
    [
        '{"liars": 5}',
        '{"liars": {}}',
        '{"liars": "x"}',
        '{"liars": null}',
        "[" * 10_000 + "]" * 10_000,
        '{"liars":' * 5_000 + "1" + "}" * 5_000,
    ],
    ids=["number", "object", "text", "nothing", "deep list", "deep object"],
)
def test_whatever_a_link_says_the_page_is_drawn(address: str, settings: str) -> None:
    """Looked at before Python is there: what cannot be drawn counts as not said."""
    with opened(f"{address}#break={quote(settings)}&worker=%7B%22lie%22%3A%22%3Cb%3E%22%7D") as page:
        assert page.evaluate("document.querySelectorAll('#worker input').length") == 2
        assert page.evaluate("document.querySelectorAll('#break [aria-pressed=true]').length") == 2
        assert page.evaluate("document.querySelectorAll('main input + b, main output b').length") == 0
        assert not page.text("#status").startswith("One moment")


def test_another_link_in_the_same_window_is_followed_and_so_is_the_way_back(address: str) -> None:
    first, second = (quote(json.dumps({"together": number})) for number in (3, 4))
    with opened(f"{address}#secret={first}") as page:
        answered(page, "secret", 1)
        page.evaluate(f"location.hash = 'secret={second}'")
        answered(page, "secret", 2)
        shown = "document.querySelector('#secret output').textContent"
        assert (page.evaluate(shown), len(cells(page, "secret"))) == ("4", 4)
        page.evaluate("history.back()")
        answered(page, "secret", 3)
        assert (page.evaluate(shown), len(cells(page, "secret"))) == ("3", 3)


def test_users_of_one_code_cannot_be_clicked_while_those_of_another_are_asked_for(address: str) -> None:
    with opened(address) as page:
        page.wait_for("document.querySelector('#status').textContent.startsWith('Ready')")
        page.evaluate(
            "const chosen = document.querySelector('#vote select'); chosen.value = 'tracking';"
            "chosen.dispatchEvent(new Event('change'))"
        )
        assert page.evaluate("document.querySelector('#vote .blocks').inert")
        answered(page, "vote", 1)
        assert not page.evaluate("document.querySelector('#vote .blocks').inert")
        last = "[...document.querySelectorAll('#vote .matrix th button')].at(-1)"
        page.evaluate(f"{last}.focus(), {last}.click()")
        answered(page, "vote", 2)
        assert page.evaluate(f"{last} === document.activeElement")
        assert page.evaluate(f"{last}.getAttribute('aria-pressed')") == "true"


def test_a_slider_that_is_dragged_changes_the_address_seldom(address: str) -> None:
    """Safari refuses a hundred changes in ten seconds by an error."""
    with opened(address) as page:
        page.wait_for("document.querySelector('#status').textContent.startsWith('Ready')")
        page.evaluate(
            "let changes = 0; const put = history.replaceState.bind(history);"
            "history.replaceState = (...given) => { changes += 1; put(...given); };"
            "const dragged = document.querySelectorAll('#secret input')[1];"
            "for (let step = 0; step < 200; step += 1) {"
            "  dragged.value = 1 + step % 7; dragged.dispatchEvent(new Event('input')); }"
        )
        page.wait_for("location.hash !== '' && document.querySelector('#secret output').textContent === '4'")
        assert page.evaluate("changes") == 1
        page.wait_for("document.querySelectorAll('#secret .blocks tbody tr').length === 4")
