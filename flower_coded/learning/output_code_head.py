"""Output-code head for any classifier: features to a codeword, codeword to one score per class.

The head takes the place of a classifier's last linear layer. Its scores are similarities with the codewords
of a fixed code book, so whatever trains, averages, shares or evaluates a classifier (coded subset aggregation
and secret-shared Krum among them) handles an output-code model without knowing it.
"""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn
from torch.nn import functional

from flower_coded.codes.output_code import OutputCode
from flower_coded.errors import ParameterError

__all__ = ["OutputCodeClassifier", "OutputCodeHead", "code_scores", "with_output_code", "without_head"]


class OutputCodeHead(nn.Module):
    """Codeword by one linear layer and ``tanh``, scores by its cosine with every class's codeword.

    The code book is part of the head, not of its state: averaging models does not touch it, and no client can
    move it.

    Parameters
    ----------
    num_features : int
        Width of the features.
    code : OutputCode
        Code book.
    temperature : float
        Scores are cosines divided by it. Cross-entropy needs scores that spread beyond [-1, 1]; at 0.1 a
        short code of few classes was seen to get stuck with two classes on one codeword, at 0.3 and above
        never.

    Raises
    ------
    ParameterError
        If the width is below 1 or the temperature is not positive.

    Examples
    --------
    >>> head = OutputCodeHead(64, OutputCode.hadamard(10))
    >>> head(torch.rand(5, 64)).shape, [name for name, _ in head.state_dict().items()]
    (torch.Size([5, 10]), ['encoder.weight', 'encoder.bias'])
    """

    def __init__(self, num_features: int, code: OutputCode, *, temperature: float = 0.3) -> None:
        if num_features < 1:
            raise ParameterError("num_features", "must be at least 1", num_features)
        if not temperature > 0.0:
            raise ParameterError("temperature", "must be positive", temperature, hint="0.3")
        super().__init__()
        self.temperature = temperature
        self.encoder = nn.Linear(num_features, code.num_bits)
        directions = functional.normalize(torch.tensor(code.codewords, dtype=torch.float32), dim=1)
        self.register_buffer("directions", directions, persistent=False)

    def forward(self, features: Tensor) -> Tensor:
        """Scores of shape (B, num_classes)."""
        return code_scores(self.encoder(features), self.get_buffer("directions"), self.temperature)


def code_scores(encoded: Tensor, directions: Tensor, temperature: float) -> Tensor:
    """Scores of classes: cosines between words and codewords, divided by the temperature.

    Parameters
    ----------
    encoded : Tensor of shape (..., num_bits)
        What the last linear layer gives; ``tanh`` makes words of it.
    directions : Tensor of shape (num_classes, num_bits)
        Codewords of length one.
    temperature : float

    Returns
    -------
    Tensor of shape (..., num_classes)
    """
    words = torch.tanh(encoded)
    lengths = (words.square().sum(dim=-1, keepdim=True) + 1e-12).sqrt()
    scores: Tensor = (words / lengths) @ directions.T / temperature
    return scores


class OutputCodeClassifier(nn.Module):
    """Features followed by an output-code head.

    Parameters
    ----------
    features : torch.nn.Module
        Maps images to features of shape (B, num_features).
    head : OutputCodeHead
    """

    def __init__(self, features: nn.Module, head: OutputCodeHead) -> None:
        super().__init__()
        self.features, self.head = features, head

    def forward(self, images: Tensor) -> Tensor:
        """Scores of shape (B, num_classes)."""
        scores: Tensor = self.head(self.features(images))
        return scores


def with_output_code(classifier: nn.Module, code: OutputCode, *, temperature: float = 0.3) -> nn.Module:
    """Copy of a classifier with an output-code head in place of its last linear layer.

    Parameters
    ----------
    classifier : torch.nn.Module
        Any classifier that ends in a linear layer.
    code, temperature
        See :class:`OutputCodeHead`. The new layer's weights come from torch's generator.

    Examples
    --------
    >>> classifier = nn.Sequential(nn.Flatten(), nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 10))
    >>> with_output_code(classifier, OutputCode.hadamard(10))(torch.rand(5, 1, 8, 8)).shape
    torch.Size([5, 10])
    """
    features, num_features = without_head(classifier)
    return OutputCodeClassifier(features, OutputCodeHead(num_features, code, temperature=temperature))


def without_head(classifier: nn.Module) -> tuple[nn.Module, int]:
    """Copy of a classifier whose last linear layer passes its input through, and the width of that input.

    Parameters
    ----------
    classifier : torch.nn.Module
        Any classifier that ends in a linear layer.

    Raises
    ------
    ParameterError
        If the module has no linear layer, or is nothing but one.

    Examples
    --------
    >>> classifier = nn.Sequential(nn.Flatten(), nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 10))
    >>> features, width = without_head(classifier)
    >>> width, features(torch.rand(5, 8, 8)).shape
    (32, torch.Size([5, 32]))
    """
    linear = [name for name, module in classifier.named_modules() if isinstance(module, nn.Linear)]
    if not linear:
        raise ParameterError("classifier", "must end in a linear layer", type(classifier).__name__)
    features = copy.deepcopy(classifier)
    parent_name, _, name = linear[-1].rpartition(".")
    if not name:
        raise ParameterError(
            "classifier", "must have layers before its linear one", type(classifier).__name__
        )
    parent = features.get_submodule(parent_name)
    head = getattr(parent, name)
    setattr(parent, name, nn.Identity())
    return features, int(head.in_features)
