"""The server: plays the acts one after the other, and adds each to the page as it ends."""

from __future__ import annotations

import logging
import time
from pathlib import Path
from typing import Any

from flwr.app import Context
from flwr.serverapp import Grid, ServerApp

from classroom.acts import Training
from classroom.lecture import Lecture
from classroom.report import LecturePage
from classroom.trainings import Played, play
from flower_coded.threads import one_thread

GO_ON = "go-on"
"""File whose appearance in the run's directory ends a pause."""

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
    for number, act in enumerate(lecture.acts, start=1):
        print(f"progress: {act.title}", flush=True)
        for training in act.needed:
            if training not in stage:
                stage[training] = play(lecture, grid, training)
        page.add_act(act, stage)
        if number < len(lecture.acts):
            _wait(lecture.pause, run.path / GO_ON)
    page.conclude(stage)


def _wait(seconds: float, go_on: Path) -> None:
    """Leave time to talk: until a file is there that says to go on, and so long at most."""
    if seconds > 0:
        print(f"progress: a pause of {seconds:g} s at most; to go on: touch {go_on}", flush=True)
    until = time.monotonic() + seconds
    while time.monotonic() < until and not go_on.exists():
        time.sleep(min(0.2, seconds))
    go_on.unlink(missing_ok=True)
