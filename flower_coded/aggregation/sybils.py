"""FoolsGold: clients whose updates of all rounds are too much alike are sybils, and lose their weight.

Fung, Yoon and Beschastnikh [1]_ (Algorithm 1) keep of every client ``i`` the sum ``H_i`` of its updates. With
the cosines ``cs_ij`` of these sums and ``v_i = max_j cs_ij``, honest clients that resemble a sybil are
pardoned: ``cs_ij <- cs_ij v_i / v_j`` where ``v_j > v_i``. A client's weight is ``a_i = 1 - max_j cs_ij``,
clipped to [0, 1], divided by the largest, and sharpened: ``a_i <- ln(a_i / (1 - a_i)) + 1/2``, clipped to [0,
1] again.

The rule asks neither for a number of liars nor for a majority, and looks at directions only: one single liar,
however large, is nobody's twin and keeps its weight. The paper sums the weighted gradients; for updates of
models the weighted mean is taken here. The paper compares the features that matter to the output layer; here
it is the last ``last_coordinates`` entries, or all.

Nothing smaller than the sums will do where all entries are compared. The next round's cosines need the inner
products ``<H_i, u_j>`` with updates that nobody knows yet, and whoever can tell them for every ``u`` can tell
``H_i`` itself, entry by entry, from ``u = (1, 0, ..)``, ``(0, 1, 0, ..)`` and so on. So ``n k`` numbers stay
from round to round. What a round takes beside them is a block of columns.

References
----------
.. [1] C. Fung, C. J. M. Yoon, I. Beschastnikh, "The limitations of federated learning in sybil settings",
   RAID 2020.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from flower_coded.aggregation.blocks import centered_products, combine_rows, run_blocks
from flower_coded.aggregation.flame import cosines
from flower_coded.aggregation.lazy_rows import LazyRows, block_reader, stored_rows
from flower_coded.aggregation.vectors import device_float64, finite_rows, host_view, take_rows, takes_vectors
from flower_coded.codes.array_namespace import Array, constant_like, namespace_of
from flower_coded.errors import DecodingError, ParameterError

__all__ = ["add_to_history", "check_last_coordinates", "fools_gold", "fools_gold_weights", "last_of"]


@takes_vectors
def fools_gold(vectors: Array, history: Array | None = None, *, num_threads: int = 1) -> Array:
    """Weigh the vectors by how little their senders' sums resemble each other.

    Parameters
    ----------
    vectors : array of shape (n, d)
        NumPy or torch. Rows that are not finite, or whose sum is too long to be squared, get no weight.
    history : array of shape (n, k) or None
        ``H_i``, the sum of each sender's updates, this one included; the vectors themselves if absent.
    num_threads : int
        Threads that share the work on a CPU.

    Returns
    -------
    array of shape (d,), float64

    Raises
    ------
    ParameterError
        If the shapes do not fit.
    DecodingError
        If no row is finite, or all are each other's twins.

    Examples
    --------
    >>> vectors = np.array([[1.0, 0.0], [0.0, 1.0], [-3.0, -3.0], [-3.0, -3.0]])
    >>> fools_gold(vectors)
    array([0.5, 0.5])
    """
    finite = finite_rows(vectors)
    sums = vectors if history is None else history
    if len(sums) != len(vectors):
        raise ParameterError("history", f"must have {len(vectors)} rows", tuple(sums.shape))
    usable = np.flatnonzero(finite & finite_rows(sums))  # a sum may overflow where its terms do not
    if not len(usable):
        raise DecodingError("no sender has a finite sum", received=0, needed=1)
    among = take_rows(sums, usable) if len(usable) < len(sums) else sums
    origin = constant_like(np.zeros(int(sums.shape[1])), stored_rows(sums))
    products = centered_products(among, origin, num_threads=num_threads)
    has_length = np.isfinite(np.diag(products))
    usable, products = usable[has_length], products[np.ix_(has_length, has_length)]
    weights = fools_gold_weights(cosines(products))
    if not weights.any():
        raise DecodingError("all vectors are alike: everybody looks like a sybil", received=0, needed=1)
    weighted = weights > 0
    chosen = take_rows(vectors, usable[weighted])
    return combine_rows(weights[weighted] / weights.sum(), chosen, num_threads=num_threads)


def fools_gold_weights(similarity: NDArray[np.float64]) -> NDArray[np.float64]:
    """Weights from the cosines of the senders' sums.

    Parameters
    ----------
    similarity : ndarray of shape (n, n)
        ``cs_ij``.

    Returns
    -------
    ndarray of shape (n,), float64
        In [0, 1]; all zero if all are each other's twins.

    Examples
    --------
    >>> fools_gold_weights(np.array([[1.0, 0.5, 0.0], [0.5, 1.0, 0.0], [0.0, 0.0, 1.0]]))
    array([0.5, 0.5, 1. ])
    """
    count = len(similarity)
    if count < 2:
        return np.ones(count)
    # Below zero is no resemblance: the weight would be clipped to 1 later anyway.
    others = np.where(np.eye(count, dtype=bool), 0.0, np.maximum(similarity, 0.0))
    most = others.max(axis=1)
    with np.errstate(divide="ignore", invalid="ignore"):
        pardoned = np.where(most[None, :] > most[:, None], others * most[:, None] / most[None, :], others)
    weights = np.clip(1.0 - pardoned.max(axis=1), 0.0, 1.0)
    # Twins have the cosine 1 up to rounding.
    weights[weights < 1e-12] = 0.0
    if not weights.any():
        return np.asarray(weights)
    weights = weights / weights.max()
    with np.errstate(divide="ignore"):
        sharpened = np.log(weights / (1.0 - weights)) + 0.5
    return np.asarray(np.clip(sharpened, 0.0, 1.0))


def last_of(vectors: Array, number: int | None) -> Array:
    """View the last columns, or all.

    Examples
    --------
    >>> last_of(np.arange(6.0).reshape(2, 3), 2)
    array([[1., 2.],
           [4., 5.]])
    """
    dimension = int(vectors.shape[1])
    if number is None or number >= dimension:
        return vectors
    if isinstance(vectors, LazyRows):
        return vectors.over(last_of(vectors.rows, number))
    return vectors[:, dimension - number :]


@takes_vectors
def add_to_history(
    vectors: Array,
    participants: Sequence[int] | None,
    memory: Mapping[str, Array],
    last_coordinates: int | None = None,
    *,
    num_threads: int = 1,
) -> tuple[Array, dict[str, Array]]:
    """Add this round's updates to their senders' sums.

    Parameters
    ----------
    vectors : array of shape (n, d)
        Of the round. Rows that are not finite add nothing.
    participants : sequence of n int, or None
        Who sent them; the number of the row if absent.
    memory : mapping
        What this function gave back in the round before; empty in the first.
    last_coordinates : int or None
        How many columns are kept of each sum.
    num_threads : int
        Threads that share the work on a CPU.

    Returns
    -------
    (array of shape (n, k) or LazyRows, dict)
        The senders' sums, in the type of the vectors, or of what they are made of, at least float32; and the
        memory: ``participants`` (m,) and ``sums`` (m, k), which no later call changes.

    Raises
    ------
    ParameterError
        If the vectors have another length than before, or two rows have one sender.

    Examples
    --------
    >>> from flower_coded.aggregation.blocks import stored
    >>> _, memory = add_to_history(np.array([[1.0], [2.0]]), (5, 8), {})
    >>> sums, _ = add_to_history(np.array([[4.0], [1.0]]), (8, 3), memory)
    >>> stored(sums)
    array([[6.],
           [1.]])
    """
    finite = finite_rows(vectors)
    senders = np.arange(len(finite)) if participants is None else np.asarray(participants)
    if len(senders) != len(finite) or len(np.unique(senders)) != len(senders):
        raise ParameterError("participants", f"must be {len(finite)} different numbers", tuple(senders))
    seen = last_of(vectors, last_coordinates)
    known = np.asarray(memory.get("participants", np.zeros(0, np.int64)))
    everybody = np.concatenate([known, np.setdiff1d(senders, known)])
    sums = _zeros(len(everybody), stored_rows(seen))
    if len(known):
        if memory["sums"].shape[1] != seen.shape[1]:
            raise ParameterError("vectors", f"must have {memory['sums'].shape[1]} entries", tuple(seen.shape))
        sums[: len(known)] = memory["sums"]
    places = np.argsort(everybody)[np.searchsorted(everybody, senders, sorter=np.argsort(everybody))]
    _add_rows(sums, places[finite], take_rows(seen, finite), num_threads)
    return take_rows(sums, places), {"participants": everybody, "sums": sums}


def check_last_coordinates(number: int | None) -> None:
    """Check how many columns are kept.

    Raises
    ------
    ParameterError
        If it is not at least 1.
    """
    if number is not None and number < 1:
        raise ParameterError("last_coordinates", "must be at least 1", number)


def _add_rows(sums: Array, places: NDArray[np.int64], rows: Array, num_threads: int) -> None:
    """Add each row to the sum at its place, a block of columns at a time: no copy of all is made."""
    values, totals = host_view(rows), host_view(sums)
    if values is None or totals is None:
        whole = device_float64(rows) if isinstance(rows, LazyRows) else rows.detach()
        sums.index_add_(0, constant_like(places, sums), whole.to(sums.dtype))
        return

    def start(width: int) -> Callable[[slice], None]:
        read = block_reader(values, width)

        def add(columns: slice) -> None:
            with np.errstate(over="ignore", invalid="ignore"):  # a sum that overflows gets no weight later
                totals[places, columns] += read(columns)

        return add

    run_blocks(start, int(totals.shape[1]), 8 * len(values), num_threads)


def _zeros(count: int, like: Array) -> Array:
    namespace = namespace_of(like)
    dtype = namespace.promote_types(like.dtype, namespace.float32)
    shape = (count, int(like.shape[1]))
    return np.zeros(shape, dtype) if namespace is np else like.detach().new_zeros(shape, dtype=dtype)
