"""Where a run leaves what it found: ``<results>/<scenario>/<name>/``, the same files for every scenario.

================  ===========================================================================
``config.json``   every setting of the run, the defaults included, and under ``provenance`` when, by which
                  command and with which versions it began
``metrics.json``  the run's records, one per observation; ``metrics.csv`` holds the same table
``*.png``         the pictures
``report.html``   the self-contained report
================  ===========================================================================

A name that is not given is the UTC time to the second, so that directories sort by age.
"""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flower_coded.errors import ParameterError
from flower_coded.reporting.charts import draw_lines
from flower_coded.reporting.figures import save_figure
from flower_coded.reporting.html import Report
from flower_coded.reporting.provenance import code_digest, provenance_now, read_provenance
from flower_coded.reporting.tables import Record, Table, write_json

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["RunDirectory"]


@dataclass(frozen=True)
class RunDirectory:
    """The directory of one run.

    Parameters
    ----------
    path : Path
        Made by the first thing that is written; :meth:`create` finds a new one, :meth:`open` checks one.

    Examples
    --------
    >>> import tempfile
    >>> run = RunDirectory.create(Path(tempfile.mkdtemp()), "coded-backdoor", name="first")
    >>> run.write_config({"seed": 7})
    >>> run.write_metrics([{"round": 1, "accuracy": 0.5}, {"round": 2, "accuracy": 0.75}])
    >>> print(RunDirectory.open(run.path).metrics().to_text())
    round  accuracy
        1     0.500
        2     0.750
    """

    path: Path

    @classmethod
    def create(cls, results: str | Path, scenario: str, *, name: str = "") -> RunDirectory:
        """Make ``results/scenario/name``; a name in use gets the next free number appended."""
        stem = name or dt.datetime.now(dt.UTC).strftime("%Y%m%d-%H%M%S")
        parent = Path(results).resolve() / scenario
        parent.mkdir(parents=True, exist_ok=True)
        for number in range(1, 10_000):
            path = parent / (stem if number == 1 else f"{stem}-{number}")
            try:
                path.mkdir()
            except FileExistsError:
                continue
            return cls(path)
        raise ParameterError("name", "must have a free number", stem, hint="clear old runs away")

    @classmethod
    def open(cls, path: str | Path) -> RunDirectory:
        """Take an existing run, or the latest run of a scenario's directory.

        Raises
        ------
        ParameterError
            If neither the directory nor any directory in it holds ``metrics.json``.
        """
        directory = Path(path).resolve()
        if (directory / "metrics.json").is_file():
            return cls(directory)
        runs = sorted(directory.glob("**/metrics.json"), key=lambda file: file.stat().st_mtime)
        if not runs:
            raise ParameterError(
                "run", "must be a directory holding metrics.json, or one holding such directories", str(path)
            )
        return cls(runs[-1].parent)

    @classmethod
    def resume(cls, path: str | Path, config: Mapping[str, Any]) -> RunDirectory:
        """Take up the run that is there, if its settings are these; otherwise begin one and write them.

        A digest of this package's code is one of the settings, ``version-code``: records that stand in one
        table are made by one version.

        Parameters
        ----------
        path : path
            Made if it is not there.
        config : mapping
            All settings that decide what the records say.

        Raises
        ------
        ParameterError
            If there are records made with other settings, or by another version; what differs is named.

        Examples
        --------
        >>> import tempfile
        >>> path = tempfile.mkdtemp()
        >>> RunDirectory.resume(path, {"seed": 7}).write_metrics([{"accuracy": 0.5}])
        >>> RunDirectory.resume(path, {"seed": 7}).metrics().records()
        [{'accuracy': 0.5}]
        >>> RunDirectory.resume(path, {"seed": 8})
        Traceback (most recent call last):
            ...
        flower_coded.errors.ParameterError: name must not be that of a run with another seed; received ...
        """
        run = cls(Path(path).resolve())
        run.path.mkdir(parents=True, exist_ok=True)
        config = {**config, "version-code": code_digest()}
        if (run.path / "metrics.json").is_file():
            before = run.config()
            changed = [key for key in sorted({*before, *config}) if before.get(key) != config.get(key)]
            if changed:
                requirement = f"must not be that of a run with another {', '.join(changed)}"
                raise ParameterError("name", requirement, run.path.name, hint="give another name")
        run.write_config(config)
        return run

    @property
    def report_path(self) -> Path:
        """Where the report is, or will be."""
        return self.path / "report.html"

    def write_config(self, config: Mapping[str, Any]) -> None:
        """Write ``config.json``; the provenance of a run that has begun already stays."""
        self._make()
        provenance = read_provenance(self.path) or provenance_now()
        write_json(self.path / "config.json", {**config, "provenance": provenance})

    def write_metrics(self, records: Iterable[Record], *, name: str = "metrics") -> None:
        """Write one table twice, as ``name.csv`` and ``name.json``."""
        self._make()
        table = Table.from_records(records)
        table.write_csv(self.path / f"{name}.csv")
        table.write_json(self.path / f"{name}.json")

    def _make(self) -> None:
        """Be there: a server on another machine is given a path, not a directory."""
        self.path.mkdir(parents=True, exist_ok=True)

    def write_figure(self, figure: Figure, name: str) -> Path:
        """Write ``name.png`` and return its path."""
        return save_figure(figure, self.path / f"{name}.png")

    def config(self) -> dict[str, Any]:
        """Read the settings from ``config.json``; empty if the run wrote none."""
        file = self.path / "config.json"
        content = dict(json.loads(file.read_text(encoding="utf-8"))) if file.is_file() else {}
        return {key: value for key, value in content.items() if key != "provenance"}

    def metrics(self, name: str = "metrics") -> Table:
        """Read ``name.json``."""
        return Table.read_json(self.path / f"{name}.json")

    def report(self) -> Report:
        """Compose a plain report from the files alone: records, pictures, settings.

        A scenario that has more to say writes its own; ``flower-coded report`` falls back on this one.
        """
        table = self.metrics()
        report = Report(f"Run {self.path.name}", subtitle=self.path.parent.name)
        rounds = [record for record in table.records() if record.get("round") is not None]
        numbers = [c for c in table.columns if c != "round" and _is_number(table, c)]
        if rounds and numbers:
            melted = [{"round": r["round"], "metric": c, "value": r[c]} for r in rounds for c in numbers]
            figure = draw_lines(melted, x="round", y="value", group="metric", title="Metrics by round")
            report.add_figure(figure, caption="Every numeric metric of the run, by round.")
        for picture in sorted(self.path.glob("*.png")):
            report.add_figure(picture, caption=picture.stem.replace("_", " ").replace("-", " "))
        report.add_heading("Records").add_table(table)
        return report.add_details("Settings", self.config())


def _is_number(table: Table, column: str) -> bool:
    index = table.columns.index(column)
    values = [row[index] for row in table.rows if row[index] is not None]
    return bool(values) and all(isinstance(v, int | float) and not isinstance(v, bool) for v in values)
