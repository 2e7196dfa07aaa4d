"""Percentiles and histograms of times that occurred."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

_QUANTILES = {"p50": 0.5, "p90": 0.9, "p99": 0.99, "p999": 0.999}
_BUCKETS_A_DECADE = 20  # a bucket is 12 % wide


def spread(times_ms: NDArray[Any]) -> dict[str, float]:
    """Count, percentiles and the largest. A percentile is a time that occurred (nearest rank), not one between."""
    if not len(times_ms):
        return {"count": 0}
    names, shares = zip(*_QUANTILES.items(), strict=True)
    figures = np.quantile(times_ms, shares, method="inverted_cdf")
    found = {name: round(float(figure), 3) for name, figure in zip(names, figures, strict=True)}
    return {"count": len(times_ms), **found, "max": round(float(times_ms.max()), 3)}


def histogram(times_ms: NDArray[Any]) -> list[tuple[float, int]]:
    """Logarithmic buckets that hold anything: the upper bound in ms, and how many. The bound is the next bucket's."""
    if not len(times_ms):
        return []
    places = np.floor(np.log10(np.maximum(times_ms, 1e-3)) * _BUCKETS_A_DECADE).astype(np.int64)
    found, counts = np.unique(places, return_counts=True)
    bounds = 10 ** ((found + 1) / _BUCKETS_A_DECADE)
    return [(round(float(bound), 4), int(many)) for bound, many in zip(bounds, counts, strict=True)]
