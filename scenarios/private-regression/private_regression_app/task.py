"""The table, what is promised for its coefficients before the run, and what scikit-learn says."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from flower_coded.errors import ParameterError
from flower_coded.protocols.analog_computing import Plan, ScaledTable

Reals = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Task:
    """A table as it is, and centered and scaled into [-1, 1]; the last column is the target."""

    name: str
    table: Reals
    scaled: ScaledTable

    @classmethod
    def load(cls, name: str) -> Task:
        """Load the embedded diabetes data, or a CSV file."""
        if name == "diabetes":
            from sklearn.datasets import load_diabetes  # slow to load

            features, target = load_diabetes(return_X_y=True, scaled=False)
            table = np.column_stack([features, target])
        else:
            table = _read_csv(Path(name))
        return cls(Path(name).stem, table, ScaledTable.of(table))

    def expected(self) -> Reals:
        """scikit-learn's coefficients for the scaled table."""
        from sklearn.linear_model import LinearRegression  # slow to load

        values = self.scaled.values
        model = LinearRegression().fit(values[:, :-1], values[:, -1])
        return np.asarray(model.coef_, dtype=np.float64)

    def promise(self, plan: Plan, smallest_eigenvalue: float) -> float:
        """Bound the error of the coefficients, relative to max(1, their length), before anything is sent.

        With an error ``E`` of both sides of ``G b = c`` the solution moves by at most
        ``‖E‖ √(1 + ‖b‖²) / (λ - ‖E‖)``, where ``λ`` is the least eigenvalue of ``G``: stated by the user
        as a part of the mean one, which the owner of the table knows.
        """
        features = self.scaled.values[:, :-1]
        size = plan.code.num_blocks * plan.error_bound
        smallest = smallest_eigenvalue * float((features**2).sum() / features.shape[1])
        return float(np.sqrt(2) * size / (smallest - size)) if smallest > size else np.inf


def _read_csv(path: Path) -> Reals:
    if not path.is_absolute() or not path.is_file():
        hint = "the app does not run in the directory of the command; give the absolute path"
        raise ParameterError("data", "must be diabetes or a CSV file", str(path), hint=hint)
    with path.open(newline="", encoding="utf-8") as file:
        next(csv.reader(file))
        return np.loadtxt(file, delimiter=",", ndmin=2)
