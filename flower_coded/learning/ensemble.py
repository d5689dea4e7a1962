"""A trained ensemble with its code and confusion matrices: one classifier, one file.

:class:`CodedEnsemble` answers every image with all its models and decodes the answers (Section 5 of the
coded subset aggregation paper; :mod:`flower_coded.codes.subset.decoders`): the label that an attacked image
should have had, the probability that it carries a trigger, and the users who planted it. A decoder that
learns from the images it sees takes what it has learned as ``memory``: ``memory = ensemble.observe(memory,
images)`` after every batch, ``ensemble.decode(images, memory)``. Without one it learns from the images at
hand.

The file is a NumPy archive that is read without pickle: the code's matrix, the confusion matrices, one
array per entry of the stacked state, and a JSON text with the rest. Models of this package are built again
from their name; for any other architecture, give the model when loading.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import nn

from flower_coded.codes import DEFAULT_DECODER, Decoded, EnsembleDecoder, SubsetCode, make_decoder
from flower_coded.errors import ParameterError
from flower_coded.learning.models import ModelState, build_model
from flower_coded.learning.stacked import predict_stacked

__all__ = ["CodedEnsemble"]

_FORMAT = "flower_coded ensemble 2"
_STATE = "state/"


@dataclass(frozen=True, eq=False)
class CodedEnsemble:
    """Classifier made of ``m`` models that were trained under a subset code.

    Attributes
    ----------
    code : SubsetCode
        Which users trained which model.
    stacked_state : dict of str to ndarray of shape (m, ...)
        The models.
    confusion : ndarray of shape (m, c, c)
        Confusion counts on clean held-out images, or rates.
    image_shape : (int, int, int)
        Channels, height, width.
    model_name : str
        A name that :func:`~flower_coded.learning.build_model` knows, or empty with ``model`` given.
    model : torch.nn.Module or None
        The architecture, where it has no name here; its weights are not used.
    decoder_name : str
        One of :data:`~flower_coded.codes.DECODER_NAMES`.
    decoder_options : mapping
        Keyword arguments of that decoder: numbers, lists of numbers, text.
    device : str
        ``"cpu"``, ``"cuda"`` or ``"cuda:0"``; chosen anew when loading.

    Raises
    ------
    ParameterError
        If state, code and confusion matrices do not belong together, or no architecture is known.

    Examples
    --------
    >>> import numpy as np
    >>> from flower_coded.codes import backdoor_correction_code
    >>> from flower_coded.learning import initial_states
    >>> states = initial_states("small-cnn", (1, 8, 8), 10, num_models=3, seed=1)
    >>> confusion = np.tile(np.eye(10), (3, 1, 1))
    >>> ensemble = CodedEnsemble(backdoor_correction_code(1, 2, 3), states, confusion, (1, 8, 8), "small-cnn")
    >>> ensemble.predict(np.zeros((2, 1, 8, 8), np.float32)).shape
    (2,)
    """

    code: SubsetCode
    stacked_state: ModelState = field(repr=False)
    confusion: NDArray[np.generic] = field(repr=False)
    image_shape: tuple[int, int, int]
    model_name: str = ""
    model: nn.Module | None = field(default=None, repr=False)
    decoder_name: str = DEFAULT_DECODER
    decoder_options: Mapping[str, Any] = field(default_factory=dict)
    device: str = "cpu"

    def __post_init__(self) -> None:
        if not self.model_name and self.model is None:
            raise ParameterError(
                "model",
                "must be given where model_name is empty",
                None,
                hint="a torch module of the same layers",
            )
        lengths = sorted({len(array) for array in self.stacked_state.values()})
        if lengths != [self.code.num_models]:
            raise ParameterError("stacked_state", f"must hold {self.code.num_models} models", lengths)
        assert self.decoder.num_classes == self.num_classes  # made now, so that a wrong matrix is refused now

    @property
    def num_classes(self) -> int:
        """Classes, ``c``."""
        return int(self.confusion.shape[1])

    @cached_property
    def decoder(self) -> EnsembleDecoder:
        """The decoder of this ensemble."""
        return make_decoder(self.decoder_name, self.code, self.confusion, self.decoder_options)

    @cached_property
    def architecture(self) -> nn.Module:
        """The module that the states are pushed through."""
        if self.model is not None:
            return self.model
        return build_model(self.model_name, self.image_shape, self.num_classes)

    def predict_models(self, images: NDArray[np.float32]) -> NDArray[np.int64]:
        """Answers (m, B) of all models to images (B, C, H, W) with pixels in [0, 1]."""
        if images.shape[1:] != self.image_shape:
            raise ParameterError("images", f"must be (B, {self.image_shape})", images.shape)
        return predict_stacked(self.architecture, self.stacked_state, images, device=self.device)

    def observe(self, memory: Any, images: NDArray[np.float32]) -> Any:
        """Let the decoder learn from images (B, C, H, W) without labels; begin with ``None``."""
        return self.decoder.observe(
            self.decoder.init() if memory is None else memory, self.predict_models(images)
        )

    def decode(self, images: NDArray[np.float32], memory: Any = None) -> Decoded:
        """Everything that the decoder says about images (B, C, H, W), in one pass."""
        return self.decoder.decode(self.predict_models(images), memory)

    def predict(self, images: NDArray[np.float32], memory: Any = None) -> NDArray[np.int64]:
        """Likeliest true labels (B,), attack or no attack."""
        return self.decode(images, memory).labels

    def predict_proba(self, images: NDArray[np.float32], memory: Any = None) -> NDArray[np.float64]:
        """Posterior (B, c) of the true label, where the decoder has one; see :class:`Decoded`."""
        return self.decode(images, memory).label_probabilities

    def attack_probability(self, images: NDArray[np.float32], memory: Any = None) -> NDArray[np.float64]:
        """Posterior probability (B,) that an image carries a trigger."""
        return self.decode(images, memory).attack_probability

    def suspects(self, images: NDArray[np.float32], memory: Any = None) -> NDArray[np.bool_]:
        """Likeliest set of attackers (B, n) per image, supposing that it carries a trigger: a guess."""
        return self.decode(images, memory).suspects

    def named(self, images: NDArray[np.float32], memory: Any = None) -> NDArray[np.bool_]:
        """Users (B, n) accused by the decoder's standard of proof."""
        return self.decode(images, memory).named

    def save(self, path: str | Path) -> Path:
        """Write one ``.npz`` file; the suffix is added where it is missing.

        Returns
        -------
        Path
            The file written.
        """
        target = Path(path)
        target = target if target.suffix == ".npz" else target.with_name(target.name + ".npz")
        about = {
            "format": _FORMAT,
            "code": {
                "kind": self.code.kind,
                "num_attackers": self.code.num_attackers,
                "name": self.code.name,
            },
            "image_shape": list(self.image_shape),
            "model_name": self.model_name,
            "decoder_name": self.decoder_name,
            "decoder_options": dict(self.decoder_options),
            "state_keys": list(self.stacked_state),
        }
        arrays: dict[str, NDArray[Any]] = {
            "about": np.array(json.dumps(about)),
            "code_matrix": self.code.matrix,
            "confusion": self.confusion,
            **{_STATE + key: array for key, array in self.stacked_state.items()},
        }
        target.parent.mkdir(parents=True, exist_ok=True)
        with target.open("wb") as file:
            np.savez_compressed(file, allow_pickle=False, **arrays)
        return target

    @classmethod
    def load(cls, path: str | Path, model: nn.Module | None = None, *, device: str = "cpu") -> CodedEnsemble:
        """Read a file that :meth:`save` wrote.

        Parameters
        ----------
        path : str or path
            The ``.npz`` file.
        model : torch.nn.Module or None
            The architecture, needed where the ensemble has no model name.
        device : str
            Where to run.

        Returns
        -------
        CodedEnsemble

        Raises
        ------
        FileNotFoundError
            If there is no such file.
        ParameterError
            If the file is not an ensemble, or an architecture is needed.
        """
        with np.load(Path(path), allow_pickle=False) as archive:
            arrays: Mapping[str, NDArray[Any]] = {key: archive[key] for key in archive.files}
        about = _about(arrays, path)
        return cls(
            code=SubsetCode(arrays["code_matrix"], **about["code"]),
            stacked_state={key: arrays[_STATE + key] for key in about["state_keys"]},
            confusion=arrays["confusion"],
            image_shape=tuple(about["image_shape"]),
            model_name=about["model_name"],
            model=model,
            decoder_name=about["decoder_name"],
            decoder_options=about["decoder_options"],
            device=device,
        )


def _about(arrays: Mapping[str, NDArray[Any]], path: str | Path) -> dict[str, Any]:
    text = str(arrays["about"]) if "about" in arrays else "{}"
    about: dict[str, Any] = json.loads(text)
    missing = {_STATE + key for key in about.get("state_keys", [])} - set(arrays)
    if about.get("format") != _FORMAT or missing:
        raise ParameterError(str(path), f"must be a file of the format {_FORMAT!r}", about.get("format"))
    return about
