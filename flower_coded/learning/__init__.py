"""Data sets, partitions, models and training loops in torch."""

__all__: list[str] = []
