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


# What stands around a page's examples in a reader's own app: the names that its first lines would define.
APP = """
import numpy as np, torch
from flwr.app import ArrayRecord
from flwr.clientapp import ClientApp
from flwr.serverapp import ServerApp
from flower_coded.clients import training_client_app
from flower_coded.learning import build_model
app = ServerApp()
Net = lambda: build_model("small-cnn", (1, 8, 8), 10)
test_images, test_labels = np.zeros((40, 1, 8, 8), np.float32), np.arange(40) % 10
"""
SURROUNDINGS = {
    "clients.md": "from flwr.clientapp import ClientApp",
    "crypto.md": "import numpy as np; quantized = np.arange(10_000) - 5_000",
    "ramp_krum.md": "from flwr.clientapp import ClientApp",
    "strategies.md": APP,
}


@pytest.mark.parametrize("page", sorted(ROOT.glob("docs/*.md")), ids=lambda page: page.name)
def test_every_example_of_every_page_runs(
    page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    namespace: dict[str, object] = {}
    exec(SURROUNDINGS.get(page.name, ""), namespace)
    for number, example in enumerate(code_blocks(page)):
        exec(compile(example, f"{page.name}, example {number}", "exec"), namespace)
    if page.name == "command.md":
        (report,) = tmp_path.glob("results/my_scenario/*/report.html")
        assert "What to see in it." in report.read_text()


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
