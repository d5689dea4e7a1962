"""An image in place of an update: what the owner, one party and enough parties hold of it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from flower_coded.crypto.field_vectors import FIELD_MODULUS, from_ints
from flower_coded.crypto.ramp_sharing import RampSharing
from flower_coded.errors import ParameterError
from flower_coded.reporting.share_pictures import draw_shared_image, field_fractions

IMAGES = np.random.default_rng(3).random((2, 1, 8, 8), dtype=np.float32)


def sharing(num_colluders: int) -> RampSharing:
    return RampSharing(
        num_users=12, num_attackers=1, num_dropouts=0, num_parts=2, num_colluders=num_colluders
    )


def shown(figure: Any) -> list[NDArray[Any]]:
    return [np.asarray(axes.get_images()[0].get_array()) for axes in figure.axes]


@pytest.mark.parametrize(("num_colluders", "curious"), [(1, ()), (2, (5, 3)), (2, (7,))])
def test_enough_shares_rebuild_the_image_and_one_is_noise(
    num_colluders: int, curious: tuple[int, ...]
) -> None:
    figure = draw_shared_image(sharing(num_colluders), *IMAGES, curious)
    image, share, rebuilt, other = shown(figure)
    np.testing.assert_allclose(rebuilt, image, atol=5e-4)  # half a step of the quantization
    np.testing.assert_allclose(other, IMAGES[1, 0], atol=5e-4)
    assert abs(float(np.corrcoef(image.ravel(), share.ravel())[0, 1])) < 0.6  # 64 pixels: 5 sigma
    assert figure.axes[2].get_title() == f"{2 + num_colluders} shares"


def test_images_of_two_shapes_are_refused() -> None:
    with pytest.raises(ParameterError, match="shape"):
        draw_shared_image(sharing(1), IMAGES[0], IMAGES[1, :, :4])


def test_field_fractions__lie_where_the_elements_do() -> None:
    elements = from_ints([0, FIELD_MODULUS // 4, FIELD_MODULUS - 1])
    np.testing.assert_allclose(field_fractions(elements), [0, 0.25, 1], atol=1e-15)
