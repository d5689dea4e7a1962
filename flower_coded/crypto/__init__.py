"""Finite-field vectors, BLS12-381, commitments, ramp sharing, fixed point and sealed channels."""

__all__: list[str] = []
