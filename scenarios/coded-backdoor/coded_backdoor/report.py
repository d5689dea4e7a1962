"""What a run leaves behind: tables, pictures, the ensemble in one file, and the report."""

from __future__ import annotations

from logging import INFO
from typing import Any

import numpy as np
from flwr.common.logger import log

from coded_backdoor import pictures
from coded_backdoor.under_attack import has_versions, measured_under_attack, trained_versions
from flower_coded.clients.run_config import read_bool
from flower_coded.codes import reliability
from flower_coded.experiment import Experiment
from flower_coded.learning import ModelState
from flower_coded.learning.ensemble import CodedEnsemble
from flower_coded.reporting import Report, RunDirectory, Table, explain
from flower_coded.strategies import CodedSubsetAggregation

TRIGGERED = "accuracy under attack"
TERMS = ("BCC(k,r,n)", "accuracy under attack", "attack success", "posterior", "selective", "framing")
TRIGGERED_IMAGES = (
    "Test images, and below them the same with the trigger, which asks for a {target}; above each, what the "
    "classifiers answer."
)
SUSPICION = (
    "Of the triggered images that the decoder holds for attacked (probability above 1/2), the share that "
    "names each user among the likeliest attackers. Users with the same column share a bar: a correcting "
    "code promises the right label and not the right name, for which there are tracking codes."
)
UNDER_ATTACK = (
    "Which decoder holds? Plain attackers poison every model they belong to; selective and framing ones have "
    "read the decoder and poison those of their models that serve them best, to have their label or to have "
    "an innocent user accused. Model triggers are two, one in each poisoned model, shown on half of the "
    "images each; two groups have a trigger and a target each, and know nothing of each other. Few images "
    "are ten; one image is every triggered one by itself, decoded as if there were no other. Every decoder "
    "faces attackers who have read that decoder. One that holds has "
    "tall bars in the first row and none in the other two. Under nobody, triggered images meet clean models."
)
AFTER_NAMING = (
    "One model, trained on from the best one that nobody left out has touched, with everybody else. Left out "
    "are the users whom the decoder named, with all who share their columns. The ensemble is the referee: "
    "obedience is the share of the images held for attacked on which the new model gives the label that the "
    "attackers asked for."
)
DETECTION = (
    "The decoder's posterior probability that an image carries a trigger: for the half of the test images "
    "that has not calibrated the decoder, without and with a trigger; the target's class is left out."
)
RELIABILITY = (
    "Of the same images, clean and triggered: what the decoder told with a probability, of the label it gave "
    "and of an attack, and the share of it that came true. The error is the mean distance from the diagonal "
    "(expected calibration error); larger dots are more images. Images of the target's class are left out."
)


def write_results(
    run: RunDirectory,
    experiment: Experiment,
    strategy: CodedSubsetAggregation,
    single: ModelState | None,
    rounds: list[dict[str, Any]],
    after: list[dict[str, Any]],
) -> None:
    """Write everything into the run's directory; ``after`` is what was trained without the named users."""
    if experiment.config["decoder"] == "majority":
        rounds = [record for record in rounds if not record["method"].endswith("decoder")]
    run.write_metrics(rounds)
    last = [record for record in rounds if record["round"] == experiment.num_rounds]
    summary = [{key: value for key, value in record.items() if key != "round"} for record in last]
    run.write_metrics(summary, name="summary")
    ensemble = strategy.ensemble(model_name=experiment.settings.model)
    ensemble.save(run.path / "ensemble.npz")
    attacked = _under_attack(run, experiment)
    report = _compose(run, experiment, strategy, ensemble, single, rounds, summary, attacked)
    if after:
        run.write_metrics(after, name="after_naming")
        report.add_heading("After the names").add_text(AFTER_NAMING).add_table(after)
    log(INFO, "progress: report written to %s", report.write(run.report_path))


def _compose(
    run: RunDirectory,
    experiment: Experiment,
    strategy: CodedSubsetAggregation,
    ensemble: CodedEnsemble,
    single: ModelState | None,
    rounds: list[dict[str, Any]],
    summary: list[dict[str, Any]],
    attacked: list[dict[str, Any]],
) -> Report:
    code, attackers = experiment.code, experiment.attackers
    report = Report(
        "A backdoor, and a code against it",
        subtitle=f"{experiment.settings.dataset}, {experiment.num_users} users, "
        f"{len(attackers)} attackers, {experiment.num_rounds} rounds, seed {experiment.seed}",
    )
    report.add_metrics(
        {f"{r['method']}: {TRIGGERED}": r[TRIGGERED] for r in summary if r[TRIGGERED] is not None}
    )
    report.add_text(_introduction(experiment))
    report.add_terms(explain(*TERMS))
    if attacked:
        figure = pictures.under_attack(attacked)
        run.write_figure(figure, "under_attack")
        report.add_figure(figure, caption=UNDER_ATTACK)
        report.add_table(attacked)
    report.add_table(Table.from_records(summary), caption="After the last round, on held-out images")
    figures = {"accuracy": (pictures.accuracy_by_round(rounds), "Accuracy by round, clean and triggered.")}
    if experiment.backdoor is not None:
        figures["triggered"] = (
            pictures.triggered_images(experiment, ensemble, single, _memory(experiment, strategy, ensemble)),
            TRIGGERED_IMAGES.format(target=experiment.backdoor.target),
        )
    figures["code"] = (pictures.code_matrix(code, attackers), _about_code(experiment))
    figures |= _detection_figures(experiment, strategy, ensemble)
    for name, (figure, caption) in figures.items():
        run.write_figure(figure, name)
        report.add_figure(figure, caption=caption)
    report.add_heading("The ensemble by itself").add_text(_about_ensemble(strategy))
    report.add_heading("Every round").add_table(rounds)
    return report.add_details("Settings", experiment.config)


def _under_attack(run: RunDirectory, experiment: Experiment) -> list[dict[str, Any]]:
    if not (read_bool(experiment.config, "under-attack", True) and has_versions(experiment)):
        return []
    log(INFO, "progress: what selective attackers would make of each decoder")
    records = measured_under_attack(experiment, trained_versions(experiment))
    run.write_metrics(records, name="under_attack")
    return records


def _memory(experiment: Experiment, strategy: CodedSubsetAggregation, ensemble: CodedEnsemble) -> Any:
    """Give what a decoder that learns has seen: the judged images, without and with the trigger."""
    assert strategy.evaluator is not None
    images, _ = strategy.evaluator.measuring
    memory = ensemble.observe(None, images)
    assert experiment.backdoor is not None
    return ensemble.observe(memory, experiment.backdoor.trigger.apply(images))


def _detection_figures(
    experiment: Experiment, strategy: CodedSubsetAggregation, ensemble: CodedEnsemble
) -> dict[str, Any]:
    metrics, backdoor = strategy.history[-1].reported, experiment.backdoor
    if backdoor is None or experiment.config["decoder"] == "majority":
        return {}
    assert strategy.evaluator is not None
    images, labels = strategy.evaluator.measuring
    is_other = labels != backdoor.target
    images, labels = images[is_other], labels[is_other]
    memory = _memory(experiment, strategy, ensemble)
    both = (images, backdoor.trigger.apply(images))
    clean, triggered = (ensemble.attack_probability(x, memory) for x in both)
    told = np.concatenate([ensemble.predict_proba(x, memory) for x in both])
    found = {"labels": reliability(told.max(axis=1), told.argmax(axis=1) == np.tile(labels, 2))}
    if experiment.attackers:
        is_attack = np.repeat([False, True], len(images))
        found["attacks"] = reliability(np.concatenate([clean, triggered]), is_attack)
    return {
        "suspicion": (
            pictures.suspicion(experiment.code, metrics["suspect-rates"], experiment.attackers),
            SUSPICION,
        ),
        "detection": (
            pictures.attack_probabilities(clean, triggered),
            DETECTION,
        ),
        "reliability": (pictures.reliability_diagram(found), RELIABILITY),
    }


def _introduction(experiment: Experiment) -> str:
    code = experiment.code
    single = "FedAvg trains one model on everybody. " if experiment.config["baseline"] == "fedavg" else ""
    readout = (
        "the label that most models answer is the ensemble's"
        if experiment.config["decoder"] == "majority"
        else "the decoder then asks which label, which attackers and which target explain best what the "
        "models answer"
    )
    return (
        f"{_about_attack(experiment)} {single}The coded ensemble trains {code.num_models} models, each on "
        f"the users that `{code.name}` allows; {readout}.\n\n"
        f"A user trains {code.training_cost:.1f} models on average: so many times the client work of FedAvg. "
        f"Data: {experiment.described_division}."
    )


def _about_attack(experiment: Experiment) -> str:
    """Say what the attackers do, which the kind of attack decides."""
    settings, users = experiment.attack, experiment.attackers
    name, acts_on = settings.attack, settings.row.acts_on
    if not users:
        return "Nobody attacks."
    if name == "label-flip":
        does = "they train on images with wrong labels"
    elif "data" in acts_on:
        does = f"they poison {100 * float(settings.option('poison-rate')):g} % of their images and "
        does += (
            "craft the update that they learn from them" if "updates" in acts_on else "then train honestly"
        )
    elif "updates" in acts_on:
        does = "they train honestly and send a crafted update"
    else:
        does = "they answer late" if name == "late" else "they send malformed replies"
    return f"Attackers are {_listed(users)} of {experiment.num_users} users (`{name}`): {does}."


def _about_code(experiment: Experiment) -> str:
    code, attackers = experiment.code, list(experiment.attackers)
    reached = int(code.matrix[:, attackers].any(axis=1).sum()) if attackers else 0
    return (
        f"A filled cell lets a user train a model. Here {reached} of "
        f"{code.num_models} models have an attacker among their users, and no model sees more than "
        f"{100 * code.matrix.sum(axis=1).max() / code.num_users:.0f} % of the users."
    )


def _about_ensemble(strategy: CodedSubsetAggregation) -> str:
    assert strategy.evaluator is not None
    accuracies = strategy.history[-1].reported["model-accuracies"]
    rejected = [reason for record in strategy.history for reason in record.rejected]
    return (
        f"Single models reach {min(accuracies):.3f} to {max(accuracies):.3f} on clean images. "
        f"{len(rejected)} replies were rejected in all rounds. The ensemble is in `ensemble.npz`: "
        "`flower_coded.learning.ensemble.CodedEnsemble.load(path).predict(images)`, with the decoder "
        f"`{strategy.evaluator.decoder}`."
    )


def _listed(users: tuple[int, ...]) -> str:
    return " and ".join(map(str, users)) if users else "(none)"
