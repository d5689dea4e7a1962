from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from flower_coded.crypto.fixed_point import FixedPoint
from flower_coded.errors import ParameterError


@given(num_bits=st.integers(2, 32), seed=st.integers(0, 2**32))
def test_quantize__errs_by_less_than_one_step_inside_the_range(num_bits: int, seed: int) -> None:
    generator = np.random.default_rng(seed)
    fixed_point = FixedPoint(num_bits=num_bits, clipping=0.7)
    values = generator.uniform(-0.7, 0.7, size=50)
    quantized = fixed_point.quantize(values, generator)
    assert quantized.num_clipped == 0
    assert np.abs(quantized.integers).max() <= fixed_point.max_integer
    error = fixed_point.dequantize(quantized.integers, count=1) - values
    assert np.abs(error).max() < fixed_point.step * (1 + 1e-6)


def test_quantize__is_right_on_average() -> None:
    # 0.3 steps round up three times in ten: the mean of 20,000 is 0.3 within 4 standard deviations of 0.0032.
    fixed_point = FixedPoint(num_bits=4, clipping=7.0)
    quantized = fixed_point.quantize(np.full(20_000, 2.3), np.random.default_rng(0))
    assert set(quantized.integers.tolist()) == {2, 3}
    assert abs(quantized.integers.mean() - 2.3) < 0.013


def test_quantize__clips_and_counts() -> None:
    quantized = FixedPoint(num_bits=8, clipping=1.0).quantize(
        [2.0, -5.0, 1.0, -1.0, 0.0], np.random.default_rng(0)
    )
    assert quantized.integers.tolist() == [127, -127, 127, -127, 0]
    assert quantized.num_clipped == 2


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_quantize__refuses_what_is_not_finite(bad: float) -> None:
    with pytest.raises(ParameterError, match="must be finite; received '1 entries"):
        FixedPoint().quantize([0.0, bad], np.random.default_rng(0))


def test_dequantize__divides_by_the_number_of_summands() -> None:
    fixed_point = FixedPoint(num_bits=8, clipping=1.27)  # a step is 0.01
    assert fixed_point.dequantize([300, -10], count=4) == pytest.approx([0.75, -0.025])
    with pytest.raises(ParameterError, match="count must be at least 1; received 0"):
        fixed_point.dequantize([1], count=0)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"num_bits": 1}, "num_bits must be from 2 to 32; received 1"),
        ({"num_bits": 33}, "num_bits must be from 2 to 32; received 33"),
        ({"clipping": 0.0}, "clipping must be finite and positive; received 0.0"),
        ({"clipping": float("nan")}, "clipping must be finite and positive; received nan"),
    ],
)
def test_fixed_point__refuses_bad_parameters(arguments: dict[str, float], message: str) -> None:
    with pytest.raises(ParameterError, match=message):
        FixedPoint(**arguments)  # type: ignore[arg-type]


def test_check_room__accepts_what_stays_below_half_the_field_and_no_more() -> None:
    # 2 * (2**31 - 1) squared is just below 2**64, r/2 lies between 2**253 and 2**254: lengths from 2**190 are
    # too long.
    FixedPoint(num_bits=32).check_room(num_users=10, length=2**189)
    with pytest.raises(ParameterError, match=r"below r/2"):
        FixedPoint(num_bits=32).check_room(num_users=10, length=2**191)
