"""What decoding of analog Lagrange results costs: 1,000 repetitions of one point of the paper's figures.

The (31, 15) code, Gram matrices of 20 by 5 blocks (25 entries), eight liars, precision noise of variance 0.1.
Printed for every decoder: seconds for 1,000 repetitions on one core, microseconds per entry, the speed-up
over the independent decoder written as a loop over entries (timed on 20 repetitions), and the reconstruction
error. ``plain``, one matrix product, is the limit.

    OMP_NUM_THREADS=1 python benchmarks/robust_alcc.py
"""

from __future__ import annotations

import argparse
import time

import numpy as np

from flower_coded.attacks.analog_collusion import FullNoise
from flower_coded.codes import AnalogLagrangeCode, DFTCode
from flower_coded.protocols.analog_computing.experiments import DECODERS, measure, simulate
from flower_coded.reporting import Table

CODE = AnalogLagrangeCode(num_workers=31, num_blocks=5, num_colluders=3, noise_scale=1e6)


def correct_naively(received: np.ndarray, num_errors: int, code: DFTCode) -> np.ndarray:
    """Correct entry by entry: equation 5 by least squares, evaluate, fit the errors, subtract."""
    corrected = received.copy()
    for repetition in range(received.shape[0]):
        for entry in range(received.shape[2]):
            syndrome = code.check_matrix @ received[repetition, :, entry]
            rows = len(syndrome) - num_errors
            hankel = np.array([syndrome[row : row + num_errors] for row in range(rows)])
            tail = np.linalg.lstsq(hankel, -syndrome[num_errors:], rcond=None)[0]
            values = abs(np.polyval(np.append(tail, 1.0)[::-1], code.nodes)) ** 2
            places = np.argsort(values)[:num_errors]
            errors = np.linalg.lstsq(code.check_matrix[:, places], syndrome, rcond=None)[0]
            corrected[repetition, places, entry] -= errors
    return corrected


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repetitions", type=int, default=1000)
    parser.add_argument("--device", default="cpu", help="cpu, or a torch device such as cuda")
    arguments = parser.parse_args()
    drawn = simulate(
        CODE,
        FullNoise(),
        num_liars=8,
        noise_variance=0.1,
        num_repetitions=arguments.repetitions,
        generator=np.random.default_rng(7),
    )
    few = min(20, arguments.repetitions)
    started = time.perf_counter()
    correct_naively(drawn.received[:few], 8, DFTCode(31, CODE.dimension))
    naive = (time.perf_counter() - started) / few * arguments.repetitions
    num_entries = arguments.repetitions * drawn.received.shape[2]
    records = [{"decoder": "naive loop", "seconds": naive, "us per entry": 1e6 * naive / num_entries}]
    for decoder in DECODERS:
        measured = measure(drawn, decoder, device=arguments.device)
        records.append(
            {
                "decoder": decoder,
                "seconds": measured.seconds,
                "us per entry": 1e6 * measured.seconds / num_entries,
                "faster than the loop": naive / measured.seconds,
                "error, dB": measured.error,
                "exactly located": measured.share_located,
            }
        )
    columns = ["decoder", "seconds", "us per entry", "faster than the loop", "error, dB", "exactly located"]
    print(Table.from_records(records, columns=columns).to_text(digits=2))


if __name__ == "__main__":
    main()
