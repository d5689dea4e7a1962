"""Theorem 1 of Borah and Harshan beside what is measured: its lower bound is none.

The pairwise error is that an honest worker's root looks more like a liar's than a liar's own, when every
coefficient of the locator polynomial carries noise ``CN(0, σ_p²)``. The proof (Appendix B) replaces the
Gaussian tail ``Q(x)`` by ``exp(-x²/2)``. That is an upper bound of ``Q``, used in a chain of lower bounds.
Printed: the pairwise error itself, the tail it is bounded by, that tail with the exponential in its place,
and the theorem's closed form at several ``η``.

    python benchmarks/robust_alcc_theorem_1.py
"""

from __future__ import annotations

import argparse

import numpy as np
from scipy.stats import norm

from flower_coded.codes.real.analog_lagrange import draw_complex_gaussian
from flower_coded.reporting import Table


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--workers", type=int, default=11)
    parser.add_argument("--liars", type=int, nargs="+", default=[0, 5])
    parser.add_argument("--repetitions", type=int, default=200_000)
    arguments = parser.parse_args()
    generator = np.random.default_rng(0)
    points = np.exp(-2j * np.pi * np.arange(arguments.workers) / arguments.workers)
    locator = np.poly(points[arguments.liars])[::-1]
    powers = np.arange(len(locator))
    liar, honest = arguments.liars[0], (arguments.liars[0] + 1) % arguments.workers
    value = float(abs(locator @ points[honest] ** powers))
    records = []
    for variance in (0.1, 0.3, 1.0):
        noise = np.sqrt(variance) * draw_complex_gaussian((arguments.repetitions, len(locator)), generator)
        at_liar, at_honest = noise @ points[liar] ** powers, noise @ points[honest] ** powers
        shifted = locator @ points[honest] ** powers + at_honest
        signal = abs(shifted - noise[:, 0]) ** 2  # the constant coefficient is marginalized, as in the proof
        spread = np.sqrt(2 * variance) * abs(shifted - at_liar)
        record = {
            "noise variance": variance,
            "pairwise error": np.mean(abs(shifted) <= abs(at_liar)),
            "tail": norm.sf(signal / spread).mean(),
            "exponential": np.exp(-((signal / spread) ** 2) / 2).mean(),
        }
        for eta in (1, 2, 5, 10):
            steps = 1 - np.cos(powers[1:] * 2 * np.pi / arguments.workers * abs(honest - liar))
            share = 2 / (2 + eta * steps.sum())
            record[f"theorem, eta {eta}"] = share * np.exp(-eta * value**2 * share / (4 * variance))
        records.append(record)
    print(Table.from_records(records).to_markdown(digits=3))


if __name__ == "__main__":
    main()
