"""``flower-coded plan``: one command per system that works out parameters before anything runs.

A system registers its command by one row in :data:`PLANS`: the command's name and the function to load for
it, an ordinary typer function whose signature and docstring make the command. Its module is imported only
once somebody asks for a plan, so ``flower-coded --help`` stays quick.
"""

from __future__ import annotations

import importlib

import click
import typer
from typer.core import TyperGroup

__all__ = ["PLANS", "PlanGroup"]

PLANS: dict[str, str] = {
    "coded-subset": "flower_coded.cli.plan_coded_subset:plan_coded_subset",
    "encoded-gd": "flower_coded.cli.plan_encoded_gd:plan_encoded_gd",
    "ramp-krum": "flower_coded.cli.plan_ramp_krum:plan_ramp_krum",
    "robust-alcc": "flower_coded.cli.plan_robust_alcc:plan_robust_alcc",
}
"""Command name to ``"module:function"``."""


class PlanGroup(TyperGroup):
    """A command group that imports a planner when it is asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Name the registered planners."""
        del ctx
        return sorted(PLANS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Load one planner; ``None`` if there is none of that name."""
        del ctx
        if cmd_name not in PLANS:
            return None
        module_name, _, function_name = PLANS[cmd_name].partition(":")
        app = typer.Typer(add_completion=False)
        app.command(cmd_name)(getattr(importlib.import_module(module_name), function_name))
        return typer.main.get_command(app)
