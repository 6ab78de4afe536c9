"""Every bound on media: its name, its unit, and where the figure comes from.

A worker may use 480 MiB in all, of which 63 to 78 are its own before it sees media. B/px is the peak growth of resident
memory per pixel, the file's own bytes included, measured on drawn pictures of 12 to 48 Mpx; where a figure is reckoned
instead, it says so. All but HEIC's largest are decoded under that limit in tests/media/test_decode_memory.py.
"""

from __future__ import annotations

from types import MappingProxyType

# Bytes of one submission. Decoders of WebP, AVIF and HEIC keep a copy, so twice this must fit beside the pixels.
MAX_MEDIA_BYTES = 64 << 20

# Pixels of one picture or canvas, by media type. JPEG is decoded straight to a small luma picture, so what bounds it is
# time; the others hold the whole picture.
MAX_PIXELS = MappingProxyType(
    {
        "image/jpeg": 400_000_000,  # 0.3 s of a plain one
        "image/png": 64_000_000,  # 6 B/px
        "image/bmp": 64_000_000,  # 8 B/px uncompressed, where MAX_MEDIA_BYTES bounds it first; else reckoned as PNG
        "image/gif": 30_000_000,  # 14 B/px where frames build on each other, 1.4 for a still
        "image/tiff": 40_000_000,  # 9 B/px: libtiff keeps a strip, which may be the whole picture
        "image/webp": 16_777_216,  # 18 B/px: libwebp keeps three canvases
        "image/avif": 24_000_000,  # 12 B/px at 8 bits; reckoned 18 at 12 bits
        "image/heic": 50_000_000,  # 8 B/px; 48 Mpx took 3.8 s, so time is the nearer bound
    }
)

# Pixels of a picture that is wanted at full size: a JPEG in luma (2 B/px), and any type in colour (8 to 9 B/px).
MAX_PIXELS_FULL_SIZE_LUMA = 100_000_000
MAX_PIXELS_FULL_SIZE_COLOUR = 40_000_000

# Bytes of DCT coefficients that libjpeg keeps for a JPEG of several scans: 2 per sample of every component.
MAX_COEFFICIENT_BYTES = 320 << 20

# Pixels of either side. 65 535 is the most that JPEG can say; PNG and TIFF claim up to 4 294 967 295.
MAX_SIDE = 65_535

# Pixels of the smaller side below which perceptual hashing is refused: a 15×15 picture has PDQ quality 99 and means
# nothing. Decoding does not refuse it.
MIN_SIDE = 16

# Pixels of the smaller side that a reduced decode keeps. PDQ works on 64×64; at 256 the drift against the full frame is
# under one bit on average where the filter is laid out as frame.Frame asks, and below 160 it explodes.
REDUCED_SIDE = 256

# Scans of a JPEG. Encoders write about ten; a thousand in 72 KB take 15 s. NVIDIA's nvImageCodec stops at 256;
# libjpeg-turbo leaves the limit to the application.
MAX_JPEG_SCANS = 100

# Segments of a JPEG before its first scan, and chunks of a PNG (64 MB in chunks of 1 KB): 15 and 40 ms to walk.
MAX_JPEG_SEGMENTS = 10_000
MAX_PNG_CHUNKS = 65_536

# Data blocks of a GIF, each at most 255 bytes: four times what the largest submission needs, half a second to walk.
MAX_GIF_BLOCKS = 1_000_000

# Directory entries of a TIFF, over all its pages, each a few microseconds; a page has about twenty. Pages may
# overlap, so the file's size does not bound them.
MAX_TIFF_ENTRIES = 200_000

# Frames of one submission that are hashed, spread over the whole of it; every frame up to that many.
MAX_FRAMES_HASHED = 64

# Frames that are counted, and so the farthest that a sample reaches.
MAX_FRAMES_COUNTED = 10_000

# Pixels decoded for one animation, over all its frames. A count gives the same sample on every machine, but it binds
# only where decoding is fast: WebP does 120 to 240 Mpx/s, GIF 50, APNG 14 to 32, so for both FRAME_SECONDS is first.
MAX_ANIMATION_PIXELS = 200_000_000

# Seconds after which an animation ends with the frames it has; what is then sampled depends on the machine's speed.
FRAME_SECONDS = 2.0
