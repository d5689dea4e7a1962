"""``flower-coded reference``: what it keeps, says and refuses."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from flower_coded.cli import app
from flower_coded.cli.exit_codes import REFUSED
from flower_coded.crypto.srs import generate_reference_string
from flower_coded.crypto.srs_cache import CACHE_VARIABLE, kept_digests

RUNNER = CliRunner()


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path / "home"))
    return tmp_path / "home"


def run(*arguments: str) -> str:
    result = RUNNER.invoke(app, ["reference", *arguments])
    assert result.exit_code == 0, result.output
    return result.output


def test_make_keeps_a_string_that_another_machine_can_import(
    tmp_path: Path, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "reference.bin"
    output = run("make", "5", "--size-g2", "3", "--out", str(out))
    (digest,) = kept_digests()
    assert f"5 powers in G1, 3 in G2  {digest}" in output
    assert f'reference-digest="{digest}"' in output
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path / "elsewhere"))
    assert digest in run("import", str(out))
    assert kept_digests() == kept_digests(home) == (digest,)


def test_import_takes_a_ceremony_s_file_and_show_finds_it(tmp_path: Path) -> None:
    made = generate_reference_string(4)
    points = [made.backend.compress(point).hex() for point in made.powers]
    points_g2 = [made.backend.compress_g2(point).hex() for point in made.powers_g2]
    file = tmp_path / "trusted_setup.txt"
    file.write_text("\n".join(["4", "2", *points, *points_g2, *points]))
    assert made.digest in run("import", str(file))
    assert f"4 powers in G1, 2 in G2  {made.digest}" in run("show")
    assert made.digest in run("show", made.digest, "--check")
    file.write_text(json.dumps({"g1_monomial": points[::-1], "g2_monomial": points_g2}))
    result = RUNNER.invoke(app, ["reference", "import", str(file)])
    assert (result.exit_code, kept_digests()) == (REFUSED, (made.digest,))
    assert "not the powers of one number" in " ".join(result.output.split())


def test_show_says_so_when_there_is_nothing() -> None:
    assert "no reference string is kept" in run("show")


@pytest.mark.parametrize(
    "arguments",
    [
        ["show", "ab" * 32],
        ["show", "short"],
        ["import", "/nowhere/at/all"],
        ["make", "2", "--out", "/nowhere/at/all"],
    ],
)
def test_refusals_are_one_sentence(arguments: list[str]) -> None:
    result = RUNNER.invoke(app, ["reference", *arguments])
    assert result.exit_code == REFUSED
    assert "Traceback" not in result.output


def test_a_home_that_cannot_be_written_is_a_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("no directory")
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path / "file" / "below"))
    result = RUNNER.invoke(app, ["reference", "make", "2"])
    assert result.exit_code == REFUSED
    assert CACHE_VARIABLE in " ".join(result.output.split())
