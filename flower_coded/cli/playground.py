"""``flower-coded playground``: write the lesson's page and serve it to this machine, or to a class."""

from __future__ import annotations

import functools
import http.server
import io
import socket
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO

import typer

from flower_coded.cli.browser_python import NUMPY, PYODIDE, browser_python, pack
from flower_coded.errors import ParameterError
from flower_coded.reporting.playground import is_of_the_page, mathematics, write_playground

__all__ = ["page_server", "serve_page", "write_page"]


def write_page(directory: Path, archives: Path | None) -> Path:
    """Write the page with all that it loads, fetching what no cache holds; return its path."""
    return write_playground(
        directory,
        package=pack(mathematics()),
        runtime=browser_python(archives),
        versions={"pyodide": PYODIDE.version, "numpy": NUMPY.version},
    )


class _Files(http.server.SimpleHTTPRequestHandler):
    # A registry of types that an installed program has changed must not keep a browser from running these.
    extensions_map = {  # noqa: RUF012, a dict in the class that this one refines
        **http.server.SimpleHTTPRequestHandler.extensions_map,
        ".js": "text/javascript",
        ".wasm": "application/wasm",
    }
    timeout = 30.0  # seconds that a browser may be silent in the middle of a request

    def send_head(self) -> io.BytesIO | BinaryIO | None:
        """Open what is asked for, if it is the page's: its directory may hold more than that."""
        asked = Path(self.translate_path(self.path)).relative_to(self.directory)
        if not is_of_the_page(asked.as_posix()):
            self.send_error(404)
            return None
        return super().send_head()

    def list_directory(self, path: Any) -> None:
        """Refuse: the page needs no lists."""
        self.send_error(404)

    def end_headers(self) -> None:
        """Have browsers ask whether a page was written anew, before they take their copy of a part of it."""
        self.send_header("Cache-Control", "no-cache")
        super().end_headers()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002, the name is the library's
        """Say nothing: a class asks for the same files thirty times."""


class _Server(http.server.ThreadingHTTPServer):
    def __init__(self, host: str, port: int, handler: Any) -> None:
        passive = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        self.address_family = passive[0][0]
        super().__init__((host, port), handler)

    def server_bind(self) -> None:
        """Take addresses of both kinds at ``::``, where the system can."""
        if self.address_family == socket.AF_INET6:
            with suppress(OSError):
                self.socket.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        super().server_bind()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing of browsers that went away."""
        if not isinstance(sys.exc_info()[1], OSError):
            super().handle_error(request, client_address)


def page_server(directory: Path, host: str, port: int) -> http.server.ThreadingHTTPServer:
    """Make a server of the page's files in a directory, not yet serving.

    Raises
    ------
    ParameterError
        If it cannot listen there, or no host is named, which would be all of them.
    """
    if not host:
        raise ParameterError("--host", "must name an address", host, hint="127.0.0.1, or 0.0.0.0 for a class")
    try:
        return _Server(host, port, functools.partial(_Files, directory=str(directory)))
    except (OSError, OverflowError, UnicodeError) as error:
        hint = "--port 0 takes any that is free; --host 127.0.0.1 is this machine alone"
        raise ParameterError(
            "--host and --port", f"cannot be listened on: {error}", f"{host}:{port}", hint=hint
        ) from error


def serve_page(directory: Path, host: str, port: int) -> None:
    """Serve until Ctrl-C."""
    with page_server(directory, host, port) as server:
        shown = _own_address() if host in {"0.0.0.0", "::"} else f"[{host}]" if ":" in host else host
        typer.echo(f"open http://{shown}:{server.server_port}/  (Ctrl-C ends it)")
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            typer.echo("")


def _own_address() -> str:
    """Return the address that others on the network know this machine by; its name, if it has none."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))  # of documentation; this chooses a way there and sends nothing
            return str(probe.getsockname()[0])
        except OSError:
            return socket.gethostname()
