"""The trainings that clients ask for in a round, done together where they run in one process.

A client's question is one or more jobs (:class:`~flower_coded.learning.cohort.TrainJob`). In
:class:`~flower_coded.testing.InProcessGrid` all questions of a round are answered by one stacked program; in
a process of its own a client's question is answered at once. Attackers who know others' updates ask for the
training of others: what was trained in this round before, bit by bit the same since it depends on model,
data, seed and settings only, is recalled.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from torch import nn

from flower_coded.learning import ModelState, TrainReport, TrainSettings
from flower_coded.learning.cohort import TrainJob, train_jobs
from flower_coded.rendezvous import together

__all__ = ["Training", "train_together"]

Trained = tuple[ModelState, TrainReport]


@dataclass(frozen=True, eq=False)
class Training:
    """What a client asks for.

    Parameters
    ----------
    model : torch.nn.Module
        The architecture, one object for all clients of a process.
    settings : TrainSettings
        Its seed is not used.
    device : str
        Where.
    at_a_time : int
        Most models in one program; 0 measures.
    jobs : sequence of TrainJob
        What is trained.
    origins : sequence of hashable, one per job
        What a job depends on besides data, seed and share: equal for equal models. None: never recalled.
    """

    model: nn.Module
    settings: TrainSettings
    device: str
    at_a_time: int
    jobs: Sequence[TrainJob]
    origins: Sequence[Any]


def train_together(training: Training) -> list[Trained]:
    """Train a client's jobs, with those of all clients that wait.

    Returns
    -------
    list of (dict of str to ndarray of shape (m, ...), TrainReport)
        One per job; not to be written to, as another client may be given the same.
    """
    answer: list[Trained] = together(_train_all, training)
    return answer


def _train_all(trainings: Sequence[Training], notes: dict[Any, Any]) -> list[list[Trained]]:
    wanted = [
        (_key(training, job, origin), training, job)
        for training in trainings
        for job, origin in zip(training.jobs, training.origins, strict=True)
    ]
    groups: dict[Any, dict[Any, tuple[Training, TrainJob]]] = {}
    for key, training, job in wanted:
        if key not in notes:
            group = (
                training.model,
                training.settings,
                training.device,
                training.at_a_time,
                job.images.shape[1:],
            )
            groups.setdefault(group, {})[key] = training, job
    for (model, settings, device, at_a_time, _), jobs in groups.items():
        asked = [job for _, job in jobs.values()]
        trained = train_jobs(model, asked, settings=settings, device=device, at_a_time=at_a_time)
        # The job is kept beside its answer: the key tells arrays by their place in memory.
        notes.update(zip(jobs, zip(trained, asked, strict=True), strict=True))
    found = iter([notes[key][0] for key, _, _ in wanted])
    return [[next(found) for _ in training.jobs] for training in trainings]


def _key(training: Training, job: TrainJob, origin: Any) -> Any:
    known = object() if origin is None else origin
    return (
        id(training.model),
        training.settings,
        known,
        id(job.images),
        id(job.labels),
        job.seed,
        job.loss_share,
    )
