"""A pretrained BERT or ViT of the package transformers, from a directory: nothing is downloaded.

The directory is what ``save_pretrained`` wrote: ``config.json`` and weights, and for words the tokenizer's
files too. Words of the scenario's language are cut into the tokenizer's pieces once, in a table; images are
enlarged to the size that the network was trained on. What is left out: networks that only generate text.
"""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from adapter_finetuning.language import VOCABULARY
from flower_coded.errors import ParameterError

__all__ = ["HuggingFaceNetwork", "adapted_layers", "check_directory", "read_directory"]

_NEEDS = {"words": "vocab_size", "images": "image_size"}  # what a network's configuration has
_ADAPTED = ("query", "value", "q_proj", "v_proj", "q_lin", "v_lin")  # as BERT, ViT, newer ViT, DistilBERT say


def check_directory(directory: str, modality: str) -> None:
    """Refuse, before anything is trained, what cannot be loaded."""
    if importlib.util.find_spec("transformers") is None:
        hint = "pip install 'flower-coded[peft]'"
        raise ParameterError("network", "needs the package transformers", "hugging-face", hint=hint)
    if not directory or not (Path(directory) / "config.json").is_file():
        hint = "what save_pretrained of the package transformers wrote; nothing is downloaded"
        raise ParameterError("base-file", "must be a directory with a config.json", directory, hint=hint)
    if not hasattr(_config(directory), _NEEDS[modality]):
        requirement = f"must hold a network for {modality}, with {_NEEDS[modality]} in its config.json"
        raise ParameterError("base-file", requirement, directory)


def read_directory(directory: str) -> dict[str, Any]:
    """Give the pretrained weights as arrays, named as in :class:`HuggingFaceNetwork`."""
    from transformers import AutoModel

    model = AutoModel.from_pretrained(directory, local_files_only=True).float()
    return {f"network.{key}": value.numpy() for key, value in model.state_dict().items()}


def adapted_layers(network: nn.Module) -> list[str]:
    """Names of the layers that get adapters: queries and values of every attention.

    Examples
    --------
    >>> adapted_layers(nn.ModuleDict({"query": nn.Linear(2, 2), "key": nn.Linear(2, 2)}))
    ['query']
    """
    found = [name for name, each in network.named_modules() if isinstance(each, nn.Linear)]
    chosen = [name for name in found if name.rpartition(".")[2] in _ADAPTED]
    if not chosen:
        raise ParameterError("base-file", f"must hold layers named {', '.join(_ADAPTED)}", ", ".join(found))
    return chosen


class HuggingFaceNetwork(nn.Module):
    """The network of a directory's configuration, with weights still to be loaded, under a head.

    Parameters
    ----------
    directory : str
    modality : str
        ``words``: inputs (B, 1, 1, T) of word numbers; ``images``: (B, C, H, W) in [0, 1].
    num_classes : int
    """

    def __init__(self, directory: str, modality: str, num_classes: int) -> None:
        super().__init__()
        from transformers import AutoModel

        config = _config(directory)
        config._attn_implementation = "eager"  # the fused forms have no rule for many models at once
        self.network = AutoModel.from_config(config)
        self.head = nn.Linear(config.hidden_size, num_classes)
        self.side = _side(config) if modality == "images" else 0
        self.pieces: Tensor | None = None if self.side else torch.tensor(_pieces(directory))

    def forward(self, inputs: Tensor) -> Tensor:
        """Give logits (B, c): of the mean over what is no padding."""
        if self.pieces is None:
            states: Tensor = self.network(pixel_values=self._enlarged(inputs)).last_hidden_state
            return self._classified(states.mean(dim=1))
        tokens = self.pieces.to(inputs.device)[inputs.flatten(1).long()].flatten(1)
        mask = (tokens >= 0).float()
        states = self.network(
            input_ids=tokens.clamp(min=0), attention_mask=_as_versions_take_it(mask)
        ).last_hidden_state
        return self._classified((states * mask[..., None]).sum(dim=1) / mask.sum(dim=1, keepdim=True))

    def _classified(self, means: Tensor) -> Tensor:
        logits: Tensor = self.head(means)
        return logits

    def _enlarged(self, images: Tensor) -> Tensor:
        colored = images.expand(-1, 3, -1, -1) if images.shape[1] == 1 else images
        size = (self.side, self.side)
        return 2.0 * functional.interpolate(colored, size=size, mode="bilinear", antialias=True) - 1.0


def _as_versions_take_it(mask: Tensor) -> Tensor:
    """Give the mask (B, T) as what is added to scores, (B, 1, 1, T), from transformers 5 on.

    That version looks whether any entry of the shorter form is zero, for which there is no rule for many
    models at once; earlier ones take the shorter form alone.
    """
    from transformers import __version__

    if int(__version__.partition(".")[0]) < 5:
        return mask
    return (1.0 - mask)[:, None, None, :] * torch.finfo(mask.dtype).min


def _config(directory: str) -> Any:
    from transformers import AutoConfig

    return AutoConfig.from_pretrained(directory, local_files_only=True)


def _side(config: Any) -> int:
    return int(config.image_size if isinstance(config.image_size, int) else config.image_size[0])


def _pieces(directory: str) -> Any:
    """Pieces of every word, shape (V, P), int64; -1 where a word has fewer, and for padding."""
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(directory, local_files_only=True)
    cut = [tokenizer(word, add_special_tokens=False)["input_ids"] for word in VOCABULARY]
    table = np.full((len(cut), max(map(len, cut))), -1)
    for number, pieces in enumerate(cut):
        if number:  # the language's word 0 is padding
            table[number, : len(pieces)] = pieces
    return table
