"""BREA as the baseline: Shamir sharing, one share of full length per user, every entry committed on its own.

BREA [1]_ is what ramp-shared multi-Krum becomes for K = 1 with commitments to single entries, so it runs on
the same code. Feldman's commitments cover the T masks and the entry itself, (T + 1) N L group elements; the
paper's Table I prints T N L for it. The entries' commitments are multiples of one generator each, as
Feldman's are.

References
----------
.. [1] J. So, B. Güler, A. S. Avestimehr, "Byzantine-resilient secure federated learning", IEEE Journal on
   Selected Areas in Communications 39 (7), 2020.
"""

from __future__ import annotations

from dataclasses import replace

from flower_coded.protocols.ramp_krum.parameters import RampKrumParameters

__all__ = ["brea_parameters"]


def brea_parameters(parameters: RampKrumParameters) -> RampKrumParameters:
    """Return the parameters under which the protocol is BREA, for the same N, T, A, D, m, L and bits.

    Examples
    --------
    >>> from flower_coded.crypto.ramp_sharing import RampSharing
    >>> sharing = RampSharing(num_users=12, num_parts=3, num_colluders=1, num_attackers=1, num_dropouts=1)
    >>> brea = brea_parameters(RampKrumParameters(sharing, num_selected=4, length=300))
    >>> brea.sharing.num_parts, brea.num_commitments  # per user, (T + 1) L
    (1, 600)
    """
    return replace(
        parameters,
        sharing=replace(parameters.sharing, num_parts=1),
        chunk_size=1,
        is_blinded=False,
        hides_products=False,
        is_paper_form=True,
    )
