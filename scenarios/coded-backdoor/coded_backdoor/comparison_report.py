"""The report of a comparison: figures, tables, the paper's numbers beside ours."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from coded_backdoor import pictures
from coded_backdoor.comparison import CODED_METHODS, METHODS, Training
from coded_backdoor.experiment import Config
from flower_coded.reporting import COLORS, Report, RunDirectory, Table, draw_images, draw_lines, new_figure
from flower_coded.reporting.pictures import draw_matrix

# Accuracy under attack for 0 .. 3 attackers on MNIST, identically distributed (paper, Figure 6).
PAPER_MNIST = {
    ("12 groups of 1", "majority"): (0.979, 0.977, 0.978, 0.980),
    ("6 groups of 2", "majority"): (0.985, 0.987, 0.980, 0.827),
    ("BCC(4,4,12)", "decoder"): (0.983, 0.991, 0.990, 0.985),
    ("BCC(2,6,12)", "decoder"): (0.982, 0.987, 0.944, 0.791),
    ("random 15 of 4", "decoder"): (0.984, 0.988, 0.987, 0.989),
    ("random 6 of 6", "decoder"): (0.982, 0.684, 0.768, 0.552),
    ("random 15 of 4", "majority"): (0.989, 0.985, 0.386, 0.194),
    ("random 6 of 6", "majority"): (0.989, 0.160, 0.112, 0.000),
}
# (attackers, innocent users suspected) on MNIST (paper, Table 1).
PAPER_TRACKING = {
    ("BTC(1,11,16)", 1): (1.0, 0.0),
    ("BTC(2,4,16)", 1): (1.0, 0.01),
    ("BTC(2,4,16)", 2): (1.99, 0.01),
    ("BTC(2,4,16)", 3): (2.68, 0.31),
}
# The same as means over codes (a) to (f), by number of attackers (paper, Sec. 6).
PAPER_GUESSES = {1: (0.2, 0.8), 2: (0.5, 1.1), 3: (0.5, 1.2)}
SHOWN = (("FedAvg", "one model"), ("MultiKrum", "one model"), *PAPER_MNIST)
_HUES = (COLORS[1], COLORS[4], COLORS[6], COLORS[7], COLORS[0], COLORS[5], COLORS[2], "#7fc8ae")
PALETTE = dict(zip((f"{m}, {r}" for m, r in SHOWN), (*_HUES, COLORS[3], "#e3b3cf"), strict=True))
KEY = "accuracy under attack"


def write_comparison(run: RunDirectory, trainings: Sequence[Training], *, tracking: bool) -> str:
    """Write summary, pictures and report of these trainings; return the table for the terminal."""
    config, asked = run.config(), set(trainings)
    found: list[dict[str, Any]] = run.metrics().records()
    records = [r for r in found if Training(r["method"], r["attackers"], r["seed"]) in asked]
    rows = _tracking_rows(records) if tracking else _summary_rows(records, str(config["dataset"]))
    run.write_metrics(rows, name="summary")
    seeds = sorted({int(record["seed"]) for record in records})
    title = "Who did it? Tracking codes" if tracking else "Methods against attackers"
    subtitle = f"{config['dataset']}, {config['num-clients']} users, seeds {', '.join(map(str, seeds))}"
    told = (
        "" if tracking else f" MultiKrum is told of {config['most-attackers']} attackers, the most compared."
    )
    report = Report(title, subtitle=subtitle).add_text(_about(config) + told)
    figures = _tracking_figures(records, config) if tracking else _comparison_figures(records, config)
    for name, (figure, caption) in figures.items():
        run.write_figure(figure, name)
        report.add_figure(figure, caption=caption)
    report.add_heading("Means over seeds").add_table(rows)
    shown = Table.from_records(rows).to_text()
    suspected = [] if tracking else _tracking_rows(records)
    if suspected:
        run.write_metrics(suspected, name="suspects")
        report.add_heading("Who was it?").add_table(suspected)
        shown += f"\n\n{Table.from_records(suspected).to_text()}"
    report.add_heading("Every training").add_table(_without_lists(records))
    path: Path = report.add_details("Settings", config).write(run.report_path)
    return f"\n{shown}\n\nreport: {path}"


def _summary_rows(records: list[dict[str, Any]], dataset: str) -> list[dict[str, Any]]:
    rows = []
    counts = sorted({record["attackers"] for record in records})
    for method, readout in _methods_of(records):
        own = [r for r in records if (r["method"], r["readout"]) == (method, readout)]
        row = {"method": method, "readout": readout, "models": own[0]["models"], "cost": own[0]["cost"]}
        row["clean"] = _mean(own, "accuracy")
        row |= {f"{n} attacker{'s' * (n != 1)}": _mean(own, KEY, attackers=n) for n in counts}
        if dataset == "mnist" and (method, readout) in PAPER_MNIST:
            paper = PAPER_MNIST[method, readout]
            row["paper, 0 to 3"] = " ".join(f"{value:.3f}".lstrip("0") for value in paper)
        rows.append(row)
    return rows


def _tracking_rows(records: list[dict[str, Any]]) -> list[dict[str, Any]]:
    rows = []
    decoded = [record for record in records if record["readout"] == "decoder" and record["attackers"]]
    for method, number in dict.fromkeys((r["method"], r["attackers"]) for r in decoded):
        own = [r for r in decoded if (r["method"], r["attackers"]) == (method, number)]
        guesses = PAPER_GUESSES.get(number) if METHODS[method] in CODED_METHODS else None
        paper = PAPER_TRACKING.get((method, number), guesses or (None, None))
        rows.append(
            {
                "code": method,
                "attackers": number,
                "attackers suspected": _mean(own, "suspected-attackers"),
                "innocents suspected": _mean(own, "suspected-innocents"),
                "of the run": _mean(own, "run-suspected-attackers"),
                "innocents of the run": _mean(own, "run-suspected-innocents"),
                "attackers named": _mean(own, "true-positives"),
                "innocents named": _mean(own, "false-positives"),
                KEY: _mean(own, KEY),
                "paper (MNIST) true": paper[0],
                "paper (MNIST) false": paper[1],
            }
        )
    return rows


def _comparison_figures(records: list[dict[str, Any]], config: Config) -> dict[str, tuple[Figure, str]]:
    shown = [r | {"line": f"{r['method']}, {r['readout']}"} for r in records]
    order = {line: place for place, line in enumerate(PALETTE)}
    shown = sorted((r for r in shown if r["line"] in order), key=lambda record: order[record["line"]])
    figures: dict[str, tuple[Figure, str]] = {}
    captions = {
        KEY: "The paper's Figure 6: share of triggered images given their true label. Bands span seeds.",
        "attack success": "Share of triggered images of other classes that get the attackers' target.",
    }
    for key, caption in captions.items():
        figure = new_figure(size=(9, 4.2))
        shared: dict[str, Any] = {
            "x": "attackers",
            "y": key,
            "group": "line",
            "colors": PALETTE,
            "y_limits": (0, 1),
        }
        draw_lines(shown, **shared, title=key.capitalize(), axes=figure.axes[0])
        figures[key.replace(" ", "_")] = (figure, caption)
    figures["codes"] = (_code_matrices(config), "The codes compared: a row is a model, a column a user.")
    return figures | _trigger_figure(records, config)


def _tracking_figures(records: list[dict[str, Any]], config: Config) -> dict[str, tuple[Figure, str]]:
    figures: dict[str, tuple[Figure, str]] = {}
    for record in records:
        if record["readout"] == "decoder" and record["attackers"] and record["seed"] == records[0]["seed"]:
            training = Training(str(record["method"]), int(record["attackers"]), int(record["seed"]))
            experiment = training.experiment(config)
            rates = [float(rate) for rate in str(record["suspect-rates"]).split()]
            figure = pictures.suspicion(experiment.code, rates, experiment.attackers)
            name = f"{training.method}, {training.attackers} attackers"
            caption = f"{name}: of the triggered images held for attacked, the share that names each user."
            figures[f"suspects_{len(figures)}"] = (figure, caption)
    return figures


def _code_matrices(config: Config) -> Figure:
    figure = new_figure(2, 3, size=(11, 8))
    for axes, method in zip(figure.axes, CODED_METHODS, strict=True):
        code = Training(method.name, 0, int(config["seed"])).experiment(config).code
        draw_matrix(code.matrix, title=f"({method.letter}) {method.name}", axes=axes)
    return figure


def _trigger_figure(records: list[dict[str, Any]], config: Config) -> dict[str, tuple[Figure, str]]:
    images, titles = [], []
    for seed in sorted({int(record["seed"]) for record in records})[:3]:
        experiment = Training("FedAvg", 1, seed).experiment(config)
        if experiment.backdoor is None:
            return {}
        clean = experiment.data.test_images[:2]
        images += [clean, experiment.backdoor.trigger.apply(clean)]
        titles += [f"a {label}" for label in experiment.data.test_labels[:2]]
        titles += [f"seed {seed}: a {experiment.backdoor.target}!"] * 2
    figure = draw_images(np.concatenate(images), titles=titles, num_columns=4)
    return {"triggered": (figure, "Two test images of every seed without and with the attackers' trigger.")}


def _about(config: Config) -> str:
    return (
        f"Attackers poison {100 * float(config['poison-rate']):g} % of their images (`{config['attack']}`). "
        f"Every method trains {config['num-server-rounds']} rounds of {config['local-epochs']} local epochs "
        f"(`{config['model']}`, {config['samples-per-user']} images a user, class mix `{config['alpha']}`). "
        "An ensemble is trained once and read out twice, by majority vote and by the decoder. Half of the "
        "held-out images calibrate the decoder, the other half are judged. `cost` is client work in units of "
        "FedAvg's; `clean` is the accuracy on images without trigger, over all numbers of attackers. Under 0 "
        "attackers, triggered images meet clean models: what the trigger costs by hiding pixels."
    )


def _methods_of(records: list[dict[str, Any]]) -> list[tuple[str, str]]:
    found = {(record["method"], record["readout"]) for record in records}
    order = [(name, readout) for name in METHODS for readout in ("one model", "majority", "decoder")]
    return [pair for pair in order if pair in found]


def _mean(records: list[dict[str, Any]], key: str, *, attackers: int | None = None) -> float | None:
    values = [r[key] for r in records if r.get(key) is not None and attackers in {None, r["attackers"]}]
    return float(np.mean(values)) if values else None


def _without_lists(records: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    hidden = {"suspect-rates"}
    return [{key: value for key, value in record.items() if key not in hidden} for record in records]
