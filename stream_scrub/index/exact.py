"""Exact look-ups of many numbers in one bitmap, by the extension if it is installed."""

import ctypes
from collections.abc import Callable
from functools import cache, partial

import numpy as np
import pyroaring
from numpy.typing import NDArray
from pyroaring import BitMap64

from stream_scrub.extension import extension


def look_up(bitmap: BitMap64, numbers: NDArray[np.uint64]) -> NDArray[np.bool_]:
    """For each number: whether the bitmap holds it."""
    # One by one: a national register has thousands of containers, and an intersection with a bitmap of the numbers
    # takes twice as long. In order: neighbours share what the bitmap has in the processor's caches.
    order = np.argsort(numbers)
    held, found = np.empty(len(numbers), np.bool_), np.empty(len(numbers), np.bool_)
    if (loop := _loop()) is not None:
        loop(bitmap, numbers[order], found.view(np.uint8))
    else:
        found[:] = [number in bitmap for number in numbers[order].tolist()]
    held[order] = found
    return held


@cache
def _loop() -> Callable[..., None] | None:
    """The extension's loop over CRoaring's own look-up, which pyroaring exports; None where one of them is missing."""
    if (module := extension()) is None:
        return None
    try:
        contains = ctypes.CDLL(pyroaring.__file__).roaring64_bitmap_contains
    except (AttributeError, OSError):
        return None
    return partial(module.look_up, ctypes.cast(contains, ctypes.c_void_p).value)
