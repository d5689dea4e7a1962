"""The joint localizer against Problem 1 written out, and what the localizers do with sparse errors."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from flower_coded.attacks.analog_collusion import FullNoise, StrongCollusion
from flower_coded.codes.real.analog_lagrange import draw_complex_gaussian
from flower_coded.codes.real.dft_code import DFTCode
from flower_coded.codes.real.dft_localization import (
    error_locators,
    locate_by_average,
    locate_independently,
    locate_jointly,
)
from flower_coded.errors import ParameterError

CODE = DFTCode(num_workers=15, dimension=7)  # v = 4


def noisy_errors(attack, num_liars, noise_std, repetitions=30, seed=0):
    generator = np.random.default_rng(seed)
    liars = generator.random((repetitions, 15)).argsort(axis=1)[:, :num_liars]
    crafted = attack.craft((repetitions, num_liars, 6), generator)
    errors = np.zeros((repetitions, 15, 6), complex)
    np.put_along_axis(errors, np.broadcast_to(liars[..., None], crafted.shape), crafted, axis=1)
    received = errors + noise_std * draw_complex_gaussian(errors.shape, generator)
    return CODE.syndromes(received), (errors != 0).sum(axis=1), errors != 0


def naive_joint(locators, max_errors):
    """Problem 1 for one repetition, one subset and one polynomial at a time."""
    degrees = locators.degrees
    full = degrees == max_errors
    polynomials = [(locators.coefficients[m], degrees[m], [m]) for m in np.flatnonzero(~full)]
    if full.any():
        polynomials.append((locators.coefficients[full].mean(axis=0), max_errors, np.flatnonzero(full)))

    def values(polynomial):
        return abs(np.polyval(polynomial[::-1], CODE.nodes)) ** 2

    suspects = set()
    for polynomial, degree, _ in polynomials:
        suspects |= set(np.argsort(values(polynomial))[:degree].tolist())
    suspects |= set(range(15)[: max(max_errors - len(suspects), 0)])
    best = min(
        itertools.combinations(sorted(suspects), max_errors),
        key=lambda subset: sum(np.sort(values(p)[list(subset)])[:d].sum() for p, d, _ in polynomials),
    )
    located = np.zeros((len(degrees), 15), bool)
    for polynomial, degree, members in polynomials:
        roots = [best[place] for place in np.argsort(values(polynomial)[list(best)])[:degree]]
        for member in members:
            located[member, roots] = True
    return located


@pytest.mark.parametrize("attack", [FullNoise(), StrongCollusion()], ids=["full", "strong"])
def test_locate_jointly__solves_problem_1(attack) -> None:
    syndromes, degrees, _ = noisy_errors(attack, 4, noise_std=3.0)
    for repetition in range(30):
        locators = error_locators(syndromes[repetition], degrees[repetition], CODE.nodes)
        found = locate_jointly(locators, 4, constraint_length=15)
        assert np.array_equal(found, naive_joint(locators, 4)), repetition


def test_locate_jointly__over_a_batch_is_that_of_each_repetition() -> None:
    syndromes, degrees, _ = noisy_errors(StrongCollusion(), 4, noise_std=3.0)
    together = locate_jointly(error_locators(syndromes, degrees, CODE.nodes), 4, constraint_length=15)
    for repetition in range(30):
        alone = error_locators(syndromes[repetition], degrees[repetition], CODE.nodes)
        assert np.array_equal(together[repetition], locate_jointly(alone, 4, constraint_length=15))


def test_locate_jointly__names_at_most_v_workers_where_independent_names_more() -> None:
    syndromes, degrees, _ = noisy_errors(StrongCollusion(), 4, noise_std=3.0)
    locators = error_locators(syndromes, degrees, CODE.nodes)
    assert locate_jointly(locators, 4).any(axis=-2).sum(axis=-1).max() <= 4
    assert locate_independently(locators).any(axis=-2).sum(axis=-1).max() > 4


def test_locate_jointly__chooses_suspects_by_votes_better_than_by_chance() -> None:
    syndromes, degrees, is_error = noisy_errors(FullNoise(), 3, noise_std=3.0, repetitions=200)
    locators = error_locators(syndromes, degrees, CODE.nodes)
    truth = np.swapaxes(is_error, -1, -2)

    def share_right(choose_by):
        generator = np.random.default_rng(5)
        found = locate_jointly(locators, 4, constraint_length=4, choose_by=choose_by, generator=generator)
        return (found == truth).all(axis=-1).mean()

    assert share_right("votes") > share_right("chance") + 0.1


def test_locate_by_average__is_better_than_independent_where_all_entries_are_spoilt() -> None:
    syndromes, degrees, is_error = noisy_errors(FullNoise(), 2, noise_std=1.0, repetitions=300)
    locators = error_locators(syndromes, degrees, CODE.nodes)
    truth = np.swapaxes(is_error, -1, -2)
    averaged = (locate_by_average(locators) == truth).all(axis=(-1, -2)).mean()
    independent = (locate_independently(locators) == truth).all(axis=-1).mean()
    assert averaged > independent


def test_error_locators__are_monic_and_vanish_at_the_errors() -> None:
    syndromes, degrees, is_error = noisy_errors(StrongCollusion(), 3, noise_std=0.0)
    locators = error_locators(syndromes, degrees, CODE.nodes)
    leading = np.take_along_axis(locators.coefficients, degrees[..., None], axis=-1)
    assert np.allclose(leading, 1)
    assert locators.values[np.swapaxes(is_error, -1, -2)].max() < 1e-12


def test_locate_jointly__refuses_an_endless_search_and_an_unknown_choice() -> None:
    code = DFTCode(num_workers=31, dimension=15)
    generator = np.random.default_rng(0)
    syndromes = draw_complex_gaussian((16, 60), generator)
    locators = error_locators(syndromes, np.full(60, 7), code.nodes)
    with pytest.raises(ParameterError, match="constraint_length"):
        locate_jointly(locators, 8, constraint_length=31)
    with pytest.raises(ParameterError, match="choose_by"):
        locate_jointly(locators, 8, choose_by="luck")
