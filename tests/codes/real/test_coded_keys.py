"""Keys of all workers at once: those that each worker's share would give alone, in any order of arrival."""

from __future__ import annotations

import numpy as np
import pytest

from flower_coded.codes import RealErrorLocatingCode
from flower_coded.codes.real.coded_keys import CodedKeys
from flower_coded.codes.real.verification_keys import root_mean_square

CODE = RealErrorLocatingCode(7, 2).with_secret("random", secret=1)


def reference(keys: CodedKeys, matrix: np.ndarray, answers: np.ndarray, vector: np.ndarray) -> np.ndarray:
    """Each worker's own key, made from its own share."""
    secret = keys._secret.array[: answers.shape[1]].T
    shares = CODE.encode(matrix)
    return np.array(
        [root_mean_square(secret @ h - (secret @ s) @ vector) for h, s in zip(answers, shares, strict=True)]
    )


@pytest.mark.parametrize("cuts", [[], [3], [1, 2, 8], [6, 7]])
def test_add_rows__gives_each_worker_s_own_key_however_the_rows_arrive(cuts: list[int]) -> None:
    generator = np.random.default_rng(0)
    matrix, vector = generator.standard_normal((11, 4)), generator.standard_normal(4)
    keys = CodedKeys(CODE.generator, 4, random=generator)
    for first, last in zip([0, *cuts], [*cuts, 11], strict=True):
        keys.add_rows(first, matrix[first:last])
    answers = generator.standard_normal((7, CODE.num_blocks(11)))
    expected = reference(keys, matrix, answers, vector)
    np.testing.assert_allclose(keys.values(answers, vector), expected, rtol=1e-12)
    assert (keys.values(CODE.encode(matrix) @ vector, vector) <= keys.limits(keys.noise(1.0, 4))).all()


def test_add_columns__gives_the_same_keys_as_rows_and_takes_more_later() -> None:
    generator = np.random.default_rng(1)
    matrix, vector = generator.standard_normal((5, 900)), generator.standard_normal(900)
    keys = CodedKeys(CODE.generator, 700, random=generator)
    keys.add_columns(matrix[:, 600:700], first=600)
    keys.add_columns(matrix[:, :600], first=0)
    keys.add_columns(matrix[:, 700:])
    answers = generator.standard_normal((7, CODE.num_blocks(5)))
    np.testing.assert_allclose(
        keys.values(answers, vector), reference(keys, matrix, answers, vector), rtol=1e-11
    )
    part = slice(100, 650)
    np.testing.assert_allclose(
        keys.values(answers, vector[part], columns=part),
        reference(keys, matrix[:, part], answers, vector[part]),
        rtol=1e-11,
    )


def test_column_norms_times_the_worker_s_row__bound_its_share() -> None:
    # What the noise rests on: |S_i A e_j| <= |G_i| |A e_j|.
    matrix = np.random.default_rng(2).standard_normal((20, 6))
    shares = np.linalg.norm(CODE.encode(matrix), axis=1)
    bound = np.multiply.outer(np.linalg.norm(CODE.generator, axis=1), np.linalg.norm(matrix, axis=0))
    assert (shares <= bound * (1 + 1e-12)).all()
