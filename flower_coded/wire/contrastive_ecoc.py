"""What contrastive output codes say over Flower: record keys and message types, spelled once."""

from __future__ import annotations

__all__ = [
    "CODEWORDS_KEY",
    "CODE_BOOK_KEY",
    "CODE_BOOK_MESSAGE_TYPE",
    "COUNTS_KEY",
    "COUNT_NAME_KEY",
    "FOLLOW_KEY",
    "PHASE_KEY",
    "SUMS_KEY",
]

CODE_BOOK_MESSAGE_TYPE = "query.flower_coded_code_book"
"""Asks a client for its class sums; the reply is one ArrayRecord with ``sums`` and ``counts``."""

CODE_BOOK_KEY, CODEWORDS_KEY = "code-book", "codewords"
"""The ArrayRecord that carries a code book, and its one array."""

SUMS_KEY, COUNTS_KEY = "sums", "counts"

COUNT_NAME_KEY = "ecoc-count-name"
"""str: under which name the reply's metrics report the number of examples."""

PHASE_KEY = "ecoc-phase"
"""str: what the client is to do with the network."""

FOLLOW_KEY = "ecoc-code-book-follows"
"""bool: whether the code book follows the weights while fine-tuning (ACL-CFPC)."""
