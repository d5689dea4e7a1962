"""One lesson of 45 minutes, who lied?: four small experiments that answer at once, on the mathematics alone.

The notebook in ``docs/notebooks`` and the page that ``flower-coded playground`` makes both show it.
"""

from flower_coded.lesson.breaking import Broken, break_a_code
from flower_coded.lesson.secret import Shared, share_a_number
from flower_coded.lesson.stage import PARTS, Part, described_lesson, respond
from flower_coded.lesson.vote import Readout, lesson_code, models_of, take_a_vote
from flower_coded.lesson.worker import Product, Products, ask_workers

__all__ = [
    "PARTS",
    "Broken",
    "Part",
    "Product",
    "Products",
    "Readout",
    "Shared",
    "ask_workers",
    "break_a_code",
    "described_lesson",
    "lesson_code",
    "models_of",
    "respond",
    "share_a_number",
    "take_a_vote",
]
