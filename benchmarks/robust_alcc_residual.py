"""Whether the residual test says so when one liar more lies than can be corrected.

The (31, 15) code, Gram matrices of 20 by 5 blocks (25 entries). For every number of erased workers ``s``
there are ``A = floor((16 - s) / 2) + 1`` liars, each adding an error CN(10, 1e3) to every entry; liars and
erased workers are drawn anew for every trial. Printed for each strictness of the test (the share of correct
results it refuses): the share of trials that are refused, and of those that pass although the result is more
than three times as far off as noise explains. In ``seen`` of the trials every liar stands out of the noise
for a test that is told the places of all others; in the rest one liar looks like noise, and the others are
within the radius, so that no test could tell.

    OMP_NUM_THREADS=1 python benchmarks/robust_alcc_residual.py --trials 1000
"""

from __future__ import annotations

import argparse

import numpy as np
from scipy.special import chdtri

from flower_coded.attacks.analog_collusion import FullNoise
from flower_coded.codes import AnalogLagrangeCode, DFTCode
from flower_coded.codes.real.error_location import null_space
from flower_coded.errors import DecodingError
from flower_coded.protocols.analog_computing.experiments import Repetitions, simulate
from flower_coded.reporting import Table

CODE = AnalogLagrangeCode(num_workers=31, num_blocks=5, num_colluders=3, noise_scale=1e3)
WORDS = DFTCode(31, CODE.dimension)
STRICTNESS = (1e-6, 1e-3, 1e-2)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trials", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--noise-std", type=float, nargs="*", default=[0.1, 1e-3])
    parser.add_argument("--erased", type=int, nargs="*", default=[0, 4, 8, 11, 12, 13, 14, 15])
    arguments = parser.parse_args()
    records = []
    for noise_std in arguments.noise_std:
        for num_erased in sorted(arguments.erased):
            generator = np.random.default_rng([arguments.seed, num_erased])
            record = measure_point(noise_std, num_erased, arguments.trials, generator)
            records.append(record)
            print(record, flush=True)
    print(Table.from_records(records).to_text(digits=4))


def measure_point(
    noise_std: float, num_erased: int, num_trials: int, generator: np.random.Generator
) -> dict[str, float]:
    """Refusals and harmful passes of one number of erased workers."""
    num_liars = (WORDS.num_checks - num_erased) // 2 + 1
    drawn = simulate(
        CODE,
        FullNoise(),
        num_liars=num_liars,
        noise_variance=noise_std**2,
        num_repetitions=num_trials,
        generator=generator,
    )
    order = (generator.random(drawn.is_liar.shape) + drawn.is_liar).argsort(axis=1)
    erased = np.zeros_like(drawn.is_liar)
    np.put_along_axis(erased, order[:, :num_erased], values=True, axis=1)
    refused, harmful = (
        np.zeros((len(STRICTNESS), num_trials), bool),
        np.zeros((len(STRICTNESS), num_trials), bool),
    )
    seen = np.zeros(num_trials)
    for trial in range(num_trials):
        for row, significance in enumerate(STRICTNESS):
            refused[row, trial], harmful[row, trial] = judge(
                drawn, trial, erased[trial], noise_std, significance
            )
        seen[trial] = weakest_is_seen(drawn, trial, erased[trial], noise_std, 1e-3)
    record = {"noise std": noise_std, "erased": num_erased, "liars": num_liars}
    for row, significance in enumerate(STRICTNESS):
        record[f"refused, {significance:g}"] = float(refused[row].mean())
        record[f"harmful, {significance:g}"] = float(harmful[row].mean())
    return record | {"seen, 0.001": float(seen.mean())}


def judge(
    drawn: Repetitions, trial: int, erased: np.ndarray, noise_std: float, significance: float
) -> tuple[bool, bool]:
    """Tell whether the trial is refused, and if not, whether its result is far off."""
    received = drawn.received[trial]
    try:
        found = WORDS.decode(received, noise_std=noise_std, erased=erased, significance=significance)
    except DecodingError:
        return True, False
    present = ~(erased | found.located)
    rebuilt = CODE.reconstruct(received[..., None], present)[..., 0]
    noise = noise_std * np.linalg.norm(CODE.reconstruction_matrix(present)) * np.sqrt(received.shape[1])
    return False, bool(np.linalg.norm(rebuilt - drawn.truth[trial]) > 3 * noise)


def weakest_is_seen(
    drawn: Repetitions, trial: int, erased: np.ndarray, noise_std: float, significance: float
) -> bool:
    """Tell whether the liar that shows least stands out of the noise, all other places being known."""
    syndromes = WORDS.syndromes(drawn.received[trial]) / noise_std
    num_words = syndromes.shape[1]
    for liar in np.flatnonzero(drawn.is_liar[trial]):
        known = (erased | drawn.is_liar[trial]) & (np.arange(WORDS.num_workers) != liar)
        outside = null_space(WORDS.check_matrix[:, known].conj().T)
        direction = outside @ (outside.conj().T @ WORDS.check_matrix[:, liar])
        length = np.linalg.norm(direction)
        energy = (abs(direction.conj() @ syndromes) ** 2).sum() / max(length**2, 1e-300)
        if energy <= chdtri(2 * num_words, significance) / 2:
            return False
    return True


if __name__ == "__main__":
    main()
