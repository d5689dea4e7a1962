"""``flower-coded playground``: write the lesson's page and serve it to this machine, or to a class."""

from __future__ import annotations

import functools
import http.server
import socket
from pathlib import Path

import typer

from flower_coded.cli.browser_python import NUMPY, PYODIDE, browser_python, pack
from flower_coded.errors import ParameterError
from flower_coded.reporting.playground import mathematics, write_playground

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

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002, the name is the library's
        """Say nothing: a class asks for the same files thirty times."""


def page_server(directory: Path, host: str, port: int) -> http.server.ThreadingHTTPServer:
    """Make a server of a directory's files, not yet serving.

    Raises
    ------
    ParameterError
        If it cannot listen there.
    """
    try:
        return http.server.ThreadingHTTPServer((host, port), functools.partial(_Files, directory=directory))
    except (OSError, OverflowError) as error:
        hint = "--port 0 takes any that is free; --host 127.0.0.1 is this machine alone"
        raise ParameterError(
            "--host and --port", f"cannot be listened on: {error}", f"{host}:{port}", hint=hint
        ) from error


def serve_page(directory: Path, host: str, port: int) -> None:
    """Serve until Ctrl-C."""
    with page_server(directory, host, port) as server:
        shown = socket.gethostname() if host in {"0.0.0.0", "::"} else host
        typer.echo(f"open http://{shown}:{server.server_port}/  (Ctrl-C ends it)")
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            typer.echo("")
