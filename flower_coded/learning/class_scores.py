"""A classifier as attacks see it: images to one score per class.

The largest score decides. An output code has three forms of them: the similarities that its decoder compares,
and two *surrogates* to climb where ``tanh`` is flat.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from flower_coded.learning.codeword_losses import cosine_similarity
from flower_coded.learning.output_code_network import OutputCodeNetwork
from flower_coded.learning.training import choose_device

__all__ = ["Scores", "codeword_scores", "softened_scores", "softmax_scores", "unsquashed_scores"]

Scores = Callable[[Tensor], Tensor]
"""Images (B, C, H, W) to one score per class (B, num_classes)."""


def softmax_scores(model: nn.Module) -> Scores:
    """Scores of a classifier that ends in logits; puts the model into evaluation mode."""
    model.eval()
    return model


def codeword_scores(network: nn.Module, code_book: NDArray[np.float64], *, device: str = "cpu") -> Scores:
    """Scores of an output-code network: similarities with the codewords (eq. 5 before its softmax).

    Parameters
    ----------
    network : torch.nn.Module
        Images to predicted codewords; put into evaluation mode.
    code_book : ndarray of shape (num_classes, num_bits)
    device : str
        ``"cpu"``, ``"cuda"`` or ``"cuda:0"``.
    """
    network.to(choose_device(device)).eval()
    book = torch.tensor(code_book, dtype=torch.float32, device=choose_device(device))
    return lambda images: cosine_similarity(network(images), book)


def unsquashed_scores(
    network: OutputCodeNetwork, code_book: NDArray[np.float64], *, device: str = "cpu"
) -> Scores:
    """Surrogate scores to attack an output-code network through: inner products without the ``tanh``.

    Parameters
    ----------
    network : OutputCodeNetwork
        Put into evaluation mode.
    code_book : ndarray of shape (num_classes, num_bits)
    device : str
        ``"cpu"``, ``"cuda"`` or ``"cuda:0"``.
    """
    network.to(choose_device(device)).eval()
    book = torch.tensor(code_book, dtype=torch.float32, device=choose_device(device))
    return lambda images: network.unsquashed(images) @ book.T


def softened_scores(
    network: OutputCodeNetwork,
    code_book: NDArray[np.float64],
    *,
    temperature: float = 4.0,
    device: str = "cpu",
) -> Scores:
    """Surrogate scores through a flatter ``tanh``: similarities of ``tanh(outputs / temperature)``.

    Between :func:`codeword_scores` and :func:`unsquashed_scores`: a saturated bit has a gradient, and no bit
    outweighs the others by its size.

    Parameters
    ----------
    network, code_book, device
        As for :func:`unsquashed_scores`.
    temperature : float
        At 1 the decoder's own scores.
    """
    network.to(choose_device(device)).eval()
    book = torch.tensor(code_book, dtype=torch.float32, device=choose_device(device))
    return lambda images: cosine_similarity(torch.tanh(network.unsquashed(images) / temperature), book)
