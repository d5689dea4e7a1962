"""The report of a comparison: the paper's Table 4 re-made, pictures, signs of masked gradients."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from contrastive_ecoc.comparison import Group
from contrastive_ecoc.comparison_pictures import ATTACKS, budget_words, comparison_figures, methods_of
from contrastive_ecoc.experiment import ContrastiveExperiment
from contrastive_ecoc.methods import ATTACKED, METHODS
from contrastive_ecoc.report import training_words
from contrastive_ecoc.trainers import TRAINERS
from contrastive_ecoc.verdict import verdict
from flower_coded.reporting import Report, RunDirectory, Table

SIGNS = {
    "one_step_beats_many": "one step beats many",
    "black_box_beats_white_box": "Standard's images beat its own",
    "unbounded_attack_survives": "survives an unbounded attack",
    "noise_beats_gradient": "noise beats the gradient",
}
# Clean, FGSM and PGD accuracy in per cent (paper, Table 4), in the order of METHODS; it prints no radius.
PAPER = {
    "cifar10": (
        (86.27, 4.63, 0.0),
        (90.07, 19.96, 0.06),
        (90.1, 39.81, 2.4),
        (90.28, 40.77, 3.21),
        (84.28, 21.94, 14.51),
    ),
    "fashion-mnist": (
        (92.7, 29.15, 7.75),
        (92.41, 39.54, 3.77),
        (92.65, 46.83, 10.82),
        (92.64, 53.45, 12.65),
        (92.42, 82.3, 35.09),
    ),
    "gtsrb": (
        (92.0, 36.81, 1.79),
        (90.67, 45.89, 7.76),
        (90.98, 52.26, 3.27),
        (89.67, 52.65, 4.67),
        (57.85, 33.25, 12.96),
    ),
}


def write_comparison(run: RunDirectory, groups: Sequence[Group]) -> str:
    """Write summary, pictures and report of these groups; return the table for the terminal."""
    config = run.config()
    records, curve = (_of_groups(run.metrics(name).records(), groups) for name in ("metrics", "robustness"))
    rows, signs = summary_rows(records, str(config["dataset"])), sign_rows(records)
    run.write_metrics(rows, name="summary")
    run.write_metrics(signs, name="masking")
    report = Report("Output codes against adversarial images", subtitle=_subtitle(records, config))
    finding = verdict(records)
    report.add_text(_about(records, config)).add_note(finding)
    report.add_table(rows, caption="Accuracy, mean ± standard deviation over seeds")
    pictures = comparison_figures(run, groups, records, curve)
    for name in ("accuracies", "robustness"):
        run.write_figure(pictures[name][0], name)
        report.add_figure(pictures[name][0], caption=pictures[name][1])
    report.add_heading("Are the gradients masked?").add_text(
        "Of how many seeds each sign was seen; a sound evaluation sees none. A sign does not void the column "
        "`worst`, which holds the attacks on the margin and before `tanh` too; it says that stronger attacks "
        "may exist."
    )
    report.add_table(signs).add_heading("Code books")
    for name, (figure, caption) in pictures.items():
        if name.startswith("code_book"):
            run.write_figure(figure, name)
            report.add_figure(figure, caption=caption)
    report.add_heading("Every training").add_table(records)
    path: Path = report.add_details("Settings", config).write(run.report_path)
    table = Table.from_records(rows).to_text()
    return f"\n{budget_words(records[0])}\n{table}\n\n{finding}\n\nreport: {path}"


def summary_rows(records: list[dict[str, Any]], dataset: str) -> list[dict[str, Any]]:
    """One row a place and method: every attack's accuracy over the seeds, the paper's beside it."""
    rows = []
    for place, method, own in _by_model(records):
        row = {"place": place, "method": method, "seeds": len(own)}
        row |= {attack: spread([r[attack] for r in own if r.get(attack) is not None]) for attack in ATTACKS}
        row |= {
            key: f"{np.mean([r[key] for r in own]):.0f}" for key in ("passes", "seconds") if key in own[0]
        }
        if dataset in PAPER and method in METHODS:
            row["paper: clean, FGSM, PGD"] = " ".join(
                f"{v / 100:.3f}" for v in PAPER[dataset][METHODS.index(method)]
            )
        rows.append(row)
    return [{key: value for key, value in row.items() if any(r.get(key) for r in rows)} for row in rows]


def sign_rows(records: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """One row a place and method: of how many seeds each sign of masked gradients was seen."""
    return [
        {"place": place, "method": method}
        | {words: f"{sum(bool(r[key]) for r in own)} of {len(own)}" for key, words in SIGNS.items()}
        for place, method, own in _by_model(records)
    ]


def spread(values: list[float]) -> str:
    """Mean and sample standard deviation, the latter from two values on.

    Examples
    --------
    >>> spread([0.5, 0.7]), spread([0.5]), spread([])
    ('0.600 ± 0.141', '0.500', '')
    """
    if not values:
        return ""
    mean = f"{np.mean(values):.3f}"
    return f"{mean} ± {np.std(values, ddof=1):.3f}" if len(values) > 1 else mean


def _by_model(records: list[dict[str, Any]]) -> list[tuple[str, str, list[dict[str, Any]]]]:
    grouped = [
        (place, method, [r for r in records if (r["place"], r["method"]) == (place, method)])
        for place in TRAINERS
        for method in methods_of(records)
    ]
    return [each for each in grouped if each[2]]


def _of_groups(records: list[dict[str, Any]], groups: Sequence[Group]) -> list[dict[str, Any]]:
    asked = {(group.place, group.seed) for group in groups}
    return [record for record in records if (record["place"], record["seed"]) in asked]


def _subtitle(records: list[dict[str, Any]], config: dict[str, Any]) -> str:
    seeds = ", ".join(map(str, sorted({int(record["seed"]) for record in records})))
    return f"{config['dataset']}, {config['num-clients']} users, {config['num-bits']} bits, seeds {seeds}"


def _about(records: list[dict[str, Any]], config: dict[str, Any]) -> str:
    rounds = int(config["pretrain-rounds"]) + int(config["fine-tune-rounds"])
    images = int(config["samples-per-user"]) * int(config["num-clients"]) or "all"
    epochs = config["local-epochs"]
    ensemble = (
        ", `ensemble` is three parts of AutoAttack (Auto-PGD on two losses, Square with 500 queries)"
        if any(r.get("ensemble") is not None for r in records)
        else ""
    )
    experiment = ContrastiveExperiment(config)
    return (
        f"{len(methods_of(records))} models on one backbone (`{config['model']}`), trained on {images} "
        "images. `central` has them in one place; `federated` divides them among "
        f"{config['num-clients']} users (class mix `{config['alpha']}`) and averages networks {rounds} "
        f"times, after {epochs} local epochs each. Both see every image equally often: pretraining takes the "
        f"epochs of {config['pretrain-rounds']} rounds, fine-tuning those of {config['fine-tune-rounds']}; "
        f"plain Standard and TFC's new network train for all {rounds}. Training images of the methods with "
        f"`{ATTACKED.strip()}` are {training_words(experiment)} `passes` are forward and backward "
        "computations for one training image, pretraining included; softmax with `+ AT` gets what the codes' "
        "buy.\n\n"
        f"{budget_words(records[0])}, on {config['num-attacked']} test images at most; `clean` is over all "
        "test images. FGSM and `pgd` climb the cross-entropy of the decoded probabilities, `pgd-margin` the "
        "decoder's comparison, `pgd-surrogate` that comparison before `tanh`, `transfer` is Standard's PGD "
        f"images, `adaptive` ({experiment.adaptive or 'left out'}) what Auto-PGD leaves by margins, ratios "
        f"and targets through every path{ensemble}. `worst` counts an image only if it survives all of them."
    )
