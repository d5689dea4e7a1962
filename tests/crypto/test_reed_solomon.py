"""Reed–Solomon codes over F_r: errors, erasures, common error sets, and galois at roots of unity."""

from __future__ import annotations

import galois
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flower_coded.crypto.field_vectors import FIELD_MODULUS, from_ints, random_elements, to_ints
from flower_coded.crypto.reed_solomon import ReedSolomonCode
from flower_coded.errors import DecodingError, ParameterError


@st.composite
def received_words(draw: st.DrawFn) -> tuple[ReedSolomonCode, list[int], list[int]]:
    """Return a code, the rows that arrive, and the wrong ones among them, at most the radius."""
    n = draw(st.integers(1, 14))
    code = ReedSolomonCode(tuple(draw(st.permutations(range(-7, 8)))[:n]), draw(st.integers(1, n)))
    rows = sorted(draw(st.permutations(range(n)))[: draw(st.integers(code.dimension, n))])
    wrong = draw(st.permutations(rows))[: draw(st.integers(0, code.radius(len(rows))))]
    return code, rows, sorted(wrong)


@settings(max_examples=40)
@given(received_words(), st.integers(1, 5), st.randoms(use_true_random=False))
def test_decode__corrects_errors_and_erasures_up_to_the_radius(
    word: tuple[ReedSolomonCode, list[int], list[int]], num_columns: int, generator: object
) -> None:
    code, rows, wrong = word
    coefficients = random_elements(code.dimension, num_columns)
    values = code.encode(coefficients)
    for row in wrong:  # each liar lies in one column of its own
        values[row, row % num_columns] = random_elements()
    decoded = code.decode(values[rows], rows=rows)
    assert (decoded.coefficients == coefficients).all()
    assert decoded.wrong_rows == tuple(wrong)
    assert decoded.missing_rows == tuple(sorted(set(range(code.length)) - set(rows)))


@settings(max_examples=20)
@given(received_words())
def test_decode_word__agrees_with_decode(word: tuple[ReedSolomonCode, list[int], list[int]]) -> None:
    code, rows, wrong = word
    coefficients = random_elements(code.dimension, 1)
    values = code.encode(coefficients)
    values[wrong] = random_elements(len(wrong), 1)
    decoded = code.decode_word(to_ints(values[rows]), rows=rows)
    assert decoded.coefficients == tuple(to_ints(coefficients))
    assert decoded.wrong_rows == tuple(wrong)


@pytest.mark.parametrize(("length", "dimension"), [(10, 3), (20, 8), (12, 12), (9, 1)])
def test_decode__refuses_one_error_past_the_radius(length: int, dimension: int) -> None:
    code = ReedSolomonCode(tuple(range(1, length + 1)), dimension)
    if dimension == length:  # no redundancy: every word is a word of the code
        assert code.radius() == 0
        return
    values = code.encode(random_elements(dimension, 3))
    values[: code.radius() + 1, 1] = random_elements(code.radius() + 1)
    with pytest.raises(DecodingError, match=f"more than {code.radius()} of {length} values are wrong"):
        code.decode(values)


def test_decode__counts_the_union_of_wrong_rows_over_columns() -> None:
    code = ReedSolomonCode(tuple(range(1, 9)), 4)  # radius 2
    values = code.encode(random_elements(4, 3))
    for column, row in enumerate((0, 3, 6)):
        values[row, column] = random_elements()
    with pytest.raises(DecodingError):
        code.decode(values)  # one wrong row in each column, three in all
    for column in range(3):
        assert code.decode(values[:, column : column + 1]).wrong_rows == ((0, 3, 6)[column],)


def test_decode__finds_proportional_errors() -> None:
    # Errors that cancel under a fixed combination of columns do not cancel under a fresh one.
    code = ReedSolomonCode((1, 2, 3, 4, 5), 3)
    values = code.encode(from_ints([[1, 1], [2, 2], [3, 3]]))
    values[2] = from_ints([int(x) + s for x, s in zip(to_ints(values[2]), (5, -5), strict=True)])
    assert code.decode(values).wrong_rows == (2,)


def test_decode__needs_as_many_rows_as_the_dimension() -> None:
    code = ReedSolomonCode((1, 2, 3, 4), 3)
    values = code.encode(random_elements(3, 2))
    with pytest.raises(DecodingError) as refusal:
        code.decode(values[:2], rows=[0, 1])
    assert (refusal.value.received, refusal.value.needed) == (2, 3)


def test_decode__agrees_with_galois_at_roots_of_unity() -> None:
    field = galois.GF(FIELD_MODULUS, primitive_element=7, verify=False)
    length, dimension = 16, 6
    root = pow(7, (FIELD_MODULUS - 1) // length, FIELD_MODULUS)
    theirs = galois.ReedSolomon(length, dimension, field=field, alpha=field(root))
    message = field(to_ints(random_elements(dimension)))
    word = theirs.encode(message)
    # Their word, highest power first, holds the coefficients of a polynomial that vanishes at root**1 ..
    # root**(n-k). For values c_i = f(root**i) that sum is n times the coefficient n - j of f, which is 0 for
    # j = 1 .. n - k when f has degree below k: the reversed word is a word of our code.
    points = tuple(pow(root, power, FIELD_MODULUS) for power in range(length))
    ours = ReedSolomonCode(points, dimension)
    values = [int(value) for value in word][::-1]
    expected = ours.decode_word(values)
    assert expected.wrong_rows == ()
    spoiled = list(values)
    for row in (2, 3, 9, 15):
        spoiled[row] = (spoiled[row] + row) % FIELD_MODULUS
    decoded = ours.decode_word(spoiled)
    assert decoded.coefficients == expected.coefficients
    assert decoded.wrong_rows == (2, 3, 9, 15)
    back, num_errors = theirs.decode(field(spoiled[::-1]), errors=True)
    assert num_errors == 4
    assert [int(value) for value in back] == [int(value) for value in message]


def test_interpolation_matrix__inverts_the_vandermonde_rows() -> None:
    code = ReedSolomonCode((3, -1, FIELD_MODULUS // 2, 5), 3)
    rows = [3, 0, 2]
    product = np.array(code.interpolation_matrix(rows), dtype=object) @ np.array(
        [code.vandermonde[row] for row in rows], dtype=object
    )
    assert (product % FIELD_MODULUS == np.eye(3, dtype=int)).all()
    with pytest.raises(ParameterError, match="3 distinct"):
        code.interpolation_matrix([0, 0, 1])


@pytest.mark.parametrize(
    ("points", "dimension", "name"),
    [
        ((1, 2, 1), 2, "points"),
        ((1, FIELD_MODULUS + 1), 1, "points"),
        ((-1, FIELD_MODULUS - 1), 1, "points"),
        ((1, 2), 0, "dimension"),
        ((1, 2), 3, "dimension"),
        ((), 1, "dimension"),
    ],
)
def test_code__refuses_what_is_no_code(points: tuple[int, ...], dimension: int, name: str) -> None:
    with pytest.raises(ParameterError) as refusal:
        ReedSolomonCode(points, dimension)
    assert refusal.value.name == name


@pytest.mark.parametrize("rows", [[1, 0, 2], [0, 0, 1], [0, 1, 4], [-1, 0, 1], [0, 1]])
def test_decode__refuses_rows_that_do_not_fit(rows: list[int]) -> None:
    code = ReedSolomonCode((1, 2, 3, 4), 2)
    with pytest.raises(ParameterError):
        code.decode(random_elements(3, 2), rows=rows)
    with pytest.raises(ParameterError):
        code.decode_word([1, 2, 3], rows=rows)


def test_decode__refuses_arrays_of_another_shape_and_keeps_its_input() -> None:
    code = ReedSolomonCode((1, 2, 3, 4), 2)
    with pytest.raises(ParameterError, match="values"):
        code.decode(random_elements(4))
    values = code.encode(random_elements(2, 3))
    values[1, 1] = 0
    before = values.copy()
    code.decode(values)
    assert (values == before).all()
