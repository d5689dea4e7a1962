"""The page of the lecture, written anew after every act, so that it can be shown while the next one runs."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, NamedTuple

from classroom import pictures
from classroom.acts import (
    CLEAN,
    ENSEMBLE,
    FLIPPED,
    KRUM_FLIPPED,
    KRUM_LITTLE,
    KRUM_UNLIKE,
    KRUM_UNLIKE_LITTLE,
    POISONED,
    SHARED,
    Act,
    Training,
)
from classroom.lecture import Lecture
from classroom.looks import LOOKS, QUESTIONS
from classroom.trainings import Played, captured
from flower_coded.reporting import Report, RunDirectory, Table
from flower_coded.reporting.share_pictures import draw_shared_image
from flower_coded.strategies import CodedSubsetAggregation, RampSharedMultiKrum

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Stage = Mapping[Training, Played]

RELOAD_SECONDS = 5


class Picture(NamedTuple):
    """A figure, the end of its file's name, and what a reader should see in it."""

    name: str
    figure: Figure
    caption: str


Pictures = Iterator[Picture]


class LecturePage:
    """Adds act after act to one report."""

    def __init__(self, run: RunDirectory, lecture: Lecture) -> None:
        self.run, self.lecture = run, lecture
        self.report = Report(
            "Who can be trusted in federated learning?",
            subtitle=f"{', '.join(act.title.partition(':')[0] for act in lecture.acts)}: "
            f"{lecture.settings.dataset}, {lecture.num_users} users, seed {lecture.seed}",
            reload_seconds=RELOAD_SECONDS,
        )

    def add_act(self, act: Act, stage: Stage) -> None:
        """Tell the act that was just played: words, numbers, pictures; write tables and page."""
        played = [stage[training] for training in act.trainings]
        self.report.add_heading(act.title).add_text(act.story)
        self.report.add_note(f"What to look at. {LOOKS[act.name](self.lecture, stage)}")
        self.report.add_text(_who(played))
        for name, figure, caption in _PICTURES[act.name](self.lecture, stage):
            path = self.run.path / f"{act.name}_{name}.png"
            self.run.write_figure(figure, path.stem)
            self.report.add_figure(figure, caption=caption)
            print(f"progress:   picture {path}", flush=True)
        self.report.add_text(_ENDINGS[act.name](self.lecture, stage))
        if act.name in QUESTIONS:
            self.report.add_details(*QUESTIONS[act.name](self.lecture, stage))
        rounds = [record for each in stage.values() for record in each.rounds]
        self.run.write_metrics(rounds)
        self.report.write(self.run.report_path)

    def conclude(self, stage: Stage) -> None:
        """Add the table of all trainings, and the settings."""
        summary = [
            each.last | {"attackers": " ".join(map(str, each.attackers)) or "none"} for each in stage.values()
        ]
        self.run.write_metrics(summary, name="summary")
        self.report.reload_seconds = 0  # nothing more will come
        self.report.add_heading("The end: all trainings, after their last round")
        self.report.add_table(Table.from_records(summary))
        self.report.add_note(
            "The class can go on by itself: `flower-coded playground` makes a page on which everybody moves "
            "liars, spares models, shares a secret and has workers lie, in a browser."
        )
        self.report.add_details("Settings", dict(self.lecture.config)).write(self.run.report_path)
        print(f"progress: the end; report in {self.run.report_path}", flush=True)


def _prologue(lecture: Lecture, stage: Stage) -> Pictures:
    yield Picture(
        "images",
        pictures.some_images(lecture),
        "What the users have: a few of the first three users' images.",
    )
    yield Picture(
        "accuracy",
        pictures.accuracies([stage[CLEAN]], "accuracy"),
        "Share of test images, which no user has, that the common model names rightly.",
    )


def _act_1(lecture: Lecture, stage: Stage) -> Pictures:
    clean, poisoned = stage[CLEAN], stage[POISONED]
    yield Picture(
        "accuracy",
        pictures.accuracies([clean, poisoned], "accuracy", "with the trigger"),
        "Left: what the server might check. Right: what it would have to know the trigger for. The clean "
        "model's curve shows what the trigger costs by hiding pixels.",
    )
    yield Picture(
        "triggered",
        pictures.triggered_images(lecture, clean, poisoned),
        "Above: test images. Below: the same with the trigger, and what both models say. The attackers "
        f"want a {lecture.target}.",
    )


def _act_2(lecture: Lecture, stage: Stage) -> Pictures:
    del lecture
    alike = [stage[CLEAN], stage[FLIPPED], stage[KRUM_FLIPPED], stage[KRUM_LITTLE]]
    unlike = [stage[KRUM_UNLIKE], stage[KRUM_UNLIKE_LITTLE]]
    yield Picture(
        "accuracy",
        pictures.accuracies(alike, "accuracy"),
        "The crude attack against both ways of adding up, and the clever one against Krum.",
    )
    yield Picture(
        "scores",
        pictures.scores(stage[KRUM_FLIPPED], stage[KRUM_LITTLE]),
        "Krum's score of every user in the last round: the sum of squared distances to the nearest "
        "neighbors. The smallest are taken.",
    )
    yield Picture(
        "selected",
        pictures.selections(stage[KRUM_FLIPPED], stage[KRUM_LITTLE]),
        "A filled cell is a user who was averaged in that round.",
    )
    yield Picture(
        "accuracy_unlike",
        pictures.accuracies(unlike, "accuracy"),
        f"Multi-Krum among users whose class mixes differ (Dirichlet, {KRUM_UNLIKE.alpha}): without "
        "attackers, and with the same three sending the same kind of vector.",
    )
    yield Picture(
        "selected_unlike",
        pictures.selections(*unlike),
        "Who was averaged among unlike users.",
    )


def _act_3(lecture: Lecture, stage: Stage) -> Pictures:
    coded = stage[ENSEMBLE]
    yield Picture(
        "code",
        pictures.code_matrix(lecture.code, coded.attackers),
        "A filled cell lets a user train a model. The models with an attacker's cell filled learn the "
        "trigger; that pattern is what the decoder looks for.",
    )
    yield Picture(
        "accuracy",
        pictures.accuracies([stage[CLEAN], stage[POISONED], coded], "accuracy", "with the trigger"),
        "The coded ensemble beside the prologue's and act 1's single models.",
    )
    yield Picture(
        "triggered",
        pictures.triggered_images(lecture, stage[POISONED], coded),
        f"The images of act 1 with the trigger, which asks for a {lecture.target}.",
    )
    yield Picture(
        "suspicion",
        pictures.suspicion(coded),
        "How often each user is among the likeliest attackers when the decoder holds an image for attacked: "
        "a guess, no accusation. The colors are for the audience: the decoder does not know them.",
    )


def _act_4(lecture: Lecture, stage: Stage) -> Pictures:
    shared = stage[SHARED]
    yield Picture(
        "accuracy",
        pictures.accuracies([stage[CLEAN], stage[FLIPPED], stage[KRUM_FLIPPED], shared], "accuracy"),
        "The first rounds of acts 2 and 4: the same three attackers, the same attack.",
    )
    yield Picture(
        "selected",
        pictures.selections(shared),
        "Who was averaged, found without seeing an update.",
    )
    sharing, images = _strategy_of_act_4(shared).sharing, lecture.data.test_images
    yield Picture(
        "shares",
        draw_shared_image(sharing, images[0, :1], images[1, :1]),
        f"An image shared as an update is. One user's share of it is noise, 1/{sharing.num_parts} as long "
        f"as the image and drawn {sharing.num_parts} times; {sharing.num_shares_needed} shares rebuild it. "
        "The last picture is another image, and with the right masks it has exactly the share that you "
        "see: the share cannot say which of the two it came from.",
    )


_PICTURES: dict[str, Callable[[Lecture, Stage], Pictures]] = {
    "prologue": _prologue,
    "act_1": _act_1,
    "act_2": _act_2,
    "act_3": _act_3,
    "act_4": _act_4,
}


def _end_of_prologue(lecture: Lecture, stage: Stage) -> str:
    last = stage[CLEAN].last
    return f"After {last['round']} rounds the model is right on {_percent(last['accuracy'])} of test images."


def _end_of_act_1(lecture: Lecture, stage: Stage) -> str:
    clean, poisoned = stage[CLEAN].last, stage[POISONED].last
    return (
        f"Clean images: {_percent(clean['accuracy'])} without and {_percent(poisoned['accuracy'])} with "
        f"attackers. Of the images with the trigger that are no {lecture.target}, the poisoned "
        f"model calls {_percent(poisoned['trigger obeyed'])} a {lecture.target}."
    )


def _end_of_act_2(lecture: Lecture, stage: Stage) -> str:
    lines = [f"{stage[CLEAN].training.label}: {_percent(stage[CLEAN].last['accuracy'])}."]
    for training in (FLIPPED, KRUM_FLIPPED, KRUM_LITTLE, KRUM_UNLIKE, KRUM_UNLIKE_LITTLE):
        played = stage[training]
        line = f"{training.label}: {_percent(played.last['accuracy'])}"
        if played.selected and played.attackers:
            line += f"; {_percent(captured(played))} of the selected were attackers"
        lines.append(line + ".")
    return "\n\n".join(lines)


def _end_of_act_3(lecture: Lecture, stage: Stage) -> str:
    played, strategy = stage[ENSEMBLE], stage[ENSEMBLE].strategy
    assert isinstance(strategy, CodedSubsetAggregation)
    suspected, accused = (
        _listed(strategy.history[-1].reported.get(key, [])) for key in ("suspected-users", "named-users")
    )
    return (
        f"With the trigger, FedAvg: {_percent(stage[POISONED].last['with the trigger'])}, coded ensemble: "
        f"{_percent(played.last['with the trigger'])}. Suspected on more than half of the images held "
        f"for attacked: **{suspected}**; accused, where no explanation does without them: **{accused}**; "
        f"attackers: **{_listed(played.attackers)}**. The price: a user "
        f"trains {lecture.code.training_cost:.1f} models instead of one, and each model sees fewer users."
    )


def _end_of_act_4(lecture: Lecture, stage: Stage) -> str:
    played = stage[SHARED]
    strategy = _strategy_of_act_4(played)
    sharing, selected = strategy.sharing, strategy.num_selected
    refused = sum(bool(each.refusal) for each in strategy.history)
    return (
        f"After {played.last['round']} rounds: {_percent(played.last['accuracy'])}; "
        f"{_percent(captured(played))} of the selected were "
        f"attackers{f'; {refused} rounds were refused and kept the old model' if refused else ''}.\n\n**What "
        "the server did learn:** in every round all distances between updates, and the mean of the "
        f"{selected} selected ones. Whoever knows all but one of the selected updates knows the last one "
        f"from the mean. **What it did not learn:** any single update. What {sharing.num_colluders} of the "
        "users hold in shares says nothing about another's update: every update fits it equally well, so no "
        "computer helps. **What it does not stop:** a little is enough, of act 2. Secret shares hide the "
        "updates that Krum selects; they do not make Krum select better ones."
    )


_ENDINGS: dict[str, Callable[[Lecture, Stage], str]] = {
    "prologue": _end_of_prologue,
    "act_1": _end_of_act_1,
    "act_2": _end_of_act_2,
    "act_3": _end_of_act_3,
    "act_4": _end_of_act_4,
}


def _who(played: list[Played]) -> str:
    attacks: dict[tuple[int, ...], dict[str, None]] = {}
    for each in played:
        if each.attackers:
            attacks.setdefault(tuple(each.attackers), {})[each.training.attack.name] = None
    if not attacks:
        return "Attackers: nobody."
    told = [
        f"users {_listed(users)} ({', then '.join(f'`{name}`' for name in attacks[users])})"
        for users in attacks
    ]
    return f"Attackers, drawn from the seed: {'; '.join(told)}."


def _strategy_of_act_4(played: Played) -> RampSharedMultiKrum:
    assert isinstance(played.strategy, RampSharedMultiKrum)
    return played.strategy


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %"


def _listed(users: list[int] | tuple[int, ...]) -> str:
    return ", ".join(map(str, users)) or "nobody"
