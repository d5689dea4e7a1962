"""What each rule makes of one data set: who has how many images of which class, and what goes to nobody.

python benchmarks/partitions.py                                   # a table, on the embedded digits
python benchmarks/partitions.py --picture docs/pictures/partitions.png
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from flower_coded.learning import load_images, user_indices
from flower_coded.reporting import Table, draw_matrix, new_figure, save_figure

ROWS: dict[str, dict[str, Any]] = {
    "alpha=iid": {},
    "alpha=1": {"alpha": 1.0},
    "alpha=0.1": {"alpha": 0.1},
    "partition=dirichlet alpha=1": {"partition": "dirichlet", "alpha": 1.0},
    "partition=shards": {"partition": "shards"},
    "partition=pathological": {"partition": "pathological"},
}


def main(
    users: Annotated[int, typer.Option(help="Users.")] = 12,
    samples: Annotated[int, typer.Option(help="Images per user; 0 divides all.")] = 0,
    seed: Annotated[int, typer.Option(help="Seed of the divisions.")] = 0,
    picture: Annotated[Path | None, typer.Option(help="Where to draw the class counts.")] = None,
) -> None:
    """Divide the digits by every rule."""
    labels = load_images("digits").train_labels
    figure, records = new_figure(2, 3, size=(11, 7)), []
    for axes, (name, settings) in zip(figure.axes, ROWS.items(), strict=True):
        division = user_indices(labels, users, seed=seed, samples_per_user=samples or None, **settings)
        counts = division.class_counts(labels)
        classes = (counts > 0).sum(axis=1)
        records.append(
            {
                "rule": name,
                "images": f"{division.sizes.min()} to {division.sizes.max()}",
                "classes of a user": f"{classes.min()} to {classes.max()}",
                "to nobody": division.num_left,
                "of other classes": division.num_replaced,
            }
        )
        draw_matrix(counts, title=name, x_label="class", y_label="user", show_values=True, axes=axes)
    print(Table.from_records(records).to_text())
    if picture is not None:
        save_figure(figure, picture)


if __name__ == "__main__":
    typer.run(main)
