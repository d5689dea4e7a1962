"""Decode 10,000 samples with the posterior decoder and with the paper's loop, then with every decoder.

The last table tells how time grows with n, k, c and m; a random code's k falls as n grows and m stays.
Run with ``python benchmarks/subset_decoder.py``. Both sides run in this process on one thread, in turn. The
loop is the reference of the tests, the paper's formulas as they stand; it is timed on one sample, as one
sample takes 299 sets of attackers x 100 pairs of classes x 15 models. The same answers are compared. "random"
answers share no two prediction vectors, the decoder's worst case; "realistic" ones are right in 98 of 100
cases, half of the samples triggered by up to three attackers. Times are CPU seconds of the one thread, which
other processes disturb little; on a GPU, wall seconds.
"""

from __future__ import annotations

import importlib.util
import itertools
import os
import time
from pathlib import Path

for threads in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(threads, "1")

import numpy as np  # noqa: E402  (after the thread settings)
from numpy.typing import NDArray  # noqa: E402

from flower_coded.codes import (  # noqa: E402
    DECODER_NAMES,
    SubsetCode,
    SubsetDecoder,
    backdoor_correction_code,
    make_decoder,
    random_code,
)

NUM_SAMPLES, NUM_CLASSES, LOOP_SAMPLES, REPEATS = 10_000, 10, 1, 3
PRIOR = [1.0] * 4  # 0 to 3 attackers, as in the paper


def random_answers(code: SubsetCode, generator: np.random.Generator) -> NDArray[np.int64]:
    return generator.integers(0, NUM_CLASSES, (code.num_models, NUM_SAMPLES))


def realistic_answers(
    code: SubsetCode,
    generator: np.random.Generator,
    num_samples: int = NUM_SAMPLES,
    num_classes: int = NUM_CLASSES,
) -> NDArray[np.int64]:
    labels = generator.integers(0, num_classes, num_samples)
    is_wrong = generator.random((code.num_models, num_samples)) < 0.02
    answers = np.where(is_wrong, generator.integers(0, num_classes, is_wrong.shape), labels)
    for sample in range(0, num_samples, 2):
        users = generator.choice(code.num_users, size=generator.integers(1, 4), replace=False)
        answers[code.reach(users), sample] = (labels[sample] + 1) % num_classes
    return answers


def best_time(decoder: SubsetDecoder, answers: NDArray[np.int64]) -> float:
    clock = time.perf_counter if decoder.device == "cuda" else time.process_time
    times = []
    for _ in range(REPEATS):
        start = clock()
        decoder.decode(answers)
        times.append(clock() - start)
    return min(times)


def loop_time(decoder: SubsetDecoder, answers: NDArray[np.int64]) -> tuple[float, float]:
    """Seconds per sample of the loop, and the largest difference of any posterior."""
    path = Path(__file__).parents[1] / "tests" / "codes" / "subset" / "naive_subset_decoder.py"
    spec = importlib.util.spec_from_file_location("naive_subset_decoder", path)
    assert spec is not None and spec.loader is not None  # noqa: PT018
    reference = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(reference)
    decoded = decoder.decode(answers[:, :LOOP_SAMPLES])
    difference = 0.0
    start = time.process_time()
    for sample in range(LOOP_SAMPLES):
        labels, attack, _ = reference.naive_decode(
            decoder.code.matrix,
            decoder.confusion_rates,
            answers[:, sample],
            0.5,
            0.99,
            decoder.attacker_prior,
        )
        difference = max(difference, float(np.abs(labels - decoded.label_probabilities[sample]).max()))
        difference = max(difference, abs(attack - decoded.attack_probability[sample]))
    return (time.process_time() - start) / LOOP_SAMPLES, difference


def growth() -> None:
    """Print seconds for 1,000 realistic samples as n, k, c or m grows, and ratios to the first."""
    grown: dict[str, list[tuple[int, SubsetCode, int]]] = {
        "n": [(n, random_code(15, n // 3, n, 0), NUM_CLASSES) for n in (12, 18, 24)],
        "k": [(k, backdoor_correction_code(k, 4, 12), NUM_CLASSES) for k in (1, 2, 4)],
        "c": [(c, backdoor_correction_code(2, 4, 12), c) for c in (5, 10, 40)],
        "m": [(m, random_code(m, 4, 12, 0), NUM_CLASSES) for m in (10, 20, 40)],
    }
    print(f"\n{'grows':<7}{'n':>4}{'m':>5}{'c':>5}" + "".join(f"{name:>19}" for name in DECODER_NAMES))
    for letter, cases in grown.items():
        first: dict[str, float] = {}
        for value, code, num_classes in cases:
            generator = np.random.default_rng(value)
            answers = realistic_answers(code, generator, 1_000, num_classes)
            confusion = np.tile(480 * np.eye(num_classes, dtype=np.int64) + 1, (code.num_models, 1, 1))
            cells = []
            for name in DECODER_NAMES:
                decoder = make_decoder(name, code, confusion)
                start = time.process_time()
                decoder.decode(answers)
                taken = time.process_time() - start
                cells.append(f"{taken:>9.3f} s ({taken / first.setdefault(name, taken):5.1f})")
            label = f"{letter} = {value}"
            print(f"{label:<7}{code.num_users:>4}{code.num_models:>5}{num_classes:>5}" + " ".join(cells))


def main() -> None:
    generator = np.random.default_rng(0)
    code = backdoor_correction_code(4, 4, 12, rows="paper")
    confusion = generator.integers(0, 20, (code.num_models, NUM_CLASSES, NUM_CLASSES))
    confusion += 480 * np.eye(NUM_CLASSES, dtype=np.int64)
    devices: list[str | None] = [None, "cpu"]
    import torch

    torch.set_num_threads(1)
    if torch.cuda.is_available():
        devices.append("cuda")
    print(f"{code.name}, up to 3 attackers, {NUM_CLASSES} classes, {NUM_SAMPLES} samples, one thread, seed 0")
    print(f"{'answers':<11}{'on':<14}{'decoder':>10}{'loop':>12}{'ratio':>10}{'difference':>12}")
    for name, draw in (("random", random_answers), ("realistic", realistic_answers)):
        answers = draw(code, generator)
        per_sample, difference = loop_time(SubsetDecoder(code, confusion, attacker_prior=PRIOR), answers)
        loop = per_sample * NUM_SAMPLES
        for device in devices:
            decoder = SubsetDecoder(code, confusion, attacker_prior=PRIOR, device=device)
            seconds = best_time(decoder, answers)
            where = "NumPy" if device is None else f"torch {device}"
            print(
                f"{name:<11}{where:<14}{seconds:>8.2f} s{loop:>10.0f} s"
                f"{loop / seconds:>10.0f}{difference:>12.1e}"
            )
    print(f"\n{'decoder':<19}{'models':>6}  {'answers':<11}{'seconds':>9}{'per posterior':>15}")
    fewest = backdoor_correction_code(4, 4, 12)  # no two users alike: 794 coalitions instead of 57
    draws = (("random", random_answers), ("realistic", realistic_answers))
    for used, (name, draw) in itertools.product((code, fewest), draws):
        answers, taken_by = draw(used, generator), dict.fromkeys(DECODER_NAMES, 0.0)
        for decoder_name in DECODER_NAMES:
            named = make_decoder(decoder_name, used, confusion[: used.num_models])
            start = time.process_time()
            named.decode(answers)  # the joint decoder learns from them first
            taken_by[decoder_name] = time.process_time() - start
        for decoder_name, taken in taken_by.items():
            ratio = taken / taken_by["posterior"]
            print(f"{decoder_name:<19}{used.num_models:>6}  {name:<11}{taken:>9.2f}{ratio:>15.1f}")
    growth()


if __name__ == "__main__":
    main()
