"""What does it cost to hash a picture, and are the bits right?

    python benchmarks/hash.py                    tables, and benchmarks/results/hash.json
    python benchmarks/hash.py --write-measured   fidelity alone, to indexes/pdq.measured.json

Columns: `ours` is the worker's job without exact digests (decode, reduce, PDQ); `naive` is what one writes first,
Pillow → RGB → pdqhash; `floor` is the decoder alone: for JPEG libjpeg-turbo's luma at the scale we ask for, otherwise
Pillow's load at full size. Everything runs on one thread unless it says otherwise.
"""

from __future__ import annotations

import os

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # before NumPy is imported: as in a decode worker

import argparse
import io
import json
import multiprocessing
import statistics
import time
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, ProcessPoolExecutor, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pdqhash
import pillow_heif
from measured import Report, interleaved, versions
from mix import MIX, Raster, grainy, landscape
from PIL import Image

from hashmatch import examine
from hashmatch.hashing import pdq, variants
from hashmatch.media import jpeg
from hashmatch.types import Wanted

MEASURED = Path(__file__).parent.parent / "indexes" / "pdq.measured.json"

PHOTOGRAPHS = ("astronaut", "chelsea", "coffee", "rocket", "camera", "moon", "grass", "gravel", "brick", "coins")
OTHERS = {
    "PNG": {"compress_level": 6}, "WEBP": {"quality": 80}, "GIF": {}, "BMP": {}, "TIFF": {}, "AVIF": {"quality": 60},
    "HEIF": {"quality": 60},
}  # fmt: skip
FASTER_THAN_NAIVE = 12.0  # at least, over the mix
OVER_FLOOR = 1.6  # at most, for pictures above a megapixel
MEAN_BITS, MAX_BITS, COUNTED_QUALITY = 1.0, 10, 80  # Meta's README: an implementation is right within 10 bits at 80


@dataclass(frozen=True)
class Picture:
    """One file of the corpus."""

    name: str
    width: int
    height: int
    media: bytes


def photograph(name: str, width: int, height: int, seed: int) -> Raster:
    """A benign photograph of scikit-image's at another size, with sensor grain: (H, W, 3)."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import skimage.data
    original = Image.fromarray(getattr(skimage.data, name)()).convert("RGB")
    scaled = np.asarray(original.resize((width, height), Image.Resampling.LANCZOS))
    return grainy(scaled.astype(np.float32), seed, 3.5)


def encoded(raster: Raster, kind: str, **options: Any) -> bytes:
    out = io.BytesIO()
    Image.fromarray(raster).save(out, kind, **options)
    return out.getvalue()


def naive(media: bytes) -> tuple[bytes, int]:
    """Value and quality, the way one writes first."""
    with Image.open(io.BytesIO(media)) as picture:
        bits, quality = pdqhash.compute(np.asarray(picture.convert("RGB")))
    return np.packbits(bits).tobytes(), quality


def ours(media: bytes) -> tuple[bytes, int]:
    """Value and quality, as a decode worker finds them."""
    hashed = examine.look(media, Wanted()).hashed[0]
    return hashed.fingerprint.value, hashed.quality or 0


def floor(media: bytes) -> None:
    """The decoder alone."""
    if media[:2] == b"\xff\xd8":
        header = jpeg.read_header(memoryview(media))
        by = jpeg.scale(header.width, header.height)
        size = (-(-header.width // by), -(-header.height // by))
        Image.frombytes("L", size, media, "jpeg", "L", "", by, 0)
        return
    with Image.open(io.BytesIO(media)) as picture:
        picture.load()


def jpegs() -> list[Picture]:
    """The mix's sizes as JPEG q85, a drawn one and a photograph each."""
    found = []
    for seed, (width, height) in enumerate(MIX):
        found.append(Picture("drawn", width, height, encoded(landscape(width, height, seed), "JPEG", quality=85)))
        photo = photograph(PHOTOGRAPHS[seed], width, height, seed)
        found.append(Picture(PHOTOGRAPHS[seed], width, height, encoded(photo, "JPEG", quality=85)))
    return found


def time_jpegs(report: Report, pictures: list[Picture]) -> None:
    """ours, naive and floor per size; then the mix against the limits."""
    rows, mixed = [], {"ours": 0.0, "naive": 0.0}
    for picture in pictures:
        media = picture.media
        ways: dict[str, Callable[[], Any]] = {
            "ours": lambda m=media: ours(m), "naive": lambda m=media: naive(m), "floor": lambda m=media: floor(m),
        }  # fmt: skip
        quick = {name: ways[name] for name in ("ours", "floor")}
        took = interleaved(ways, 5) | interleaved(quick, 41)
        rows.append(_row("JPEG", picture, took))
        share = MIX[picture.width, picture.height] / 2
        mixed = {way: total + share * took[way] for way, total in mixed.items()}
    report.table("JPEG q85, one thread, median ms", rows)
    over = max(row["ours/floor"] for row in rows if row["megapixels"] > 1)
    report.table(
        "against the limits",
        [
            {"what": "mix, ms a picture, naive", "measured": mixed["naive"], "limit": "-"},
            {"what": "mix, ms a picture, ours", "measured": mixed["ours"], "limit": "-"},
            {"what": "mix, naive/ours", "measured": mixed["naive"] / mixed["ours"], "limit": f">= {FASTER_THAN_NAIVE}"},
            {"what": "above a megapixel, worst ours/floor", "measured": over, "limit": f"<= {OVER_FLOOR}"},
        ],
    )


def time_others(report: Report) -> None:
    """The other formats, small and screen-sized."""
    rows = []
    for width, height in ((640, 480), (1920, 1080)):
        raster = photograph("coffee", width, height, 1)
        for kind, options in OTHERS.items():
            picture = Picture("coffee", width, height, encoded(raster, kind, **options))
            media = picture.media
            ways: dict[str, Callable[[], Any]] = {
                "ours": lambda m=media: ours(m), "naive": lambda m=media: naive(m), "floor": lambda m=media: floor(m),
            }  # fmt: skip
            rows.append(_row(kind, picture, interleaved(ways, 5)))
    report.table("other formats, one thread, median ms", rows)


def _row(kind: str, picture: Picture, took: dict[str, float]) -> dict[str, Any]:
    pixels = picture.width * picture.height
    return {
        "format": kind,
        "picture": picture.name,
        "size": f"{picture.width}×{picture.height}",
        "megapixels": pixels / 1e6,
        "bytes": len(picture.media),
        "bits/pixel": 8 * len(picture.media) / pixels,
        "ours": took["ours"],
        "naive": took["naive"],
        "floor": took["floor"],
        "naive/ours": took["naive"] / took["ours"],
        "ours/floor": took["ours"] / took["floor"],
    }


def time_steps(report: Report, pictures: list[Picture]) -> None:
    """What comes on top: digests, and the query variants."""
    rows = []
    for picture in pictures[::2]:
        media = picture.media
        ways: dict[str, Callable[[], Any]] = {
            "plain": lambda m=media: examine.look(m, Wanted()),
            "digests": lambda m=media: examine.digests(m),
            "flips": lambda m=media: examine.look(m, Wanted(variants=frozenset({"flips"}))),
            "all variants": lambda m=media: examine.look(m, Wanted(variants=frozenset(variants.QUERY_VARIANTS))),
        }
        took = interleaved(ways, 9)
        rows.append({"size": f"{picture.width}×{picture.height}", "bytes": len(media)} | took)
    report.table("JPEG: plain reading, digests on top, with variants instead, median ms", rows)


def time_together(report: Report, pictures: list[Picture]) -> None:
    """The mix through as many threads, and as many processes, as there are cores."""
    cores = os.cpu_count() or 1
    shares = [round(10 * share) for share in MIX.values()]
    batch = [pictures[2 * i + n % 2].media for i, share in enumerate(shares) for n in range(share)] * 12
    began = time.perf_counter()
    for media in batch:
        ours(media)
    alone = len(batch) / (time.perf_counter() - began)
    rows = [{"how": "1 thread", "pictures/s": alone, "× one": 1.0}]
    context = multiprocessing.get_context("spawn")
    pools: list[tuple[str, Executor]] = [
        (f"{cores} threads", ThreadPoolExecutor(cores)),
        (f"{cores} processes", ProcessPoolExecutor(cores, context)),
    ]
    for name, pool in pools:
        with pool:
            list(pool.map(ours, batch[:cores] * 2))
            began = time.perf_counter()
            list(pool.map(ours, batch, chunksize=4))
            rate = len(batch) / (time.perf_counter() - began)
        rows.append({"how": name, "pictures/s": rate, "× one": rate / alone})
    report.table("the mix, decode + PDQ, all cores", rows)


def fidelity_corpus() -> Iterator[tuple[str, bytes]]:
    """Group and file: JPEG of each size and quality, and large pictures of the formats that are reduced."""
    for number, name in enumerate(PHOTOGRAPHS):
        for width, height in ((640, 480), (1080, 1350), (1920, 1080)):
            raster = photograph(name, width, height, number)
            for quality in (50, 75, 85, 95):
                yield f"JPEG {width}×{height}", encoded(raster, "JPEG", quality=quality)
            if width == 1920:
                yield "PNG 1920×1080", encoded(raster, "PNG", compress_level=1)
                yield "WEBP 1920×1080", encoded(raster, "WEBP", quality=80, method=0)
    for seed in range(20):
        drawn = landscape(800 + 61 * seed, 1500 - 37 * seed, seed)
        yield "JPEG drawn", encoded(drawn, "JPEG", quality=70 + seed)
    for seed in range(4):
        raster = photograph(PHOTOGRAPHS[seed], 4032, 3024, seed)
        yield "JPEG 4032×3024", encoded(raster, "JPEG", quality=85)
        yield "PNG 4032×3024", encoded(raster, "PNG", compress_level=1)


def measure_fidelity() -> dict[str, Any]:
    """Bits off pdqhash on the full-size RGB frame, by group, and between the two dialects."""
    off: dict[str, list[int]] = {}
    qualities: list[int] = []
    dialect: list[int] = []
    skipped = 0
    for group, media in fidelity_corpus():
        expected, quality = naive(media)
        value, found = ours(media)
        if quality < COUNTED_QUALITY:
            skipped += 1
            continue
        off.setdefault(group, []).append(_distance(value, expected))
        qualities.append(abs(found - quality))
        with Image.open(io.BytesIO(media)) as picture:
            frame = np.asarray(picture.convert("RGB"))
        if max(frame.shape[:2]) > variants.NN512_SIDE:
            dialect.append(_distance(pdq.compute(variants.nn512(frame))[0], expected))
    every = [bits for group in off.values() for bits in group]
    return {
        "fidelity": {"all": _spread(every), **{group: _spread(bits) for group, bits in off.items()}},
        "quality_off": _spread(qualities),
        "dialect_nn512": _spread(dialect),
        "below_counted_quality": skipped,
    }


def _distance(one: bytes, other: bytes) -> int:
    return (int.from_bytes(one, "big") ^ int.from_bytes(other, "big")).bit_count()


def _spread(values: list[int]) -> dict[str, float | int]:
    ordered = sorted(values)
    return {
        "pictures": len(values),
        "mean": round(statistics.fmean(values), 3),
        "p99": ordered[int(0.99 * (len(ordered) - 1))],
        "max": ordered[-1],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--write-measured", action="store_true", help="write indexes/pdq.measured.json, time nothing")
    options = parser.parse_args()
    pillow_heif.register_heif_opener()
    if options.write_measured:
        content = {
            "what": "bits off pdqhash on the full-size RGB frame that Pillow decodes from the same file; "
            "dialect_nn512: bits between Meta's C++ dialect and the full-frame one",
            "counted": f"pictures whose reference quality is at least {COUNTED_QUALITY}",
            "corpus": f"scikit-image's {', '.join(PHOTOGRAPHS)}, resized with Lanczos and grain, and drawn landscapes",
            "limits": {"mean": MEAN_BITS, "max": MAX_BITS},
            "versions": {k: v for k, v in versions().items() if k in ("hashmatch", "pdqhash", "numpy", "pillow")},
            **measure_fidelity(),
        }
        text = json.dumps(content, indent=2, ensure_ascii=False) + "\n"
        MEASURED.write_text(text)
        print(text)
        return
    pictures = jpegs()
    report = Report(
        "hash", "JPEG q85, one drawn and one scikit-image photograph for each size of the mix; bytes as told"
    )
    time_jpegs(report, pictures)
    time_others(report)
    time_steps(report, pictures)
    time_together(report, pictures)
    report.write()


if __name__ == "__main__":
    main()
