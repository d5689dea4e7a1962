"""The regression task: table, objective, and the optimum that an ordinary solver finds."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from flower_coded.errors import ParameterError
from flower_coded.protocols.encoded_gradient import LeastSquares, Logistic, Objective, get_objective

Reals = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Task:
    """Standardized features with a column of ones at the end, targets, and what is minimized."""

    name: str
    features: Reals
    targets: Reals
    objective: Objective

    def optimum(self) -> Reals:
        """Weights that scikit-learn finds on the same data, all in one place."""
        from sklearn.linear_model import Lasso, LinearRegression, LogisticRegression, PoissonRegressor, Ridge

        features, count, objective = self.features[:, :-1], len(self.targets), self.objective
        if isinstance(objective, Logistic):
            strength = 1 / objective.ridge if objective.ridge else np.inf
            model = LogisticRegression(C=strength, solver="newton-cholesky", tol=1e-12, max_iter=1000)
        elif not isinstance(objective, LeastSquares):
            model = PoissonRegressor(alpha=objective.ridge / count, solver="newton-cholesky", tol=1e-12)
        elif objective.lasso:
            model = Lasso(alpha=objective.lasso / count, tol=1e-14, max_iter=100_000)
        else:
            model = Ridge(alpha=objective.ridge) if objective.ridge else LinearRegression()
        model.fit(features, self.targets)
        return np.append(np.ravel(model.coef_), model.intercept_)


def load_task(config: Mapping[str, bool | int | float | str]) -> Task:
    """Load the table that ``data`` names and make the objective."""
    # Slow to load: settings are refused before, where they can be.
    from sklearn.datasets import load_breast_cancer, load_diabetes

    name = str(config["data"])
    if name == "diabetes":
        features, targets = load_diabetes(return_X_y=True, scaled=False)
    elif name == "breast-cancer":
        features, targets = load_breast_cancer(return_X_y=True)
    else:
        features, targets = _read_csv(Path(name), str(config["target"]))
    spread = features.std(axis=0)
    features = (features - features.mean(axis=0))[:, spread > 0] / spread[spread > 0]
    features = np.column_stack([features, np.ones(len(features))])
    kind = str(config["objective"]) or ("logistic" if name == "breast-cancer" else "least-squares")
    objective = get_objective(kind, ridge=float(config["ridge"]), lasso=float(config["lasso"]), num_free=1)
    return Task(Path(name).stem, features, targets.astype(float), objective)


def _read_csv(path: Path, target: str) -> tuple[Reals, Reals]:
    if not path.is_absolute() or not path.is_file():
        hint = "the app does not run in the directory of the command; give the absolute path"
        raise ParameterError("data", "must be diabetes, breast-cancer or a CSV file", str(path), hint=hint)
    with path.open(newline="", encoding="utf-8") as file:
        header = next(csv.reader(file))
        table = np.loadtxt(file, delimiter=",", ndmin=2)
    if target and target not in header:
        raise ParameterError("target", f"must be one of {', '.join(header)}", target)
    column = header.index(target) if target else len(header) - 1
    return np.delete(table, column, axis=1), table[:, column]
