"""What came out: coefficients beside scikit-learn's, who was located, privacy against precision, figures."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from flower_coded.clients.robust_alcc import AnalogFaults
from flower_coded.errors import DecodingError
from flower_coded.protocols.analog_computing import (
    Plan,
    Regression,
    get_function,
    solve_regression,
    tabulate_privacy,
)
from flower_coded.reporting import Report, RunDirectory, draw_bars, explain, new_figure
from flower_coded.strategies import RobustALCC
from private_regression_app.figures import SWEEPS, add_figures, sweep
from private_regression_app.task import Task

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Record = dict[str, Any]


def write_report(
    run: RunDirectory,
    task: Task,
    plan: Plan,
    promise: float,
    strategy: RobustALCC,
    faults: AnalogFaults,
    config: Mapping[str, Any],
) -> None:
    """Write metrics, pictures and the page; print where."""
    record = strategy.history[0]
    report = Report(
        "Regression on a table nobody sees",
        subtitle=f"{task.name}: {task.table.shape[0]} rows, {task.table.shape[1] - 1} features, "
        f"{plan.code.num_workers} workers, {len(faults.attackers)} liars ({faults.name}), "
        f"{len(faults.stragglers)} silent, seed {faults.seed}",
    )
    outcome, found, refusal = record.outcome, None, record.refusal
    if outcome is not None:
        try:
            found = solve_regression(
                task.scaled, outcome.total, outcome.total_error_bound, accuracy=float(config["accuracy"])
            )
        except DecodingError as refused:
            refusal = str(refused)
    if outcome is None or found is None:
        run.write_metrics([{"decoded": 0}])
        report.add_note(f"Nothing could be trusted: {refusal}.", kind="bad")
        report.add_details("Settings", run.config()).write(run.report_path)
        print(f"progress: nothing could be trusted; report in {run.report_path}", flush=True)
        return
    expected = task.expected()
    error = float(np.linalg.norm(found.scaled - expected) / max(1.0, float(np.linalg.norm(expected))))
    summary = {
        "relative error": error,
        "error bound": found.error_bound,
        "promised": promise,
        "bits leaked at most": plan.leakage.bits,
        "liars named": len(outcome.liars),
        "liars": len(faults.attackers),
        "silent": len(outcome.missing),
        "decoding seconds": record.decoding_seconds,
    }
    run.write_metrics([summary])
    coefficients = _coefficients(task, found, expected)
    run.write_metrics(coefficients, name="coefficients")
    privacy = _privacy(task, plan, config)
    run.write_metrics(privacy, name="privacy")
    report.add_metrics({name: f"{value:.2g}" for name, value in summary.items()})
    is_kept = error <= found.error_bound <= promise
    is_named = set(outcome.liars) == set(faults.attackers)
    report.add_note(
        f"The promise was {'kept' if is_kept else 'broken'}; "
        f"{'exactly the liars were' if is_named else 'not exactly the liars were'} named: "
        f"{list(outcome.liars)}, by {'their keys' if outcome.vouched_by == 'keys' else 'the code'}.",
        kind="good" if is_kept and is_named else "bad",
    )
    pooling = plan.code.num_colluders
    report.add_note(
        f"Any {pooling} workers, liars among them, learn at most {plan.leakage.bits:.2g} bits about a "
        f"position of the table. From {pooling + 1} on they know combinations of it exactly, and "
        f"{plan.code.privacy_cliff} who pool their shares have the whole table."
    )
    report.add_terms(explain("bits leaked", "key", "straggler"))
    figure = _draw_coefficients(coefficients)
    run.write_figure(figure, "coefficients")
    report.add_heading("Coefficients").add_figure(
        figure,
        caption="What the untrusted workers computed beside what scikit-learn finds with the table in hand. "
        "Bars of a pair are as long as each other where the promise holds.",
    )
    report.add_table(coefficients, digits=6)
    report.add_heading("Privacy against precision").add_table(privacy)
    repetitions = int(config["sweep-repetitions"])
    if repetitions:
        swept = {name: sweep(name, repetitions, faults.seed) for name in SWEEPS}
        add_figures(report, run, swept, f"Averages of {repetitions} repetitions, seed {faults.seed}.")
    report.add_details("Settings", run.config()).write(run.report_path)
    print(
        f"progress: relative error {error:.1e}, promised {promise:.1e}, liars {outcome.liars}",
        flush=True,
    )
    print(f"progress: report in {run.report_path}", flush=True)


def _coefficients(task: Task, found: Regression, expected: np.ndarray) -> list[Record]:
    """One record per feature, in the units of the table."""
    theirs = expected * task.scaled.scales[-1] / task.scaled.scales[:-1]
    return [
        {"feature": index, "outsourced": ours, "scikit-learn": other}
        for index, (ours, other) in enumerate(zip(found.coefficients, theirs, strict=True))
    ]


def _draw_coefficients(coefficients: list[Record]) -> Figure:
    bars = [
        {"feature": each["feature"], "way": way, "coefficient": each[way]}
        for each in coefficients
        for way in ("outsourced", "scikit-learn")
    ]
    figure = new_figure(size=(8, 3.4))
    draw_bars(bars, x="feature", y="coefficient", group="way", title="Coefficients", axes=figure.axes[0])
    return figure


def _privacy(task: Task, plan: Plan, config: Mapping[str, Any]) -> list[Record]:
    """Plan the same computation for other levels of privacy."""
    values = task.scaled.values
    plans = tabulate_privacy(
        plan.code,
        get_function("normal-equations"),
        (-(-len(values) // plan.code.num_blocks), values.shape[1]),
        [1.0, 0.1, 0.01, 1e-3, 1e-4],
        num_byzantine=plan.num_byzantine,
        num_stragglers=plan.num_stragglers,
        verification=plan.verification,
        data_scale=float(values.std()),
    )
    return [
        {
            "bits per position": each.leakage.bits,
            "beta": each.code.radius,
            "sigma": each.code.noise_scale,
            "digits lost": each.digits_lost,
            "equations promised": each.relative_error,
            "coefficients promised": task.promise(each, float(config["smallest-eigenvalue"])),
        }
        for each in plans
    ]
