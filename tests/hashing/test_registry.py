"""The registry: every hash type is there, and is what it says."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from types import ModuleType

import pytest

from hashmatch.hashing import variants
from hashmatch.hashing.digests import digests
from hashmatch.hashing.registry import REGISTRY

TYPES = {"pdq", "md5", "sha1", "sha256", "phash", "dhash", "ahash", "whash", "colorhash"}


def test_covers_every_hash_type_under_its_own_name() -> None:
    assert set(REGISTRY) == TYPES
    assert all(hash_type.name == name for name, hash_type in REGISTRY.items())
    assert {name for name, hash_type in REGISTRY.items() if hash_type.exact} == {"md5", "sha1", "sha256"}


@pytest.mark.parametrize("name", [name for name in sorted(TYPES) if not REGISTRY[name].exact])
def test_values_have_the_length_it_says(drawing: ModuleType, name: str) -> None:
    (reading,) = variants.readings(drawing.photograph("coffee"), 1, frozenset())
    ((_, value, _),) = REGISTRY[name].load()(reading)
    assert len(value) == REGISTRY[name].value_bytes


@pytest.mark.parametrize("media", [b"", b"abc", bytes(range(256)) * 999])
def test_digests_are_hashlibs(media: bytes) -> None:
    found = {h.fingerprint.hash_type: h.fingerprint.value for h in digests(memoryview(media))}
    assert found == {name: getattr(hashlib, name)(media).digest() for name in ("md5", "sha1", "sha256")}
    assert all(len(value) == REGISTRY[name].value_bytes for name, value in found.items())


def test_scipy_is_not_loaded_for_pdq_alone() -> None:
    code = (
        "import sys; from hashmatch import examine; examine.prepare();"
        "print(sorted(m for m in ('scipy', 'pywt', 'imagehash') if m in sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
