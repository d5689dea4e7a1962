"""Tables, plots and the self-contained HTML report of a run."""

from flower_coded.reporting.charts import draw_bars, draw_lines, mark_bars
from flower_coded.reporting.figures import COLORS, new_figure, save_figure
from flower_coded.reporting.html import Report
from flower_coded.reporting.pictures import draw_images, draw_matrix
from flower_coded.reporting.run_directory import RunDirectory
from flower_coded.reporting.tables import Record, Table, write_json
from flower_coded.reporting.terms import explain

__all__ = [
    "COLORS",
    "Record",
    "Report",
    "RunDirectory",
    "Table",
    "draw_bars",
    "draw_images",
    "draw_lines",
    "draw_matrix",
    "explain",
    "mark_bars",
    "new_figure",
    "save_figure",
    "write_json",
]
