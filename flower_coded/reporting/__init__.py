"""Tables, plots and the self-contained HTML report of a run."""

__all__: list[str] = []
