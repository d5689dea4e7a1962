"""Workers verified one by one: liars who know the code, adaptive ones, and ones who stay below rounding."""

from __future__ import annotations

import math

import numpy as np
import pytest

from flower_coded.codes.real.analog_lagrange import AnalogLagrangeCode
from flower_coded.codes.real.dft_code import DFTCode
from flower_coded.errors import DecodingError, ParameterError
from flower_coded.protocols.analog_computing import AnalogMaster, AnalogWorker, Request, get_function

GRAM = Request("gram")


def honest_results(master, blocks, request=GRAM, seed=0):
    shares = master.deal(blocks, np.random.default_rng(seed))
    return {share.worker: AnalogWorker(share).compute(request).values for share in shares}


def null_vector(code: AnalogLagrangeCode, num_columns: int) -> tuple[np.ndarray, float]:
    """Errors of neighbors, by evaluation index, that the code's checks hardly see; with what they see."""
    _, sizes, vectors = np.linalg.svd(DFTCode(code.num_workers, code.dimension).check_matrix[:, :num_columns])
    errors = np.zeros(code.num_workers, complex)
    errors[:num_columns] = vectors[-1].conj()
    return errors, float(sizes[-1])


def tell_lies(results, errors, order, num_liars):
    """Let the liars with the largest errors add them to every entry; give their numbers."""
    liars = [int(index) for index in np.argsort(-abs(errors))[:num_liars]]
    workers = {int(np.flatnonzero(order == index)[0]): errors[index] for index in liars}
    return {worker: values + workers.get(worker, 0.0) for worker, values in results.items()}, tuple(
        sorted(workers)
    )


@pytest.mark.parametrize(
    ("sizes", "noise_scale"),
    [((31, 3, 3), 1e4), ((15, 1, 3), 1e2), ((31, 1, 5), 1e4), ((63, 3, 3), 1e4), ((127, 5, 3), 1e4)],
)
@pytest.mark.parametrize("times_rounding", [1.0, 1e3, 1e6])
def test_null_vector__of_half_the_checks_is_named_worker_by_worker(
    sizes, noise_scale, times_rounding
) -> None:
    code = AnalogLagrangeCode(*sizes, noise_scale=noise_scale)
    blocks = np.random.default_rng(0).standard_normal((code.num_blocks, 20, 5))
    master = AnalogMaster(code, (20, 5), accuracy=1e-3)
    results = honest_results(master, blocks)
    num_liars = code.num_correctable
    errors, seen = null_vector(code, 2 * num_liars)
    errors *= times_rounding * master.precision(GRAM).noise_std.max() / seen
    lied, liars = tell_lies(results, errors, master.evaluation_order, num_liars)
    outcome = master.decode(GRAM, lied)
    error = np.linalg.norm(outcome.total - np.einsum("kij,kil->jl", blocks, blocks))
    assert outcome.liars == liars
    assert error <= outcome.total_error_bound <= 100 * error
    assert outcome.relative_error_bound <= 1e-3


def test_null_vector__against_the_code_alone_is_refused_or_within_the_stated_bound() -> None:
    code = AnalogLagrangeCode(15, 1, 3, noise_scale=1e2)
    blocks = np.random.default_rng(0).standard_normal((1, 20, 5))
    truth = blocks[0].T @ blocks[0]
    errors, seen = null_vector(code, 8)
    for seed in range(20):
        master = AnalogMaster(code, (20, 5), "code")
        results = honest_results(master, blocks, seed=seed)
        scale = 10 ** (seed / 5 - 1) * master.precision(GRAM).noise_std.max() / seen
        # The order is secret: liars who think that they are neighbors are not.
        order = np.arange(15) if seed % 2 else master.evaluation_order
        lied, _ = tell_lies(results, scale * errors, order, 4)
        try:
            outcome = master.decode(GRAM, lied)
        except DecodingError:
            continue
        assert np.linalg.norm(outcome.total - truth) <= outcome.total_error_bound


def test_order__is_drawn_anew_for_every_master() -> None:
    code = AnalogLagrangeCode(31, 1, 4)
    orders = [tuple(AnalogMaster(code, (3, 2)).evaluation_order) for _ in range(3)]
    assert len(set(orders)) == 3
    assert sorted(orders[0]) == list(range(31))


@pytest.mark.parametrize("size", [0.1, 0.9, 3.0, 30.0, 1e4])
def test_lies_around_the_tolerance__are_named_or_paid_for_with_the_bound(size) -> None:
    """Colluding lies of the size of a key's limit, all in one direction of the reconstruction."""
    code = AnalogLagrangeCode(31, 1, 4, noise_scale=1e3)
    blocks = np.random.default_rng(0).standard_normal((1, 50, 5))
    master = AnalogMaster(code, (50, 5), num_byzantine=4)
    results = honest_results(master, blocks)
    shares = {worker: master.share_of(worker).block for worker in range(4)}
    for worker, share in shares.items():
        norms = np.linalg.norm(share, axis=0)
        results[worker] = results[worker] + size * 800 * 1.1e-16 * np.outer(norms, norms)
    outcome = master.decode(GRAM, results)
    error = np.linalg.norm(outcome.total - blocks[0].T @ blocks[0])
    assert set(outcome.liars) <= set(shares)
    assert error <= outcome.total_error_bound
    if size >= 30:
        assert outcome.liars == (0, 1, 2, 3)


def test_lies_below_the_tolerance__are_set_aside_when_they_cost_the_accuracy() -> None:
    code = AnalogLagrangeCode(31, 1, 4, noise_scale=1e3)
    blocks = np.random.default_rng(0).standard_normal((1, 50, 5))
    master = AnalogMaster(code, (50, 5), num_byzantine=4)
    results = honest_results(master, blocks)
    honest = master.decode(GRAM, results)
    rebuild = code.reconstruction_matrix(np.ones(31, bool))[0, master.evaluation_order]
    for worker in range(4):
        norms = np.linalg.norm(master.share_of(worker).block, axis=0)
        phase = np.conj(rebuild[worker]) / abs(rebuild[worker])
        results[worker] = results[worker] + 150 * 1.1e-16 * phase * np.outer(norms, norms)
    lax = master.decode(GRAM, results)
    assert (lax.liars, lax.set_aside) == ((), ())
    without = master.decode(GRAM, {worker: result for worker, result in results.items() if worker > 3})
    assert lax.relative_error_bound > 10 * honest.relative_error_bound
    # Half way between what four missing workers cost, which depends on the secret order, and the lies.
    master.accuracy = math.sqrt(without.relative_error_bound * lax.relative_error_bound)
    assert lax.relative_error_bound > 2 * master.accuracy
    strict = master.decode(GRAM, results)
    assert strict.liars == ()
    assert set() < set(strict.set_aside) <= {0, 1, 2, 3}  # as many as it takes, and nobody honest
    assert strict.relative_error_bound <= master.accuracy


def test_adaptive_liars__are_named_in_every_round_and_no_honest_worker_ever() -> None:
    """A hundred rounds; who was caught steps back, the others halve or double their lie."""
    generator = np.random.default_rng(0)
    code = AnalogLagrangeCode(15, 1, 3, noise_scale=1e2)
    blocks = generator.standard_normal((1, 40, 4))
    truth = blocks[0].T @ blocks[0]
    master = AnalogMaster(code, (40, 4), num_byzantine=3)
    honest = honest_results(master, blocks)
    sizes = dict.fromkeys((2, 7, 9), 1e-3)
    for _ in range(100):
        results = dict(honest)
        for worker, size in sizes.items():
            direction = generator.standard_normal((4, 4)) + 1j * generator.standard_normal((4, 4))
            results[worker] = honest[worker] + size * direction
        outcome = master.decode(GRAM, results)
        assert set(outcome.liars) <= set(sizes)
        assert np.linalg.norm(outcome.total - truth) <= outcome.total_error_bound
        assert outcome.relative_error_bound <= master.accuracy
        sizes = {worker: size / 2 if worker in outcome.liars else 2 * size for worker, size in sizes.items()}
    # They settle at the limit, which is rounding: nothing that matters passes.
    assert max(sizes.values()) < 1e-8 * abs(truth).max() * code.noise_scale**2


def test_gradient__with_columns_and_weights_of_opposite_scales_hides_no_reversed_worker() -> None:
    generator = np.random.default_rng(0)
    code = AnalogLagrangeCode(15, 1, 3, noise_scale=1.0)
    scales = 10.0 ** np.linspace(-8, 8, 6)
    blocks = generator.standard_normal((1, 40, 6)) * scales
    request = Request("gradient", 1 / scales[:-1])
    # Hiding noise of one size for such columns is senseless; hidden is what the key has to stand here.
    master = AnalogMaster(code, (40, 6), accuracy=np.inf)
    master.deal(blocks, generator)
    noise = master._noise[1]
    noise *= scales
    results = {worker: AnalogWorker(master.share_of(worker)).compute(request).values for worker in range(15)}
    for worker in (1, 5, 8):
        results[worker] = -results[worker]
    outcome = master.decode(request, results)
    assert outcome.liars == (1, 5, 8)
    truth = get_function("gradient").apply(blocks[0], request.parameters)
    assert np.linalg.norm(outcome.total - truth) <= outcome.total_error_bound


def test_accuracy__that_is_not_reached_is_refused_with_the_figures() -> None:
    code = AnalogLagrangeCode(15, 1, 3, noise_scale=1e6)
    blocks = np.random.default_rng(0).standard_normal((1, 20, 5))
    master = AnalogMaster(code, (20, 5), accuracy=1e-9)
    results = honest_results(master, blocks)
    with pytest.raises(DecodingError, match=r"above the accuracy of 1\.0e-09"):
        master.decode(GRAM, results)


@pytest.mark.parametrize(("verification", "sizes"), [("keys", (31, 1, 4)), ("code", (31, 3, 3))])
def test_accuracy__that_cannot_be_promised_is_refused_before_anything_is_sent(verification, sizes) -> None:
    """At (31, 3, 3) ten liars are within the radius of the code, and beyond what it can vouch for."""
    code = AnalogLagrangeCode(*sizes, noise_scale=1e4)
    master = AnalogMaster(code, (20, 5), verification, num_byzantine=4 if verification == "keys" else 10)
    master.deal(np.random.default_rng(0).standard_normal((code.num_blocks, 20, 5)))
    if verification == "keys":
        assert 0 < master.require_accuracy(GRAM) < 1e-2
        master.accuracy = 1e-12
    with pytest.raises(ParameterError, match="accuracy must be at least"):
        master.require_accuracy(GRAM)


def test_decode__before_dealing_has_no_keys() -> None:
    master = AnalogMaster(AnalogLagrangeCode(15, 1, 3), (20, 5))
    with pytest.raises(ParameterError, match="dealt first"):
        master.decode(GRAM, {worker: np.zeros((5, 5), complex) for worker in range(15)})


def test_results__from_torch_are_those_of_numpy_to_rounding() -> None:
    code = AnalogLagrangeCode(11, 1, 2, noise_scale=10.0)
    blocks = np.random.default_rng(0).standard_normal((1, 20, 5))
    masters = [
        AnalogMaster(code, (20, 5), evaluation_order=np.arange(11), device=device)
        for device in ("cpu", "cpu:0")
    ]
    numpy_shares, torch_shares = (list(each.deal(blocks, np.random.default_rng(1))) for each in masters)
    for ours, theirs in zip(numpy_shares, torch_shares, strict=True):
        assert np.allclose(ours.block, theirs.block, rtol=1e-13, atol=1e-13)
    results = {each.worker: AnalogWorker(each, "cpu:0").compute(GRAM).values for each in torch_shares}
    outcome = masters[1].decode(GRAM, results)
    assert outcome.liars == ()
    assert np.allclose(outcome.total, blocks[0].T @ blocks[0], atol=1e-9)


@pytest.mark.parametrize("sizes", [(9, 1, 2), (9, 2, 0)], ids=str)
@pytest.mark.parametrize("scale", [0.0, 1e-160, 1.0, 1e70])
@pytest.mark.parametrize("function", ["gram", "gradient"])
def test_tables_at_the_ends_of_float64__are_decoded_or_refused_but_never_beyond_their_bound(
    sizes, scale, function
) -> None:
    code = AnalogLagrangeCode(*sizes, noise_scale=100.0)
    blocks = scale * np.random.default_rng(3).standard_normal((code.num_blocks, 12, 3))
    request = Request(function, None if function == "gram" else np.array([1.0, -1.0]))
    truth = sum(np.asarray(get_function(function).apply(each, request.parameters)) for each in blocks)
    master = AnalogMaster(code, (12, 3))
    honest = honest_results(master, blocks, request)
    liars = set(range(code.num_spare))
    num_decoded = 0
    for lie in (0.0, 5e-324, 1e-200, 1.0, 1e300):
        results = {worker: values + lie * (worker in liars) for worker, values in honest.items()}
        outcome, accused = None, set()
        try:
            outcome = master.decode(request, results)
        except DecodingError as refusal:
            accused = set(refusal.culprits)
        assert accused <= liars
        if outcome is None:
            continue
        num_decoded += 1
        error = abs(outcome.total - truth)
        largest = max(float(error.max()), 1e-320)
        assert largest * np.linalg.norm(error / largest) <= outcome.total_error_bound
        assert set(outcome.liars) <= liars
    assert num_decoded == 5 or scale != 1.0
