"""Arithmetic modulo p, the base field of BLS12-381, compiled by numba: six 64-bit words in Montgomery form.

An element a is a tuple of six ``uint64``, least significant first, that holds ``a * 2**384 mod p``. The
instructions are laid out by hand because Python has no product of two words with a double-word result:
multiplication interleaves the words of the product with Montgomery's reduction, the method CIOS of [1]_
without its last carry, for which p leaves free bits in the top word. Addition and subtraction are 384-bit
integers to the compiler.

References
----------
.. [1] C. K. Koc, T. Acar, B. S. Kaliski, "Analyzing and comparing Montgomery multiplication algorithms", IEEE
   Micro 16 (1996).
"""

from __future__ import annotations

from typing import Any, cast

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.extending import intrinsic

from flower_coded.crypto.backends.affine import BASE_PRIME

__all__ = [
    "ONE",
    "RADIX_SQUARED",
    "ZERO",
    "add",
    "invert",
    "is_zero",
    "load",
    "multiply",
    "store",
    "subtract",
]

_WORDS, _BITS = 6, 64
_MASK = (1 << _BITS) - 1
_RADIX = 1 << (_WORDS * _BITS)
_NEGATIVE_INVERSE = -pow(BASE_PRIME, -1, 1 << _BITS) & _MASK
_I64, _I128, _I384, _I448 = (ir.IntType(_BITS * count) for count in (1, 2, _WORDS, _WORDS + 1))
_ELEMENT = cast(Any, types.UniTuple)(types.uint64, _WORDS)


def _words(value: int) -> tuple[np.uint64, ...]:
    return tuple(np.uint64((value >> (_BITS * i)) & _MASK) for i in range(_WORDS))


ZERO = _words(0)
# In Montgomery form 1 is 2**384 mod p, and entering it is a product with 2**768 mod p.
ONE = _words(_RADIX % BASE_PRIME)
RADIX_SQUARED = _words(_RADIX * _RADIX % BASE_PRIME)
# Fermat: a**(p - 2) is the inverse. The leading bit is where invert starts.
_EXPONENT_BITS = np.array([int(bit) for bit in bin(BASE_PRIME - 2)[3:]], dtype=np.uint8)


def _lay_out_multiply(typing_context: Any, left: Any, right: Any) -> Any:
    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        a, b = (_unpack(builder, argument) for argument in arguments)
        p = [_I64((BASE_PRIME >> (_BITS * i)) & _MASK) for i in range(_WORDS)]

        def times(words: list[Any], factor: Any) -> Any:
            """Return the 448-bit product: low and high halves are summed as two long integers."""
            wide = builder.zext(factor, _I128)
            products = [builder.mul(builder.zext(word, _I128), wide) for word in words]
            # Two long integers, of the low and of the high halves, need one carry chain each; word by word
            # there would be a carry after every addition.
            low = [builder.trunc(product, _I64) for product in products]
            high = [builder.trunc(builder.lshr(product, _I128(_BITS)), _I64) for product in products]
            shifted = builder.shl(builder.zext(_join(builder, high), _I448), _I448(_BITS))
            return builder.add(builder.zext(_join(builder, low), _I448), shifted)

        total = _I448(0)
        for word in b:
            # Add a * word; choose the multiple of p that clears the lowest word; shift that word out.
            total = builder.add(total, times(a, word))
            factor = builder.mul(builder.trunc(total, _I64), _I64(_NEGATIVE_INVERSE))
            total = builder.lshr(builder.add(total, times(p, factor)), _I448(_BITS))
        return _split(context, builder, _subtract_prime_once(builder, builder.trunc(total, _I384)))

    return _ELEMENT(_ELEMENT, _ELEMENT), generate


def _lay_out_add(typing_context: Any, left: Any, right: Any) -> Any:
    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        a, b = (_join(builder, _unpack(builder, argument)) for argument in arguments)
        return _split(context, builder, _subtract_prime_once(builder, builder.add(a, b)))

    return _ELEMENT(_ELEMENT, _ELEMENT), generate


def _lay_out_subtract(typing_context: Any, left: Any, right: Any) -> Any:
    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        a, b = (_join(builder, _unpack(builder, argument)) for argument in arguments)
        difference = builder.sub(a, b)
        # Computed in any case and chosen afterwards: a branch would cost more than an addition.
        wrapped = builder.add(difference, _I384(BASE_PRIME))
        borrowed = builder.icmp_unsigned("<", a, b)
        return _split(context, builder, builder.select(borrowed, wrapped, difference))

    return _ELEMENT(_ELEMENT, _ELEMENT), generate


_multiply: Any = intrinsic(_lay_out_multiply)
_add: Any = intrinsic(_lay_out_add)
_subtract: Any = intrinsic(_lay_out_subtract)


# Functions of their own, not inlined, so that the compiler meets each body once.
@njit(nogil=True, cache=True)
def multiply(left: Any, right: Any) -> Any:
    """Return the Montgomery product of two elements."""
    return _multiply(left, right)


@njit(nogil=True, cache=True)
def add(left: Any, right: Any) -> Any:
    """Return the sum of two elements."""
    return _add(left, right)


@njit(nogil=True, cache=True)
def subtract(left: Any, right: Any) -> Any:
    """Return the difference of two elements."""
    return _subtract(left, right)


@njit(nogil=True, cache=True)
def is_zero(a: Any) -> Any:
    """Tell whether an element is 0."""
    return (a[0] | a[1] | a[2] | a[3] | a[4] | a[5]) == np.uint64(0)


@njit(nogil=True, cache=True)
def load(array: Any, row: Any) -> Any:
    """Read an element from a row of an (n, 6) array."""
    return (array[row, 0], array[row, 1], array[row, 2], array[row, 3], array[row, 4], array[row, 5])


@njit(nogil=True, cache=True)
def store(array: Any, row: Any, a: Any) -> None:
    """Write an element to a row of an (n, 6) array."""
    array[row, 0], array[row, 1], array[row, 2] = a[0], a[1], a[2]
    array[row, 3], array[row, 4], array[row, 5] = a[3], a[4], a[5]


@njit(nogil=True, cache=True)
def invert(a: Any) -> Any:
    """Return the inverse of an element, ``a**(p - 2)``."""
    result = a
    for bit in _EXPONENT_BITS:
        result = multiply(result, result)
        if bit:
            result = multiply(result, a)
    return result


def _unpack(builder: Any, element: Any) -> list[Any]:
    return [builder.extract_value(element, i) for i in range(_WORDS)]


def _join(builder: Any, words: list[Any]) -> Any:
    value = builder.zext(words[0], _I384)
    for i, word in enumerate(words[1:], start=1):
        value = builder.or_(value, builder.shl(builder.zext(word, _I384), _I384(_BITS * i)))
    return value


def _split(context: Any, builder: Any, value: Any) -> Any:
    words = [builder.trunc(builder.lshr(value, _I384(_BITS * i)), _I64) for i in range(_WORDS)]
    return context.make_tuple(builder, _ELEMENT, words)


def _subtract_prime_once(builder: Any, value: Any) -> Any:
    prime = _I384(BASE_PRIME)
    return builder.select(builder.icmp_unsigned(">=", value, prime), builder.sub(value, prime), value)
