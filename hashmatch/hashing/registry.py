"""Every hash type that hashmatch can compute, declared once. What is switched on, and how it matches, recipes say."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from importlib import import_module
from importlib.metadata import version
from types import MappingProxyType
from typing import Final

from hashmatch.hashing import pdq
from hashmatch.hashing.digests import DIGESTS
from hashmatch.hashing.variants import QUERY_VARIANTS, Reading

Algorithm = Callable[[Reading], Iterator[tuple[str, bytes, int | None]]]
"""Variant, value and quality (0..100, where the type has one) of each turn of a reading."""


@dataclass(frozen=True, slots=True)
class HashType:
    """One hash type: what its values look like, and what frames it wants."""

    name: str
    value_bytes: int
    exact: bool  # a digest of the bytes; otherwise of what is seen
    version: str  # changes where the same media would give another value
    colour: bool = False  # wants RGB; otherwise luma will do
    variants: frozenset[str] = frozenset({"flips", "unletterboxed"})  # of QUERY_VARIANTS, those that mean something
    min_quality: int = 0  # 0..100; fingerprints below it are not usable
    full_size: bool = False  # wants every pixel; otherwise a reduction whose smaller side stays long enough will do

    def load(self) -> Algorithm:
        """The algorithm of a perceptual hash type; imported now, since ImageHash's bring SciPy (0.3 s, 40 MB)."""
        algorithm: Algorithm = import_module(f"hashmatch.hashing.{self.name}").fingerprints
        return algorithm


def _digest(name: str, value_bytes: int) -> HashType:
    return HashType(name, value_bytes, exact=True, version=name)


def _imagehash(name: str, value_bytes: int, *, colour: bool = False) -> HashType:
    # Lists of these come from people who gave ImageHash whole pictures; whash even depends on their size.
    return HashType(
        name, value_bytes, exact=False, version=f"imagehash {version('imagehash')}", colour=colour, full_size=True
    )


REGISTRY: Final[Mapping[str, HashType]] = MappingProxyType(
    {
        hash_type.name: hash_type
        for hash_type in (
            HashType(
                "pdq",
                pdq.VALUE_BYTES,
                exact=False,
                version="pdqhash 0.2.8 compatible 1",
                variants=frozenset(QUERY_VARIANTS),
                min_quality=pdq.MIN_QUALITY,
            ),
            *(_digest(name, value_bytes) for name, value_bytes in DIGESTS.items()),
            _imagehash("phash", 8),
            _imagehash("dhash", 8),
            _imagehash("ahash", 8),
            _imagehash("whash", 8),
            _imagehash("colorhash", 6, colour=True),
        )
    }
)
