"""One reference string for all tests of the protocol, and rounds of many shapes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from flower_coded.crypto.backends import get_backend
from flower_coded.crypto.fixed_point import FixedPoint
from flower_coded.crypto.ramp_sharing import RampSharing
from flower_coded.crypto.srs import ReferenceString, generate_reference_string
from flower_coded.protocols.ramp_krum.commitments import Schemes
from flower_coded.protocols.ramp_krum.parameters import RampKrumParameters

MakeSchemes = Callable[..., Schemes]


@pytest.fixture(scope="session")
def reference() -> ReferenceString:
    return generate_reference_string(64)


@pytest.fixture(scope="session")
def reference_in_python() -> ReferenceString:
    return generate_reference_string(24, backend=get_backend("py_ecc"))


@pytest.fixture(scope="session")
def make_schemes(reference: ReferenceString) -> MakeSchemes:
    """Schemes for a small round; N, K, T, A, D by the letters, options by name (all off, for speed)."""

    def make(
        n: int = 11, k: int = 2, t: int = 1, a: int = 2, d: int = 2, *, num_bits: int = 16, **options: Any
    ) -> Schemes:
        sharing = RampSharing(n, k, t, a, d)
        lean = {"is_blinded": False, "hides_products": False, "num_range_checks": 0}
        options = {"num_selected": 2, "length": 12, "chunk_size": 32} | lean | options
        parameters = RampKrumParameters(sharing, fixed_point=FixedPoint(num_bits), **options)
        return Schemes.create(parameters, options.pop("reference", reference))

    return make


@pytest.fixture(scope="session")
def make_updates() -> Callable[..., dict[int, np.ndarray]]:
    """Quantized updates around a common direction, as honest users' are."""

    def make(parameters: RampKrumParameters, seed: int = 0) -> dict[int, np.ndarray]:
        generator = np.random.default_rng(seed)
        limit = parameters.fixed_point.max_integer
        center = generator.integers(-limit // 2, limit // 2, size=parameters.length)
        spread = max(limit // 50, 1)
        return {
            user: np.clip(
                center + generator.integers(-spread, spread + 1, size=parameters.length), -limit, limit
            )
            for user in range(parameters.sharing.num_users)
        }

    return make
