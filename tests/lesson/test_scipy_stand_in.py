"""The stand-in for SciPy, held against SciPy."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
import scipy.linalg
import scipy.special
import scipy.stats
from hypothesis import given
from hypothesis import strategies as st

from flower_coded.lesson.scipy_stand_in import digamma, gamma_isf, gamma_ppf, gammaln, pivoted_qr

POSITIVE = np.geomspace(1e-6, 1e6, 500)


def test_digamma_and_the_logarithm_of_gamma_are_scipys() -> None:
    for ours, theirs in ((digamma, scipy.special.digamma), (gammaln, scipy.special.gammaln)):
        expected = theirs(POSITIVE)
        assert np.max(np.abs(ours(POSITIVE) - expected) / np.maximum(1, np.abs(expected))) < 1e-13


@pytest.mark.parametrize("shape", [0.5, 1.0, 2.0, 10.0, 100.0])
@pytest.mark.parametrize("probability", [1e-15, 1e-12, 1e-3, 0.5, 0.999])
def test_the_gamma_distributions_quantiles_are_scipys(shape: float, probability: float) -> None:
    assert gamma_ppf(probability, shape) == pytest.approx(
        scipy.stats.gamma.ppf(probability, shape), rel=1e-12
    )
    assert gamma_isf(probability, shape) == pytest.approx(
        scipy.stats.gamma.isf(probability, shape), rel=1e-12
    )


@given(seed=st.integers(0, 2**32 - 1), rows=st.integers(1, 6), columns=st.integers(1, 9))
def test_pivots_are_lapacks(seed: int, rows: int, columns: int) -> None:
    matrix = np.random.default_rng(seed).normal(size=(rows, columns))
    triangle, pivots = pivoted_qr(matrix, mode="r", pivoting=True)
    rank = min(rows, columns)
    assert pivots[:rank].tolist() == scipy.linalg.qr(matrix, mode="r", pivoting=True)[1][:rank].tolist()
    assert sorted(pivots.tolist()) == list(range(columns))
    np.testing.assert_allclose(triangle.T @ triangle, matrix[:, pivots].T @ matrix[:, pivots], atol=1e-9)


@pytest.mark.parametrize("is_there", [True, False])
def test_it_stands_in_only_where_scipy_is_not(is_there: bool) -> None:
    hide = "" if is_there else "sys.path[:] = [path for path in sys.path if 'site-packages' not in path]"
    program = (
        "import sys\nfrom flower_coded.lesson import scipy_stand_in\n"
        f"{hide}\nscipy_stand_in.install()\nimport scipy.special\n"
        "print(scipy.special.digamma is scipy_stand_in.digamma)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.stdout.strip() == str(not is_there), done.stderr
