"""Attacks against defences: a grid of federated trainings in this machine's processes, resumable.

:mod:`~flower_coded.grid.plan` reads what to run, :mod:`~flower_coded.grid.execution` runs one training,
:mod:`~flower_coded.grid.runner` runs them all and :mod:`~flower_coded.grid.store` keeps what they found. This
module imports none of them, so that worker processes start quickly.
"""
