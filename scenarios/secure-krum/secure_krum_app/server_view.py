"""The page that shows a class what the server saw, and what it could not see.

The server has no update to show: it never had one. So an image stands in for an update, shared with the
parameters of the run, and the page shows what each party holds of it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import chdtrc

from flower_coded.crypto.field_vectors import from_signed_int64, random_elements, zeros
from flower_coded.crypto.ramp_sharing import RampSharing
from flower_coded.protocols.ramp_krum.parameters import RampKrumParameters
from flower_coded.reporting import Report, RunDirectory
from flower_coded.reporting.figures import new_figure
from flower_coded.reporting.share_pictures import draw_shared_image, field_fractions
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
    pictures = draw_shared_image(sharing, images[0, :1], images[1, :1], curious)
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
    report.add_text("[Back to the report of the run](report.html)")
    return report.write(run.path / "what_the_server_saw.html")


def _summary(parameters: RampKrumParameters, last: RampKrumRound | None) -> str:
    sharing, num_dealers = parameters.sharing, 0
    if last is not None and last.selection is not None:
        num_dealers = len(last.selection.scores)
    products = "with one squared distance and further sums of products each"
    if parameters.hides_products:
        products = "in which only one number, the squared distance of two updates, was not random"
    return (
        f"In the last round that ended with a result the server held: {parameters.num_commitments} "
        "commitments of each user, points of a curve; encrypted shares that it passed on and could not open; "
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


def _histograms(sharing: RampSharing) -> tuple[Any, list[float]]:
    generator = np.random.default_rng(0)
    update = np.rint(generator.laplace(scale=300, size=_SAMPLES)).astype(np.int64)
    parts = np.concatenate([from_signed_int64(update)[np.newaxis], zeros(sharing.num_parts - 1, _SAMPLES)])
    shares = sharing.share(parts, random_elements(sharing.num_colluders, _SAMPLES))
    figure = new_figure(1, 2, size=(8, 2.8))
    left, right = figure.axes
    left.hist(update, bins=80)
    left.set_title("an update's entries")
    left.set_xlabel("quantized value")
    left.set_xticks([-2000, 0, 2000])
    right.hist(field_fractions(shares[0]), bins=_BINS, range=(0, 1))
    right.set_title("one user's share of them")
    right.set_xlabel("fraction of r")
    figure.tight_layout()
    return figure, [_uniformity(field_fractions(share)) for share in shares]


def _uniformity(values: NDArray[np.float64]) -> float:
    counts, _ = np.histogram(values, bins=_BINS, range=(0, 1))
    expected = len(values) / _BINS
    return float(chdtrc(_BINS - 1, ((counts - expected) ** 2 / expected).sum()))
