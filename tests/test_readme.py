"""What the README and the pages show runs as it stands, and points at things that exist."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def code_blocks(page: Path) -> list[str]:
    return re.findall(r"```python\n(.*?)```", page.read_text(encoding="utf-8"), flags=re.S)


def test_the_drop_in_example_runs(capsys: pytest.CaptureFixture[str]) -> None:
    (example,) = code_blocks(ROOT / "README.md")
    exec(compile(example, "README.md", "exec"), {})
    assert "3 models in (3, 16, 1, 3, 3)" in capsys.readouterr().out


def test_the_examples_of_the_command_s_page_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for example in code_blocks(ROOT / "docs" / "command.md"):
        exec(compile(example, "command.md", "exec"), {})
    (page,) = tmp_path.glob("results/my_scenario/*/report.html")
    assert "What to see in it." in page.read_text()


@pytest.mark.parametrize(
    "page", ["README.md", "CONTRIBUTING.md", *(f"docs/{p.name}" for p in ROOT.glob("docs/*.md"))]
)
def test_links_lead_somewhere(page: str) -> None:
    text = (ROOT / page).read_text(encoding="utf-8")
    links = [link for link in re.findall(r"\]\(([^)#]+)[^)]*\)", text) if not link.startswith("http")]
    assert not [link for link in links if not (ROOT / page).parent.joinpath(link).exists()]


def test_settings_named_in_the_readme_exist() -> None:
    config = tomllib.loads((ROOT / "scenarios/coded-backdoor/pyproject.toml").read_text())["tool"]["flwr"][
        "app"
    ]["config"]
    named = re.findall(r"flower-coded run coded-backdoor ([^#\n]*)", README)
    keys = [piece.split("=")[0] for line in named for piece in line.split() if re.match(r"[a-z-]+=", piece)]
    assert keys
    assert set(keys) <= set(config)
