"""The robustness report: what every attack does to every defense, on one page, as PNG and HTML.

Made from a sweep's records, one per run: cells are means over seeds. Harm is what the attack was for: of a
backdoor the share of triggered images of other classes that get the attackers' target; of any other attack
the accuracy that the same defense loses against its own clean run. Left out: which differences are more
than chance; the table beside the report has every run.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from numpy.typing import NDArray

from flower_coded.reporting.figures import new_figure
from flower_coded.reporting.heat_map import draw_cells, draw_heat_map
from flower_coded.reporting.html import Report
from flower_coded.reporting.run_directory import RunDirectory
from flower_coded.reporting.tables import Record

__all__ = ["RobustnessResults", "draw_robustness", "robustness_report", "write_robustness_report"]

_CLEAN = "none"
_CONFIGURATION = ("num-users", "num-rounds", "tolerated-attackers", "dataset", "model", "local-epochs")


@dataclass(frozen=True)
class RobustnessResults:
    """Records of one class mix and one number of attackers, with their clean runs.

    Parameters
    ----------
    records : tuple of mapping
        Runs with ``defense``, ``attack``, ``seed``, ``status`` and what was measured.
    alpha : str
        The class mix.
    attackers : int
        Users that attack, in the runs that are not clean.

    Examples
    --------
    >>> runs = [{"defense": "median", "attack": a, "status": "done", "alpha": "iid", "seed": s,
    ...          "attackers": 2 * (a != "none"), "accuracy": 0.9, "accuracy-loss": 0.1 * s}
    ...         for a in ("none", "sign-flip") for s in (1, 2)]
    >>> [part] = RobustnessResults.split(runs)
    >>> part.harm()
    array([[0.15]])
    """

    records: tuple[Record, ...]
    alpha: str
    attackers: int

    @classmethod
    def split(cls, records: Iterable[Record]) -> list[RobustnessResults]:
        """Make one part per class mix and number of attackers, in order of occurrence."""
        done = [record for record in records if record["status"] == "done"]
        pairs = dict.fromkeys((str(r["alpha"]), int(r["attackers"])) for r in done if r["attackers"])
        pairs = pairs or dict.fromkeys((str(r["alpha"]), 0) for r in done)
        return [
            cls(tuple(r for r in done if str(r["alpha"]) == a and r["attackers"] in {0, number}), a, number)
            for a, number in pairs
        ]

    @property
    def defenses(self) -> list[str]:
        """Names, in order of occurrence."""
        return list(dict.fromkeys(str(record["defense"]) for record in self.records))

    @property
    def attacks(self) -> list[str]:
        """Names, the clean run first, then backdoors, then the others, each in order of occurrence."""
        found = list(dict.fromkeys(str(record["attack"]) for record in self.records))
        return sorted(found, key=lambda name: 0 if name == _CLEAN else 1 if self.is_backdoor(name) else 2)

    @property
    def harmful(self) -> list[str]:
        """The attacks without the clean run."""
        return [attack for attack in self.attacks if attack != _CLEAN]

    @property
    def seeds(self) -> list[int]:
        """Seeds that occur."""
        return sorted({int(record["seed"]) for record in self.records})

    def is_backdoor(self, attack: str) -> bool:
        """Tell whether an attack's success was measured on triggered images."""
        return any(r["attack"] == attack and r.get("attack-success") is not None for r in self.records)

    def accuracy(self) -> NDArray[np.float64]:
        """Mean accuracy on clean images, (defenses, attacks)."""
        return self._means(self.attacks, lambda record: record["accuracy"])

    def harm(self) -> NDArray[np.float64]:
        """Mean attack success or accuracy lost, not below 0, (defenses, harmful attacks)."""
        return np.maximum(self._means(self.harmful, _harm), 0.0)

    def mean(self, defense: str, key: str, attacks: Sequence[str] | None = None) -> float:
        """Mean of a measured value over a defense's runs; NaN where there is none."""
        chosen = [r for r in self.records if r["defense"] == defense]
        if attacks is not None:
            chosen = [r for r in chosen if r["attack"] in attacks]
        return _mean(record.get(key) for record in chosen)

    def largest_mean(self, defense: str, key: str) -> float:
        """Mean of a measured value under the attack where it is largest; NaN where there is none."""
        means = [self.mean(defense, key, [attack]) for attack in self.attacks]
        known = [value for value in means if not np.isnan(value)]
        return max(known) if known else float("nan")

    def detection(self, defense: str) -> tuple[float, float, float]:
        """Precision, recall and F1 over all attacks and seeds, counted together; NaN where undefined."""
        chosen = [r for r in self.records if r["defense"] == defense and r["attack"] != _CLEAN]
        keys = ("true-positives", "false-positives", "false-negatives")
        true, false, missed = (sum(int(r.get(key) or 0) for r in chosen) for key in keys)
        precision = true / (true + false) if true + false else float("nan")
        recall = true / (true + missed) if true + missed else float("nan")
        f1 = 2 * true / (2 * true + false + missed) if true + missed else float("nan")
        return precision, recall, f1

    def _means(self, attacks: Sequence[str], value: Callable[[Record], float | None]) -> NDArray[np.float64]:
        cells: dict[Any, list[float | None]] = {(d, a): [] for d in self.defenses for a in attacks}
        for record in self.records:
            place = (record["defense"], record["attack"])
            if place in cells:
                cells[place].append(value(record))
        whole = len(self.seeds)  # a mean over some of the seeds is no neighbor of a mean over all
        return np.array(
            [
                [_mean(cells[d, a]) if len(cells[d, a]) == whole else np.nan for a in attacks]
                for d in self.defenses
            ]
        )


def write_robustness_report(
    directory: RunDirectory, records: Sequence[Record], *, title: str, num_planned: int | None = None
) -> list[Path]:
    """Write ``robustness.png`` and ``report.html`` (more of each, numbered, for several mixes or numbers).

    Parameters
    ----------
    directory : RunDirectory
        Where the sweep's table is.
    records : sequence of mapping
        All of the sweep's runs, failed ones included.
    title : str
        Heading.
    num_planned : int, optional
        Runs that the sweep asks for, where some are still missing: the page says so first.

    Returns
    -------
    list of Path
        What was written.
    """
    parts = RobustnessResults.split(records)
    written = []
    for number, part in enumerate(parts, start=1):
        name = "robustness" if len(parts) == 1 else f"robustness-{number}"
        written.append(directory.write_figure(draw_robustness(part, title=title), name))
    page = robustness_report(parts, records, title=title, num_planned=num_planned)
    return [*written, page.write(directory.report_path)]


def draw_robustness(part: RobustnessResults, *, title: str) -> Figure:
    """Draw accuracy, harm, and what a defense costs and names, with the same rows.

    Parameters
    ----------
    part : RobustnessResults
    title : str
        Heading of the picture.
    """
    rows, height = [name.replace("+", " +\n") for name in part.defenses], 1.35 + 0.4 * len(part.defenses)
    width = 3.8 + 1.2 * max(len(part.attacks) + 1, len(_PROPERTY_COLUMNS))
    figure = new_figure(3 if part.harmful else 2, 1, size=(width, 0.6 + height * (2 + bool(part.harmful))))
    engine = figure.get_layout_engine()
    if isinstance(engine, ConstrainedLayoutEngine):
        engine.set(h_pad=0.18)  # inches between a map and the heading of the next
    remaining = iter(figure.axes)
    draw_heat_map(
        part.accuracy(),
        rows,
        [_wrapped(name if name != _CLEAN else "no attack") for name in part.attacks],
        title="Accuracy on clean test images (dark is good)",
        worst="min",
        axes=next(remaining),
    )
    if part.harmful:
        draw_heat_map(
            part.harm(),
            rows,
            [f"{_wrapped(name)}\n({_harm_name(part, name)})" for name in part.harmful],
            title="What the attack achieves (dark is bad)",
            worst="max",
            num_blank=len(part.attacks) - len(part.harmful),
            axes=next(remaining),
        )
    columns, cells = _properties(part)
    draw_cells(
        cells, rows, columns, title="Whom it names, what it proves, what it costs", axes=next(remaining)
    )
    figure.suptitle(f"{title}: {_subtitle(part)}", fontsize="large", x=0.01, ha="left")
    return figure


def robustness_report(
    parts: Sequence[RobustnessResults],
    records: Sequence[Record],
    *,
    title: str,
    num_planned: int | None = None,
) -> Report:
    """Compose the page: pictures, their numbers as tables, failures, settings."""
    report = Report(title, subtitle=_settings_line(records))
    if num_planned is not None and len(records) < num_planned:
        report.add_note(f"Not complete: {len(records)} of {num_planned} runs are here.", kind="bad")
    report.add_text(
        "Every cell is a mean over seeds. **Success** is the share of triggered images of other classes that "
        "get the attackers' target; **accuracy lost** is against the same defense's own run without attack. "
        "**Worst** is the worst cell of a row: what an attacker who may choose the attack gets. A cell "
        "without a value was not run with every seed, or a run of it failed."
    )
    for part in parts:
        heading = f"Class mix {part.alpha}, {part.attackers} attackers"
        report.add_heading(heading).add_figure(
            draw_robustness(part, title=title),
            caption=f"{heading}; seeds {', '.join(map(str, part.seeds))}. Rows are defenses.",
        )
        report.add_table(_table(part, part.accuracy(), part.attacks), caption="Accuracy on clean images")
        if part.harmful:
            report.add_table(
                _table(part, part.harm(), part.harmful), caption="Attack success, or accuracy lost"
            )
        report.add_table(_property_table(part), caption="Detection, certificates and cost")
        report.add_text(_PROPERTIES)
    failed = [record for record in records if record["status"] != "done"]
    if failed:
        report.add_heading("Runs that failed")
        for record in failed:
            name = f"{record['defense']} under {record['attack']}, seed {record['seed']}: {record['error']}"
            report.add_details(name, str(record.get("traceback", "")))
    settings = {k: v for k, v in (records[0] if records else {}).items() if k.startswith("version-")}
    return report.add_details("Versions", settings)


_PROPERTIES = (
    "Precision, recall and F1 of naming attackers are counted per user and round (a coded ensemble accuses "
    "once, at the end, by its standard of proof; users who train the same models are named together, "
    "which is right if one of them attacks and wrong once if none does); rules "
    "that use every update in part, and Flower's own strategies, which do not tell whom they left out, name "
    "nobody but the senders of malformed replies. `honest users named without attack` is a count per run. "
    "Certified accuracy is the share of test images that the majority of a coded ensemble gets right "
    "whatever the tolerated number of users had sent. A refused round is one in which the defense could not "
    "use what was left and kept the old model. Megabytes "
    "are both ways, all users together. Seconds are processor seconds of one core: of all users, and of the "
    "server."
)
_PROPERTY_COLUMNS = (
    "naming: precision",
    "naming: recall",
    "naming: F1",
    "honest users named without attack",
    "certified accuracy",
    "rounds refused, worst attack",
    "MB a round",
    "users' CPU s a round",
    "server's CPU s a round",
)


def _property_values(part: RobustnessResults, defense: str) -> tuple[float, ...]:
    return (
        *part.detection(defense),
        part.mean(defense, "false-positives", [_CLEAN]),
        part.mean(defense, "certified-accuracy", [_CLEAN]),
        part.largest_mean(defense, "refused-rounds"),
        part.mean(defense, "megabytes-per-round"),
        part.mean(defense, "client-seconds-per-round", [_CLEAN]),
        part.mean(defense, "server-seconds-per-round", [_CLEAN]),
    )


def _properties(part: RobustnessResults) -> tuple[list[str], list[list[str]]]:
    columns = [_wrapped(name.replace(" ", "-"), joint=" ") for name in _PROPERTY_COLUMNS]
    digits = (2, 2, 2, 1, 2, 1, 1, 2, 3)
    cells = [
        [
            "" if np.isnan(value) else f"{value:.{places}f}"
            for value, places in zip(_property_values(part, defense), digits, strict=True)
        ]
        for defense in part.defenses
    ]
    return columns, cells


def _property_table(part: RobustnessResults) -> list[dict[str, Any]]:
    return [
        {"defense": defense} | _finite(_PROPERTY_COLUMNS, _property_values(part, defense))
        for defense in part.defenses
    ]


def _table(
    part: RobustnessResults, values: NDArray[np.float64], attacks: Sequence[str]
) -> list[dict[str, Any]]:
    return [
        {"defense": defense} | _finite(attacks, line.tolist())
        for defense, line in zip(part.defenses, values, strict=True)
    ]


def _finite(names: Iterable[str], values: Iterable[float]) -> dict[str, float | None]:
    return {
        name: None if np.isnan(value) else float(value) for name, value in zip(names, values, strict=True)
    }


def _harm(record: Record) -> float | None:
    success = record.get("attack-success")
    loss = record.get("accuracy-loss")
    if success is not None:
        return float(success)
    return None if loss is None else float(loss)


def _harm_name(part: RobustnessResults, attack: str) -> str:
    return "success" if part.is_backdoor(attack) else "accuracy lost"


def _mean(values: Iterable[float | None]) -> float:
    known = [float(value) for value in values if value is not None]
    return float(np.mean(known)) if known else float("nan")


def _wrapped(name: str, *, joint: str = "-") -> str:
    """Break a long hyphenated name into lines of about twelve letters."""
    lines = [""]
    for piece in name.split("-"):
        if lines[-1] and len(lines[-1]) + len(piece) > 11:
            lines.append(piece)
        else:
            lines[-1] = f"{lines[-1]}{joint}{piece}" if lines[-1] else piece
    return (f"{joint.strip()}\n").join(lines)


def _subtitle(part: RobustnessResults) -> str:
    first: Mapping[str, Any] = part.records[0]
    return (
        f"{first.get('dataset', 'digits')}, {first.get('num-users', '?')} users of whom {part.attackers} "
        f"attack, class mix {part.alpha}, {first.get('num-rounds', '?')} rounds, mean of {len(part.seeds)} "
        f"seed{'s' * (len(part.seeds) != 1)}"
    )


def _settings_line(records: Sequence[Record]) -> str:
    first: Mapping[str, Any] = records[0] if records else {}
    known = [f"{name} {first[name]}" for name in _CONFIGURATION if name in first]
    return f"{len(records)} runs; {', '.join(known)}"
