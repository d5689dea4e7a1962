"""Losses that learn an output code from data, each with its equation number.

Source: Chou & Chen, "Contrastive ECOC: learning output codes for adversarial defense", 2025. A batch of B
samples has predicted codewords ``words`` of shape (B, num_bits) and labels of shape (B,); ``code_book`` of
shape (num_classes, num_bits) holds one codeword per class. ``sim`` is the cosine.

Where the paper leaves a choice, this module takes and names it:

* Eq. 1 as printed *rewards* columns that are the negative of each other, though they err together just as
  equal ones do. The default squares the cosine; ``signed=True`` gives the printed form.
* Eq. 4 draws one other codeword of the sample's class. The logarithm is linear in that draw's similarity, so
  the mean over all of the batch's other samples of the class is the expectation over the draw, at no
  variance. A sample with no companion is left out of the mean. The sum in the denominator runs over all
  classes.
* A zero vector has no direction. Lengths are taken as ``sqrt(|x|^2 + 1e-12)``, so that a zero codeword has
  similarity 0 with everything, and a finite gradient.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from flower_coded.errors import ParameterError

__all__ = [
    "class_log_probabilities",
    "codeword_cross_entropy",
    "codeword_hinge",
    "codeword_sums",
    "column_separation",
    "cosine_rows",
    "cosine_similarity",
    "info_nce",
    "maximum_cosine",
    "row_separation",
]

_SQUARED_LENGTH_FLOOR = 1e-12


def cosine_similarity(first: Tensor, second: Tensor) -> Tensor:
    """Cosine of every row of one matrix with every row of another.

    Parameters
    ----------
    first : Tensor of shape (a, d), float
    second : Tensor of shape (b, d), float

    Returns
    -------
    Tensor of shape (a, b)

    Examples
    --------
    >>> cosine_similarity(torch.tensor([[3.0, 4.0], [0.0, 0.0]]), torch.tensor([[3.0, 4.0], [-4.0, 3.0]]))
    tensor([[1., 0.],
            [0., 0.]])
    """
    return _directions(first) @ _directions(second).T


def cosine_rows(first: Tensor, second: Tensor) -> Tensor:
    """Cosine of every row with the same row of another matrix, (B,); both of shape (B, d)."""
    return (_directions(first) * _directions(second)).sum(dim=1)


def info_nce(first: Tensor, second: Tensor, *, temperature: float) -> Tensor:
    """Eq. 2, SimCLR's loss on two augmentations of the same samples (Chen et al., ICML 2020).

    Parameters
    ----------
    first, second : Tensor of shape (B, d), float
        Projections z of the two augmentations; row i of both comes from sample i.
    temperature : float
        τ > 0.

    Returns
    -------
    Tensor, scalar
        Mean over all 2B projections.

    Raises
    ------
    ParameterError
        If the shapes differ or the temperature is not positive.
    """
    _check_temperature(temperature)
    if first.shape != second.shape or first.ndim != 2:
        raise ParameterError(
            "second", f"must have the shape of first, {tuple(first.shape)}", tuple(second.shape)
        )
    batch = first.shape[0]
    both = torch.cat([first, second])
    logits = cosine_similarity(both, both) / temperature
    # Row i's partner stands `batch` rows further, around the end: i -> i + B mod 2B.
    is_self = torch.eye(2 * batch, dtype=torch.bool, device=both.device)
    partner = torch.arange(2 * batch, device=both.device).roll(batch)
    # A sample is its own nearest: minus infinity takes it out of the softmax's sum exactly.
    return functional.cross_entropy(logits.masked_fill(is_self, -torch.inf), partner)


def column_separation(words: Tensor, *, signed: bool = False) -> Tensor:
    """Eq. 1: how much the bits of the predicted codewords go together over a batch.

    Parameters
    ----------
    words : Tensor of shape (B, num_bits), float
    signed : bool
        Sum the cosines as printed instead of their squares.

    Returns
    -------
    Tensor, scalar
        Sum over the pairs ``j < k`` of bits; 0 for a single bit.
    """
    columns = words.T
    cosine = cosine_similarity(columns, columns)
    pairs = torch.triu_indices(columns.shape[0], columns.shape[0], offset=1, device=words.device)
    # Squares: bits that always disagree carry as little as bits that always agree.
    values = cosine[pairs[0], pairs[1]]
    return values.sum() if signed else values.square().sum()


def codeword_sums(words: Tensor, labels: Tensor, num_classes: int) -> tuple[Tensor, Tensor]:
    """Numerator and denominator of eq. 3: per class, the sum of the predicted codewords and their number.

    Parameters
    ----------
    words : Tensor of shape (B, num_bits), float
    labels : Tensor of shape (B,), int64
    num_classes : int
        K.

    Returns
    -------
    (Tensor of shape (num_classes, num_bits), Tensor of shape (num_classes,))
        Of the dtype of ``words``. Sums of different batches, or of different clients, add up.

    Raises
    ------
    ParameterError
        If the labels do not fit the words or the number of classes.

    Examples
    --------
    >>> codeword_sums(torch.tensor([[1.0, 0.0], [3.0, 2.0]]), torch.tensor([1, 1]), 2)
    (tensor([[0., 0.],
            [4., 2.]]), tensor([0., 2.]))
    """
    _check_labels(words, labels, num_classes)
    # A product with the one-hot matrix sums all classes at once and keeps the gradient.
    membership = functional.one_hot(labels, num_classes).to(words.dtype)
    return membership.T @ words, membership.sum(dim=0)


def row_separation(words: Tensor, labels: Tensor, code_book: Tensor, *, temperature: float) -> Tensor:
    """Eq. 4: near the other codewords of its class, far from the code book's.

    Parameters
    ----------
    words : Tensor of shape (B, num_bits), float
    labels : Tensor of shape (B,), int64
    code_book : Tensor of shape (num_classes, num_bits), float
    temperature : float
        τ > 0.

    Returns
    -------
    Tensor, scalar
        Mean over the samples that have a companion of their class in the batch; 0 if none has.
    """
    _check_temperature(temperature)
    _check_labels(words, labels, code_book.shape[0])
    is_companion = labels[:, None] == labels[None, :]
    is_companion = is_companion & ~torch.eye(len(labels), dtype=torch.bool, device=labels.device)
    weights = is_companion.to(words.dtype)
    num_companions = weights.sum(dim=1)
    attraction = (cosine_similarity(words, words) * weights).sum(dim=1) / num_companions.clamp_min(1.0)
    # The denominator runs over the code book, not over the batch: the paper's difference to SupCon.
    normalizer = torch.logsumexp(cosine_similarity(words, code_book) / temperature, dim=1)
    has_companion = (num_companions > 0).to(words.dtype)
    losses = (normalizer - attraction / temperature) * has_companion
    return losses.sum() / has_companion.sum().clamp_min(1.0)


def class_log_probabilities(words: Tensor, code_book: Tensor, *, temperature: float = 1.0) -> Tensor:
    """Logarithm of eq. 5: softmax over the classes of the similarity with their codewords.

    Parameters
    ----------
    words : Tensor of shape (B, num_bits), float
    code_book : Tensor of shape (num_classes, num_bits), float
    temperature : float
        1 in the paper. Similarities end at 1, so that with ten classes no probability exceeds
        ``e / (e + 9 / e) = 0.45``; a smaller temperature lifts that ceiling.

    Returns
    -------
    Tensor of shape (B, num_classes)
    """
    _check_temperature(temperature)
    # Not the log of a softmax, which underflows to log 0 at a small temperature.
    return functional.log_softmax(cosine_similarity(words, code_book) / temperature, dim=1)


def codeword_cross_entropy(
    words: Tensor, labels: Tensor, code_book: Tensor, *, temperature: float = 1.0
) -> Tensor:
    """Eq. 6: mean cross entropy of eq. 5's probabilities; parameters as for :func:`row_separation`."""
    _check_labels(words, labels, code_book.shape[0])
    return functional.nll_loss(class_log_probabilities(words, code_book, temperature=temperature), labels)


def codeword_hinge(words: Tensor, labels: Tensor, code_book: Tensor, *, margin: float = 0.5) -> Tensor:
    """Eq. 7: mean of ``max(margin - sim(word, codeword of its class), 0)``."""
    _check_labels(words, labels, code_book.shape[0])
    # Row by row: of the matrix of all similarities only one entry a row would be used.
    similarity = (_directions(words) * _directions(code_book)[labels]).sum(dim=1)
    return (margin - similarity).clamp_min(0.0).mean()


def maximum_cosine(code_book: Tensor) -> Tensor:
    """Eq. 10: the largest similarity between codewords of two classes; 0 for a single class."""
    num_classes = code_book.shape[0]
    if num_classes < 2:
        # Zero, but on the graph: a backward pass through it must not fail.
        return code_book.sum() * 0.0
    pairs = torch.triu_indices(num_classes, num_classes, offset=1, device=code_book.device)
    return cosine_similarity(code_book, code_book)[pairs[0], pairs[1]].max()


def _directions(vectors: Tensor) -> Tensor:
    # The floor stands inside the root, whose derivative at 0 is infinite.
    return vectors / (vectors.square().sum(dim=1, keepdim=True) + _SQUARED_LENGTH_FLOOR).sqrt()


def _check_temperature(temperature: float) -> None:
    if not temperature > 0.0:
        raise ParameterError("temperature", "must be positive", temperature, hint="SimCLR uses 0.1 to 0.5")


def _check_labels(words: Tensor, labels: Tensor, num_classes: int) -> None:
    if labels.shape != words.shape[:1]:
        raise ParameterError("labels", f"must have shape ({words.shape[0]},)", tuple(labels.shape))
    if labels.numel() and (int(labels.min()) < 0 or int(labels.max()) >= num_classes):
        raise ParameterError(
            "labels", f"must lie in 0 .. {num_classes - 1}", [int(labels.min()), int(labels.max())]
        )
