"""The ``flower-coded`` command."""

from flower_coded.cli.main import app

__all__ = ["app"]
