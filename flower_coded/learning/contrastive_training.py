"""Training loops of contrastive output codes: pretrain, code book, fine-tune.

Source: Chou & Chen, "Contrastive ECOC", 2025, Sections 2.2 to 2.4. The three variants differ in what happens
to the code book while fine-tuning:

* ACL-PF: pretrain, make the code book once (eq. 3), fine-tune with it fixed (eq. 9).
* ACL-CFPC: the code book follows the weights batch by batch, and eq. 10 joins the loss (eq. 11). Means are
  taken over the batch, with their gradient; a class missing from a batch keeps its last mean.
* ACL-TFC: a network with new weights is fine-tuned with CFPC's last code book fixed.

The loops train one network on one user's images. Federation needs no more: code book sums and counts add up
over users (:func:`class_word_sums`), and weights are averaged as ever.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from flower_coded.errors import ParameterError
from flower_coded.learning import codeword_losses as losses
from flower_coded.learning.adversarial_training import UNATTACKED, AdversarialTraining, adversarial_loss
from flower_coded.learning.byol import TargetNetwork
from flower_coded.learning.output_code_network import OutputCodeNetwork
from flower_coded.learning.training import (
    TrainReport,
    TrainSettings,
    choose_device,
    predict_logits,
    train_with,
)

__all__ = [
    "CONTRASTIVE_METHODS",
    "ContrastiveSettings",
    "class_word_sums",
    "fine_tune",
    "pretrain",
    "simclr_augmentation",
]

CONTRASTIVE_METHODS = ("simclr", "byol")

Augmentation = Callable[[Tensor], Tensor]
"""Takes and returns a batch of images (B, C, H, W) in [0, 1]."""


@dataclass(frozen=True)
class ContrastiveSettings:
    """Weights and temperatures of the losses.

    Parameters
    ----------
    temperature : float
        τ of eqs. 2 and 4.
    column_weight : float
        λ of eq. 8, for the mean over pairs of bits of the squared correlation.
    margin : float
        Margin of eq. 7.
    probability_temperature : float
        Temperature of eq. 5; 1 in the paper.
    code_book_momentum : float
        Share of the last mean that a class keeps when a batch brings a new one; 0 follows the batch at once.
    contrastive : {"simclr", "byol"}
        What pretraining minimizes beside column separation: InfoNCE (eq. 2), or BYOL's loss in its place.
    target_momentum : float
        Of BYOL's target network at the first step of a call; the paper's 0.996 is for a million steps.

    Raises
    ------
    ParameterError
        If a number is outside its range.
    """

    temperature: float = 0.5
    column_weight: float = 1.0
    margin: float = 0.5
    probability_temperature: float = 1.0
    code_book_momentum: float = 0.5
    contrastive: str = "simclr"
    target_momentum: float = 0.99

    def __post_init__(self) -> None:
        for name in ("temperature", "probability_temperature"):
            if not getattr(self, name) > 0.0:
                raise ParameterError(name, "must be positive", getattr(self, name), hint="0.5")
        if not self.column_weight >= 0.0:
            raise ParameterError("column_weight", "must not be negative", self.column_weight, hint="1.0")
        if not -1.0 <= self.margin <= 1.0:
            raise ParameterError("margin", "must be a cosine", self.margin, hint="0.5, as in the paper")
        for name, usual in (("code_book_momentum", "0.5"), ("target_momentum", "0.99")):
            if not 0.0 <= getattr(self, name) < 1.0:
                raise ParameterError(name, "must lie in [0, 1)", getattr(self, name), hint=usual)
        if self.contrastive not in CONTRASTIVE_METHODS:
            names = ", ".join(CONTRASTIVE_METHODS)
            raise ParameterError("contrastive", f"must be one of {names}", self.contrastive)


def simclr_augmentation(
    image_shape: tuple[int, int, int], *, flip: bool, images_per_draw: int = 4
) -> Augmentation:
    """SimCLR's random views, by torchvision's transforms, on the device of the images.

    Crops of 40 to 100 % of the area resized back, flips if they keep the class, and for color images jitter
    and grayscale; images below 16 pixels are cropped less (70 to 100 %) and shifted by up to a pixel.

    Parameters
    ----------
    image_shape : (int, int, int)
        Channels, height, width.
    flip : bool
        Mirror left and right; wrong for digits and traffic signs.
    images_per_draw : int
        Images that share one draw of the parameters: torchvision draws once per call, and 1 is slow.

    Returns
    -------
    callable
        Draws from torch's global generator.

    Raises
    ------
    ParameterError
        If ``images_per_draw`` is below 1.
    """
    from torchvision.transforms import v2

    if images_per_draw < 1:
        raise ParameterError("images_per_draw", "must be at least 1", images_per_draw)
    channels, height, width = image_shape
    is_small = min(height, width) < 16
    steps: list[nn.Module] = [
        v2.RandomResizedCrop((height, width), scale=(0.7 if is_small else 0.4, 1.0), antialias=True)
    ]
    if is_small:
        steps.append(v2.RandomAffine(degrees=10, translate=(1 / width, 1 / height)))
    if flip:
        steps.append(v2.RandomHorizontalFlip())
    if channels == 3:
        steps += [v2.RandomApply([v2.ColorJitter(0.4, 0.4, 0.4, 0.1)], p=0.8), v2.RandomGrayscale(0.2)]
    view = v2.Compose(steps)

    def augment(images: Tensor) -> Tensor:
        return torch.cat([view(group) for group in torch.split(images, images_per_draw)]).clamp(0.0, 1.0)

    return augment


def pretrain(
    network: OutputCodeNetwork,
    images: NDArray[np.float32],
    *,
    training: TrainSettings,
    settings: ContrastiveSettings,
    augment: Augmentation,
    device: str = "cpu",
) -> TrainReport:
    """Train without labels: InfoNCE or BYOL on two views plus λ times column separation (eq. 8).

    Parameters
    ----------
    network : OutputCodeNetwork
        Trained in place, projection head (and BYOL's predictor) included.
    images : ndarray of shape (N, C, H, W), float32
        Pixels in [0, 1].
    training : TrainSettings
        Epochs, batch size, learning rate, weight decay, seed.
    settings : ContrastiveSettings
        Temperature and λ.
    augment : callable
        Random views, for example :func:`simclr_augmentation`.
    device : str
        ``"cpu"``, ``"cuda"`` or ``"cuda:0"``.

    Returns
    -------
    TrainReport
    """
    num_pairs = max(1, network.num_bits * (network.num_bits - 1) // 2)
    target, after_step = None, None
    if settings.contrastive == "byol":
        num_steps = training.epochs * -(-len(images) // training.batch_size)
        network.to(choose_device(device))  # before it is copied
        target = TargetNetwork(network, momentum=settings.target_momentum, num_steps=num_steps)
        after_step = target.follow

    def loss_of(pixels: Tensor, _labels: Tensor) -> Tensor:
        views = augment(pixels), augment(pixels)
        words = network(views[0]), network(views[1])
        if target is None:
            first, second = (network.project(each) for each in words)
            contrast = losses.info_nce(first, second, temperature=settings.temperature)
        else:
            contrast = target.loss(words, views)
        columns = losses.column_separation(torch.cat(words)) / num_pairs
        return contrast + settings.column_weight * columns

    unlabeled = np.zeros(len(images), np.int64)
    return train_with(
        loss_of, network, images, unlabeled, settings=training, after_step=after_step, device=device
    )


def fine_tune(
    network: OutputCodeNetwork,
    images: NDArray[np.float32],
    labels: NDArray[np.int64],
    code_book: NDArray[np.float64],
    *,
    training: TrainSettings,
    settings: ContrastiveSettings,
    update_code_book: bool,
    adversarial: AdversarialTraining = UNATTACKED,
    after_epoch: Callable[[int], None] | None = None,
    device: str = "cpu",
) -> tuple[NDArray[np.float64], TrainReport]:
    """Train with labels against a code book: eq. 9, or eq. 11 with the code book following the weights.

    Parameters
    ----------
    network, images, training, settings, device
        As for :func:`pretrain`; the projection head is left alone.
    labels : ndarray of shape (N,), int64
    code_book : ndarray of shape (num_classes, num_bits), float64
        Codeword per class to begin with; it is not modified.
    update_code_book : bool
        False for ACL-PF and ACL-TFC, True for ACL-CFPC.
    adversarial : AdversarialTraining
        Whether the images are attacked while it learns. The search climbs eq. 6 against the code book as the
        last batch left it; a code book that follows is moved by the words that the loss is taken of, which
        are those of attacked images under ``madry`` and of clean ones under ``trades``.
    after_epoch : callable, optional
        See :func:`~flower_coded.learning.training.train_with`.

    Returns
    -------
    (ndarray of shape (num_classes, num_bits), TrainReport)
        The code book as the last batch left it. To use the network, make it anew by eq. 3.

    Raises
    ------
    ParameterError
        If the code book does not fit the network.
    """
    if code_book.ndim != 2 or code_book.shape[1] != network.num_bits:
        raise ParameterError(
            "code_book", f"must have shape (num_classes, {network.num_bits})", code_book.shape
        )
    target = choose_device(device)
    remembered = torch.tensor(code_book, dtype=torch.float32, device=target)

    def loss_of_words(words: Tensor, classes: Tensor) -> Tensor:
        nonlocal remembered
        book = remembered
        if update_code_book:
            book = _follow(remembered, words, classes, settings.code_book_momentum)
            remembered = book.detach()
        total = (
            losses.codeword_cross_entropy(words, classes, book, temperature=settings.probability_temperature)
            + losses.codeword_hinge(words, classes, book, margin=settings.margin)
            + losses.row_separation(words, classes, book, temperature=settings.temperature)
        )
        return total + losses.maximum_cosine(book) if update_code_book else total

    def log_probabilities(words: Tensor) -> Tensor:
        return losses.class_log_probabilities(words, remembered, temperature=settings.probability_temperature)

    loss_of = adversarial_loss(network, loss_of_words, log_probabilities, adversarial)
    report = train_with(
        loss_of, network, images, labels, settings=training, after_epoch=after_epoch, device=device
    )
    return remembered.cpu().numpy().astype(np.float64), report


def class_word_sums(
    network: OutputCodeNetwork,
    images: NDArray[np.float32],
    labels: NDArray[np.int64],
    num_classes: int,
    *,
    batch_size: int = 1024,
    device: str = "cpu",
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Add up and count the predicted codewords per class: what one user contributes to eq. 3.

    Parameters
    ----------
    network : OutputCodeNetwork
    images : ndarray of shape (N, C, H, W), float32
    labels : ndarray of shape (N,), int64
    num_classes : int
        K.
    batch_size : int
        Images at a time.
    device : str
        ``"cpu"``, ``"cuda"`` or ``"cuda:0"``.

    Returns
    -------
    (ndarray of shape (num_classes, num_bits) float64, ndarray of shape (num_classes,) int64)
    """
    words = predict_logits(network, images, batch_size=batch_size, device=device).astype(np.float64)
    sums, counts = losses.codeword_sums(torch.from_numpy(words), torch.tensor(labels), num_classes)
    return sums.numpy(), counts.numpy().astype(np.int64)


def _follow(remembered: Tensor, words: Tensor, classes: Tensor, momentum: float) -> Tensor:
    """Code book moved toward the batch means, with their gradient; absent classes stay."""
    sums, counts = losses.codeword_sums(words, classes, remembered.shape[0])
    means = sums / counts.clamp_min(1.0)[:, None]
    moved = momentum * remembered + (1.0 - momentum) * means
    return torch.where(counts[:, None] > 0, moved, remembered)
