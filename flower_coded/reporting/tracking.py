"""Where the numbers of a run go while it goes on: files, TensorBoard, Weights & Biases, MLflow.

A :class:`Sink` takes settings, scalars by round, pictures, text, and results. ``files`` needs nothing and is
always there; the others are imported when they are asked for. :class:`Sinks` fans out: one that fails in the
middle of a run (a full disk, a server gone) is set aside with the reason, said once, and the run goes on.
"""

from __future__ import annotations

import csv
import difflib
import importlib
import importlib.util
import itertools
import json
import os
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from flower_coded.errors import ParameterError

__all__ = ["SINK_NAMES", "FileSink", "Sink", "Sinks", "check_sinks", "open_sinks", "track_result"]

Settings = Mapping[str, bool | int | float | str]
Values = Mapping[str, float]


_FILES = ("rounds.jsonl", "rounds.csv", "results.jsonl")
_SECONDS_TO_LOG_IN = 30
_MOST_REPORTED = (
    100  # numbers of one round that are passed on of what clients report under names of their own
)


class Sink(Protocol):
    """What takes the numbers of one run."""

    def settings(self, settings: Settings) -> None:
        """Take the run's settings."""

    def scalars(self, training: str, server_round: int, values: Values) -> None:
        """Take what a round of one training measured."""

    def result(self, name: str, settings: Settings, values: Values) -> None:
        """Take what one run of many came to, as a sweep has them."""

    def picture(self, name: str, path: Path) -> None:
        """Take a PNG file."""

    def text(self, name: str, text: str) -> None:
        """Take words."""

    def close(self) -> None:
        """Write what is left."""


class FileSink:
    """``rounds.jsonl``, ``rounds.csv`` and ``results.jsonl`` in a run's directory, whole after each line.

    Parameters
    ----------
    directory : Path
    goes_on : bool
        Whether lines are added to those that are there, as a sweep's are; otherwise those are removed.

    Examples
    --------
    >>> import tempfile
    >>> directory = Path(tempfile.mkdtemp())
    >>> FileSink(directory).scalars("FedAvg", 1, {"accuracy": 0.5})
    >>> print((directory / "rounds.jsonl").read_text().strip())
    {"training": "FedAvg", "round": 1, "accuracy": 0.5}
    """

    def __init__(self, directory: Path, *, goes_on: bool = False) -> None:
        self.directory = directory
        for name in () if goes_on else _FILES:
            (directory / name).unlink(missing_ok=True)

    def settings(self, settings: Settings) -> None:
        """Leave it to ``config.json``, which every run has."""

    def scalars(self, training: str, server_round: int, values: Values) -> None:
        """Append one line to ``rounds.jsonl``, and one for each value to ``rounds.csv``."""
        self._append("rounds.jsonl", {"training": training, "round": server_round, **values})
        path = self.directory / "rounds.csv"
        is_new = not path.exists()
        with path.open("a", newline="", encoding="utf-8") as file:
            rows = csv.writer(file)
            if is_new:
                rows.writerow(["training", "round", "name", "value"])
            rows.writerows([training, server_round, name, value] for name, value in values.items())

    def result(self, name: str, settings: Settings, values: Values) -> None:
        """Append one line to ``results.jsonl``."""
        self._append("results.jsonl", {"name": name, **settings, **values})

    def picture(self, name: str, path: Path) -> None:
        """Leave it where it is: beside these files."""

    def text(self, name: str, text: str) -> None:
        """Leave it to the report."""

    def close(self) -> None:
        """Do nothing: every line was written at once."""

    def _append(self, name: str, record: Mapping[str, Any]) -> None:
        # One write of one line: who reads meanwhile, or after a kill, finds whole lines.
        with (self.directory / name).open("a", encoding="utf-8") as file:
            file.write(json.dumps(record) + "\n")


class TensorBoardSink:
    """Event files in ``tensorboard/`` of the run's directory, one run of TensorBoard's for each training."""

    def __init__(self, directory: Path, title: str) -> None:
        del title
        self.directory = directory / "tensorboard"
        self._module = importlib.import_module("torch.utils.tensorboard")
        self._writers: dict[str, Any] = {}

    def _writer(self, training: str) -> Any:
        if training not in self._writers:
            self._writers[training] = self._module.SummaryWriter(str(self.directory / _slug(training)))
        return self._writers[training]

    def settings(self, settings: Settings) -> None:
        """Show them as a table of text."""
        rows = "\n".join(f"| {name} | {value} |" for name, value in settings.items())
        self.text("settings", f"| setting | value |\n|---|---|\n{rows}")

    def scalars(self, training: str, server_round: int, values: Values) -> None:
        """Draw a point of each curve."""
        writer = self._writer(training)
        for name, value in values.items():
            writer.add_scalar(name, value, server_round)
        writer.flush()

    def result(self, name: str, settings: Settings, values: Values) -> None:
        """Add a row to the table of hyper-parameters."""
        writer = self._writer("results")
        writer.add_hparams(dict(settings), dict(values), run_name=_slug(name))
        writer.flush()

    def picture(self, name: str, path: Path) -> None:
        """Show a picture."""
        import numpy as np
        from PIL import Image

        with Image.open(path) as image:
            pixels = np.asarray(image.convert("RGB"))
        self._writer("report").add_image(name, pixels, dataformats="HWC")

    def text(self, name: str, text: str) -> None:
        """Show text."""
        writer = self._writer("report")
        writer.add_text(name, text)
        writer.flush()

    def close(self) -> None:
        """Close the event files."""
        for writer in self._writers.values():
            writer.close()


class WandbSink:
    """A run of Weights & Biases, under the user's account and mode (``WANDB_MODE=offline``)."""

    def __init__(self, directory: Path, title: str) -> None:
        self._module = importlib.import_module("wandb")
        is_online = os.environ.get("WANDB_MODE", "online") == "online"
        # At a terminal it would ask for a key, and wait for ever.
        if is_online and not self._module.login(timeout=_SECONDS_TO_LOG_IN):
            raise ParameterError("WANDB_MODE", "must be offline where nobody is logged in", "online")
        self._run = self._module.init(project="flower-coded", name=title, dir=str(directory))

    def settings(self, settings: Settings) -> None:
        """Set the run's configuration."""
        self._run.config.update(dict(settings))

    def scalars(self, training: str, server_round: int, values: Values) -> None:
        """Log a point of each curve, over the training's own round."""
        named = {f"{training}/{name}": value for name, value in values.items()}
        self._run.log(named | {f"{training}/round": server_round})

    def result(self, name: str, settings: Settings, values: Values) -> None:
        """Log what one run of many came to."""
        del settings
        self._run.log({f"{name}/{key}": value for key, value in values.items()})

    def picture(self, name: str, path: Path) -> None:
        """Log a picture."""
        self._run.log({name: self._module.Image(str(path))})

    def text(self, name: str, text: str) -> None:
        """Keep text in the summary."""
        self._run.summary[name] = text

    def close(self) -> None:
        """End the run."""
        self._run.finish()


class MlflowSink:
    """A run of MLflow's, on the tracking server that the user has set up (``MLFLOW_TRACKING_URI``)."""

    def __init__(self, directory: Path, title: str) -> None:
        del directory
        # Of its own accord MLflow asks a server that is gone for minutes, at each call.
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "10")
        self._module = importlib.import_module("mlflow")
        self._module.set_experiment("flower-coded")
        self._module.start_run(run_name=title)

    def settings(self, settings: Settings) -> None:
        """Log parameters."""
        self._module.log_params({_slug(name): value for name, value in settings.items()})

    def scalars(self, training: str, server_round: int, values: Values) -> None:
        """Log a point of each curve."""
        named = {f"{_slug(training)}/{_slug(name)}": value for name, value in values.items()}
        self._module.log_metrics(named, step=server_round)

    def result(self, name: str, settings: Settings, values: Values) -> None:
        """Log what one run of many came to, as a run within this one."""
        with self._module.start_run(run_name=name, nested=True):
            self._module.log_params({_slug(key): value for key, value in settings.items()})
            self._module.log_metrics({_slug(key): value for key, value in values.items()})

    def picture(self, name: str, path: Path) -> None:
        """Keep the file as an artifact."""
        del name
        self._module.log_artifact(str(path))

    def text(self, name: str, text: str) -> None:
        """Keep text as an artifact."""
        self._module.log_text(text, f"{_slug(name)}.txt")

    def close(self) -> None:
        """End the run."""
        self._module.end_run()


_SINKS: dict[str, tuple[Callable[[Path, str], Sink], str]] = {
    "tensorboard": (TensorBoardSink, "tensorboard"),
    "wandb": (WandbSink, "wandb"),
    "mlflow": (MlflowSink, "mlflow"),
}
SINK_NAMES = tuple(_SINKS)
"""Sinks that can be asked for; each needs a package of its name."""


class Sinks:
    """Several sinks as one; what fails is set aside.

    Parameters
    ----------
    sinks : mapping of str to Sink
        By name.
    tell : callable
        Told, once for each, which sink is set aside and why.
    """

    def __init__(self, sinks: Mapping[str, Sink], tell: Callable[[str], None]) -> None:
        self.sinks, self._tell = dict(sinks), tell

    def settings(self, settings: Settings) -> None:
        """Give the run's settings to every sink that still works."""
        self._each(lambda sink: sink.settings(settings))

    def scalars(self, training: str, server_round: int, values: Values) -> None:
        """Give what a round measured."""
        self._each(lambda sink: sink.scalars(training, server_round, values))

    def result(self, name: str, settings: Settings, values: Values) -> None:
        """Give what one run of many came to."""
        self._each(lambda sink: sink.result(name, settings, values))

    def picture(self, name: str, path: Path) -> None:
        """Give a picture."""
        self._each(lambda sink: sink.picture(name, path))

    def text(self, name: str, text: str) -> None:
        """Give words."""
        self._each(lambda sink: sink.text(name, text))

    def _each(self, take: Callable[[Sink], None]) -> None:
        for name, sink in list(self.sinks.items()):
            try:
                take(sink)
            except Exception as error:  # noqa: BLE001 - whatever a tracker raises, the run goes on without it
                del self.sinks[name]
                self._tell(f"tracking by {name} is set aside: {type(error).__name__}: {error}")

    def close(self) -> None:
        """Close all."""
        self._each(lambda sink: sink.close())


def check_sinks(names: Sequence[str]) -> None:
    """Refuse a sink that is unknown, or whose package is not there, before anything is started.

    Parameters
    ----------
    names : sequence of str

    Raises
    ------
    ParameterError
        Naming what would do.

    Examples
    --------
    >>> check_sinks(["tensorbord"])
    Traceback (most recent call last):
        ...
    flower_coded.errors.ParameterError: track must be one of tensorboard, wandb, mlflow; received ...
    """
    for name in names:
        if name not in _SINKS:
            near = difflib.get_close_matches(name, SINK_NAMES, 1)
            raise ParameterError(
                "track", f"must be one of {', '.join(SINK_NAMES)}", name, hint=f"{near[0]}?" if near else ""
            )
        if importlib.util.find_spec(_SINKS[name][1]) is None:
            raise ParameterError("track", "must be installed", name, hint=f"pip install {_SINKS[name][1]}")


def open_sinks(
    names: Sequence[str],
    directory: Path,
    title: str,
    tell: Callable[[str], None],
    *,
    goes_on: bool = False,
) -> Sinks:
    """Open the sinks that are asked for, and that of files.

    Parameters
    ----------
    names : sequence of str
        Of :data:`SINK_NAMES`.
    directory : Path
        The run's.
    title : str
        The run's name, where a sink shows several.
    tell : callable
        See :class:`Sinks`.
    goes_on : bool
        See :class:`FileSink`.

    Returns
    -------
    Sinks

    Raises
    ------
    ParameterError
        As :func:`check_sinks`.
    """
    check_sinks(names)
    sinks = Sinks({"files": FileSink(directory, goes_on=goes_on)}, tell)
    for name in dict.fromkeys(names):
        make = _SINKS[name][0]
        try:
            sinks.sinks[name] = make(directory, title)
        except Exception as error:  # noqa: BLE001 - no account, no server: the run goes on without it
            tell(f"tracking by {name} is set aside: {type(error).__name__}: {error}")
    return sinks


def track_result(result: Any, sinks: Sinks, *, training: str = "training") -> None:
    """Give every round of a Flower ``Result`` to sinks: one call in a project of one's own.

    Parameters
    ----------
    result : flwr.serverapp.strategy.Result
        What ``strategy.start`` returned.
    sinks : Sinks
    training : str
        Its name, where sinks show several.

    Notes
    -----
    Of what clients report, who choose names and how many, the first 100 finite numbers of a round are passed
    on, under names of at most 60 plain characters.
    """
    for part, by_round in (
        ("train", result.train_metrics_clientapp),
        ("evaluate", result.evaluate_metrics_clientapp),
        ("server", result.evaluate_metrics_serverapp),
    ):
        for server_round, metrics in sorted(by_round.items()):
            values = {f"{part}/{name}": value for name, value in _numbers(metrics)}
            if values:
                sinks.scalars(training, server_round, values)


def _numbers(metrics: Mapping[str, Any]) -> Iterable[tuple[str, float]]:
    found = (
        (re.sub(r"[^\w '/-]", "_", name[:60]), float(value))
        for name, value in metrics.items()
        if isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < float("inf")
    )
    return itertools.islice(found, _MOST_REPORTED)


def _slug(name: str) -> str:
    return re.sub(r"[^\w.-]+", "-", name).strip("-") or "unnamed"
