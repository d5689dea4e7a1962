"""Words that reports use, explained once for all of them."""

from __future__ import annotations

from flower_coded.errors import ParameterError

__all__ = ["TERMS", "explain"]

TERMS = {
    "BCC(k,r,n)": (
        "A backdoor correcting code for n users: it says which user may train which model. Whatever up to "
        "k of them plant together, enough models stay clean that the true label can be told. Every model "
        "learns from at least r users."
    ),
    "BTC(k,r,n)": (
        "A backdoor tracking code: a correcting code that also tells any two sets of up to k attackers "
        "apart, so that attackers can be named."
    ),
    "accuracy under attack": (
        "Share of test images with the attackers' trigger that still get their true label."
    ),
    "attack success": (
        "Share of the same images, the target's own class aside, that get the label that the attackers want."
    ),
    "posterior": (
        "What is believed after the models' answers: how probable each explanation is, by Bayes' rule."
    ),
    "selective": "Attackers who have read the decoder and poison only those of their models that mislead it.",
    "framing": "Attackers who poison those of their models that make an innocent user look guilty.",
    "secret share": "A piece of an update that is noise by itself; enough pieces together are the update.",
    "multi-Krum": "Average the m updates that have the nearest neighbors; the rest is left out.",
    "ramp sharing": (
        "Secret sharing in which T shares tell nothing, and T + K of them tell everything about a secret "
        "cut into K parts: shares are a K-th as long."
    ),
    "straggler": "A worker whose answer does not come in time.",
    "key": (
        "A secret random combination of what a worker was given, with which its answers are checked one "
        "by one."
    ),
    "distance to the optimum": (
        "Length of the difference to scikit-learn's weights, as a part of their length."
    ),
    "bits leaked": (
        "Mutual information between a position of the table and everything that colluding workers hold: 0 "
        "tells nothing."
    ),
    "certified": "Proved to stay right whatever the stated number of users had sent.",
    "robust accuracy": (
        "Share of test images that are classified rightly after the attack has changed each one within "
        "its budget."
    ),
}
"""Word to explanation, a sentence or two each."""


def explain(*words: str) -> dict[str, str]:
    """Look words up, for :meth:`~flower_coded.reporting.Report.add_terms`.

    Raises
    ------
    ParameterError
        If one is not explained here.

    Examples
    --------
    >>> list(explain("straggler", "posterior"))
    ['straggler', 'posterior']
    """
    for word in words:
        if word not in TERMS:
            raise ParameterError("word", f"must be one of {', '.join(TERMS)}", word)
    return {word: TERMS[word] for word in words}
