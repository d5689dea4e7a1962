"""Coding theory and cryptography for Flower: federated learning that holds when some participants lie.

Layers, each importing only those above it in this list: ``errors``; ``codes``, ``crypto``, ``aggregation``,
``attacks`` (mathematics on arrays); ``protocols``; ``learning`` (torch); ``strategies``, ``clients`` (Flower);
``reporting``, ``cli``. Importing this package imports none of them.
"""

from importlib.metadata import version

__all__ = ["__version__"]

__version__ = version("flower-coded")
