"""Who sends what in which phase: whole rounds, liars and drop-outs included, in one process."""

__all__: list[str] = []
