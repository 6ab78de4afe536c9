"""The largest pictures within the limits fit a worker's memory, and what is over it is TOO_LARGE.

Measured in a process of its own under an address-space limit, as a worker runs; Linux only has that limit.
"""

from __future__ import annotations

import struct
import subprocess
import sys

import pytest

MEMORY = 400 << 20  # bytes above what the process needs at rest: a worker has 480 MiB in all

UNDER_A_LIMIT = """
import resource, sys
from hashmatch.media.image import Undecodable, open_media
media = sys.stdin.buffer.read()
colour, full_size, allowed = sys.argv[1] == "1", sys.argv[2] == "1", int(sys.argv[3])
sizes = dict(line.split(":") for line in open("/proc/self/status") if line.startswith("Vm"))
used = int(sizes["VmSize"].split()[0]) * 1024
resource.setrlimit(resource.RLIMIT_AS, (used + allowed, used + allowed))
try:
    _, frames = open_media(media, colour=colour, full_size=full_size)
    print("ok", sum(1 for _ in frames))
except Undecodable as e:
    print(e.reason.value)
"""


def told(media: bytes, *, colour: bool = False, full_size: bool = False, allowed: int = MEMORY) -> str:
    """What a process under the limit says of the media."""
    command = [sys.executable, "-c", UNDER_A_LIMIT, str(int(colour)), str(int(full_size)), str(allowed)]
    done = subprocess.run(command, input=media, capture_output=True, timeout=60, check=True)
    return done.stdout.decode().strip()


@pytest.mark.parametrize(
    ("kind", "size", "options"),
    [
        ("PNG", (8000, 7990), {"compress_level": 1}),
        ("GIF", (6000, 4990), {}),
        ("TIFF", (8000, 4990), {"compression": "tiff_lzw"}),
        ("WEBP", (4096, 4096), {"lossless": True, "quality": 0, "method": 0}),
        ("AVIF", (6000, 3990), {"speed": 10, "subsampling": "4:4:4"}),
    ],
)
def test_the_largest_fit(drawing, kind, size, options):
    small = drawing.picture(200, 160)
    large = small.resize(size, drawing.Image.Resampling.NEAREST)
    if kind in ("PNG", "WEBP"):
        large.putalpha(large.getchannel("G"))
    media = drawing.written(large, kind, **options)
    assert told(media) == "ok 1"


def test_the_largest_animation_fits(drawing):
    large = drawing.picture(200, 160).resize((6000, 4990), drawing.Image.Resampling.NEAREST)
    one = drawing.written(large, "GIF")
    frame = one.index(b"," + struct.pack("<HHHH", 0, 0, 6000, 4990))
    assert told(one[:frame] + one[frame:-1] * 3 + b";").startswith("ok ")


@pytest.mark.parametrize("colour", [False, True])
def test_full_size_fits(drawing, colour):
    large = drawing.picture(200, 160).resize((8000, 4990), drawing.Image.Resampling.NEAREST)
    assert told(drawing.written(large, "JPEG", subsampling=0), colour=colour, full_size=True) == "ok 1"


def test_progressive_within_the_limit_fits(drawing):
    large = drawing.picture(200, 160).resize((8000, 6000), drawing.Image.Resampling.NEAREST)
    assert told(drawing.written(large, "JPEG", subsampling=0, progressive=True)) == "ok 1"


def test_memory_that_runs_out_is_too_large(drawing):
    large = drawing.picture(200, 160).resize((4000, 3000), drawing.Image.Resampling.NEAREST)
    for kind in ("PNG", "BMP", "TIFF"):
        media = drawing.written(large, kind) if kind != "BMP" else drawing.written(large.quantize(9), kind)
        assert told(media, colour=True, full_size=True, allowed=10 << 20) == "too_large"


def test_the_corpus_fits(hostile_corpus):
    for name, media, expected in hostile_corpus:
        if "bomb" in name or "claims" in name:
            assert told(media).split()[0] in expected, name
