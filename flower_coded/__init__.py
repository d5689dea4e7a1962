"""Coding theory and cryptography for Flower: federated learning that holds when some participants lie.

Layers, each importing only what stands before it: ``errors``; ``codes``, ``crypto``, ``aggregation``,
``attacks`` (mathematics on arrays); ``protocols``; ``learning`` (torch); ``strategies``, ``clients``
(Flower);
``reporting``, ``cli``. Importing this package imports none of them.
"""

__all__ = ["__version__"]

__version__ = "0.2.0"
