"""Reading the reference string of a public ceremony: nobody has to trust whoever runs the server.

More than 141,000 people took part in Ethereum's KZG ceremony, and beta is unknown unless all of them kept
their part of it. Its 4,096 powers in G1 and 65 in G2 fit chunks of 4,096 entries. Three forms are read, all
of them hexadecimal points in the compressed form of Zcash and Ethereum:

* c-kzg's ``trusted_setup.txt`` [1]_: two counts, then the G1 points in the Lagrange basis, the G2 points, and
  the G1 points in the monomial basis, one a line;
* the consensus specification's JSON, with the lists ``g1_monomial`` and ``g2_monomial``;
* the ceremony's own transcript, JSON with several strings of different sizes [2]_.

Only powers (the monomial basis) are used. Older text files have none of G1, and are refused: powers could be
computed from them, but not be told from a forgery more cheaply than by downloading the newer file.

References
----------
.. [1] https://github.com/ethereum/c-kzg-4844, ``src/trusted_setup.txt``.
.. [2] https://github.com/ethereum/kzg-ceremony-specs, ``docs/sequencer``.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from flower_coded.crypto.backends import G1_BYTES, G2_BYTES, Backend
from flower_coded.crypto.srs import ReferenceString
from flower_coded.errors import PointError, SetupError

__all__ = ["read_ceremony"]

_WHAT = "a trusted set-up"
_MOST_POINTS = 1 << 20
_COUNT = re.compile(rb"[1-9][0-9]{0,6}", flags=re.ASCII)


def read_ceremony(
    source: bytes | str | os.PathLike[str], *, size: int | None = None, backend: Backend | None = None
) -> ReferenceString:
    """Read a ceremony's reference string and check every point, and by pairings that they are powers.

    Parameters
    ----------
    source : bytes or path
        The file's content, or where it lies. What :meth:`ReferenceString.to_bytes` wrote is read too.
    size : int or None
        Powers of G1 wanted. A transcript with several strings gives the shortest one that has as many; None
        takes the longest. No string is ever cut: openings of positions need to know where it ends.
    backend : Backend or None
        None chooses the fastest that is installed.

    Returns
    -------
    ReferenceString

    Raises
    ------
    SetupError
        If the file cannot be read, has another form, or holds points that are not powers of one number.

    Examples
    --------
    >>> from flower_coded.crypto.srs import generate_reference_string
    >>> made = generate_reference_string(4)
    >>> text = {
    ...     "g1_monomial": [made.backend.compress(point).hex() for point in made.powers],
    ...     "g2_monomial": ["0x" + made.backend.compress_g2(point).hex() for point in made.powers_g2],
    ... }
    >>> read_ceremony(json.dumps(text).encode()).digest == made.digest
    True
    """
    data = source if isinstance(source, bytes) else _read_file(Path(source))
    if data.startswith(ReferenceString.MAGIC):
        return _long_enough(ReferenceString.from_bytes(data, backend=backend), size)
    points, points_g2 = _from_json(data, size) if data.lstrip()[:1] == b"{" else _from_text(data)
    try:
        read = ReferenceString.from_compressed(points, points_g2, backend=backend)
    except PointError as error:
        raise SetupError(_WHAT, str(error)) from error
    return _long_enough(read, size)


def _read_file(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise SetupError(str(path), f"it cannot be read: {error.strerror}") from error


def _long_enough(reference: ReferenceString, size: int | None) -> ReferenceString:
    if size is not None and reference.size < size:
        raise SetupError(_WHAT, f"it has {reference.size} powers, {size} are wanted")
    return reference


def _from_text(data: bytes) -> tuple[list[bytes], list[bytes]]:
    tokens = data.split()
    if len(tokens) < 2 or not all(_COUNT.fullmatch(token) for token in tokens[:2]):
        raise SetupError(_WHAT, "it begins neither with two counts, as c-kzg's text does, nor as JSON")
    num_g1, num_g2 = (int(token) for token in tokens[:2])
    points = tokens[2:]
    if len(points) == num_g1 + num_g2:
        raise SetupError(_WHAT, "it is of the old form, without powers of G1; take the newer file")
    if max(num_g1, num_g2) > _MOST_POINTS or len(points) != 2 * num_g1 + num_g2:
        expected = f"{num_g1} + {num_g2} + {num_g1}"
        raise SetupError(_WHAT, f"it announces {expected} points and holds {len(points)}")
    hexadecimal = [token.decode("ascii", "replace") for token in points[num_g1:]]
    return _points(hexadecimal[num_g2:], G1_BYTES), _points(hexadecimal[:num_g2], G2_BYTES)


def _from_json(data: bytes, size: int | None) -> tuple[list[bytes], list[bytes]]:
    try:
        content = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise SetupError(_WHAT, "it is no valid JSON") from error
    pairs = [(content.get("g1_monomial"), content.get("g2_monomial"))]
    transcripts = content.get("transcripts")
    if isinstance(transcripts, list):
        taus = [entry.get("powersOfTau") for entry in transcripts if isinstance(entry, dict)]
        pairs = [(tau.get("G1Powers"), tau.get("G2Powers")) for tau in taus if isinstance(tau, dict)]
    lists = [pair for pair in pairs if all(isinstance(points, list) for points in pair)]
    if not lists:
        raise SetupError(_WHAT, "it has neither g1_monomial and g2_monomial nor transcripts with powersOfTau")
    lists.sort(key=lambda pair: len(pair[0]))
    wanted = next((pair for pair in lists if size is not None and len(pair[0]) >= size), lists[-1])
    return _points(wanted[0], G1_BYTES), _points(wanted[1], G2_BYTES)


def _points(entries: Sequence[Any], length: int) -> list[bytes]:
    if len(entries) > _MOST_POINTS:
        raise SetupError(_WHAT, f"it has more than {_MOST_POINTS} points")
    points = []
    for number, entry in enumerate(entries):
        digits = entry.removeprefix("0x") if isinstance(entry, str) else ""
        if len(digits) != 2 * length or not re.fullmatch(r"[0-9a-fA-F]*", digits, flags=re.ASCII):
            raise SetupError(_WHAT, f"its point {number} is not {2 * length} hexadecimal digits")
        points.append(bytes.fromhex(digits))
    return points
