"""Re-make the paper's Figures 2 to 6 and print the table of numbers: `python sweep.py --out DIRECTORY`."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from private_regression_app.figures import SWEEPS, add_figures, sweep

from flower_coded.reporting import Report, RunDirectory, Table


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repetitions", type=int, default=1000, help="of every point (the paper: 1000)")
    parser.add_argument("--collusion-repetitions", type=int, default=200, help="of those of Figure 6")
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--device", default="cpu", help="cpu, or a torch device such as cuda")
    parser.add_argument("--out", type=Path, required=True, help="directory for tables, pictures and report")
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    run = RunDirectory(arguments.out.resolve())
    counts = dict.fromkeys(SWEEPS, arguments.repetitions) | {"collusion": arguments.collusion_repetitions}
    run.write_config({"repetitions": counts, "seed": arguments.seed})
    swept = {name: sweep(name, count, arguments.seed, arguments.device) for name, count in counts.items()}
    report = Report("Robust analog Lagrange coded computing: Figures 2 to 6")
    add_figures(
        report,
        run,
        swept,
        f"Averages of {counts['localization']} repetitions, Figure 6 of {counts['collusion']}, "
        f"seed {arguments.seed}.",
    )
    run.write_metrics(swept["localization"])
    report.write(run.report_path)
    print(_table(swept["localization"]).to_markdown(digits=1))
    print(f"report in {run.report_path}")


def _table(records: list[dict[str, Any]]) -> Table:
    """Errors in dB: one row per noise and number of liars, one column per decoder."""
    rows: dict[tuple[float, int], dict[str, Any]] = {}
    for each in records:
        key = (each["noise variance"], each["liars"])
        row = rows.setdefault(key, {"noise variance": f"{key[0]:g}", "liars": key[1]})
        row[each["decoder"]] = each["average relative error, dB"]
    return Table.from_records(list(rows.values()))


if __name__ == "__main__":
    main()
