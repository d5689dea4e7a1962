"""Several runs beside each other: the settings in which they differ, and what each found last."""

from __future__ import annotations

from collections.abc import Sequence

from flower_coded.errors import ParameterError
from flower_coded.reporting.run_directory import RunDirectory
from flower_coded.reporting.tables import Table

__all__ = ["compare_runs"]


def compare_runs(runs: Sequence[RunDirectory]) -> tuple[Table, Table]:
    """Put settings and results of runs beside each other.

    Parameters
    ----------
    runs : sequence of RunDirectory
        At least two.

    Returns
    -------
    (Table, Table)
        One row per setting that is not the same in all, and one per row of each run's ``summary`` table, or
        of the last record of its ``metrics`` where it wrote no summary; a first column names the run.

    Raises
    ------
    ParameterError
        If there are fewer than two.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> runs = [RunDirectory.create(Path(tempfile.mkdtemp()), "s", name=name) for name in ("one", "two")]
    >>> for seed, run in enumerate(runs):
    ...     run.write_config({"seed": seed, "rounds": 3})
    ...     run.write_metrics([{"accuracy": 0.5 + seed / 4}])
    >>> for table in compare_runs(runs):
    ...     print(table.to_text())
    setting  one  two
    seed       0    1
    run  accuracy
    one     0.500
    two     0.750
    """
    if len(runs) < 2:
        raise ParameterError("runs", "must be at least two to compare", len(runs))
    names = [run.path.name for run in runs]
    if len(set(names)) < len(names):  # two scenarios, or two results directories
        names = [f"{run.path.parent.name}/{run.path.name}" for run in runs]
    if len(set(names)) < len(names):
        names = [str(run.path) for run in runs]
    settings = [run.config() for run in runs]
    differing = [
        {"setting": key, **{name: own.get(key) for name, own in zip(names, settings, strict=True)}}
        for key in dict.fromkeys(key for own in settings for key in own if key != "out")
        if len({str(own.get(key)) for own in settings}) > 1
    ]
    found = [
        {"run": name, **record} for name, run in zip(names, runs, strict=True) for record in _summary(run)
    ]
    return Table.from_records(differing, columns=["setting", *names]), Table.from_records(found)


def _summary(run: RunDirectory) -> list[dict[str, object]]:
    if (run.path / "summary.json").is_file():
        return [dict(record) for record in run.metrics("summary").records()]
    return [dict(record) for record in run.metrics().records()[-1:]]
