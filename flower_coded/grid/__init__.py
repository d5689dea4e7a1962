"""Attacks against defences: a grid of federated trainings in this machine's processes, resumable.

:mod:`~flower_coded.grid.plan` reads what to run, :mod:`~flower_coded.grid.execution` runs one training,
:mod:`~flower_coded.grid.runner` runs them all and :mod:`~flower_coded.grid.store` keeps what they found.
"""

from flower_coded.grid.defences import DEFENCE_NAMES
from flower_coded.grid.execution import execute
from flower_coded.grid.plan import GridPlan, GridRun, read_plan
from flower_coded.grid.runner import Progress, grid_table, run_grid
from flower_coded.grid.store import GridStore

__all__ = [
    "DEFENCE_NAMES",
    "GridPlan",
    "GridRun",
    "GridStore",
    "Progress",
    "execute",
    "grid_table",
    "read_plan",
    "run_grid",
]
