"""Attacks on data, on updates and on protocols, each with its threat model."""

__all__: list[str] = []
