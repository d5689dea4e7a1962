"""Tables, pictures and the two pages of a run."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from flower_coded.protocols.ramp_krum.loads import Load, table_one
from flower_coded.protocols.ramp_krum.measurements import DistanceMeasurements
from flower_coded.protocols.ramp_krum.parameters import RampKrumParameters
from flower_coded.reporting import Report, RunDirectory, draw_lines, draw_matrix, explain
from flower_coded.strategies import RampKrumRound, RampSharedMultiKrum
from secure_krum_app.four_ways import compare_ways, draw_ways
from secure_krum_app.server_view import write_server_view

Record = dict[str, Any]


def write_report(
    run: RunDirectory,
    config: dict[str, Any],
    strategy: RampSharedMultiKrum,
    accuracies: list[Record],
    test_images: NDArray[np.float32],
) -> None:
    """Write metrics, pictures and both pages; print where."""
    parameters = strategy.parameters
    run.write_metrics(accuracies)
    rounds, loads, seconds = _rounds(strategy), _loads(strategy, parameters), _seconds(strategy)
    for name, records in (("rounds", rounds), ("loads", loads), ("seconds", seconds)):
        run.write_metrics(records, name=name)
    lines = draw_lines(
        accuracies,
        x="round",
        y="accuracy",
        group="method",
        title="Accuracy on the test images",
        y_limits=(0, 1),
    )
    run.write_figure(lines, "accuracy")
    final = {each["method"]: each["accuracy"] for each in accuracies}
    report = Report(
        "Robust aggregation of updates that nobody sees",
        subtitle=f"{config['dataset']}, {config['num-clients']} users, attack {config['attack']} by users "
        f"{config['attackers']}, protocol: {config['deviations'] or 'all honest'}; seed {config['seed']}",
    )
    report.add_metrics(final)
    report.add_text(
        f"N = {parameters.sharing.num_users} users, of whom A = {parameters.sharing.num_attackers} may lie, "
        f"D = {parameters.sharing.num_dropouts} fall silent and T = {parameters.sharing.num_colluders} "
        f"collude; updates of L = {parameters.length} entries cut into K = {parameters.sharing.num_parts} "
        f"parts; m = {parameters.num_selected} users selected. [What the server saw of all this]"
        "(what_the_server_saw.html) is on a page of its own."
    )
    if strategy.steps.optimizer is not None:
        report.add_text(
            f"Behind the sum of all three stands the same step of the server: {strategy.steps.optimizer}."
        )
    report.add_terms(explain("multi-Krum", "secret share", "ramp sharing"))
    report.add_figure(lines, caption="The same data, the same harmful updates, three ways of adding up.")
    ways = compare_ways(final, parameters.sharing.num_users, parameters.num_selected)
    run.write_metrics(ways, name="ways")
    picture = draw_ways(ways)
    run.write_figure(picture, "ways")
    report.add_heading("Secure and robust: the cell that is empty elsewhere").add_table(
        ways,
        caption="Masking alone adds up what the plain mean does, so it has its accuracy. Distances let "
        "colluding users measure others' updates, see docs/ramp_krum.md.",
    )
    report.add_figure(picture, caption="Up: holds against harmful updates. Left: holds against the server.")
    report.add_heading("Who was selected, and who was caught at what").add_table(rounds)
    report.add_heading("What was sent").add_table(
        loads,
        caption="One honest user's messages in the last round, and what the server received for itself, "
        "beside Table I of the paper. The table counts all N users and no range checks, masks or blinding "
        "factors; who is banned or silent gets and sends nothing.",
        digits=6,
    )
    report.add_heading("How long it took").add_table(
        seconds,
        caption="Seconds per phase, from sending requests to the last reply, and of the server's own steps.",
    )
    last = next((each for each in reversed(strategy.history) if each.selection), None)
    if last is not None:
        report.add_heading("Distances")
        report.add_text(DistanceMeasurements.of(parameters).sentence(len(rounds)))
        report.add_figure(
            _draw_distances(run, last, parameters),
            caption="Distances that the server read, last round; dark is far.",
        )
    report.add_details("Settings", config).write(run.report_path)
    page = write_server_view(run, config, parameters, last, test_images)
    for name, accuracy in final.items():
        print(f"progress: {name}: {accuracy:.3f}", flush=True)
    print(f"progress: report in {run.report_path}, server's view in {page}", flush=True)


def _rounds(strategy: RampSharedMultiKrum) -> list[Record]:
    return [
        {
            "round": each.server_round,
            "selected": " ".join(map(str, each.selected)) or "none",
            "caught": "; ".join(
                f"{found.user} in {found.phase}: {found.reason}" for found in each.misbehavior
            )
            or "nobody",
            "refused": each.refusal or "no",
        }
        for each in strategy.history
    ]


def _loads(strategy: RampSharedMultiKrum, parameters: RampKrumParameters) -> list[Record]:
    last, formula = strategy.history[-1], table_one(parameters)
    honest = [user for user in last.report.sent.get("sums", {}) if user not in _named(last)]
    records: list[Record] = []
    if honest:
        for phase, sent in last.report.sent.items():
            load = sent.get(honest[0], Load())
            records.append(_load_record(f"user {honest[0]}, {phase}", load))
        whole = _load_record(f"user {honest[0]}, all phases", last.report.load_of_user(honest[0]))
        records.append(whole | {"Table I, symbols": float(formula.per_user)})
    server = _load_record("server", last.report.load_of_server())
    return [*records, server | {"Table I, symbols": float(formula.server)}]


def _load_record(what: str, load: Load) -> Record:
    return {
        "what": what,
        "symbols": load.symbols,
        "Table I, symbols": None,
        "commitments": load.points,
        "bytes": load.num_bytes,
    }


def _seconds(strategy: RampSharedMultiKrum) -> list[Record]:
    phases = list(dict.fromkeys(phase for each in strategy.history for phase in each.phase_seconds))
    return [
        {
            "phase": phase,
            "seconds (median)": float(np.median([e.phase_seconds.get(phase, 0.0) for e in strategy.history])),
            "server's steps": float(
                np.median([e.report.server_seconds.get(phase, 0.0) for e in strategy.history])
            ),
        }
        for phase in phases
    ]


def _draw_distances(run: RunDirectory, last: RampKrumRound, parameters: RampKrumParameters) -> Any:
    distances = last.distances
    users = sorted({user for pair in distances for user in pair})
    matrix = np.zeros((len(users), len(users)))
    for (i, j), distance in distances.items():
        value = np.sqrt(float(distance)) * parameters.fixed_point.step
        matrix[users.index(i), users.index(j)] = matrix[users.index(j), users.index(i)] = value
    figure = draw_matrix(matrix, title="Distances of updates", x_label="user", y_label="user")
    axes = figure.axes[0]
    axes.set_xticks(range(len(users)), [str(user) for user in users])
    axes.set_yticks(range(len(users)), [str(user) for user in users])
    run.write_figure(figure, "distances")
    return figure


def _named(record: RampKrumRound) -> set[int]:
    return {each.user for each in record.misbehavior}
