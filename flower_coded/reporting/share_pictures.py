"""What shares show: an image in the place of an update, as its owner, one party and enough parties hold it.

A server that aggregates secret shares has no update to show. So an image is shared with the parameters of the
run. One share of it is noise. Any ``T`` shares leave every image possible, which the last picture proves by
example: another image, and masks under which those ``T`` parties would hold exactly the same shares.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from flower_coded.crypto.field_products import matmul_constant
from flower_coded.crypto.field_vectors import (
    FIELD_MODULUS,
    FieldArray,
    from_signed_int64,
    subtract,
    to_signed_ints,
)
from flower_coded.crypto.ramp_sharing import RampSharing, power_matrix
from flower_coded.crypto.reed_solomon import ReedSolomonCode
from flower_coded.errors import ParameterError
from flower_coded.reporting.pictures import draw_images

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["draw_shared_image", "field_fractions"]

_STEP = 1e-3  # of the gray values that are shared


def draw_shared_image(
    sharing: RampSharing,
    image: NDArray[np.float32],
    other: NDArray[np.float32],
    curious: Sequence[int] = (),
) -> Figure:
    """Draw an image, one share of it, the image rebuilt, and another image with the same ``T`` shares.

    Parameters
    ----------
    sharing : RampSharing
        ``T`` users may put their shares together.
    image, other : ndarray of shape (1, H, W)
        Gray values in [0, 1].
    curious : sequence of int
        Users whose shares are looked at, the first one's drawn; at most ``T`` count, and others are added up
        to ``T``.

    Raises
    ------
    ParameterError
        If the images differ in shape.

    Examples
    --------
    >>> sharing = RampSharing(num_users=6, num_attackers=1, num_dropouts=0, num_parts=1, num_colluders=1)
    >>> images = np.random.default_rng(0).random((2, 1, 4, 4), dtype=np.float32)
    >>> [axes.get_title() for axes in draw_shared_image(sharing, *images).axes]
    ['the image', 'one share', '2 shares', 'another image']
    """
    if image.shape != other.shape:
        raise ParameterError("other", f"must have the image's shape {image.shape}", other.shape)
    secret, decoy = _as_field(image), _as_field(other)
    parts, decoy_parts = sharing.split(secret), sharing.split(decoy)
    shares = sharing.share(parts, sharing.draw_masks(parts.shape[1]))
    users = list(range(sharing.num_shares_needed))
    rebuilt = sharing.join(sharing.reconstruct(shares[users], users=users), length=len(secret))
    colluders = list(dict.fromkeys([*curious, *range(sharing.num_users)]))[: sharing.num_colluders]
    decoy_masks = _masks_that_explain(sharing, shares, decoy_parts, colluders)
    assert (sharing.share(decoy_parts, decoy_masks)[colluders] == shares[colluders]).all()
    noise = np.resize(field_fractions(shares[colluders[0]]), image.size).reshape(image.shape)
    shown = np.stack([image, noise, _values(rebuilt, image.shape), _values(decoy, image.shape)])
    titles = ["the image", "one share", f"{len(users)} shares", "another image"]
    return draw_images(shown, titles=titles, num_columns=4)


def field_fractions(elements: FieldArray) -> NDArray[np.float64]:
    """Give field elements as fractions of the modulus, to the precision of their highest 64 bits.

    Examples
    --------
    >>> from flower_coded.crypto.field_vectors import zeros
    >>> field_fractions(zeros(2))
    array([0., 0.])
    """
    fractions: NDArray[np.float64] = elements[..., 3].astype(float) / (FIELD_MODULUS / 2.0**192)
    return fractions


def _masks_that_explain(
    sharing: RampSharing, shares: FieldArray, parts: FieldArray, users: list[int]
) -> FieldArray:
    """Return the masks under which ``users`` would hold the same shares of other parts."""
    points = [sharing.points[user] for user in users]
    of_parts = matmul_constant(power_matrix(points, range(sharing.num_parts)), parts)
    rest = subtract(shares[users], of_parts)  # = diag(alpha**K) V masks
    inverse = ReedSolomonCode(tuple(points), len(points)).interpolation_matrix(range(len(points)))
    scaled = [
        [
            entry * pow(point, -sharing.num_parts, FIELD_MODULUS)
            for entry, point in zip(row, points, strict=True)
        ]
        for row in inverse
    ]
    return matmul_constant(scaled, rest)


def _as_field(image: NDArray[np.float32]) -> FieldArray:
    return from_signed_int64(np.rint(image.ravel() / _STEP).astype(np.int64))


def _values(elements: FieldArray, shape: tuple[int, ...]) -> NDArray[np.float64]:
    return np.array(to_signed_ints(elements), dtype=float).reshape(shape) * _STEP
