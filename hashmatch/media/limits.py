"""Every bound on media: its name, its unit, and where the figure comes from.

A worker may use 480 MiB above what it needs at rest. Memory figures were measured in a process under that limit
(tests/media/test_decode_memory.py measures them again); B/px is peak bytes per pixel of decoding and reducing.
"""

from __future__ import annotations

from types import MappingProxyType

# Bytes of one submission. Decoders of WebP, AVIF and HEIC keep a copy, so twice this must fit beside the pixels.
MAX_MEDIA_BYTES = 64 << 20

# Pixels of one picture or canvas, by media type, and the peak that was measured for them. JPEG is decoded straight to a
# small luma picture, so what bounds it is time; the others hold the whole picture.
MAX_PIXELS = MappingProxyType(
    {
        "image/jpeg": 400_000_000,  # half a second of a plain one; phones make 200 million
        "image/png": 64_000_000,  # 5 B/px
        "image/bmp": 64_000_000,  # 5 B/px
        "image/gif": 40_000_000,  # 5 B/px, 9 where frames build on each other
        "image/tiff": 40_000_000,  # 9 B/px: libtiff keeps a strip, which may be the whole picture
        "image/webp": 16_777_216,  # 18 B/px: libwebp keeps three canvases
        "image/avif": 24_000_000,  # 12 B/px, 18 at 12 bits
        "image/heic": 50_000_000,  # 8 B/px; phones make 48 million
    }
)

# Pixels of a picture that is wanted at full size: a JPEG in luma (2 B/px), and any type in colour (7 B/px).
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

# Segments of a JPEG before its first scan, and chunks of a PNG: 64 MB in chunks of 1 KB, each about a microsecond.
MAX_JPEG_SEGMENTS = 10_000
MAX_PNG_CHUNKS = 65_536

# Data blocks of a GIF, each at most 255 bytes: four times what the largest submission needs, half a second to walk.
MAX_GIF_BLOCKS = 1_000_000

# Directory entries of a TIFF, over all its pages, each about three microseconds; a page has about twenty. Pages may
# overlap, so the file's size does not bound them.
MAX_TIFF_ENTRIES = 200_000

# Frames of one submission that are hashed, spread over the whole of it; every frame up to that many.
MAX_FRAMES_HASHED = 64

# Frames that are counted, and so the farthest that a sample reaches.
MAX_FRAMES_COUNTED = 10_000

# Pixels decoded for one animation, over all its frames: one to two seconds of GIF or WebP. A count and not a clock, so
# that the same bytes give the same sample on every machine.
MAX_ANIMATION_PIXELS = 200_000_000

# Seconds after which an animation ends with the frames it has: the last resort where a machine is slower than that.
FRAME_SECONDS = 2.0
