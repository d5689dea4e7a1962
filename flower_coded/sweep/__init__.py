"""Attacks against defenses: a sweep of federated trainings in this machine's processes, resumable.

:mod:`~flower_coded.sweep.plan` reads what to run, :mod:`~flower_coded.sweep.execution` runs one training,
:mod:`~flower_coded.sweep.runner` runs them all and :mod:`~flower_coded.sweep.store` keeps what they found.
This module imports none of them, so that worker processes start quickly.
"""
