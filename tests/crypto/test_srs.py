"""Reference strings: powers, pairing checks, serialization and the cache on disk."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from flower_coded.crypto.backends import Backend, available_backends, get_backend
from flower_coded.crypto.field_vectors import FIELD_MODULUS, random_elements, to_ints
from flower_coded.crypto.srs import ReferenceString, fixed_base_multiples, generate_reference_string
from flower_coded.crypto.srs_cache import (
    cache_directory,
    cached_reference_string,
    kept_digests,
    load_reference_string,
    store_reference_string,
)
from flower_coded.errors import ParameterError, PointError, SetupError

BETA = 987654321


@pytest.fixture(params=available_backends())
def backend(request: pytest.FixtureRequest) -> Backend:
    return get_backend(request.param)


def known_string(backend: Backend | None = None, size: int = 5) -> ReferenceString:
    """Return the string of a beta that everybody knows."""
    return generate_reference_string(size, size_g2=3, backend=backend, draw_below=lambda bound: BETA - 2)


def test_generate__computes_the_powers(backend: Backend) -> None:
    reference = known_string(backend)
    for power, point in enumerate(reference.powers):
        expected = backend.multiply(backend.generator, pow(BETA, power, FIELD_MODULUS))
        assert backend.equal(point, expected)
    square = backend.multiply_g2(backend.generator_g2, BETA**2)
    assert backend.compress_g2(reference.powers_g2[2]) == backend.compress_g2(square)


def test_digest__does_not_depend_on_the_backend() -> None:
    assert len({known_string(get_backend(name)).digest for name in available_backends()}) == 1


def test_generate__draws_another_secret_each_time() -> None:
    assert generate_reference_string(2).digest != generate_reference_string(2).digest


def test_verify__accepts_powers_of_one_number_only() -> None:
    reference = known_string()
    backend = reference.backend
    assert reference.verify()
    altered = backend.add(reference.powers[3], backend.generator)
    altered_g2 = backend.add_g2(reference.powers_g2[2], backend.generator_g2)
    shifted = (reference.powers[1], *reference.powers[1:])
    for wrong in (
        replace(reference, powers=(*reference.powers[:3], altered, reference.powers[4])),
        replace(reference, powers_g2=(*reference.powers_g2[:2], altered_g2)),
        replace(reference, powers=shifted),
        replace(reference, powers_g2=reference.powers_g2[1:]),
        replace(reference, powers=(reference.powers[0], *[backend.identity] * 4)),
    ):
        assert not wrong.verify()


def test_verify__works_with_the_reference_backend() -> None:
    reference = known_string(get_backend("py_ecc"), size=3)
    assert reference.verify()


def test_fixed_base_multiples__agree_with_single_multiplications(backend: Backend) -> None:
    scalars = random_elements(9)
    scalars[0] = 0
    expected = [backend.multiply(backend.generator, scalar) for scalar in to_ints(scalars)]
    found = fixed_base_multiples(backend, scalars)
    assert all(backend.equal(one, other) for one, other in zip(found, expected, strict=True))


def test_bytes__travel_between_backends() -> None:
    data = known_string(get_backend()).to_bytes()
    digest = known_string().digest
    assert ReferenceString.from_bytes(data, digest=digest, backend=get_backend("py_ecc")).to_bytes() == data
    assert ReferenceString.from_bytes(data).digest == digest


def test_from_bytes__refuses_what_was_altered() -> None:
    data = known_string().to_bytes()
    for altered in (b"", data[:-1], data + b"\0", data[:100] + bytes([data[100] ^ 1]) + data[101:]):
        with pytest.raises(SetupError, match="cut or altered"):
            ReferenceString.from_bytes(altered)
    with pytest.raises(SetupError, match="expected"):
        ReferenceString.from_bytes(data, digest="00" * 32)


def rehashed(reference_bytes: bytes, start: int, replacement: bytes) -> bytes:
    """Replace bytes and make the hash fit again, as one who wants to plant a string would."""
    import hashlib

    body = reference_bytes[:start] + replacement + reference_bytes[start + len(replacement) : -32]
    return body + hashlib.sha256(body).digest()


def test_from_bytes__refuses_a_planted_string() -> None:
    data = known_string().to_bytes()
    header = 24
    for start, replacement, reason in (
        (0, b"another1", "format"),
        (8, b"\6", "format"),
        (header + 96, data[header + 192 : header + 288], "powers of one number"),  # the square for beta
        (header + 96, bytes(95) + b"\2", "subgroup"),
        (header + 96, b"\1" * 96, "point"),
    ):
        with pytest.raises(SetupError, match=reason):
            ReferenceString.from_bytes(rehashed(data, start, replacement))


def test_from_compressed__takes_the_points_of_a_ceremony() -> None:
    reference = known_string()
    backend = reference.backend
    points = [backend.compress(point) for point in reference.powers]
    points_g2 = [backend.compress_g2(point) for point in reference.powers_g2]
    assert ReferenceString.from_compressed(points, points_g2).digest == reference.digest
    with pytest.raises(SetupError, match="powers of one number"):
        ReferenceString.from_compressed([points[0], points[2], points[1]], points_g2)
    with pytest.raises(PointError):
        ReferenceString.from_compressed([points[0], points[1][:-1]], points_g2)


@pytest.mark.parametrize(("size", "size_g2"), [(1, 2), (2, 1), (0, 0)])
def test_generate__refuses_too_few_powers(size: int, size_g2: int) -> None:
    with pytest.raises(ParameterError, match="at least 2"):
        generate_reference_string(size, size_g2=size_g2)
    with pytest.raises(ParameterError, match="at least 2"):
        replace(
            known_string(), powers=known_string().powers[:size], powers_g2=known_string().powers_g2[:size_g2]
        )


def sized_file(directory: Path) -> Path:
    return directory / "reference-string-3-2.bin"


def test_cache__generates_once_and_loads_afterwards(tmp_path: Path) -> None:
    first = cached_reference_string(3, directory=tmp_path)
    names = {path.name for path in tmp_path.iterdir()}
    assert names == {"reference-string-3-2.bin", f"reference-{first.digest}.bin"}
    assert cached_reference_string(3, directory=tmp_path).digest == first.digest
    assert cached_reference_string(3, directory=tmp_path, digest=first.digest).digest == first.digest
    assert cached_reference_string(4, directory=tmp_path).digest != first.digest


def test_cache__finds_imported_strings_by_digest_whatever_their_size(tmp_path: Path) -> None:
    imported = known_string()
    path = store_reference_string(imported, directory=tmp_path)
    assert store_reference_string(imported, directory=tmp_path) == path
    assert kept_digests(tmp_path) == (imported.digest,)
    for size, size_g2 in ((2, 2), (5, 3)):
        found = cached_reference_string(size, size_g2=size_g2, digest=imported.digest, directory=tmp_path)
        assert (found.size, found.digest) == (5, imported.digest)
    for size, size_g2 in ((6, 2), (2, 4)):
        with pytest.raises(SetupError, match="it has 5 and 3 powers"):
            cached_reference_string(size, size_g2=size_g2, digest=imported.digest, directory=tmp_path)


def test_cache__keeps_a_string_under_its_digest_too_where_only_its_size_was_known(tmp_path: Path) -> None:
    made = cached_reference_string(3, directory=tmp_path)
    (tmp_path / f"reference-{made.digest}.bin").unlink()
    assert cached_reference_string(3, directory=tmp_path).digest == made.digest
    assert load_reference_string(made.digest, directory=tmp_path).digest == made.digest


def test_cache__refuses_a_corrupted_file(tmp_path: Path) -> None:
    digest = cached_reference_string(3, directory=tmp_path).digest
    path = sized_file(tmp_path)
    path.write_bytes(path.read_bytes()[:-40] + bytes(40))
    with pytest.raises(SetupError, match="delete the file"):
        cached_reference_string(3, directory=tmp_path)
    with pytest.raises(SetupError, match="delete the file"):
        load_reference_string(digest, directory=tmp_path)


def test_cache__refuses_another_string_than_the_pinned_one(tmp_path: Path) -> None:
    with pytest.raises(SetupError, match="reference import"):
        cached_reference_string(3, directory=tmp_path, digest="ab" * 32)
    kept = store_reference_string(known_string(), directory=tmp_path)
    kept.rename(tmp_path / f"reference-{'ab' * 32}.bin")
    with pytest.raises(SetupError, match="expected abab"):
        cached_reference_string(3, directory=tmp_path, digest="ab" * 32)


@pytest.mark.parametrize("digest", ["", "../" + "a" * 61, "A" * 64, "a" * 65, "a" * 64 + "\n", b"a" * 64])
def test_cache__makes_no_file_name_of_what_is_no_digest(tmp_path: Path, digest: object) -> None:
    with pytest.raises(ParameterError, match="64 digits"):
        load_reference_string(digest, directory=tmp_path)  # type: ignore[arg-type]


def test_cache__refuses_a_string_of_another_size(tmp_path: Path) -> None:
    cached_reference_string(3, directory=tmp_path)
    sized_file(tmp_path).rename(tmp_path / "reference-string-4-2.bin")
    with pytest.raises(SetupError, match="3 powers, not 4"):
        cached_reference_string(4, directory=tmp_path)


def test_cache__keeps_the_file_of_the_process_that_was_faster(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    faster = generate_reference_string(3)

    def slow_generation(*arguments: object, **options: object) -> ReferenceString:
        sized_file(tmp_path).write_bytes(faster.to_bytes())
        return generate_reference_string(3)

    monkeypatch.setattr("flower_coded.crypto.srs_cache.generate_reference_string", slow_generation)
    assert cached_reference_string(3, directory=tmp_path).digest == faster.digest
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".writing")]


def test_cache_directory__follows_the_settings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("FLOWER_CODED_CACHE", str(tmp_path / "named"))
    assert cache_directory() == tmp_path / "named"
    monkeypatch.delenv("FLOWER_CODED_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr("sys.platform", "linux")
    assert cache_directory() == tmp_path / "flower-coded"
    monkeypatch.setattr("sys.platform", "darwin")
    assert cache_directory().parts[-3:] == ("Library", "Caches", "flower-coded")
    monkeypatch.setattr("sys.platform", "win32")
    monkeypatch.setenv("LOCALAPPDATA", str(tmp_path))
    assert cache_directory() == tmp_path / "flower-coded"
