"""What came out: coefficients beside scikit-learn's, who was located, privacy against precision, figures."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from flower_coded.clients.robust_alcc import AnalogFaults
from flower_coded.protocols.analog_computing import Plan, get_function, tabulate_privacy
from flower_coded.reporting import Report, RunDirectory
from flower_coded.strategies import RobustALCC
from private_regression_app.figures import SWEEPS, add_figures, sweep
from private_regression_app.task import Task

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
    if record.outcome is None:
        run.write_metrics([{"decoded": 0}])
        report.add_note("Nothing could be trusted: more workers lied than the code corrects.", kind="bad")
        report.add_details("Settings", run.config()).write(run.report_path)
        print(f"progress: nothing could be trusted; report in {run.report_path}", flush=True)
        return
    equations = record.outcome.total
    found, expected = task.coefficients(equations), task.expected()
    error = float(np.linalg.norm(found - expected) / max(1.0, np.linalg.norm(expected)))
    is_kept = error <= promise and task.check_assumption(equations, float(config["smallest-eigenvalue"]))
    summary = {
        "relative error": error,
        "promised": promise,
        "bits leaked at most": plan.leakage.bits,
        "liars located": len(record.outcome.liars),
        "liars": len(faults.attackers),
        "silent": len(record.outcome.missing),
        "decoding seconds": record.decoding_seconds,
    }
    run.write_metrics([summary])
    run.write_metrics(_coefficients(task, found, expected), name="coefficients")
    privacy = _privacy(task, plan, config)
    run.write_metrics(privacy, name="privacy")
    report.add_metrics({name: f"{value:.2g}" for name, value in summary.items()})
    located = set(record.outcome.liars) == set(faults.attackers)
    report.add_note(
        f"The promise was {'kept' if is_kept else 'broken'}; "
        f"{'exactly the liars were' if located else 'not exactly the liars were'} located: "
        f"{list(record.outcome.liars)}.",
        kind="good" if is_kept and located else "bad",
    )
    report.add_heading("Coefficients").add_table(_coefficients(task, found, expected), digits=6)
    report.add_heading("Privacy against precision").add_table(privacy, digits=6)
    repetitions = int(config["sweep-repetitions"])
    if repetitions:
        swept = {name: sweep(name, repetitions, faults.seed) for name in SWEEPS}
        add_figures(report, run, swept, f"Averages of {repetitions} repetitions, seed {faults.seed}.")
    report.add_details("Settings", run.config()).write(run.report_path)
    print(
        f"progress: relative error {error:.1e}, promised {promise:.1e}, liars {record.outcome.liars}",
        flush=True,
    )
    print(f"progress: report in {run.report_path}", flush=True)


def _coefficients(task: Task, found: np.ndarray, expected: np.ndarray) -> list[Record]:
    """One record per feature, in the units of the table."""
    ours, theirs = task.in_original_units(found), task.in_original_units(expected)
    return [
        {"feature": index, "outsourced": ours[index], "scikit-learn": theirs[index]}
        for index in range(len(ours))
    ]


def _privacy(task: Task, plan: Plan, config: Mapping[str, Any]) -> list[Record]:
    """Plan the same computation for other levels of privacy."""
    num_rows = -(-len(task.scaled) // plan.code.num_blocks)
    plans = tabulate_privacy(
        plan.code,
        get_function("normal-equations"),
        (num_rows, task.scaled.shape[1]),
        [1.0, 0.1, 0.01, 1e-3, 1e-4],
        num_liars=int(config["num-liars"]),
        num_missing=int(config["num-missing"]),
    )
    return [
        {
            "bits per position": each.leakage.bits,
            "beta": each.code.radius,
            "sigma": each.code.noise_scale,
            "entry error promised": each.entry_error,
            "coefficients promised": task.promise(each, float(config["smallest-eigenvalue"])),
        }
        for each in plans
    ]
