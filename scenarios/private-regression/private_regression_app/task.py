"""The table, the scaling that bounds its entries, and the accuracy that is promised before the run."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from sklearn.datasets import load_diabetes
from sklearn.linear_model import LinearRegression

from flower_coded.errors import ParameterError
from flower_coded.protocols.analog_computing import Plan

Reals = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Task:
    """A table as it is, and the same centered and scaled into [-1, 1]; the last column is the target."""

    name: str
    table: Reals
    scaled: Reals
    scales: Reals

    @classmethod
    def load(cls, name: str) -> Task:
        """Load the embedded diabetes data, or a CSV file."""
        if name == "diabetes":
            features, target = load_diabetes(return_X_y=True, scaled=False)
            table = np.column_stack([features, target])
        else:
            table = _read_csv(Path(name))
        centered = table - table.mean(axis=0)
        scales = abs(centered).max(axis=0)
        if not (scales > 0).all():
            raise ParameterError("data", "must have no constant column", np.flatnonzero(scales == 0).tolist())
        return cls(Path(name).stem, table, centered / scales, scales)

    def coefficients(self, equations: Reals) -> Reals:
        """Solve the normal equations of the scaled table."""
        solution: Reals = np.linalg.solve(equations[:, :-1], equations[:, -1])
        return solution

    def in_original_units(self, coefficients: Reals) -> Reals:
        """Undo the scaling."""
        return coefficients * self.scales[-1] / self.scales[:-1]

    def expected(self) -> Reals:
        """scikit-learn's coefficients for the scaled table."""
        model = LinearRegression().fit(self.scaled[:, :-1], self.scaled[:, -1])
        return np.asarray(model.coef_, dtype=np.float64)

    def promise(self, plan: Plan, smallest_eigenvalue: float) -> float:
        """Bound the error of the coefficients, relative to max(1, their length), before anything is sent.

        With noise ``E`` on both sides of ``G b = c`` the solution moves by at most
        ``2 ‖E‖ max(1, ‖b‖) / (λ - ‖E‖)``, where ``λ`` is the least eigenvalue of ``G``: stated by the user
        as a part of the mean one, which the owner of the table knows. ``‖E‖`` is that of a Gaussian matrix.
        """
        num_features = self.scaled.shape[1] - 1
        entry_std = plan.code.num_blocks * plan.entry_error / 6.0
        size = entry_std * (2 * np.sqrt(num_features + 1) + 4)
        smallest = smallest_eigenvalue * float((self.scaled[:, :-1] ** 2).sum() / num_features)
        return float(2 * size / (smallest - size)) if smallest > size else np.inf

    def check_assumption(self, equations: Reals, smallest_eigenvalue: float) -> bool:
        """Tell whether the decoded matrix is as well conditioned as was assumed."""
        eigenvalues = np.linalg.eigvalsh((equations[:, :-1] + equations[:, :-1].T) / 2)
        return bool(eigenvalues[0] >= smallest_eigenvalue * eigenvalues.mean())


def _read_csv(path: Path) -> Reals:
    if not path.is_absolute() or not path.is_file():
        hint = "the app does not run in the directory of the command; give the absolute path"
        raise ParameterError("data", "must be diabetes or a CSV file", str(path), hint=hint)
    with path.open(newline="", encoding="utf-8") as file:
        next(csv.reader(file))
        return np.loadtxt(file, delimiter=",", ndmin=2)
