"""How much of the evidence a view shows, and what asking for one gives. Free of decoders, for the server to import.

A view is for a person: a small still picture, made of pixels alone inside a decode worker. What it shows is named by
its level, from the one that spares the reviewer most to the one that hides least. Which level a person may see is not
decided here.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass, field
from typing import TypeAlias

from hashmatch.types import Reason


class Level(enum.StrEnum):
    """What a view shows."""

    BLURRED = "blurred"  # greyscale, at most 24 × 24 pixels of detail, blurred
    GREY = "grey"  # greyscale, sharp for its size
    FULL = "full"  # colour

    @property
    def long_side(self) -> int:
        """Pixels of the longer side, at most."""
        return {Level.BLURRED: 160, Level.GREY: 320, Level.FULL: 1024}[self]

    @property
    def channels(self) -> int:
        """Bytes of a pixel."""
        return 3 if self is Level.FULL else 1

    @property
    def most_bytes(self) -> int:
        """Of a view's file: pixels that do not compress, a byte for each row's filter, and what zlib and PNG add."""
        raw = self.long_side * (1 + self.long_side * self.channels)
        return raw + raw // 32 + 1024  # noise of 1024 × 1024 pixels took 0.04 % more than its pixels


@dataclass(frozen=True, slots=True)
class View:
    """A picture that may be shown: a PNG of pixels alone."""

    png: bytes = field(repr=False)
    width: int  # pixels of the view, turned as it is displayed
    height: int
    frames: int  # that can be asked for: those that are hashed, at most limits.MAX_FRAMES_HASHED
    all_frames: bool  # whether the media has no others


@dataclass(frozen=True, slots=True)
class Unviewable:
    """There is no view of the media, and why."""

    reason: Reason


@dataclass(frozen=True, slots=True)
class NoFrame:
    """The media has fewer frames than the one that was asked for."""

    frames: int  # that can be asked for


Viewed: TypeAlias = View | Unviewable | NoFrame
