"""Codes and decoders: pure mathematics on NumPy arrays, without Flower and without torch."""

__all__: list[str] = []
