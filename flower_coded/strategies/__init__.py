"""Flower strategies: the five coded systems."""

__all__: list[str] = []
