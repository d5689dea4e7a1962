"""The server: plays the acts one after the other, and adds each to the page as it ends."""

from __future__ import annotations

import logging
from typing import Any

from flwr.app import Context
from flwr.serverapp import Grid, ServerApp

from classroom.acts import ACTS, Training
from classroom.lecture import Lecture
from classroom.report import LecturePage
from classroom.trainings import Played, play
from flower_coded.threads import one_thread

app = ServerApp()
app.lifespan()(one_thread)


def prepare(config: dict[str, Any]) -> Lecture:
    """Make the lecture; refuse a configuration before anything is trained."""
    lecture = Lecture(config)
    lecture.check()
    return lecture


@app.main()
def main(grid: Grid, context: Context) -> None:
    lecture = prepare(dict(context.run_config))
    run = lecture.run_directory("classroom")
    logging.getLogger("flwr").setLevel(logging.WARNING)
    page = LecturePage(run, lecture)
    stage: dict[Training, Played] = {}
    for act in ACTS:
        print(f"progress: {act.title}", flush=True)
        for training in act.trainings:
            stage[training] = play(lecture, grid, training)
        page.add_act(act, stage)
    page.conclude(stage)
