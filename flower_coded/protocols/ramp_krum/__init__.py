"""Ramp-shared multi-Krum: robust aggregation of updates that nobody sees.

Read :mod:`~flower_coded.protocols.ramp_krum.messages` for who sends what,
:mod:`~flower_coded.protocols.ramp_krum.user` and the two server modules for what they do with it, and
:mod:`~flower_coded.protocols.ramp_krum.simulation` for a whole round in one process.
"""

__all__: list[str] = []
