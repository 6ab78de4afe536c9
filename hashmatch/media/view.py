"""Hostile bytes → a small picture that a person may look at. Runs inside a decode worker.

The picture is drawn anew from decoded pixels, so that nothing of the file comes with it: no metadata, no profile, no
later frame, no sound. It stands as a viewer shows it, EXIF orientation applied. What was hashed can be looked at: its
frames are those that `image.open_media` samples, one at a time and by number.

BLURRED is made small first, then blurred, then enlarged. A blur alone only dims what is fine, and since its width is
known, what was dimmed is brought back as far as rounding allows: a Gaussian of 8 pixels, which looks strong, leaves
13 800 components (DCT) of a 1000-pixel picture above half a grey level where they are as strong as can be, as much as
117 × 117 pixels say (reckoned). Here the fine is gone before the blur: the whole view is a function of at most
BLUR_SIDE × BLUR_SIDE numbers of 8 bits, 576 of a square picture and 432 of a 4:3 one, whatever the size of what it
shows. The blur then takes almost half of those too: by the same measure 321 of the 576 remain, as much as 18 × 18
pixels say (measured, component by component).
"""

from __future__ import annotations

import io

from PIL import Image, ImageFilter

from hashmatch.media.frame import Frame, Undecodable
from hashmatch.media.image import open_media
from hashmatch.media.levels import Level, NoFrame, Unviewable, View, Viewed
from hashmatch.types import Reason

BLUR_SIDE = 24  # pixels of the longer side that are left of a blurred view, before the blur
BLUR_RADIUS = 1.5  # of those pixels: the standard deviation of the Gaussian
COMPRESSION = 1  # of zlib's levels: 70 ms for a picture of 1024 × 1024, where 6 takes 360 and saves an eighth

_TURNS = {  # EXIF orientation → what makes the stored picture the displayed one
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


def view(media: bytes | memoryview, level: Level, frame: int) -> Viewed:
    """One frame of the media as the level shows it. `frame` counts those that are hashed, from 0.

    A picture that lives in its alpha channel is shown light on dark. Bad media is an answer, not an error.
    """
    try:
        decoded, frames = open_media(
            media, colour=level.channels == 3, full_size=False, long_side=level.long_side, only=frame
        )
        if frame >= decoded.sampled:
            return NoFrame(decoded.sampled)
        picture = _drawn(next(frames), level)
        out = io.BytesIO()
        picture.save(out, "PNG", compress_level=COMPRESSION)
        return View(out.getvalue(), picture.width, picture.height, decoded.sampled, decoded.frames <= decoded.sampled)
    except Undecodable as e:
        return Unviewable(e.reason)
    except MemoryError:
        return Unviewable(Reason.TOO_LARGE)


def _drawn(frame: Frame, level: Level) -> Image.Image:
    picture = Image.fromarray(frame.pixels)
    height, width = frame.shape
    if level is Level.BLURRED:
        few = picture.resize(_fitted(width, height, BLUR_SIDE), Image.Resampling.LANCZOS)
        blurred = few.filter(ImageFilter.GaussianBlur(BLUR_RADIUS))
        picture = blurred.resize(_fitted(width, height, level.long_side), Image.Resampling.BICUBIC)
    elif max(picture.size) > level.long_side:
        picture = picture.resize(_fitted(width, height, level.long_side), Image.Resampling.LANCZOS)
    turn = _TURNS.get(frame.orientation)
    return picture if turn is None else picture.transpose(turn)


def _fitted(width: int, height: int, long_side: int) -> tuple[int, int]:
    """Width and height in that proportion, the longer one of `long_side` pixels."""
    longer = max(width, height)
    return max(1, round(width * long_side / longer)), max(1, round(height * long_side / longer))
