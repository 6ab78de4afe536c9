"""JSON files of any size, a record at a time; what is wrong with one of them is found out before anything is kept.

A file that ends too early, or is not JSON somewhere, is refused as a whole: nobody knows what is missing from it.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import ijson

from hashmatch.errors import Malformed
from hashmatch.lists.formats.ahead import Ahead

MAX_DEPTH = 32  # ours: real files have five levels
MAX_TEXT = 2 << 20  # characters of one string: a TMK value in hexadecimal has half a million
MAX_ITEMS = 10_000  # values inside one record


class Records:
    """The records of one array of a JSON file, or of one object. For one pass."""

    def __init__(self, file: Ahead, arrays: tuple[str, ...], context: tuple[str, ...] = ()) -> None:
        """Takes what lies at the first of the paths `arrays` that the file has, as ijson names paths.

        `context` are keys of the root whose text is remembered.
        """
        self._file, self._arrays, self._keys = file, arrays, context
        self.context = ""  # the last of the remembered texts
        self.number = 0  # records so far
        self.bytes = 0

    def read(self, size: int) -> bytes:
        """As a file is read; counts."""
        some = self._file.read(size)
        self.bytes += len(some)
        return some

    def __iter__(self) -> Iterator[Any]:
        """The records, each in full.

        Raises:
            Malformed: the file is not JSON, ends too early, or has another form.
        """
        try:
            yield from self._parsed()
        except (ijson.JSONError, UnicodeDecodeError, ValueError, RecursionError, OverflowError) as e:
            raise Malformed(
                f"the JSON breaks off or is damaged after {self.number} records; nothing was imported", field="chunk"
            ) from e

    def _parsed(self) -> Iterator[Any]:
        array = ""
        depth = base = items = 0
        builder: Any = None
        for prefix, event, value in ijson.parse(self, use_float=True):
            starts, ends = event in ("start_map", "start_array"), event in ("end_map", "end_array")
            depth += starts
            if depth > MAX_DEPTH or (event in ("string", "map_key") and len(value) > MAX_TEXT):
                raise Malformed("deeper or longer than any list is", field="chunk")
            if (
                builder is None
                and event == "start_array"
                and not array
                and f"{prefix}.item".lstrip(".") in self._arrays
            ):
                array = f"{prefix}.item".lstrip(".")
            elif builder is None and prefix == array and array and not ends:
                self.number += 1
                builder, base, items = ijson.ObjectBuilder(), depth - starts, 0
            elif builder is None and event == "string" and prefix in self._keys:
                self.context = value
            if builder is not None:
                items += 1
                if items > MAX_ITEMS:
                    raise Malformed(f"record {self.number} has more than {MAX_ITEMS} values", field="chunk")
                builder.event(event, value)
                if depth - ends == base:
                    record, builder = builder.value, None
                    yield record
            depth -= ends
        if not array:
            raise Malformed("the JSON has none of the arrays that such a file has", field="chunk")
