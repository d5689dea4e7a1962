"""Liars who know the code against the papers' decoder, without keys: what is refused, and who is accused.

For every code, ``--trials`` times, a random number of liars up to half the spare results adds errors along
a null vector of the check matrix, at neighboring evaluation points or any (as if they knew the secret order),
from 1 to 10⁶ times rounding. Printed: results refused, results outside their bound, the bound over the error,
and in how many results an honest worker was named.

    OMP_NUM_THREADS=1 python benchmarks/robust_alcc_code_mode.py --trials 2000
"""

from __future__ import annotations

import argparse

import numpy as np

from flower_coded.codes import AnalogLagrangeCode, DFTCode
from flower_coded.errors import DecodingError
from flower_coded.protocols.analog_computing import AnalogMaster, AnalogWorker, Request
from flower_coded.reporting import Table

CASES = (((15, 1, 3), 1e2), ((31, 1, 5), 1e3), ((31, 3, 3), 1e4))
GRAM = Request("gram")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trials", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    records = [measure(*case, arguments.trials, arguments.seed) for case in CASES]
    print(Table.from_records(records).to_text(digits=3))


def measure(
    sizes: tuple[int, int, int], noise_scale: float, num_trials: int, seed: int
) -> dict[str, str | int | float]:
    """Attack one code."""
    generator = np.random.default_rng(seed)
    code = AnalogLagrangeCode(*sizes, noise_scale=noise_scale)
    blocks = generator.standard_normal((code.num_blocks, 20, 5))
    truth = np.einsum("kij,kil->jl", blocks, blocks)
    master = AnalogMaster(code, (20, 5), "code", evaluation_order=np.arange(code.num_workers))
    honest = {each.worker: AnalogWorker(each).compute(GRAM).values for each in master.deal(blocks, generator)}
    rounding = master.precision(GRAM).noise_std
    refused = broken = unjust = 0
    ratios = []
    for trial in range(num_trials):
        errors = null_vector(code, int(generator.integers(1, code.num_spare // 2 + 1)), generator)
        entries = rounding * (1.0 if trial % 2 else generator.standard_normal(rounding.shape))
        size = 10.0 ** generator.uniform(0, 6)
        lied = {worker: values + size * errors[worker] * entries for worker, values in honest.items()}
        try:
            outcome = master.decode(GRAM, lied)
        except DecodingError:
            refused += 1
            continue
        unjust += any(errors[worker] == 0 for worker in outcome.liars)
        off = float(np.linalg.norm(outcome.total - truth))
        broken += off > outcome.total_error_bound
        ratios.append(outcome.total_error_bound / off)
    return {
        "N, k, t": ", ".join(map(str, sizes)),
        "results": num_trials,
        "refused": refused,
        "outside bound": broken,
        "least bound / error": min(ratios, default=np.nan),
        "median bound / error": float(np.median(ratios)) if ratios else np.nan,
        "largest bound / error": max(ratios, default=np.nan),
        "honest worker named": unjust,
    }


def null_vector(
    code: AnalogLagrangeCode, num_liars: int, generator: np.random.Generator
) -> np.ndarray[tuple[int], np.dtype[np.complex128]]:
    """Errors of so many liars that twice as many columns of the check matrix hardly see."""
    size = min(2 * num_liars, code.num_workers)
    columns = (generator.integers(code.num_workers) + np.arange(size)) % code.num_workers
    if generator.random() < 0.5:
        columns = generator.permutation(code.num_workers)[:size]
    vectors = np.linalg.svd(DFTCode(code.num_workers, code.dimension).check_matrix[:, columns])[2]
    errors = np.zeros(code.num_workers, dtype=np.complex128)
    errors[columns] = vectors[-1].conj()
    errors[np.argsort(-abs(errors))[num_liars:]] = 0
    return np.asarray(errors / abs(errors).max())


if __name__ == "__main__":
    main()
