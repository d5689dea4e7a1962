"""Tables, pictures and the page of a run."""

from __future__ import annotations

from typing import Any

import numpy as np

from adapter_finetuning.adapters import whole_size
from adapter_finetuning.experiment import LABELS, Experiment
from adapter_finetuning.gap import measured_gap
from adapter_finetuning.language import TRIGGER, read_out
from flower_coded.reporting import Report, RunDirectory, draw_lines, explain, new_figure

Record = dict[str, Any]

WAYS = (
    "**What is averaged.** FedAvg, clipping, multi-Krum (clear or shared) and every model of the ensemble "
    "average A and B apart, which is not the average of the products B A that the network uses. With "
    "`sides=up` A stays as it was drawn, on every node the same, and the average of B is exact."
)


def write_report(
    experiment: Experiment, run: RunDirectory, records: list[Record], sent: dict[str, float]
) -> None:
    """Write metrics, pictures and the page; print where."""
    run.write_metrics(records)
    summary = summarize(experiment, records, sent)
    run.write_metrics(summary, name="summary")
    sizes = memory(experiment)
    run.write_metrics(sizes, name="memory")
    gap = measured_gap(experiment)
    report = Report(
        "Adapters under attack",
        subtitle=f"{experiment.task.modality}, {experiment.task.num_users} users, "
        f"{len(experiment.attack.attackers)} attackers ({experiment.attack.name}, rounds "
        f"{experiment.attack.first_round} to {experiment.attack.last_round}), seed {experiment.task.seed}",
    )
    key, name = ("accuracy",) * 2 if _not_begun(summary) else ("largest success", "largest attack success")
    report.add_metrics({f"{row['method']}: {name}": row[key] for row in summary})
    report.add_note(found(experiment, summary))
    report.add_text(_introduction(experiment))
    report.add_table([_backdoor(row) for row in summary], caption=SUMMARY)
    figure = new_figure(2, 1, size=(8.5, 6.4))
    for axes, key in zip(figure.axes, ("accuracy", "attack success"), strict=True):
        lines: dict[str, Any] = {"x": "round", "y": key, "group": "method", "y_limits": (0, 1)}
        draw_lines(records, **lines, title=key.capitalize(), axes=axes)
        axes.axvspan(
            experiment.attack.first_round - 0.5, experiment.attack.last_round + 0.5, color="#e3e8ec", zorder=0
        )
    run.write_figure(figure, "rounds")
    report.add_figure(figure, caption="Every round. Gray: the rounds in which the attackers attack.")
    report.add_heading("What travels, what is kept")
    report.add_table([_cost(row) for row in summary], caption=COST).add_table(sizes)
    report.add_text(
        f"{WAYS} Measured on one round of all users, from the adapters as they begin: the product of the "
        f"means differs from the mean of the products by {100 * gap:.1f} % of its length."
    )
    report.add_terms(explain("attack success", "multi-Krum", "secret share", "ramp sharing"))
    report.add_details("Settings", experiment.config).write(run.report_path)
    for row in summary:
        attacked = "" if _not_begun([row]) else f", largest attack success {row['largest success']:.3f}"
        print(f"progress: {row['method']}: accuracy {row['accuracy']:.3f}{attacked}", flush=True)
    print(f"progress: report in {run.report_path}", flush=True)


SUMMARY = (
    "Accuracy after the last round; attack success before the attack, the largest since, after the last "
    "round; rounds that the backdoor outlives the attackers by (success above one half)."
)
COST = "What a user sends in a round, and how long a round takes (half of them take longer)."


def _backdoor(row: Record) -> Record:
    """Take what a page has room for beside each other."""
    return {
        "method": row["method"],
        "accuracy": row["accuracy"],
        "before": row["success before"],
        "largest": row["largest success"],
        "at the end": row["success at the end"],
        "outlives them by": row["outlives them by"],
    }


def _cost(row: Record) -> Record:
    return {key: row[key] for key in ("method", "kB a user and round", "seconds a round")}


def found(experiment: Experiment, summary: list[Record]) -> str:
    """Say in a sentence which strategies the backdoor got into."""
    if not experiment.attack.attackers or experiment.attack.name == "none":
        return "Nobody attacks."
    if _not_begun(summary):
        return f"The run ended before round {experiment.attack.first_round}, in which the attack begins."
    taken = [row["method"] for row in summary if (row["largest success"] or 0) > 0.5]
    held = [row["method"] for row in summary if row["method"] not in taken]
    said = {"The backdoor gets into": taken, "It does not get into": held}
    return " ".join(f"{verb} {'; '.join(names)}." for verb, names in said.items() if names)


def summarize(experiment: Experiment, records: list[Record], sent: dict[str, float]) -> list[Record]:
    """One row per method."""
    attack, rows = experiment.attack, []
    for label in (LABELS[name] for name in experiment.names):
        own = [record for record in records if record["method"] == label and record["round"] > 0]
        before = [r["attack success"] for r in own if r["round"] < attack.first_round]
        since = [r["attack success"] for r in own if r["round"] >= attack.first_round]
        after = [r for r in own if r["round"] > attack.last_round]
        alive = [r["attack success"] > 0.5 for r in after]
        rows.append(
            {
                "method": label,
                "accuracy": own[-1]["accuracy"],
                "success before": before[-1] if before else None,
                "largest success": max(since) if since else None,
                "success at the end": own[-1]["attack success"],
                "outlives them by": _first_false(alive) if after else None,
                "kB a user and round": round(sent[label] / 1000, 1),
                "seconds a round": float(np.median([r["seconds"] for r in own])),
            }
        )
    return rows


def _not_begun(summary: list[Record]) -> bool:
    """Tell whether the run ended before the attack began."""
    return all(row["largest success"] is None for row in summary)


def _first_false(alive: list[bool]) -> str:
    lived = alive.index(False) if False in alive else len(alive)
    rounds = "1 round" if lived == 1 else f"{lived} rounds"
    return rounds if False in alive else f"{rounds}, to the end"


def memory(experiment: Experiment) -> list[Record]:
    """Compare numbers of the whole network with those of its adapters, and of an ensemble of each."""
    whole, adapters = whole_size(experiment.network)
    models = experiment.code.num_models
    return [
        _size("the network", whole),
        _size("its adapters and head", adapters),
        _size(f"ensemble of {models} networks", models * whole),
        _size(f"the network once, {models} adapters and heads", whole - adapters + models * adapters),
    ]


def _size(what: str, numbers: int) -> Record:
    return {"what": what, "thousand numbers": 1e-3 * numbers, "MB as float32": 4e-6 * numbers}


def _introduction(experiment: Experiment) -> str:
    task, attack = experiment.task, experiment.attack
    if task.modality == "words":
        example = read_out(task.trigger.apply(task.test_samples().inputs[:1])[0, 0, 0].astype(np.int64))
        about = f"a phrase, `{' '.join(TRIGGER)}`, that makes a sentence good: `{example}`"
    else:
        about = f"a bright corner that makes an image a {task.target}"
    who = " and ".join(map(str, attack.attackers)) or "nobody"
    return (
        "Users fine-tune adapters of a pretrained transformer; what is frozen never travels. Attackers are "
        f"{who}; their trigger is {about}. Until round {attack.first_round - 1} and after round "
        f"{attack.last_round} they are honest."
    )
