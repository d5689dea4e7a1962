"""Trusted set-ups in the forms in which ceremonies publish them, made here with a secret known to all."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from flower_coded.crypto.ceremony import read_ceremony
from flower_coded.crypto.field_vectors import FIELD_MODULUS
from flower_coded.crypto.polynomials import interpolate
from flower_coded.crypto.srs import ReferenceString, generate_reference_string
from flower_coded.errors import SetupError

BETA = 123456789
SIZE = 8


def known_string(size: int = SIZE, beta: int = BETA) -> ReferenceString:
    return generate_reference_string(size, size_g2=3, draw_below=lambda bound: beta - 2)


def monomial(reference: ReferenceString) -> list[str]:
    return [reference.backend.compress(point).hex() for point in reference.powers]


def monomial_g2(reference: ReferenceString) -> list[str]:
    return [reference.backend.compress_g2(point).hex() for point in reference.powers_g2]


def lagrange(reference: ReferenceString) -> list[str]:
    """Return ``L_i(beta) g`` over the roots of unity of the string's order."""
    backend, size = reference.backend, reference.size
    root = pow(7, (FIELD_MODULUS - 1) // size, FIELD_MODULUS)
    roots = [pow(root, power, FIELD_MODULUS) for power in range(size)]
    points = []
    for index in range(size):
        coefficients = interpolate(roots, [int(i == index) for i in range(size)])
        value = sum(c * pow(BETA, j, FIELD_MODULUS) for j, c in enumerate(coefficients)) % FIELD_MODULUS
        points.append(backend.compress(backend.multiply(backend.generator, value)).hex())
    return points


def as_text(reference: ReferenceString) -> str:
    lines = [str(reference.size), str(len(reference.powers_g2))]
    return "\n".join([*lines, *lagrange(reference), *monomial_g2(reference), *monomial(reference), ""])


def as_transcript(*references: ReferenceString) -> str:
    transcripts = [
        {
            "numG1Powers": reference.size,
            "powersOfTau": {
                "G1Powers": ["0x" + point for point in monomial(reference)],
                "G2Powers": ["0x" + point for point in monomial_g2(reference)],
            },
        }
        for reference in references
    ]
    return json.dumps({"transcripts": transcripts})


def test_read_ceremony__reads_every_form(tmp_path: Path) -> None:
    made = known_string()
    specification = {
        "g1_lagrange": lagrange(made),
        "g1_monomial": ["0x" + point for point in monomial(made)],
        "g2_monomial": ["0x" + point for point in monomial_g2(made)],
    }
    forms = [as_text(made), json.dumps(specification), " \n" + as_transcript(made)]
    for content in (*(form.encode() for form in forms), made.to_bytes()):
        assert read_ceremony(content).digest == made.digest
        path = tmp_path / "trusted_setup"
        path.write_bytes(content)
        assert read_ceremony(path, size=SIZE).digest == read_ceremony(str(path)).digest == made.digest


def test_read_ceremony__takes_the_string_of_a_transcript_that_is_long_enough() -> None:
    short, long = known_string(4, beta=77), known_string(8)
    content = as_transcript(long, short).encode()
    assert read_ceremony(content).digest == long.digest
    assert read_ceremony(content, size=3).digest == short.digest
    assert read_ceremony(content, size=5).digest == long.digest
    with pytest.raises(SetupError, match="8 powers, 9 are wanted"):
        read_ceremony(content, size=9)


def replaced(text: str, line: int, other: str) -> bytes:
    lines = text.split("\n")
    lines[line] = other
    return "\n".join(lines).encode()


def test_read_ceremony__refuses_a_forged_or_damaged_text() -> None:
    made = known_string()
    text = as_text(made)
    first_power = 2 + SIZE + 3
    other = known_string(beta=99)
    for content, reason in (
        (replaced(text, first_power + 3, monomial(other)[3]), "powers of one number"),
        (replaced(text, 2 + SIZE + 1, monomial_g2(other)[1]), "powers of one number"),
        (replaced(text, first_power, monomial(made)[1]), "powers of one number"),
        (replaced(text, first_power + 2, "00" * 48), "point"),
        (replaced(text, first_power + 2, "8" + monomial(made)[2][1:-1]), "96 hexadecimal"),
        (replaced(text, first_power + 2, "zz" * 48), "96 hexadecimal"),
        (replaced(text, 0, "9"), "announces 9"),
        (replaced(text, 0, "999999999"), "two counts"),
        (text.encode()[:-200], "announces"),
        (b"", "two counts"),
        (b"\xff" * 100, "two counts"),
    ):
        with pytest.raises(SetupError, match=reason):
            read_ceremony(content)


def test_read_ceremony__says_what_is_wrong_with_an_older_text() -> None:
    made = known_string()
    old = "\n".join([str(SIZE), "3", *lagrange(made), *monomial_g2(made)])
    with pytest.raises(SetupError, match="old form"):
        read_ceremony(old.encode())


@pytest.mark.parametrize(
    "content",
    [
        b"{",
        b"{}",
        b'{"transcripts": [1, {"powersOfTau": 3}]}',
        b'{"g1_monomial": 3, "g2_monomial": []}',
        b'{"g1_monomial": [3], "g2_monomial": [null]}',
    ],
)
def test_read_ceremony__refuses_other_json(content: bytes) -> None:
    with pytest.raises(SetupError):
        read_ceremony(content)


def test_read_ceremony__refuses_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(SetupError, match="cannot be read"):
        read_ceremony(tmp_path / "missing.txt")


def test_read_ceremony__refuses_powers_of_one() -> None:
    """Every commitment over them would be the sum of a vector's entries."""
    made = known_string()
    backend = made.backend
    g1, g2 = backend.compress(backend.generator).hex(), backend.compress_g2(backend.generator_g2).hex()
    content = json.dumps({"g1_monomial": [g1] * SIZE, "g2_monomial": [g2] * 2})
    with pytest.raises(SetupError, match="powers of one number"):
        read_ceremony(content.encode())
