"""What ThreatExchange and python-threatexchange write: indicators of a type, as JSON, as a table or as lines.

JSON: pages of /threat_updates or /threat_descriptors, `{"data": [{"id", "indicator" or "raw_indicator", "type":
"HASH_PDQ", "tags", "status", "should_delete", "last_updated", …}]}`, or an array or lines of such objects.
Lines: `signal_type signal`, as python-threatexchange's file exchange keeps them and its commands print them.
Tables without a header: `indicator id, indicator, descriptor id, time, tags`, its older cache, one type per file.

Signals that are not fingerprints of media (text, addresses, trends) are left out, as is what was withdrawn or is marked
NON_MALICIOUS. Sources: developers.facebook.com/docs/threat-exchange; python-threatexchange's exchanges/impl.
"""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any, Final

from hashmatch.lists.formats import Raw, Reject, Skipped
from hashmatch.lists.formats.ahead import Ahead
from hashmatch.lists.formats.lines import MAX_LINE_BYTES, Lines
from hashmatch.lists.formats.records import Records

SOURCE = "ThreatExchange"
TYPES: Final = {
    "hash_pdq": "pdq", "hash_md5": "md5", "hash_video_md5": "md5", "video_md5": "md5", "hash_sha1": "sha1",
    "hash_sha256": "sha256", "hash_tmk": "tmk", "hash_photodna": "photodna",
}  # fmt: skip
NOT_MEDIA: Final = frozenset(
    {"raw_text", "text_tlsh", "hash_text_tlsh", "url", "uri", "url_md5", "trend_query", "debug_string", "domain"}
)
_PAGE = re.compile(rb'\{\s*"(?:data|paging)"\s*:')  # an object of its own otherwise, one a line
_DUMP_COLUMNS = 5
_ARRAYS = ("data.item", "item")


class Indicators:
    """Reads such a file. For one pass."""

    def __init__(self, file: Ahead, hash_type: str, *, benign: bool) -> None:
        """`hash_type` is that of a table; `benign`: what is marked NON_MALICIOUS is wanted, instead of the rest."""
        self._file, self._hash_type, self._benign = file, hash_type, benign
        self._lines = Lines(file)
        self._records: Records | None = None

    @property
    def number(self) -> int:
        return self._records.number if self._records else self._lines.number

    @property
    def bytes(self) -> int:
        return self._records.bytes if self._records else self._lines.bytes

    def __iter__(self) -> Iterator[Raw | Reject | Skipped]:
        head = self._file.peek(1 << 10).lstrip()
        if head.startswith(b"[") or _PAGE.match(head):
            self._records = Records(self._file, _ARRAYS)
            for record in self._records:
                yield from self._indicator(record, self._records.number)
            return
        for line in self._lines:
            if self._lines.overlong == self._lines.number:
                yield Reject(self._lines.number, f"longer than {MAX_LINE_BYTES} bytes")
            elif line.strip():
                yield from self._line(line.decode("utf-8", "replace").strip(), self._lines.number)

    def _line(self, line: str, number: int) -> Iterator[Raw | Reject | Skipped]:
        if line.startswith("{"):
            try:
                record = json.loads(line)
            except (ValueError, RecursionError):
                yield Reject(number, "not JSON")
                return
            yield from self._indicator(record, number)
        elif "," in line:
            try:
                cells = next(csv.reader([line]), [])
            except csv.Error:
                yield Reject(number, "not CSV")
                return
            yield from self._dumped(cells, number)
        else:
            kind, _, signal = line.partition(" ")
            yield from self._signal(number, kind, signal.strip()) if signal else [Reject(number, "no signal")]

    def _dumped(self, cells: list[str], number: int) -> Iterator[Raw | Reject | Skipped]:
        if len(cells) < _DUMP_COLUMNS - 1:
            yield Reject(number, f"{len(cells)} columns, want {_DUMP_COLUMNS}")
            return
        label = cells[4].split(" ")[0] if len(cells) > _DUMP_COLUMNS - 1 else ""
        seen = _time(int(cells[3])) if cells[3].isascii() and cells[3].isdigit() and len(cells[3]) < 12 else ""
        yield Raw(number, self._hash_type, cells[1], label, cells[0], source=SOURCE, first_seen=seen)

    def _indicator(self, record: Any, number: int) -> Iterator[Raw | Reject | Skipped]:
        if not isinstance(record, dict):
            yield Reject(number, "not an object")
            return
        kind, text = record.get("type"), record.get("indicator") or record.get("raw_indicator")
        if not isinstance(kind, str) or not isinstance(text, str):
            yield Reject(number, "no type, or no indicator")
        elif record.get("should_delete") is True:
            yield Skipped(number, "withdrawn")
        elif (str(record.get("status", "")).upper() == "NON_MALICIOUS") != self._benign:
            yield Skipped(number, "another status than is wanted")
        else:
            yield from self._signal(number, kind, text, _tags(record), str(record.get("id", "")), record)

    def _signal(
        self,
        number: int,
        kind: str,
        text: str,
        label: str = "",
        source_id: str = "",
        record: dict[str, Any] | None = None,
    ) -> Iterator[Raw | Skipped]:
        kind = kind.casefold()
        if kind in NOT_MEDIA:
            yield Skipped(number, "not a fingerprint of media")
            return
        record = record or {}
        yield Raw(
            number,
            TYPES.get(kind, kind),
            text,
            label,
            source_id,
            source=SOURCE,
            first_seen=_time(record.get("added_on") or record.get("creation_time")),
            last_seen=_time(record.get("last_updated")),
        )


def _tags(record: dict[str, Any]) -> str:
    """The first tag: the class that its owner gave it."""
    tags = record.get("tags")
    if isinstance(tags, dict):
        tags = tags.get("data")
    for tag in tags if isinstance(tags, list) else ():
        text = tag.get("text") if isinstance(tag, dict) else tag
        if isinstance(text, str):
            return text
    return ""


def _time(value: Any) -> str:
    """A time as ISO 8601, from that or from seconds since 1970; "" where it is neither."""
    if isinstance(value, int) and not isinstance(value, bool) and 0 < value < 1 << 36:
        return datetime.fromtimestamp(value, UTC).isoformat()
    if isinstance(value, str):
        text = value[:-2] + ":" + value[-2:] if value[-5:-4] in ("+", "-") and value[-4:].isdigit() else value
        try:
            return datetime.fromisoformat(text).isoformat()
        except ValueError:
            return ""
    return ""
