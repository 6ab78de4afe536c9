"""Versions of the decoders: a newer one may move a bit of a fingerprint, so every answer names them."""

from __future__ import annotations

import pi_heif
import PIL
from PIL import features

_LIBRARIES = ("libjpeg_turbo", "zlib", "webp", "libtiff", "avif")


def decoders() -> dict[str, str]:
    """Version by name, of Pillow, of the libraries inside it, and of libheif."""
    found = {name: features.version(name) for name in _LIBRARIES}
    named = {"pillow": PIL.__version__, "libheif": pi_heif.libheif_info()["libheif"]}
    return named | {name: version for name, version in found.items() if version}
