"""The paper's Figures 2 to 6, from the decoders themselves: sweeps, pictures, one page."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np

from flower_coded.attacks.analog_collusion import (
    AnalogAttack,
    ConstraintLengthAware,
    FullNoise,
    StrongCollusion,
    WeakCollusion,
)
from flower_coded.codes import AnalogLagrangeCode, AssignmentProblem
from flower_coded.protocols.analog_computing.experiments import measure, simulate
from flower_coded.reporting import Report, RunDirectory, draw_lines

Record = dict[str, Any]

PAPER = AnalogLagrangeCode(31, 5, 3, degree=2, noise_scale=1e6, radius=1.5)
PROFILED = AnalogLagrangeCode(11, 3, 1, degree=2, noise_scale=1e6, radius=1.5)
NOISE_VARIANCES = (0.01, 0.1, 1.0)
BEYOND_THE_RADIUS = (10, 12, 14, 16)  # of the code's eight liars; keys need fifteen right results
SWEEPS = ("localization", "assignment", "collusion")
_ERROR = "average relative error, dB"


def sweep(name: str, repetitions: int, seed: int, device: str = "cpu") -> list[Record]:
    """Run one of the three sweeps."""
    if name == "localization":
        return sweep_localization(repetitions, seed, device)
    return {"assignment": sweep_assignment, "collusion": sweep_collusion}[name](repetitions, seed)


def sweep_localization(repetitions: int, seed: int, device: str = "cpu") -> list[Record]:
    """Figures 2 to 4: error against the number of liars, for every decoder and noise."""
    records = []
    for noise_variance in NOISE_VARIANCES:
        for num_liars in (*range(9), *BEYOND_THE_RADIUS):
            generator = np.random.default_rng([seed, num_liars, int(1000 * noise_variance)])
            drawn = simulate(
                PAPER,
                FullNoise(10.0, 1e3),
                num_liars=num_liars,
                noise_variance=noise_variance,
                num_repetitions=repetitions,
                generator=generator,
            )
            decoders = ["plain", "keys", "oracle"]
            if num_liars not in BEYOND_THE_RADIUS:
                decoders[1:1] = ["independent", "joint", "average", "subspace"]
            for decoder in decoders:
                measured = measure(drawn, decoder, device=device)
                records.append(
                    {
                        "noise variance": noise_variance,
                        "liars": num_liars,
                        "decoder": decoder,
                        _ERROR: measured.error,
                        "exactly located": measured.share_located,
                        "trusted": measured.share_trusted,
                        "seconds": measured.seconds,
                    }
                )
            print(f"progress: noise {noise_variance}, {num_liars} liars", flush=True)
    return records


def index_sets(noise_variance: float) -> dict[str, tuple[int, ...]]:
    """Figure 5's sets of evaluation indices, from 0: the paper's kinds, and the chord distance."""
    return {
        "contiguous": (0, 1, 2, 3, 4),
        "index distance": AssignmentProblem(11, 5, 2, noise_variance).solve().indices,
        "chord distance": AssignmentProblem(11, 5, 2, noise_variance, distance="chord").solve().indices,
        "paper's R*": {1.0: (0, 1, 4, 7, 8), 0.5: (0, 3, 4, 7, 8), 0.1: (1, 4, 5, 8, 9)}.get(
            noise_variance, (1, 3, 5, 7, 10)
        ),
    }


def sweep_assignment(repetitions: int, seed: int) -> list[Record]:
    """Figure 5: error against noise, for sets of indices of the unreliable workers."""
    records = []
    for noise_variance in (0.01, 0.1, 0.5, 1.0):
        for name, indices in index_sets(noise_variance).items():
            drawn = simulate(
                PROFILED,
                FullNoise(10.0, 1e3),
                num_liars=2,
                noise_variance=noise_variance,
                num_repetitions=repetitions,
                generator=np.random.default_rng([seed, int(1000 * noise_variance)]),
                unreliable_indices=indices,
            )
            for decoder in ("independent", "joint", "subspace", "keys"):
                measured = measure(drawn, decoder)
                records.append(
                    {
                        "noise variance": noise_variance,
                        "indices": name,
                        "decoder": decoder,
                        "set": " ".join(str(index + 1) for index in indices),
                        _ERROR: measured.error,
                        "exactly located": measured.share_located,
                    }
                )
    return records


def sweep_collusion(repetitions: int, seed: int) -> list[Record]:
    """Figure 6: eight colluders, the joint decoder's constraint length, and what else there is."""
    attacks: list[tuple[str, float, AnalogAttack]] = []
    attacks += [("strong, ones in a row", ones, StrongCollusion(10.0, 1e2, ones)) for ones in range(1, 9)]
    attacks += [("weak, probability of a zero", p, WeakCollusion(10.0, 1e2, p)) for p in _PROBABILITIES]
    attacks += [
        ("constraint length aware, v'", length, ConstraintLengthAware(10.0, 1e2, 31, length, 0.1))
        for length in (8, 9, 10)
    ]
    return [
        record
        for place, (name, value, attack) in enumerate(attacks)
        for record in _collusion_point(name, value, attack, repetitions, [seed, place])
    ]


def _collusion_point(
    name: str, value: float, attack: AnalogAttack, repetitions: int, seed: Sequence[int]
) -> list[Record]:
    drawn = simulate(
        PAPER,
        attack,
        num_liars=8,
        noise_variance=0.1,
        num_repetitions=repetitions,
        generator=np.random.default_rng(seed),
    )
    lengths = (int(value),) if isinstance(attack, ConstraintLengthAware) else (8, 10)
    decoders: dict[str, Callable[[], Any]] = {
        f"joint, v' = {length}, {choose_by}": partial(
            measure, drawn, "joint", constraint_length=length, choose_by=choose_by
        )
        for length in lengths
        for choose_by in ("chance", "votes")
    }
    decoders |= {name: partial(measure, drawn, name) for name in ("independent", "subspace", "keys")}
    print(f"progress: {name} {value:g}", flush=True)
    records = []
    for decoder, run in decoders.items():
        measured = run()
        records.append(
            {
                "attack": name,
                "value": value,
                "decoder": decoder,
                _ERROR: measured.error,
                "exactly located": measured.share_located,
            }
        )
    return records


_PROBABILITIES = (0.0, 0.05, 0.1, 0.2, 0.257, 0.4, 0.6, 0.8)


def add_figures(report: Report, run: RunDirectory, swept: dict[str, list[Record]], caption: str) -> None:
    """Draw and explain what the three sweeps found; the records are kept beside the page."""
    for name, records in swept.items():
        run.write_metrics(records, name=f"sweep_{name}")
    report.add_heading("The paper's figures").add_text(
        f"{caption} Errors are `10 log10` of the mean of `|Y - Y'| / |Y|`; `X` is 20 by 5, `f` XᵀX."
    )
    for noise_variance in NOISE_VARIANCES:
        shown = [each for each in swept["localization"] if each["noise variance"] == noise_variance]
        figure = draw_lines(
            shown,
            x="liars",
            y=_ERROR,
            group="decoder",
            title=f"(31, 15) code, precision noise variance {noise_variance:g}",
            x_label="liars among 31 workers",
            y_label=_ERROR,
        )
        run.write_figure(figure, f"figure_2_3_4_noise_{noise_variance:g}")
        report.add_figure(
            figure,
            caption="Figures 2 to 4: plain decoding is lost with one liar; the joint decoder gains on the "
            "independent one toward the radius; the subspace decoder stays with the oracle, who is told. "
            "Keys do too, and go on to sixteen liars, past the code's eight.",
        )
    for decoder in ("independent", "subspace", "keys"):
        figure = draw_lines(
            [each for each in swept["assignment"] if each["decoder"] == decoder],
            x="noise variance",
            y=_ERROR,
            group="indices",
            title=f"Points of five unreliable workers: {decoder}",
            x_label="precision noise variance",
            y_label=_ERROR,
        )
        run.write_figure(figure, f"figure_5_{decoder}")
        report.add_figure(figure, caption="Figure 5: neighboring points make neighbors look like liars.")
    for attack in ("strong, ones in a row", "weak, probability of a zero"):
        figure = draw_lines(
            [each for each in swept["collusion"] if each["attack"] == attack],
            x="value",
            y=_ERROR,
            group="decoder",
            title=f"Eight colluders: {attack}",
            x_label=attack.split(", ")[1],
            y_label=_ERROR,
        )
        run.write_figure(figure, f"figure_6_{attack.split(',')[0]}")
        report.add_figure(
            figure,
            caption="Figure 6: zeros keep the decoder from averaging, which hurts if it looks at a random "
            "few of its suspects, not if at those with the most votes. The subspace decoder does not mind, "
            "and keys do not look at the others' results at all.",
        )
    aware = [each for each in swept["collusion"] if each["attack"].startswith("constraint")]
    report.add_table(aware, caption="Colluders who know the constraint length v' and add decoys.", digits=2)
