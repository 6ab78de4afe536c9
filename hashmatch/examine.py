"""The job that a decode worker runs: hostile bytes → frames → fingerprints, or a view for a person (media/view.py).

Each wanted hash type ends among `hashed` or, once, among `unhashable`, never in neither: absence has a reason. It ends
in both where a part of the media could not be hashed: what was hashed is searched, and the reason says that it was not
all. So the frames before a damaged one count, and so does the reduced frame of a picture that is too large for variants
that want every pixel.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np
import pdqhash
from PIL import Image

from hashmatch.errors import BadConfig
from hashmatch.hashing import pdq
from hashmatch.hashing.digests import digests
from hashmatch.hashing.registry import REGISTRY, HashType
from hashmatch.hashing.variants import QUERY_VARIANTS, Pixels, readings
from hashmatch.media import limits
from hashmatch.media.image import Decoded, Frame, Undecodable, open_media
from hashmatch.media.levels import Level, View
from hashmatch.media.view import view
from hashmatch.types import Examination, Fingerprint, Hashed, Reason, Unhashable, Wanted

__all__ = ["digests", "examine", "look", "prepare", "view"]

SELF_TEST_BITS: Final = 2  # that ours may differ from pdqhash's on the drawn picture: float rounding at the median
_UNREDUCED: Final = frozenset({"nn512", "unletterboxed"})  # variants that want every pixel
_WRITABLE: Final = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "AVIF")


def examine(media: bytes | memoryview, wanted: Wanted) -> Examination:
    """What the media is and its fingerprints: exact digests of the bytes always, and the wanted perceptual hash types.

    Bad media is an answer, not an error.
    """
    seen = look(media, wanted)
    return Examination(
        media_type=seen.media_type,
        width=seen.width,
        height=seen.height,
        frames=seen.frames,
        hashed=(*digests(media), *seen.hashed),
        unhashable=seen.unhashable,
    )


def look(media: bytes | memoryview, wanted: Wanted) -> Examination:
    """As `examine`, without the exact digests."""
    perceptual = [t for t in dict.fromkeys(wanted.hash_types) if t not in REGISTRY or not REGISTRY[t].exact]
    for plan in _plans(tuple(REGISTRY[t] for t in perceptual if t in REGISTRY), wanted.variants):
        seen = _see(media, plan)
        if seen.hashed or seen.failure is not Reason.TOO_LARGE:
            break
    reasons = ((t, _missed(t, plan, seen, wanted.variants)) for t in perceptual)
    return Examination(
        media_type=seen.described.media_type,
        width=seen.described.width,
        height=seen.described.height,
        frames=seen.described.frames,
        hashed=seen.hashed,
        unhashable=tuple(Unhashable(t, reason) for t, reason in reasons if reason is not None),
    )


@dataclass(frozen=True, slots=True)
class _Plan:
    """What to hash of every frame, and so how to decode it."""

    hash_types: tuple[HashType, ...]
    variants: frozenset[str]

    @property
    def colour(self) -> bool:
        return any(t.colour for t in self.hash_types)

    @property
    def full_size(self) -> bool:
        # The dialect samples the whole frame; a letterbox in a reduced one leaves too few pixels inside it.
        return any(t.full_size or t.variants & self.variants & _UNREDUCED for t in self.hash_types)


@dataclass(frozen=True, slots=True)
class _Seen:
    """What came of a plan."""

    described: Decoded
    hashed: tuple[Hashed, ...]
    failure: Reason | None  # why not every frame of the sample could be hashed


def _plans(hash_types: tuple[HashType, ...], variants: frozenset[str]) -> list[_Plan]:
    """All that is wanted, then what to fall back on where media is too large for that: luma only, and reduced."""
    whole = _Plan(hash_types, variants)
    luma = _Plan(tuple(t for t in hash_types if not t.colour), variants)
    reduced = _Plan(tuple(t for t in hash_types if not t.full_size), variants - _UNREDUCED)
    return [plan for plan in dict.fromkeys((whole, luma, reduced)) if plan.hash_types or plan is whole]


def _see(media: bytes | memoryview, plan: _Plan) -> _Seen:
    described: Decoded | None = None
    hashed: list[Hashed] = []
    failure: Reason | None = None
    media_type = ""
    try:
        described, frames = open_media(media, colour=plan.colour, full_size=plan.full_size)
        for one in _hashed(frames, plan):
            hashed.append(one)  # one by one: those before a failure stand
    except Undecodable as e:
        failure, media_type = e.reason, e.media_type
    except MemoryError:
        failure = Reason.TOO_LARGE
    return _Seen(described or Decoded(media_type, 0, 0, 0), tuple(hashed), failure)


def _missed(name: str, plan: _Plan, seen: _Seen, variants: frozenset[str]) -> Reason | None:
    """Why a hash type, or a part of what was wanted of it, is missing; None where nothing is."""
    if name not in REGISTRY:
        return Reason.UNSUPPORTED_TYPE  # only callers can compute it, whatever the media
    if seen.failure is not None:
        return seen.failure
    hash_type = REGISTRY[name]
    if hash_type not in plan.hash_types or hash_type.variants & variants - plan.variants:
        return Reason.TOO_LARGE  # and the plan is one to fall back on
    if all(one.fingerprint.hash_type != name for one in seen.hashed):
        return Reason.LOW_QUALITY
    return None


def _hashed(frames: Iterable[Frame], plan: _Plan) -> Iterator[Hashed]:
    """Every usable fingerprint once per variant, at the first frame that has it."""
    algorithms = [(t, t.load()) for t in plan.hash_types]
    seen: set[tuple[str, bytes, str]] = set()
    for frame in frames:
        for hash_type, algorithm in algorithms:
            apt = plan.variants & hash_type.variants
            for reading in readings(frame.pixels, frame.orientation, apt, full=frame.shape, by=frame.reduced_by):
                if min(reading.full) < limits.MIN_SIDE:
                    continue
                for variant, value, quality in algorithm(reading):
                    key = hash_type.name, value, variant
                    if key in seen or (quality is not None and quality < hash_type.min_quality):
                        continue
                    seen.add(key)
                    yield Hashed(Fingerprint(hash_type.name, value), quality, variant, frame.frame_ms)


def prepare(hash_types: Collection[str] = ("pdq",)) -> None:
    """Imports and tries whatever `examine` will need for `hash_types`, and `view`, which they could no longer reach
    behind walls.

    Raises:
        BadConfig: a decoder is missing, or PDQ by matrices is not what pdqhash computes.
    """
    _self_test(_chirps())
    wanted = Wanted(tuple(hash_types))
    for kind, sample in _samples():
        views = [view(sample, level, 0) for level in Level]
        if examine(sample, wanted).unhashable or not all(isinstance(seen, View) for seen in views):
            raise BadConfig(f"the {kind} decoder does not work on this machine")
    examine(sample, Wanted(wanted.hash_types, frozenset(QUERY_VARIANTS)))


def _self_test(pixels: Pixels) -> None:
    bits, quality = pdqhash.compute(pixels)
    ours, our_quality = pdq.compute(pixels)
    off = int(np.unpackbits(np.frombuffer(ours, np.uint8) ^ np.packbits(bits)).sum())
    if off > SELF_TEST_BITS or abs(our_quality - quality) > 1:
        raise BadConfig(f"PDQ self-test: {off} bits and {our_quality - quality} quality off what pdqhash computes")


def _chirps() -> Pixels:
    """Crossing waves of growing frequency, in colour: (300, 400, 3) uint8, nothing equal by symmetry."""
    y, x = np.mgrid[0:300, 0:400].astype(np.float64)
    planes = [np.sin(x * x / (3000 + 90 * i) + y / 37) + np.cos(y * y / (2200 + 70 * i) - x / 43) for i in range(3)]
    return np.stack([127.5 + 63 * plane for plane in planes], axis=-1).astype(np.uint8)


def _samples() -> Iterator[tuple[str, bytes]]:
    """One small picture in each format: written here, save HEIC, which this installation only reads."""
    mosaic = np.random.default_rng(1).integers(0, 2, (6, 6), np.uint8).repeat(4, 0).repeat(4, 1) * np.uint8(200)
    for kind in _WRITABLE:
        file = io.BytesIO()
        Image.fromarray(mosaic).save(file, kind)
        yield kind, file.getvalue()
    yield "HEIC", base64.b64decode(_HEIC)


# A mosaic of 24 × 24 pixels, drawn in code and written by pillow-heif.
_HEIC: Final = (
    "AAAAHGZ0eXBoZWl4AAAAAG1pZjFoZWl4bWlhZgAAAXZtZXRhAAAAAAAAACFoZGxyAAAAAAAAAABwaWN0AAAAAAAAAAAAAAAAAAAAACJpbG9j"
    "AAAAAERAAAEAAQAAAAABmgABAAAAAAAAAHkAAAAjaWluZgAAAAAAAQAAABVpbmZlAgAAAAABAABodmMxAAAAAA5waXRtAAAAAAABAAAA9mlw"
    "cnAAAADWaXBjbwAAAHFodmNDAQQIAAAAn/gAAAAAHvAA/Pz4+AAADwNgAAEAF0ABDAH//wQIAAADAJ/4AAADAAAeugJAYQABACZCAQEECAAA"
    "AwCf+AAAAwAAHsCCBBZbqrprmwIAAAMAMgAAAwACEGIAAQAGRAHBc8GJAAAAE2NvbHJuY2x4AAEADQAGgAAAABRpc3BlAAAAAAAAAEAAAABA"
    "AAAAKGNsYXAAAAAYAAAAAQAAABgAAAAB////2AAAAAL////YAAAAAgAAAA5waXhpAAAAAAEIAAAAGGlwbWEAAAAAAAAAAQABBYECAwWEAAAA"
    "gW1kYXQAAAB1KAGuMkNzMLDisKLnfORJbBQDXcEtfs+26Hy/n60x+hpv4NH32LQf0OFTbxc5PeGC34nCOOS8F5yoxomS9z7kziTK207tjMX2"
    "EdB2Fr9bT4XoD/2UQjM2/Yex7BFw78k6K//nFCoT+VsQ8uX3hZqJNQY2/XNg"
)
