"""What may not be listed, because it would match everything or nothing real. Reasons never repeat the value.

Sources: digests of the empty file made every empty file a first-category hit in a forensic tool's import (GLEAPP);
zeros and ones are what exporters write where they have no value; the least and greatest number of ones per hash type
is its recipe's, with the reason there; quality below a recipe's minimum is what pdq/README.md says to discard.
"""

from __future__ import annotations

import hashlib
from binascii import unhexlify
from collections.abc import Mapping
from typing import Final

from hashmatch.errors import Malformed
from hashmatch.index.recipe import Recipe

EMPTY_FILE: Final[Mapping[str, bytes]] = {
    "md5": hashlib.md5(b"", usedforsecurity=False).digest(),
    "sha1": hashlib.sha1(b"", usedforsecurity=False).digest(),
    "sha256": hashlib.sha256(b"").digest(),
}


def packed(text: str | bytes, recipe: Recipe) -> bytes:
    """The value that hexadecimal digits of either case stand for.

    Raises:
        Malformed: they are not a value of this hash type.
    """
    try:
        value = unhexlify(text)
    except ValueError as e:
        raise Malformed(f"{recipe.hash_type}: {_complaint(text, recipe)}") from e
    if len(value) != recipe.value_bytes and not (recipe.opaque and value):
        raise Malformed(f"{recipe.hash_type}: {_complaint(text, recipe)}")
    return value


def _complaint(text: str | bytes, recipe: Recipe) -> str:
    digits = text.decode("latin-1") if isinstance(text, bytes) else text
    want = f"want {2 * recipe.value_bytes or 'an even number of'} hexadecimal digits"
    if all(c in "0123456789abcdefABCDEF" for c in digits):
        return f"{len(digits)} digits, {want}"
    if not recipe.opaque and len(digits.rstrip("=")) == -(-8 * recipe.value_bytes // 6) and _is_base64(digits):
        return f"looks like base64, {want}"
    return f"not hexadecimal, {want}"


def _is_base64(text: str) -> bool:
    return all(c.isascii() and (c.isalnum() or c in "+/-_=") for c in text)


def accept(value: bytes, recipe: Recipe, *, field: str = "") -> None:
    """Lets a value of the recipe's length pass that may be listed.

    Raises:
        Malformed: it may not; names `field`, and why.
    """
    name, bits = recipe.hash_type, 8 * recipe.value_bytes
    if not recipe.enabled:
        raise Malformed(f"{name}: switched off in its recipe", field=field)
    ones = int.from_bytes(value, "big").bit_count()
    if recipe.opaque:
        if ones in (0, 8 * len(value)):
            raise Malformed(f"{name}: every bit is the same: a placeholder, not a fingerprint", field=field)
        return
    if recipe.min_ones <= ones <= recipe.max_ones and value != EMPTY_FILE.get(name):
        return
    if ones in (0, bits):
        raise Malformed(f"{name}: every bit is {ones // bits}: a placeholder, not a fingerprint", field=field)
    if value == EMPTY_FILE.get(name):
        raise Malformed(f"{name}: the digest of the empty file, which would match every empty file", field=field)
    raise Malformed(
        f"{name}: {ones} of {bits} bits are set, want {recipe.min_ones}..{recipe.max_ones}: too far from balanced "
        "to be of a real picture",
        field=field,
    )


def quality(text: str, recipe: Recipe) -> int | None:
    """The quality that a list's row gives for a fingerprint; None where it gives none, or the type has none.

    Raises:
        Malformed: not a quality.
    """
    if recipe.min_quality is None or not text:
        return None
    if not (text.isascii() and text.isdigit() and len(text) <= 3 and int(text) <= 100):
        raise Malformed(f"{recipe.hash_type}: quality is not a whole number 0..100")
    return int(text)


def accept_quality(given: int | None, recipe: Recipe, *, field: str = "") -> None:
    """Lets a fingerprint's quality pass; where none is given, or for a type without, any passes.

    Raises:
        Malformed: no quality, or under the recipe's minimum; names `field`.
    """
    if recipe.min_quality is None or given is None:
        return
    if given > 100:
        raise Malformed(f"{recipe.hash_type}: quality {given}, want 0..100", field=field)
    if given < recipe.min_quality:
        raise Malformed(f"{recipe.hash_type}: quality {given}, want at least {recipe.min_quality}", field=field)
