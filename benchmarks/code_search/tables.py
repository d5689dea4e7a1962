"""The shipped tables, read, improved and written."""

from __future__ import annotations

from math import comb
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

import flower_coded.codes.subset
from flower_coded.codes import SubsetCode, backdoor_correction_code, backdoor_detection_code

FOLDER = Path(flower_coded.codes.subset.__file__).parent
LETTERS = {"detection": "D", "correction": "C"}


class CoverTable:
    """``known_codes.txt``: lines that no other line makes superfluous."""

    def __init__(self) -> None:
        self._path = FOLDER / "known_codes.txt"
        self._codes: dict[tuple[str, int, int, int], list[str]] = {}
        for line in self._path.read_text(encoding="ascii").splitlines():
            letter, k, r, n, *words = line.split()
            self._codes[letter, int(k), int(r), int(n)] = words

    def rows(self, kind: str, k: int, r: int, n: int) -> int:
        """Fewest rows known, by the table or by construction."""
        listed = [len(words) for key, words in self._codes.items() if _serves(key, LETTERS[kind], k, r, n)]
        build = backdoor_detection_code if kind == "detection" else backdoor_correction_code
        return min([*listed, build(k, r, n, rows="paper").num_models])

    def keep(self, k: int, r: int, n: int, found: dict[str, NDArray[np.int64]]) -> None:
        """Take in what has fewer rows, and write."""
        for kind, zero_sets in found.items():
            if len(zero_sets) < self.rows(kind, k, r, n):
                self._codes[LETTERS[kind], k, r, n] = [f"{word:x}" for word in zero_sets.tolist()]
                print(f"{kind} ({k},{r},{n}): {len(zero_sets)} rows", flush=True)
                self._write()

    def _write(self) -> None:
        lines = []
        for key in sorted(self._codes, key=lambda each: (each[1], each[3], each[2], each[0])):
            letter, k, r, n = key
            words = self._codes[key]
            better = (
                other
                for other, others in self._codes.items()
                if other != key and len(others) <= len(words) and _serves(other, letter, k, r, n)
            )
            if next(better, None) is None:
                lines.append(" ".join([letter, str(k), str(r), str(n), *words]))
        self._path.write_text("\n".join(lines) + "\n", encoding="ascii")


class TrackingTable:
    """``tracking_codes.txt``."""

    def __init__(self) -> None:
        self._path = FOLDER / "tracking_codes.txt"
        self._codes: dict[tuple[int, int, int], tuple[int, list[str]]] = {}
        for line in self._path.read_text(encoding="ascii").splitlines():
            k, r, n, num_models, *words = line.split()
            self._codes[int(k), int(r), int(n)] = int(num_models), words

    def rows(self, k: int, r: int, n: int) -> int:
        """Fewest rows known; a model for each set of ``k`` users where none is listed."""
        listed = [rows for key, (rows, _) in self._codes.items() if _gives(key, k, r, n)]
        return min([*listed, comb(n, k) + 1])

    def keep(self, k: int, r: int, n: int, num_models: int, columns: NDArray[np.int64]) -> None:
        """Verify a code, take it in and write."""
        matrix = np.asarray((columns[None, :] >> np.arange(num_models)[:, None]) & 1 == 1)
        if not SubsetCode(matrix).verify("tracking", k, row_weight=r):
            raise AssertionError((k, r, n, columns))
        self._codes[k, r, n] = num_models, [f"{word:x}" for word in columns.tolist()]
        print(f"tracking ({k},{r},{n}): {num_models} rows", flush=True)
        lines = [
            " ".join([*map(str, key), str(rows), *words])
            for key, (rows, words) in sorted(self._codes.items(), key=lambda each: (each[0][0], each[0][2]))
            if not any(
                # Of as many rows both stay: heavier rows learn from more, lighter ones are told apart better.
                fewer < rows and _gives(other, *key)
                for other, (fewer, _) in self._codes.items()
            )
        ]
        self._path.write_text("\n".join(lines) + "\n", encoding="ascii")


def _gives(key: tuple[int, int, int], k: int, r: int, n: int) -> bool:
    """Whether a code gives (k, r, n), if need be without some of its users."""
    attackers, weight, users = key
    return attackers == k and users >= n and weight - (users - n) >= r


def _serves(key: tuple[str, int, int, int], letter: str, k: int, r: int, n: int) -> bool:
    return key[0] in {letter, "C"} and _gives(key[1:], k, r, n)
