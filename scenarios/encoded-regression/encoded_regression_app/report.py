"""What the run is compared with, and the page that says so."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np

from encoded_regression_app.task import Task
from flower_coded.errors import DecodingError
from flower_coded.protocols.encoded_gradient import (
    BASELINES,
    AcceleratedStep,
    Faults,
    encoded_resources,
    get_baseline,
    plain_resources,
    repetition_resources,
    run_baseline,
    smoothness,
)
from flower_coded.reporting import Report, RunDirectory, draw_lines, explain
from flower_coded.strategies import EncodedGradientDescent

Record = dict[str, Any]


def write_report(run: RunDirectory, task: Task, strategy: EncodedGradientDescent, faults: Faults) -> None:
    """Write metrics, pictures and the page; print where."""
    distances = _distances(task, strategy, faults)
    final = {name: values[-1] for name, values in distances.items()}
    records = [
        {"round": number, "method": name, "distance": float(value)}
        for name, values in distances.items()
        for number, value in enumerate(values)
    ]
    workers, costs = _workers(strategy, faults), _costs(task, strategy)
    run.write_metrics(records)
    run.write_metrics(workers, name="workers")
    run.write_metrics(costs, name="costs")
    figure = draw_lines(
        records,
        x="round",
        y="distance",
        group="method",
        title="Distance to the optimum under attack",
        x_label="iteration",
        y_label="relative distance",
        y_scale="log",
    )
    run.write_figure(figure, "distance")
    attacks = sorted({type(attack).__name__ for attack in faults.attacks.values()}) or ["nobody lies"]
    report = Report(
        "Regression while workers lie",
        subtitle=f"{task.name}: {task.features.shape[0]} samples, {task.features.shape[1]} weights, "
        f"{strategy.code.num_workers} workers, {len(faults.attacks)} liars ({', '.join(attacks)}), "
        f"{len(faults.stragglers)} stragglers, seed {faults.seed}",
    )
    report.add_metrics({name: f"{value:.1e}" for name, value in final.items()})
    report.add_text("Distance to scikit-learn's optimum after the last iteration, as a part of its length.")
    report.add_terms(explain("straggler", "key", "distance to the optimum"))
    report.add_figure(figure, caption="The same step, the same attack; encoded gradients ran through Flower.")
    report.add_heading("Who was located").add_table(workers)
    report.add_heading("Storage and time against Theorem 1").add_table(costs, digits=6)
    report.add_details("Settings", run.config()).write(run.report_path)
    for name, value in final.items():
        print(f"progress: {name:14s} distance to the optimum {value:.2e}", flush=True)
    print(f"progress: report in {run.report_path}", flush=True)


def _distances(task: Task, strategy: EncodedGradientDescent, faults: Faults) -> dict[str, np.ndarray]:
    """Relative distance to the optimum after each iteration, for every method under the same faults."""
    optimum = task.optimum()
    paths = {"encoded": np.stack(strategy.weights_history)}
    # The others have gradients only, no values to search a step by: a constant step needs bounded curvature.
    for name in BASELINES if task.objective.curvature is not None else ():
        try:
            paths[name] = run_baseline(
                get_baseline(name, strategy.code.num_errors),
                task.features,
                task.targets,
                num_workers=strategy.code.num_workers,
                objective=task.objective,
                step_size_rule=AcceleratedStep(1 / smoothness(task.objective, task.features)),
                num_iterations=len(strategy.history),
                faults=faults,
            ).weights
        except DecodingError as error:
            print(f"progress: {name} gave up: {error}", flush=True)
    with np.errstate(over="ignore", invalid="ignore"):
        return {
            name: np.linalg.norm(path - optimum, axis=1) / np.linalg.norm(optimum)
            for name, path in paths.items()
        }


def _workers(strategy: EncodedGradientDescent, faults: Faults) -> list[Record]:
    """One record per worker: what it is, when it was located, when it was missing."""
    records = []
    for worker in range(strategy.code.num_workers):
        located = [each.server_round for each in strategy.history if worker in each.all_located]
        missing = [
            record.server_round
            for record in strategy.history
            if worker in {each.participant for each in record.rejected if each.code != "located"}
        ]
        role = (
            "liar" if worker in faults.attacks else "straggler" if worker in faults.stragglers else "honest"
        )
        records.append(
            {
                "worker": worker,
                "role": role,
                "rounds located": len(located),
                "first located": located[0] if located else None,
                "rounds missing": len(missing),
            }
        )
    return records


def _costs(task: Task, strategy: EncodedGradientDescent) -> list[Record]:
    """Count and measure what each method costs."""
    code, (num_rows, num_columns) = strategy.code, task.features.shape
    decoding = float(np.median([each.decoding_seconds for each in strategy.history]))
    first = code.encode_for(0, np.column_stack([task.features, -task.targets]))
    second = code.encode_for(0, task.features.T)
    weights, slopes = np.ones(num_columns + 1), np.ones(num_rows)
    counted = [
        (
            replace(
                encoded_resources(code, num_rows, num_columns),
                max_errors=code.num_checks if strategy.verification == "keys" else code.num_checks // 2,
            ),
            first.size + second.size,
            [(first, weights), (second, slopes)],
        )
    ]
    for resources in (
        plain_resources(code.num_workers, num_rows, num_columns),
        repetition_resources(code.num_workers, code.num_errors, num_rows, num_columns),
    ):
        part = task.features[: resources.worker_per_iteration // (2 * num_columns)]
        stored = part.size + len(part)
        counted.append((resources, stored, [(part, weights[:-1]), (part.T, slopes[: len(part)])]))
    return [
        {
            "method": resources.method,
            "liars corrected": resources.max_errors,
            "numbers per worker, formula": resources.storage_per_worker,
            "numbers per worker, stored": stored,
            "total storage / data": resources.storage_overhead(num_rows, num_columns),
            "multiplications per worker": resources.worker_per_iteration,
            "worker ms": 1e3 * _median_seconds(partial(_multiply, products)),
            "multiplications of the master": resources.master_per_iteration,
            "master ms": 1e3 * decoding if resources.method == "encoded" else None,
        }
        for resources, stored, products in counted
    ]


def _multiply(products: list[tuple[np.ndarray, np.ndarray]]) -> list[np.ndarray]:
    return [left @ right for left, right in products]


def _median_seconds(action: Callable[[], object]) -> float:
    times = []
    for _ in range(50):
        started = time.perf_counter()
        action()
        times.append(time.perf_counter() - started)
    return float(np.median(times))
