"""Aggregation rules on arrays: baselines that the coded strategies are compared with."""

__all__: list[str] = []
