"""Every format and colour mode gives the picture that a viewer sees."""

from __future__ import annotations

import io

import numpy as np
import pytest
import tifffile
from PIL import Image, ImageCms
from skimage import data

from hashmatch.media import limits
from hashmatch.media.image import Undecodable, open_media
from hashmatch.types import Reason

FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "AVIF", "HEIF")
LOSSLESS = ("PNG", "BMP", "TIFF")


def opened(media: bytes, *, colour: bool = False, full_size: bool = False):
    decoded, frames = open_media(media, colour=colour, full_size=full_size)
    return decoded, list(frames)


def shown(media: bytes) -> Image.Image:
    """The picture by Pillow alone, for formats and modes that it gets right."""
    with Image.open(io.BytesIO(media)) as picture:
        return picture.convert("RGB")


@pytest.mark.parametrize("kind", FORMATS)
@pytest.mark.parametrize("size", [(420, 330), (1000, 760), (64, 48)])
def test_formats(drawing, kind, size):
    drawn = drawing.picture(*size)
    media = drawing.written(drawn, kind)
    for colour in (False, True):
        for full_size in (False, True):
            decoded, (frame,) = opened(media, colour=colour, full_size=full_size)
            assert (decoded.width, decoded.height, decoded.frames) == (*size, 1)
            assert frame.pixels.dtype == np.uint8
            assert frame.pixels.flags.c_contiguous
            assert frame.pixels.ndim == (3 if colour else 2)
            assert frame.shape == size[::-1]
            assert (frame.frame_ms, frame.orientation) == (0, 1)
            assert full_size <= (frame.reduced_by == 1)
            assert min(frame.pixels.shape[:2]) >= min(limits.REDUCED_SIDE, *size)
            assert drawing.distance(frame, shown(media)) <= (10 if frame.reduced_by > 1 else 2)


@pytest.mark.parametrize("kind", LOSSLESS)
def test_lossless_is_pixel_equal(drawing, kind):
    drawn = drawing.picture(1100, 800)
    _, (frame,) = opened(drawing.written(drawn, kind), colour=True, full_size=True)
    assert np.array_equal(frame.pixels, np.asarray(drawn))
    _, (frame,) = opened(drawing.written(drawn, kind), full_size=True)
    assert np.array_equal(frame.pixels, np.asarray(drawn.convert("L")))


def test_media_may_be_a_view(drawing):
    drawn = drawing.picture()
    for kind in FORMATS:
        media = drawing.written(drawn, kind)
        _, (frame,) = opened(memoryview(bytearray(media)))
        assert np.array_equal(frame.pixels, opened(media)[1][0].pixels)


@pytest.mark.parametrize(("by", "options"), [("JPEG", {"quality": 85}), ("PNG", {"compress_level": 1})])
def test_reduced_frames_hash_like_full_ones(drawing, by, options):
    """Laid out at full size, as Frame asks: mean at most one bit and never over 8."""
    names = ("astronaut", "camera", "coffee", "chelsea", "rocket", "coins", "brick", "grass", "gravel", "moon")
    distances = []
    for name in names:
        whole = Image.fromarray(getattr(data, name)()).convert("RGB")
        for size in ((1000, 760), (1080, 1350)):
            media = drawing.written(whole.resize(size, Image.Resampling.BICUBIC), by, **options)
            _, (frame,) = opened(media)
            assert frame.reduced_by > 1
            distances.append(drawing.distance(frame, shown(media)))
    assert np.mean(distances) <= 1.0
    assert max(distances) <= 8


@pytest.mark.parametrize(
    ("kind", "mode", "options"),
    [
        ("JPEG", "L", {}), ("JPEG", "CMYK", {}), ("JPEG", "RGB", {"keep_rgb": True}),
        ("JPEG", "RGB", {"progressive": True}),
        ("JPEG", "RGB", {"subsampling": 0}), ("PNG", "L", {}), ("PNG", "P", {}), ("PNG", "1", {}), ("GIF", "L", {}),
        ("BMP", "P", {}), ("BMP", "1", {}), ("BMP", "L", {}), ("TIFF", "L", {}), ("TIFF", "1", {}), ("TIFF", "P", {}),
        ("TIFF", "CMYK", {}), ("TIFF", "RGB", {"compression": "tiff_lzw"}), ("TIFF", "RGB", {"compression": "jpeg"}),
        ("TIFF", "RGB", {"compression": "tiff_adobe_deflate"}), ("TIFF", "1", {"compression": "group4"}),
        ("WEBP", "RGB", {"lossless": True}), ("AVIF", "L", {}), ("HEIF", "L", {}),
    ],
)  # fmt: skip
@pytest.mark.parametrize("size", [(420, 330), (700, 600)])
def test_colour_modes(drawing, kind, mode, options, size):
    drawn = drawing.picture(*size).convert(mode)
    _, (frame,) = opened(drawing.written(drawn, kind, **options))
    assert drawing.distance(frame, drawn) <= 10


def test_jpeg_in_rgb_and_grey_are_told_apart(drawing):
    drawn = drawing.picture()
    _, (rgb,) = opened(drawing.written(drawn, "JPEG", keep_rgb=True, quality=95), full_size=True)
    assert np.abs(rgb.pixels.astype(int) - np.asarray(drawn.convert("L"))).mean() < 3
    _, (grey,) = opened(drawing.written(drawn.convert("L"), "JPEG", quality=95), colour=True, full_size=True)
    assert grey.pixels.shape == (330, 420, 3)


def test_cielab_tiff(drawing):
    drawn = drawing.picture()
    lab = ImageCms.applyTransform(
        drawn, ImageCms.buildTransform(ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB"), "RGB", "LAB")
    )
    _, (frame,) = opened(drawing.written(lab, "TIFF"))
    assert drawing.distance(frame, drawn) <= 6


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize(
    ("dtype", "scale"), [("u2", 257), ("i4", 8_000_000), ("i4", 1), ("f4", 1 / 255), ("f4", 1e36), ("f4", -3.5)]
)
def test_wide_grey_tiff_is_scaled(drawing, order, dtype, scale):
    grey = drawing.picture().convert("L")
    out = io.BytesIO()
    values = np.asarray(grey).astype(np.float64) * scale
    tifffile.imwrite(out, values.astype(order + dtype), byteorder=order, photometric="minisblack")
    _, (frame,) = opened(out.getvalue())
    seen = Image.fromarray(255 - np.asarray(grey)) if scale < 0 else grey
    assert drawing.distance(frame, seen) <= 4


def test_floats_that_are_not_finite(drawing):
    grey = np.asarray(drawing.picture().convert("L")).astype(np.float32)
    grey[:3, :3] = [[np.nan, np.inf, -np.inf]] * 3
    out = io.BytesIO()
    tifffile.imwrite(out, grey)
    _, (frame,) = opened(out.getvalue())
    assert drawing.distance(frame, drawing.picture().convert("L")) <= 4
    out = io.BytesIO()
    tifffile.imwrite(out, np.full((64, 64), np.nan, np.float32))
    assert not opened(out.getvalue())[1][0].pixels.any()


@pytest.mark.parametrize("size", [(420, 330), (700, 600)])
def test_sixteen_bit_png(drawing, size):
    grey = drawing.picture(*size).convert("L")
    wide = Image.fromarray(np.asarray(grey).astype(np.uint16) * 257)
    _, (frame,) = opened(drawing.written(wide, "PNG"))
    assert drawing.distance(frame, grey) <= 8
    _, (frame,) = opened(drawing.written(wide, "PNG"), colour=True, full_size=True)
    assert np.array_equal(frame.pixels[..., 0], np.asarray(grey))


def on_white(picture: Image.Image) -> Image.Image:
    white = Image.new("RGBA", picture.size, "white")
    white.alpha_composite(picture.convert("RGBA"))
    return white.convert("RGB")


@pytest.mark.parametrize(
    ("kind", "options"),
    [("PNG", {}), ("WEBP", {"lossless": True}), ("TIFF", {}), ("AVIF", {"quality": 95}), ("HEIF", {"quality": 95})],
)
@pytest.mark.parametrize("size", [(420, 330), (700, 600)])
def test_alpha_is_laid_on_white(drawing, kind, options, size):
    drawn = drawing.picture(*size)
    drawn.putalpha(drawing.picture(*size, seed=9).convert("L"))
    _, (frame,) = opened(drawing.written(drawn, kind, **options))
    assert drawing.distance(frame, on_white(drawn)) <= 10


@pytest.mark.parametrize("mode", ["LA", "P"])
def test_other_transparency(drawing, mode):
    drawn = drawing.picture()
    drawn.putalpha(drawing.picture(seed=9).convert("L").point(lambda v: 255 if v > 127 else 0))
    drawn = drawn.convert("LA") if mode == "LA" else drawn.quantize(100)
    media = drawing.written(drawn, "PNG")
    with Image.open(io.BytesIO(media)) as stored:
        assert drawing.distance(opened(media)[1][0], on_white(stored)) <= 2


def test_a_transparent_colour_in_gif_and_png(drawing):
    drawn = drawing.picture().quantize(32)
    for kind in ("GIF", "PNG"):
        media = drawing.written(drawn, kind, transparency=3)
        with Image.open(io.BytesIO(media)) as stored:
            assert drawing.distance(opened(media)[1][0], on_white(stored)) <= 2


@pytest.mark.parametrize("ink", [(255, 255, 255), (0, 0, 0), (200, 30, 90)])
@pytest.mark.parametrize("size", [(420, 330), (700, 600)])
@pytest.mark.parametrize("kind", ["PNG", "WEBP"])
def test_a_picture_in_alpha_alone_is_read_both_ways(drawing, ink, size, kind):
    plane = drawing.picture(*size).convert("L")
    drawn = Image.new("RGBA", size, ink)
    drawn.putalpha(plane)
    decoded, (light, dark) = opened(drawing.written(drawn, kind, **({"lossless": True} if kind == "WEBP" else {})))
    assert decoded.frames == 1
    assert drawing.distance(light, plane) <= 10
    assert drawing.distance(dark, Image.fromarray(255 - np.asarray(plane))) <= 10


def test_alpha_that_hides_everything_is_dropped(drawing):
    drawn = drawing.picture()
    drawn.putalpha(0)
    for kind in ("PNG", "BMP"):
        _, (frame,) = opened(drawing.written(drawn, kind))
        assert drawing.distance(frame, drawing.picture()) <= 2


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF", "AVIF"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientation_is_told_and_not_applied(drawing, kind, orientation):
    drawn = drawing.picture(420, 330)
    exif = Image.Exif()
    exif[0x0112] = orientation
    decoded, (frame,) = opened(drawing.written(drawn, kind, exif=exif))
    assert frame.orientation == orientation
    assert frame.shape == (330, 420)
    assert (decoded.width, decoded.height) == ((330, 420) if orientation >= 5 else (420, 330))
    assert drawing.distance(frame, drawn) <= 6


@pytest.mark.parametrize("orientation", range(1, 9))
def test_heic_is_turned_by_its_decoder(drawing, orientation):
    drawn = drawing.picture(420, 330)
    exif = Image.Exif()
    exif[0x0112] = orientation
    media = drawing.written(drawn, "HEIF", exif=exif.tobytes(), quality=90)
    decoded, (frame,) = opened(media)
    assert frame.orientation == 1
    assert (decoded.width, decoded.height) == frame.shape[::-1]
    assert drawing.distance(frame, shown(media)) <= 2
    assert (frame.shape == (420, 330)) == (orientation >= 5)


@pytest.mark.parametrize("order", [b"II*\0", b"MM\0*"])
@pytest.mark.parametrize("stored", [0, 9, 65535])
def test_orientations_that_make_no_sense_are_none(drawing, order, stored):
    end = "little" if order.startswith(b"I") else "big"
    word = lambda value, size: value.to_bytes(size, end)  # noqa: E731
    entry = word(0x0112, 2) + word(3, 2) + word(1, 4) + word(stored, 2) + b"\0\0"
    exif = b"Exif\0\0" + order + word(8, 4) + word(1, 2) + entry
    _, (frame,) = opened(drawing.written(drawing.picture(), "JPEG", exif=exif))
    assert frame.orientation == 1


def test_a_profile_changes_nothing(drawing):
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("XYZ")).tobytes()
    for kind in ("JPEG", "PNG", "WEBP", "TIFF"):
        with_profile = drawing.written(drawing.picture(), kind, icc_profile=profile)
        without = drawing.written(drawing.picture(), kind)
        assert np.array_equal(opened(with_profile)[1][0].pixels, opened(without)[1][0].pixels)


@pytest.mark.parametrize(
    ("media", "media_type"), [(b"%PDF-1.4", "application/pdf"), (b"<svg/>", "image/svg+xml"), (b"who knows", "")]
)
def test_other_types_are_unsupported(media, media_type):
    with pytest.raises(Undecodable) as caught:
        open_media(media, colour=False, full_size=False)
    assert caught.value.reason is Reason.UNSUPPORTED_TYPE
    assert caught.value.media_type == media_type
