"""What a run leaves behind: accuracies under every attack, code book pictures, and the report."""

from __future__ import annotations

from logging import INFO
from typing import TYPE_CHECKING, Any

import numpy as np
from flwr.common.logger import log

from contrastive_ecoc.experiment import RADII, ContrastiveExperiment, shrunk
from contrastive_ecoc.selection import Trained
from flower_coded.codes.output_code import OutputCode
from flower_coded.learning.robustness import RobustnessReport, evaluate_robustness, robust_accuracy
from flower_coded.reporting import Report, RunDirectory, draw_lines, new_figure
from flower_coded.strategies.contrastive_ecoc import ContrastiveECOC
from flower_coded.wire.model_state import State

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def write_results(
    run: RunDirectory,
    experiment: ContrastiveExperiment,
    strategy: ContrastiveECOC,
    softmax: State,
    chosen: Trained,
    rounds: list[dict[str, Any]],
) -> None:
    """Attack both models, then write everything into the run's directory."""
    assert chosen.code_book is not None
    log(INFO, "progress: attacking %d test images", len(experiment.attacked[1]))
    models = {"softmax": Trained(softmax), f"output code ({strategy.variant})": chosen}
    reports = attack_all(experiment, models)
    table = [{"method": name, **report.accuracies} for name, report in reports.items()]
    curve = [
        {"method": name, **point}
        for name, each in models.items()
        for point in robustness_curve(experiment, each)
    ]
    run.write_metrics(rounds)
    run.write_metrics(table, name="summary")
    run.write_metrics(curve, name="robustness")
    np.savez(run.path / "code-book.npz", codewords=chosen.code_book)
    page = compose(run, experiment, strategy, OutputCode(chosen.code_book), reports, table, rounds, curve)
    log(INFO, "progress: report written to %s", page.write(run.report_path))


def attack_all(experiment: ContrastiveExperiment, models: dict[str, Trained]) -> dict[str, RobustnessReport]:
    """Every attack on every model; the first model's adversarial images are tried on the others."""
    reports: dict[str, RobustnessReport] = {}
    for name, each in models.items():
        first = next(iter(reports.values()), None)
        reports[name] = attack_model(experiment, each, None if first is None else first.attacked)
    return reports


def attack_model(
    experiment: ContrastiveExperiment, trained: Trained, transferred: Any = None, *, ensemble: bool = False
) -> RobustnessReport:
    """Every attack on one model, through its ``tanh`` and around it where it is an output code."""
    state, code_book = trained.state, trained.code_book
    return evaluate_robustness(
        experiment.scores(state, code_book),
        experiment.attacked[0],
        experiment.attacked[1],
        budget=experiment.budget,
        seed=experiment.seed,
        transferred=transferred,
        surrogate=None if code_book is None else experiment.surrogate_scores(state, code_book),
        adaptive=experiment.adaptive,
        paths={} if code_book is None else experiment.paths(state, code_book),
        ensemble=ensemble,
        device=experiment.settings.device,
    )


def robustness_curve(experiment: ContrastiveExperiment, trained: Trained) -> list[dict[str, Any]]:
    """Robust accuracy against the radius, on a third of the attacked images, from one random start."""
    count = curve_size(experiment)
    images, labels = experiment.attacked[0][:count], experiment.attacked[1][:count]
    state, code_book = trained.state, trained.code_book
    records = []
    for factor in RADII:
        budget = shrunk(experiment.budget, factor)
        left = robust_accuracy(
            experiment.scores(state, code_book),
            images,
            labels,
            budget=budget,
            seed=experiment.seed,
            surrogate=None if code_book is None else experiment.surrogate_scores(state, code_book),
            device=experiment.settings.device,
        )
        records.append({"epsilon": budget.epsilon, "worst": left})
    return records


def curve_size(experiment: ContrastiveExperiment) -> int:
    """Return how many of the attacked images a curve over the radius is measured on: a third."""
    return max(1, len(experiment.attacked[1]) // 3)


def compose(
    run: RunDirectory,
    experiment: ContrastiveExperiment,
    strategy: ContrastiveECOC,
    code: OutputCode,
    reports: dict[str, RobustnessReport],
    table: list[dict[str, Any]],
    rounds: list[dict[str, Any]],
    curve: list[dict[str, Any]],
) -> Report:
    """Text, tables and pictures in reading order."""
    found = code.separation()
    page = Report(
        "An output code learned across users",
        subtitle=f"{experiment.settings.dataset}, {experiment.num_users} users, alpha "
        f"{experiment.settings.division.alpha}, variant {strategy.variant}, seed {experiment.seed}",
    )
    page.add_metrics({f"{row['method']}: {key}": row[key] for row in table for key in ("clean", "worst")})
    page.add_text(
        f"Data: {experiment.described_division}. Both models share a backbone "
        f"(`{experiment.settings.model}`) and saw the data equally often. The "
        f"softmax model has one output per class; the other predicts a word of {strategy.num_bits} bits, and "
        "the class whose codeword is nearest wins. Attacks are white-box, in the maximum norm: "
        f"{experiment.budget}, on {len(experiment.attacked[1])} test images. `pgd-margin` climbs the "
        "decoder's own comparison of distances, `pgd-surrogate` the same before `tanh`, `transfer` takes "
        f"PGD's images of the softmax model, `adaptive` ({experiment.adaptive or 'left out'}) climbs "
        "margins, ratios and targets through every path at what is left; `worst` counts an image only if it "
        f"survives every attack. Training images: {training_words(experiment)}"
    )
    page.add_table(table, caption="Accuracy on clean and attacked test images")
    for name, report in reports.items():
        signs = [key for key, value in vars(report.signs).items() if value]
        page.add_note(
            f"{name}: "
            + (f"signs of masked gradients: {', '.join(signs)}" if signs else "no sign of masked gradients"),
            kind="bad" if signs else "good",
        )
    figures = {
        "robustness": (
            draw_lines(curve, x="epsilon", y="worst", group="method"),
            _about_curve(experiment),
        ),
        "code-book": (
            code_book_picture(code),
            "The code book: one row per class, and the cosine of every pair of codewords.",
        ),
        "accuracy": (draw_lines(rounds, x="round", y="accuracy", group="method"), "Clean accuracy by round."),
    }
    for name, (figure, caption) in figures.items():
        run.write_figure(figure, name)
        page.add_figure(figure, caption=caption)
    page.add_text(
        f"Codewords of two classes have a cosine of at most {found.maximum_cosine:.2f} (mean "
        f"{found.mean_cosine:.2f}); their signs differ in at least {found.minimum_hamming:.0f} of "
        f"{code.num_bits} bits. Two bits are correlated by {found.mean_column_correlation:.2f} on average."
    )
    caught = [
        {"round": record.server_round, "user": each.participant, "reason": each.reason, "kind": each.code}
        for record in strategy.history
        for each in record.rejected
    ]
    if caught:
        page.add_heading("Replies that were not used").add_table(caught)
    for record in strategy.history:
        if record.stage == "train" and record.code_book_refusal:
            reason = f"Round {record.server_round} kept the code book before it: {record.code_book_refusal}."
            page.add_note(reason, kind="bad")
    return page.add_details("Settings", experiment.config)


def training_words(experiment: ContrastiveExperiment) -> str:
    """How the networks were trained and chosen, in one sentence."""
    each = experiment.adversarial
    attacked = (
        "not attacked"
        if each.method == "none"
        else f"attacked by {each.method} (epsilon {each.epsilon:.4g}, step {each.step_size:.4g}, "
        f"{each.num_steps} steps{f', beta {each.beta:g}' if each.method == 'trades' else ''})"
    )
    kept = {
        "last": "the last round is judged",
        "clean": "the round of the best clean accuracy on validation images is judged",
        "robust": "the round of the best robust accuracy on validation images is judged",
    }
    return f"{attacked}; {kept[experiment.selection]}."


def code_book_picture(code: OutputCode) -> Figure:
    """Codewords as an image, beside their cosine matrix."""
    figure = new_figure(1, 2, size=(10, 3.6))
    left, right = figure.axes
    left.grid(visible=False)
    right.grid(visible=False)
    image = left.imshow(code.codewords, cmap="RdBu", vmin=-1, vmax=1, aspect="auto")
    left.set(xlabel="bit", ylabel="class", yticks=range(code.num_classes))
    figure.colorbar(image, ax=left)
    unit = code.codewords / np.linalg.norm(code.codewords, axis=1, keepdims=True)
    image = right.imshow(unit @ unit.T, cmap="RdBu", vmin=-1, vmax=1)
    right.set(xlabel="class", ylabel="class", xticks=range(code.num_classes), yticks=range(code.num_classes))
    figure.colorbar(image, ax=right)
    return figure


def _about_curve(experiment: ContrastiveExperiment) -> str:
    budget = experiment.budget
    return (
        "Accuracy that is left against the radius: worst of FGSM and all PGD attacks per image, on the first "
        f"{curve_size(experiment)} of the attacked images, one random start, {budget.num_steps} steps of "
        f"{budget.step_size / budget.epsilon:.2g} of the radius."
    )
