"""Training of many models on many users' images as one program: the clients of a round.

A *job* is what one user is asked for: ``m >= 1`` models of one architecture on its own images in an order of
its own. The models of all jobs are rows of one stack (:class:`~flower_coded.learning.stacked_program.
StackedProgram`): step ``t`` is every row's own step ``t`` on its own batch. Losses are summed before the
backward pass; as no model's loss depends on another's weights, each gets the gradient it would get alone, and
the optimizers work entry by entry. Order, dropout masks and losses are those of
:func:`flower_coded.learning.training.train` with the job's seed; the result is the same up to rounding.

Users may have different numbers of images. A batch is filled up to the widest of its step with images whose
loss counts nothing, and rows that have done all their steps leave the stack: rows are sorted by their number
of steps, so those who are left are a slice. The widest batch is that of all jobs, whatever part of them is
trained in one program: on a CPU, and with one thread of torch, the number of models in a program changes no
bit. (With several a program that is alone has them all, and torch divides its sums among them.)

How many rows make one program is measured (:mod:`flower_coded.learning.program_size`). On a CPU with several
threads, each of them trains programs of its own.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from flower_coded.errors import ParameterError
from flower_coded.learning.models import ModelState
from flower_coded.learning.program_size import models_at_a_time
from flower_coded.learning.resident import joined_on
from flower_coded.learning.schedule import Batches, Schedule
from flower_coded.learning.stacked_program import StackedProgram
from flower_coded.learning.training import TrainReport, TrainSettings, choose_device, seeded_torch
from flower_coded.learning.weight_stack import RowDraws, WeightStack, joined_rows

__all__ = ["TrainJob", "train_jobs"]


@dataclass(frozen=True, eq=False)
class TrainJob:
    """Models to be trained on one user's images.

    Parameters
    ----------
    state : mapping of str to ndarray of shape (m, ...)
        Stacked state of the ``m`` models; not modified.
    images : ndarray of shape (N, C, H, W), float32
        Pixels in [0, 1].
    labels : ndarray of shape (N,), int64
        Classes.
    seed : int
        Of the order of the images and of dropout masks.
    loss_share : float
        ``a`` in (0, 1]: trained on ``a * cross-entropy + (1 - a) * |w - w_0|^2``, ``w_0`` being ``state``. An
        attacker who constrains its update takes less than 1.

    Raises
    ------
    ParameterError
        If images and labels do not belong together, or the share is outside its range.
    """

    state: Mapping[str, NDArray[np.generic]] = field(repr=False)
    images: NDArray[np.float32] = field(repr=False)
    labels: NDArray[np.int64] = field(repr=False)
    seed: int = 0
    loss_share: float = 1.0

    def __post_init__(self) -> None:
        if self.images.ndim != 4 or self.labels.shape != self.images.shape[:1] or len(self.labels) == 0:
            shapes = f"{self.images.shape} and {self.labels.shape}"
            raise ParameterError("images", "must be (N, C, H, W) with N >= 1 labels beside", shapes)
        if not 0 < self.loss_share <= 1:
            raise ParameterError("loss_share", "must be above 0 and at most 1", self.loss_share)

    @cached_property
    def num_models(self) -> int:
        """Models of this job, ``m``."""
        return len(next(iter(self.state.values())))


def train_jobs(
    model: nn.Module,
    jobs: Sequence[TrainJob],
    *,
    settings: TrainSettings,
    device: str = "cpu",
    at_a_time: int = 0,
) -> list[tuple[ModelState, TrainReport]]:
    """Train the models of all jobs.

    Parameters
    ----------
    model : torch.nn.Module
        The architecture; its own weights are neither used nor changed. Left on ``device``.
    jobs : sequence of TrainJob
        Their images must have one shape.
    settings : TrainSettings
        Of all jobs; its seed is not used.
    device : str
        ``"cpu"``, ``"cuda"`` or ``"cuda:0"``.
    at_a_time : int
        Most models in one program; 0: as many as a measurement says, 1: one by one.

    Returns
    -------
    list of (dict of str to ndarray of shape (m, ...), TrainReport)
        One trained stack per job, in the order of the jobs.

    Raises
    ------
    ParameterError
        If a state is not a stacked state of this model, the model has batch normalization, the images have
        different shapes, or the device is not there.

    Examples
    --------
    >>> model = nn.Sequential(nn.Flatten(), nn.Linear(4, 2))
    >>> state = {key: value.numpy()[None] for key, value in model.state_dict().items()}
    >>> draw = np.random.default_rng(0)
    >>> jobs = [
    ...     TrainJob(state, draw.random((size, 1, 2, 2), np.float32), np.zeros(size, np.int64), seed=size)
    ...     for size in (6, 9)
    ... ]
    >>> [report.num_examples for _, report in train_jobs(model, jobs, settings=TrainSettings(batch_size=4))]
    [6, 9]
    """
    if not jobs:
        return []
    if at_a_time < 0:
        raise ParameterError("at_a_time", "must not be negative", at_a_time, hint="0 measures")
    program = StackedProgram(model, choose_device(device))
    for job in jobs:
        program.check(job.state)
    shapes = {job.images.shape[1:] for job in jobs}
    if len(shapes) != 1:
        raise ParameterError("jobs", "must have images of one shape", sorted(shapes))
    cohort = _Cohort(program, jobs, settings)
    groups = cohort.groups()
    size = at_a_time or models_at_a_time(
        cohort.first_steps,
        math.ceil(max(map(len, groups)) / cohort.num_threads),
        cohort.situation,
        is_cpu=program.device.type == "cpu",
    )
    parts = [group[i : i + size] for group in groups for i in range(0, len(group), size)]
    return cohort.collected(parts, _in_threads(cohort, parts))


@dataclass(frozen=True)
class _Row:
    """One model of the stack: model ``model`` of job ``job``."""

    job: int
    model: int


@dataclass(frozen=True, eq=False)
class _Part:
    """What a program gives back: trained rows, and each row's mean loss of the last epoch."""

    state: ModelState
    losses: NDArray[np.float64]


class _Cohort:
    """All jobs with their images on the device and their batches, step by step."""

    def __init__(self, program: StackedProgram, jobs: Sequence[TrainJob], settings: TrainSettings) -> None:
        self.program, self.jobs, self.settings = program, jobs, settings
        pools = {id(job.images): job for job in jobs}  # users of several jobs are there once
        starts = np.cumsum([0, *(len(job.labels) for job in pools.values())]).tolist()
        offsets = dict(zip(pools, starts, strict=False))
        self.pixels = joined_on([job.images for job in pools.values()], program.device)
        self.schedule = Schedule(
            [job.labels for job in jobs],
            [job.seed for job in jobs],
            [offsets[id(job.images)] for job in jobs],
            settings,
        )

    @property
    def situation(self) -> tuple[object, ...]:
        """All that the best number of models may depend on."""
        return (
            str(self.program.model),
            tuple(self.pixels.shape[1:]),
            self.schedule.width,
            self.settings.optimizer,
            str(self.program.device),
            self.program.is_explicit,
        )

    @property
    def num_threads(self) -> int:
        """Programs at a time: threads of a CPU, but one where a module draws from torch's one generator."""
        is_free = self.program.device.type == "cpu" and self.program.is_explicit
        return torch.get_num_threads() if is_free else 1

    def groups(self) -> list[list[_Row]]:
        """Rows that may be in one program, those with most steps first."""
        order = np.argsort(-self.schedule.num_steps, kind="stable")
        rows = [[_Row(int(j), i) for i in range(self.jobs[j].num_models)] for j in order]
        # What a module draws by itself comes from one seed for the whole program: that of one job.
        if self.program.is_explicit or not self.program.draws_numbers(self.pixels[:1]):
            return [[row for of_job in rows for row in of_job]]
        return rows

    def first_steps(self, num_rows: int) -> None:
        """Train so many rows for two steps, for the time it takes."""
        rows = max(self.groups(), key=len)[:num_rows]
        before = torch.get_num_threads()
        try:
            torch.set_num_threads(before if self.num_threads == 1 else 1)
            self.train(rows, num_steps=2)
        finally:
            torch.set_num_threads(before)

    def train(self, rows: Sequence[_Row], num_steps: int | None = None) -> _Part:
        """Train rows that are sorted by their number of steps, most first."""
        program, jobs = self.program, [row.job for row in rows]
        weights = program.stacked([(self.jobs[row.job].state, row.model) for row in rows])
        stack = WeightStack(weights, program.parameter_names, self.settings)
        shares = torch.tensor([self.jobs[j].loss_share for j in jobs], device=program.device)
        start = None if bool((shares == 1).all()) else stack.copy()
        batches = self.schedule.of(jobs, program.device)
        loss_sums = torch.zeros(len(rows), dtype=torch.float64, device=program.device)
        draws = RowDraws([self.jobs[j].seed for j in jobs])
        with nullcontext() if program.is_explicit else seeded_torch(self.jobs[jobs[0]].seed):
            for step, active in enumerate(batches.num_active[:num_steps]):
                stack.shrink(active)
                losses = self._losses(stack, batches, step, active, draws)
                objective = losses
                if start is not None:
                    share = shares[:active]
                    objective = share * losses + (1 - share) * stack.moved(start)
                stack.step(objective)
                loss_sums[:active] += losses.detach() * batches.counted[step, :active]
        numbers = np.array([len(self.jobs[j].labels) for j in jobs])
        return _Part(stack.state(), loss_sums.cpu().numpy() / numbers)

    def _losses(
        self, stack: WeightStack, batches: Batches, step: int, active: int, draws: RowDraws
    ) -> Tensor:
        """Mean cross-entropy of the batch of each row that is left, shape (R,)."""
        width = batches.widths[step]
        images = self.pixels[batches.indices[step, :active, :width]]
        classes = batches.labels[step, :active, :width]
        logits = self.program(stack.weights(), images, draws.at(batches.sizes[step, :active], width))
        flat = functional.cross_entropy(logits.flatten(0, 1), classes.flatten(), reduction="none")
        return (flat.view(classes.shape) * batches.weights[step, :active, :width]).sum(dim=1)

    def collected(
        self, parts: Sequence[Sequence[_Row]], trained: Sequence[_Part]
    ) -> list[tuple[ModelState, TrainReport]]:
        """Sort trained rows by job."""
        pieces: list[list[tuple[_Part, slice]]] = [[] for _ in self.jobs]
        for rows, part in zip(parts, trained, strict=True):
            jobs = [row.job for row in rows]
            for job in dict.fromkeys(jobs):
                first = jobs.index(job)
                pieces[job].append((part, slice(first, first + jobs.count(job))))
        found = []
        for asked, own in zip(self.jobs, pieces, strict=True):
            state = {
                key: joined_rows([part.state[key][where] for part, where in own])
                for key in self.program.names
            }
            losses = tuple(float(loss) for part, where in own for loss in part.losses[where])
            found.append((state, TrainReport(float(np.mean(losses)), len(asked.labels), losses)))
        return found


def _in_threads(cohort: _Cohort, parts: Sequence[Sequence[_Row]]) -> list[_Part]:
    """Train parts, one per thread at a time."""
    num_threads, before = min(cohort.num_threads, len(parts)), torch.get_num_threads()
    if num_threads == 1:
        return [cohort.train(rows) for rows in parts]

    def train(rows: Sequence[_Row]) -> _Part:
        torch.set_num_threads(1)  # of this thread; the products are too small to be divided further
        return cohort.train(rows)

    try:
        with ThreadPoolExecutor(num_threads) as executor:
            return list(executor.map(train, parts))
    finally:
        torch.set_num_threads(before)
