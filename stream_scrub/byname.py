"""A mapping from names that never changes: a changed version shares all of it but a 256th.

With thousands of registers, a full copy for each delta would be most of what a delta costs. Every room may import
this.
"""

from collections.abc import Iterator, Mapping
from typing import Self, TypeVar

V = TypeVar("V")
_BUCKETS = 256
_MASK = _BUCKETS - 1


class ByName(Mapping[str, V]):
    """Values by name, in the order of the names. Only names are hashed, so values may be anything."""

    __slots__ = ("_buckets", "_count")

    def __init__(self, values: Mapping[str, V] | None = None) -> None:
        # Most mappings are small, so all empty buckets are one. No bucket is ever changed in place.
        buckets: list[dict[str, V]] = [{}] * _BUCKETS
        for name, value in (values or {}).items():
            at = hash(name) & _MASK
            buckets[at] = {**buckets[at], name: value}
        self._buckets = tuple(buckets)
        self._count = sum(map(len, buckets))

    def put(self, name: str, value: V) -> Self:
        """The next mapping, in which `name` has this value. This one stays as it is."""
        at = hash(name) & _MASK
        buckets = list(self._buckets)
        buckets[at] = {**buckets[at], name: value}
        made = type(self).__new__(type(self))
        made._buckets = tuple(buckets)  # noqa: SLF001  # its own
        made._count = self._count + len(buckets[at]) - len(self._buckets[at])  # noqa: SLF001
        return made

    def __getitem__(self, name: str) -> V:
        return self._buckets[hash(name) & _MASK][name]

    def __contains__(self, name: object) -> bool:
        return name in self._buckets[hash(name) & _MASK]

    def __iter__(self) -> Iterator[str]:
        return iter(sorted(name for bucket in self._buckets for name in bucket))

    def __len__(self) -> int:
        return self._count

    def __repr__(self) -> str:
        return f"ByName({dict(self)!r})"
