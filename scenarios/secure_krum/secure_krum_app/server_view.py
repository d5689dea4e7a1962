"""The page that shows a class what the server saw, and what it could not see.

The server has no update to show: it never had one. So an image stands in for an update, shared with the
parameters of the run, and the page shows what each party holds of it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import chi2

from flower_coded.codes.reed_solomon import ReedSolomonCode
from flower_coded.crypto.field_products import matmul_constant
from flower_coded.crypto.field_vectors import (
    FIELD_MODULUS,
    FieldArray,
    from_signed_int64,
    random_elements,
    subtract,
    to_signed_ints,
    zeros,
)
from flower_coded.crypto.ramp_sharing import RampSharing, power_matrix
from flower_coded.protocols.ramp_krum.parameters import RampKrumParameters
from flower_coded.reporting import Report, RunDirectory, draw_images
from flower_coded.reporting.figures import new_figure
from flower_coded.strategies import RampKrumRound

_BINS = 32
_SAMPLES = 16_384


def write_server_view(
    run: RunDirectory,
    config: dict[str, Any],
    parameters: RampKrumParameters,
    last: RampKrumRound | None,
    images: NDArray[np.float32],
) -> Path:
    """Write ``what_the_server_saw.html`` and its pictures."""
    sharing = parameters.sharing
    listed = [int(user) for user in str(config["curious"]).split(",") if user.strip()]
    curious = listed[: sharing.num_colluders]
    report = Report("What the server saw", subtitle="and what it could not see, whatever it did with it")
    report.add_text(_summary(parameters, last))
    pictures = _pictures(sharing, images[0, :1], images[1, :1], curious)
    run.write_figure(pictures, "pictures")
    report.add_heading("An image in place of an update").add_figure(
        pictures,
        caption=f"An image shared as an update is (K = {sharing.num_parts}, T = {sharing.num_colluders}). "
        f"One user's share is noise; K + T = {sharing.num_shares_needed} shares rebuild the image. With the "
        f"shares of the curious users {curious or 'none'} alone every image is equally possible: the last "
        "picture is another image, and with the right masks it has exactly the same shares.",
    )
    histograms, p_values = _histograms(sharing)
    run.write_figure(histograms, "histograms")
    report.add_heading("Shares are uniform").add_figure(
        histograms,
        caption="Left: entries of an update, as its owner knows them. Right: one user's share of it, as "
        f"fractions of r. Chi-squared test of uniformity of {sharing.num_users} users' shares: p-values "
        f"from {min(p_values):.2f} to {max(p_values):.2f}; uniform data give less than 0.001 once in a "
        "thousand.",
    )
    report.add_text(_explanation(parameters))
    return report.write(run.path / "what_the_server_saw.html")


def _summary(parameters: RampKrumParameters, last: RampKrumRound | None) -> str:
    sharing, num_dealers = parameters.sharing, 0
    if last is not None and last.report.outcome is not None:
        num_dealers = len(last.report.outcome.selection.scores)
    products = "with one squared distance and further inner products each"
    if parameters.hides_products:
        products = "in which only one coefficient, the squared distance of two updates, was not random"
    return (
        f"In the last round that ended with a result the server held: {parameters.num_commitments} "
        "commitments of each user, points of a curve; sealed boxes that it passed on and could not open; "
        f"{num_dealers * (num_dealers - 1) // 2} polynomials of degree "
        f"{sharing.num_product_coefficients - 1}, {products}; masked sums of random subsets of entries; and "
        f"shares of one sum, that of {parameters.num_selected} users."
    )


def _explanation(parameters: RampKrumParameters) -> str:
    together = "only as far as the products go: they are not masked in this run, see docs/ramp_krum.md."
    if parameters.hides_products:
        together = "as well: what it adds is distances and the sum."
    return (
        "**Why no computer helps.** T shares are T equations in the K parts and T masks. For any choice of "
        "the parts exactly one choice of masks satisfies them, and all masks are equally likely. That "
        f"holds for the server together with any T users {together}\n\n**What is learned.** All distances "
        f"between updates, and the mean of {parameters.num_selected} of them. Whoever knows all but one of "
        "the selected updates knows the last one from the mean."
    )


def _pictures(
    sharing: RampSharing, image: NDArray[np.float32], other: NDArray[np.float32], curious: list[int]
) -> Any:
    secret, decoy = _as_field(image), _as_field(other)
    parts, decoy_parts = sharing.split(secret), sharing.split(decoy)
    masks = sharing.draw_masks(parts.shape[1])
    shares = sharing.share(parts, masks)
    users = list(range(sharing.num_shares_needed))
    rebuilt = sharing.join(sharing.reconstruct(shares[users], users=users), length=len(secret))
    colluders = curious or list(range(sharing.num_colluders))
    colluders = (colluders + [u for u in range(sharing.num_users) if u not in colluders])[
        : sharing.num_colluders
    ]
    decoy_masks = _masks_that_explain(sharing, shares, decoy_parts, colluders)
    assert (sharing.share(decoy_parts, decoy_masks)[colluders] == shares[colluders]).all()
    share = _fractions(np.resize(_fractions(shares[colluders[0]]), image.size), image.shape)
    shown = np.stack([image, share, _values(rebuilt, image.shape), _values(decoy, image.shape)])
    titles = ["the image", "one share", f"{len(users)} shares", "another image"]
    return draw_images(shown, titles=titles, num_columns=4)


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


def _histograms(sharing: RampSharing) -> tuple[Any, list[float]]:
    generator = np.random.default_rng(0)
    update = np.rint(generator.laplace(scale=300, size=_SAMPLES)).astype(np.int64)
    parts = np.concatenate([from_signed_int64(update)[np.newaxis], zeros(sharing.num_parts - 1, _SAMPLES)])
    shares = sharing.share(parts, random_elements(sharing.num_colluders, _SAMPLES))
    figure = new_figure(1, 2, size=(8, 2.8))
    left, right = figure.axes
    left.hist(update, bins=80)
    left.set_title("an update's entries")
    left.set_xlabel("quantised value")
    left.set_xticks([-2000, 0, 2000])
    right.hist(_fractions(shares[0]), bins=_BINS, range=(0, 1))
    right.set_title("one user's share of them")
    right.set_xlabel("fraction of r")
    figure.tight_layout()
    return figure, [_uniformity(_fractions(share)) for share in shares]


def _uniformity(values: NDArray[np.float64]) -> float:
    counts, _ = np.histogram(values, bins=_BINS, range=(0, 1))
    expected = len(values) / _BINS
    return float(chi2.sf(((counts - expected) ** 2 / expected).sum(), _BINS - 1))


def _as_field(image: NDArray[np.float32]) -> FieldArray:
    return from_signed_int64(np.rint(image.ravel() * 1000).astype(np.int64))


def _values(elements: FieldArray, shape: tuple[int, ...]) -> NDArray[np.float64]:
    return np.array(to_signed_ints(elements), dtype=float).reshape(shape) / 1000


def _fractions(elements: Any, shape: tuple[int, ...] | None = None) -> NDArray[np.float64]:
    values = (
        elements if elements.dtype == float else elements[..., 3].astype(float) / (FIELD_MODULUS / 2.0**192)
    )
    result: NDArray[np.float64] = values if shape is None else values.reshape(shape)
    return result
