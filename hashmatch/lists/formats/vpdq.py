"""vPDQ's hashes of a video: `frame,quality,fingerprint,timestamp` lines, or JSON `{frame: {quality, hash, timestamp}}`.

Each frame's PDQ fingerprint becomes an entry, with the frame as its source id; those of low quality are refused like
any other. Source: vpdq/README.md and its extension to python-threatexchange.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import ijson

from hashmatch.errors import Malformed
from hashmatch.lists.formats import Raw, Reject
from hashmatch.lists.formats.ahead import Ahead
from hashmatch.lists.formats.lines import MAX_LINE_BYTES, Lines

_COLUMNS = 4
_TIME_CHARS = 40


class Frames:
    """Reads such a file. For one pass."""

    def __init__(self, file: Ahead) -> None:
        self._file = file
        self._lines = Lines(file)
        self.number = 0
        self.bytes = 0

    def read(self, size: int) -> bytes:
        """As a file is read; counts."""
        some = self._file.read(size)
        self.bytes += len(some)
        return some

    def __iter__(self) -> Iterator[Raw | Reject]:
        if self._file.peek(1 << 10).lstrip().startswith(b"{"):
            yield from self._objects()
            return
        for line in self._lines:
            self.number, self.bytes = self._lines.number, self._lines.bytes
            if self._lines.overlong == self.number:
                yield Reject(self.number, f"longer than {MAX_LINE_BYTES} bytes")
            elif cells := line.decode("utf-8", "replace").strip():
                yield (
                    self._frame(*cells.split(","))
                    if cells.count(",") == _COLUMNS - 1
                    else Reject(
                        self.number,
                        f"{cells.count(',') + 1} columns, want {_COLUMNS}: frame,quality,fingerprint,timestamp",
                    )
                )

    def _objects(self) -> Iterator[Raw | Reject]:
        try:
            for frame, value in ijson.kvitems(self, "", use_float=True):
                self.number += 1
                if not isinstance(value, dict) or not isinstance(value.get("hash"), str):
                    yield Reject(self.number, "no hash of this frame")
                    continue
                yield self._frame(frame, value.get("quality", ""), value["hash"], value.get("timestamp", ""))
        except (ijson.JSONError, UnicodeDecodeError, ValueError, RecursionError) as e:
            raise Malformed(f"the JSON breaks off or is damaged after {self.number} frames", field="chunk") from e

    def _frame(self, frame: Any, quality: Any, text: str, at: Any) -> Raw:
        notes = f"frame at {str(at).strip()[:_TIME_CHARS]} s" if str(at).strip() else ""
        return Raw(
            self.number, "pdq", text.strip(), source_id=str(frame).strip(), quality=str(quality).strip(), notes=notes
        )
