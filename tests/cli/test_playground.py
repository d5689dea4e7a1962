"""``flower-coded playground``: the page is whole, names nothing from elsewhere, and is served rightly."""

from __future__ import annotations

import hashlib
import http.client
import io
import json
import os
import re
import socket
import struct
import subprocess
import sys
import tarfile
import threading
import time
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from typer.testing import CliRunner

from flower_coded.cli import app, browser_python
from flower_coded.cli.browser_python import Archive, pack
from flower_coded.cli.exit_codes import REFUSED
from flower_coded.cli.playground import page_server
from flower_coded.crypto.srs_cache import CACHE_VARIABLE
from flower_coded.errors import DownloadError, ParameterError
from flower_coded.lesson import PARTS, described_lesson
from flower_coded.reporting.playground import mathematics

RUNNER = CliRunner()
NUMPY_MEMBERS = {
    "lib/python3.12/site-packages/numpy/__init__.py": b"",
    "lib/python3.12/site-packages/numpy/tests/test_all.py": b"",
    "info/about.json": b"{}",
}


def tar(members: dict[str, bytes]) -> bytes:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as archive:
        for name, content in members.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    return packed.getvalue()


@pytest.fixture
def archives(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Small archives in the true ones' form, and digests to match."""
    folder = tmp_path / "archives"
    folder.mkdir()
    names = ("pyodide.js", "pyodide.asm.js", "pyodide.asm.wasm", "pyodide-lock.json", "python_stdlib.zip")
    contents = {
        "pyodide.tgz": tar({f"package/{name}": name.encode() for name in names}),
        "numpy.tgz": tar({"package/pkg/numpy-2.0.1-py312h4e66579_0.tar.gz": tar(NUMPY_MEMBERS)}),
    }
    made = []
    for name, content in contents.items():
        (folder / name).write_bytes(content)
        digest = hashlib.sha512(content).hexdigest()
        made.append(Archive(name, "1", f"https://localhost/{name}", len(content), digest))
    monkeypatch.setattr(browser_python, "ARCHIVES", tuple(made))
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path / "cache"))
    return folder


@pytest.fixture
def page(archives: Path, tmp_path: Path) -> Path:
    directory = tmp_path / "page"
    done = RUNNER.invoke(app, ["playground", str(directory), "--archives", str(archives), "--no-serve"])
    assert done.exit_code == 0, done.output
    return directory


def test_the_directory_is_whole_and_names_nothing_from_elsewhere(page: Path) -> None:
    html = (page / "index.html").read_text()
    assert not re.search(r"https?://", html)
    assert "{{" not in html
    for name in re.findall(r'(?:src|href)="([^"]+)"', html):
        assert name.startswith("data:") or (page / name).is_file()
    worker = (page / "worker.js").read_text()
    for name in re.findall(r'"((?:runtime/)?[\w.]+\.(?:js|zip))"', worker):
        assert (page / name).is_file()
    assert (page / "runtime" / "pyodide.asm.wasm").read_bytes() == b"pyodide.asm.wasm"


def test_the_first_view_is_there_without_python(page: Path) -> None:
    html = (page / "index.html").read_text()
    [embedded] = re.findall(r'<script id="lesson" type="application/json">(.*?)</script>', html, re.DOTALL)
    shown, expected = json.loads(embedded), json.loads(json.dumps(described_lesson()))
    assert [part["name"] for part in shown] == [part.name for part in PARTS]
    for part, other in zip(shown, expected, strict=True):
        if part["name"] != "secret":  # its masks are drawn anew
            assert part == other


def test_numpy_comes_without_its_tests(page: Path) -> None:
    with zipfile.ZipFile(page / "runtime" / "numpy.zip") as packed:
        assert packed.namelist() == ["numpy/__init__.py"]


def test_what_is_packed_answers_by_itself(tmp_path: Path) -> None:
    """Nothing of the package that is not in the archive is needed, nor anything heavy, nor SciPy."""
    with zipfile.ZipFile(io.BytesIO(pack(mathematics()))) as packed:
        packed.extractall(tmp_path)
        assert not [name for name in packed.namelist() if "/learning/" in name or "__pycache__" in name]
    program = """
import sys

class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {"torch", "flwr", "numba", "galois", "matplotlib", "scipy", "cryptography"}:
            raise ModuleNotFoundError(name)

from flower_coded.lesson import PARTS, respond, scipy_stand_in
import flower_coded
sys.meta_path.insert(0, Refuse())
scipy_stand_in.find_spec = lambda name: None
scipy_stand_in.install()
for part in PARTS:
    assert respond(part.name, "{}").startswith('{"blocks"'), part.name
print(flower_coded.__file__)
"""
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        check=False,
        env=environment,
        cwd=tmp_path,
    )
    assert done.stdout.strip().startswith(str(tmp_path)), done.stderr


def test_archives_are_known_by_their_digest(archives: Path, tmp_path: Path) -> None:
    (archives / "numpy.tgz").write_bytes(b"something else" * 99)
    command = ["playground", str(tmp_path / "page"), "--archives", str(archives), "--no-serve"]
    done = RUNNER.invoke(app, command)
    assert done.exit_code == REFUSED
    assert "SHA-512" in done.output
    (archives / "numpy.tgz").unlink()
    done = RUNNER.invoke(app, command)
    assert done.exit_code == REFUSED
    assert "no such file" in done.output
    assert not (tmp_path / "page").exists()


def test_without_network_and_archives_a_sentence_says_what_to_bring(
    archives: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:9")  # nobody listens there
    monkeypatch.setenv("no_proxy", "")
    done = RUNNER.invoke(app, ["playground", str(tmp_path / "page"), "--no-serve"])
    assert done.exit_code == REFUSED
    assert "--archives" in done.output.replace("\n", " ")
    assert "pyodide.tgz" in done.output.replace("\n", " ")


@contextmanager
def answering(reply: Callable[[socket.socket], None]) -> Iterator[str]:
    """A server that reads one request and answers it as told; its address."""
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def serve() -> None:
            connection, _ = listening.accept()
            with connection, suppress(OSError):
                connection.recv(1 << 16)
                reply(connection)

        threading.Thread(target=serve, daemon=True).start()
        yield f"http://127.0.0.1:{listening.getsockname()[1]}/pyodide.tgz"


DRIPPED = threading.Event()


def drip(connection: socket.socket) -> None:
    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")
    for _ in range(200):
        connection.sendall(b"x")
        time.sleep(0.05)
    DRIPPED.set()


@pytest.mark.parametrize(
    ("reply", "told"),
    [
        (lambda c: c.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\nhalf"), "4 of 1,000 bytes"),
        (
            lambda c: c.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nff\r\nhalf"),
            "IncompleteRead",
        ),
        (lambda c: c.sendall(b"What is this?\r\n\r\n"), "What is this?"),
        (lambda c: c.sendall(b"HTTP/1.1 404 Not Found\r\n\r\n"), "Not Found"),
        (lambda c: None, "closed connection"),
        (lambda c: c.sendall(b"HTTP/1.1 200 OK\r\n\r\n" + b"x" * 100_000), "SHA-512"),
        (drip, "not done after"),
    ],
    ids=["half", "half of a chunk", "no HTTP", "missing", "nothing", "too much", "slow"],
)
def test_a_download_that_fails_is_told_in_a_sentence_and_leaves_nothing(
    reply: Callable[[socket.socket], None], told: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path / "cache"))
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setattr(browser_python, "_SECONDS_IN_ALL", 0.3)
    with answering(reply) as address:
        archive = Archive("Pyodide", "1", address, 1000, "0" * 128)
        monkeypatch.setattr(browser_python, "ARCHIVES", (archive, archive))
        with pytest.raises(DownloadError) as refusal:
            browser_python.browser_python()
    assert told in str(refusal.value)
    assert "remove it" not in str(refusal.value)
    assert not DRIPPED.is_set()  # nobody waited for the slow one
    assert not (tmp_path / "cache").exists()


def test_what_was_fetched_is_kept(archives: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def fetch(archive: Archive) -> bytes:
        asked.append(archive.name)
        return (archives / archive.file_name).read_bytes()

    monkeypatch.setattr(browser_python, "_fetch", fetch)
    for _ in range(2):
        assert browser_python.browser_python()["pyodide.js"] == b"pyodide.js"
    assert asked == ["pyodide.tgz", "numpy.tgz"]


@pytest.fixture
def port(page: Path) -> Iterator[int]:
    with page_server(page, "127.0.0.1", 0) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server.server_port
        server.shutdown()


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/", "text/html"),
        ("/worker.js", "text/javascript"),
        ("/runtime/pyodide.asm.wasm", "application/wasm"),
    ],
)
def test_files_are_served_as_browsers_need_them(port: int, path: str, kind: str) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    connection.request("GET", path)
    response = connection.getresponse()
    assert (response.status, response.getheader("Content-Type")) == (200, kind)


def test_nothing_outside_the_directory_is_served(port: int) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    connection.request("GET", "/../archives/numpy.tgz")
    assert connection.getresponse().status == 404


@pytest.mark.parametrize("path", ["/diary.txt", "/private/", "/private/letter.txt", "/runtime/", "/runtime"])
@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_of_the_directory_only_the_page_is_served(page: Path, port: int, path: str, method: str) -> None:
    (page / "private").mkdir()
    for name in ("diary.txt", "private/letter.txt"):
        (page / name).write_text("mine")
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    connection.request(method, path)
    assert connection.getresponse().status == 404


def test_another_page_is_not_written_over(archives: Path, tmp_path: Path) -> None:
    (tmp_path / "index.html").write_text("the school's")
    done = RUNNER.invoke(app, ["playground", str(tmp_path), "--archives", str(archives), "--no-serve"])
    assert done.exit_code == REFUSED
    assert (tmp_path / "index.html").read_text() == "the school's"
    assert not (tmp_path / "page.js").exists()


def test_a_page_is_written_over_by_a_newer_one(archives: Path, page: Path) -> None:
    done = RUNNER.invoke(app, ["playground", str(page), "--archives", str(archives), "--no-serve"])
    assert done.exit_code == 0, done.output


def test_no_host_is_not_taken_for_all_of_them(page: Path) -> None:
    with pytest.raises(ParameterError, match="--host"):
        page_server(page, "", 0)


@pytest.mark.skipif(not socket.has_ipv6, reason="no IPv6")
@pytest.mark.parametrize("host", ["::1", "::"])
def test_ipv6_is_listened_on(page: Path, host: str) -> None:
    with suppress(OSError), socket.create_server(("::1", 0), family=socket.AF_INET6):
        with page_server(page, host, 0) as server:
            threading.Thread(target=server.serve_forever, daemon=True).start()
            connection = http.client.HTTPConnection("::1", server.server_port, timeout=10)
            connection.request("GET", "/page.js")
            assert connection.getresponse().status == 200
            server.shutdown()
        return
    pytest.skip("no IPv6 on this machine")


def test_a_browser_that_goes_away_leaves_no_traceback(port: int, capfd: pytest.CaptureFixture[str]) -> None:
    with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # a reset
        connection.sendall(b"GET /")
    again = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    again.request("GET", "/")
    assert again.getresponse().status == 200
    assert "Traceback" not in capfd.readouterr().err


def test_a_port_that_is_taken_is_refused_in_a_sentence(port: int, archives: Path, page: Path) -> None:
    done = RUNNER.invoke(app, ["playground", str(page), "--archives", str(archives), "--port", str(port)])
    assert done.exit_code == REFUSED
    assert "--port 0" in done.output.replace("\n", " ")
