"""Project VIC's JSON, data model 1.x and 2.0: `{"@odata.context": …, "value": [media …]}`, read a record at a time.

A record has an integer MediaID and Category, MD5 and SHA1 in hexadecimal, PhotoDNA in base64 or hexadecimal or inside
`[{"HashName": …, "HashValue": …}]`, DateUpdated, and much that identifies victims or places: Series, VictimIdentified,
Exifs, file paths. None of that is kept. In the `#Cases` variant the records are inside `value[].Media[]`.

What a category means hangs on the country in the context's address: 0 is not pertinent everywhere; the United States
count 1 child abuse material, 2 exploitative or age difficult, 3 computer generated, 4 comparison, 5 uncategorised; the
United Kingdom's 1 to 3 are the sentencing categories A to C. Of other countries only the number is known. Flags are
text ("true", "false"), numbers may be text too, and one file is often listed under several MediaIDs.

Sources: the data model as published by Project VIC, and two importers' experience with real exports (GLEAPP, IPED).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

from hashmatch.lists.formats import Raw, Reject, Skipped, photodna, squeeze
from hashmatch.lists.formats.ahead import Ahead
from hashmatch.lists.formats.records import Records

CATEGORIES: Final[Mapping[str, Mapping[int, str]]] = {
    "US": {
        1: "US 1 child abuse material",
        2: "US 2 exploitative or age difficult",
        3: "US 3 computer generated",
        4: "US 4 comparison",
        5: "US 5 uncategorised",
    },
    "UK": {1: "UK A", 2: "UK B", 3: "UK C"},
}
NOT_PERTINENT = 0
_CONTEXT = ("@odata.context", "odata.metadata")
_COUNTRY = re.compile(r"/2\.0\.xml/([A-Za-z]+)/")
_CASES, _HEAD_BYTES = b"#Cases", 4096  # the context is the first that a file says
_HASHES = ("MD5", "SHA1", "SHA256", "PhotoDNA")


def read(file: Ahead, hash_types: tuple[str, ...], *, benign: bool) -> Vics:
    """The rows of a file; `benign`: category 0 is wanted and the others are not, instead of the other way round."""
    cases = _CASES in file.peek(_HEAD_BYTES)
    return Vics(Records(file, ("value.item.Media.item",) if cases else ("value.item",), _CONTEXT), hash_types, benign)


class Vics:
    """Reads a VICS file. For one pass."""

    def __init__(self, records: Records, hash_types: tuple[str, ...], benign: bool) -> None:
        self.records = records
        self._known = {squeeze(name): name for name in hash_types}
        self._benign = benign

    def __iter__(self) -> Iterator[Raw | Reject | Skipped]:
        for record in self.records:
            yield from self._rows(record, self.records.number)

    def _rows(self, record: Any, number: int) -> Iterator[Raw | Reject | Skipped]:
        if not isinstance(record, dict):
            yield Reject(number, "not an object")
            return
        category = _whole(record.get("Category"))
        if category is None:
            yield Reject(number, "no category")
        elif (category == NOT_PERTINENT) != self._benign:
            yield Skipped(number, "another category than is wanted")
        else:
            yield from self._raws(record, number, self._label(category))

    def _raws(self, record: dict[str, Any], number: int, label: str) -> Iterator[Raw | Reject]:
        media_id, updated = record.get("MediaID"), record.get("DateUpdated")
        found = False
        for name, value in _hashes(record):
            known = self._known.get(squeeze(name))
            if known is None:
                continue
            found = True
            if not isinstance(value, str):
                yield Reject(number, f"{known}: not text")
                continue
            yield Raw(
                number,
                known,
                photodna(value.strip()) if known == "photodna" else value.strip(),
                label=label,
                source_id="" if media_id is None else str(media_id),
                last_seen=_time(updated),
            )
        if not found:
            yield Reject(number, "no fingerprint of a known type")

    def _label(self, category: int) -> str:
        country = _COUNTRY.search(self.records.context)
        by_country = CATEGORIES.get(country[1].upper(), {}) if country else {}
        return by_country.get(category, f"category {category}")


def _hashes(record: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    for name in _HASHES:
        value = record.get(name)
        if isinstance(value, list):
            yield from _nested(value)
        elif value not in (None, ""):
            yield name, value
    for name in ("Hashes", "AlternativeHashes"):
        if isinstance(record.get(name), list):
            yield from _nested(record[name])


def _nested(several: list[Any]) -> Iterator[tuple[str, Any]]:
    for one in several:
        if isinstance(one, dict) and isinstance(one.get("HashName"), str) and one.get("HashValue"):
            yield one["HashName"], one["HashValue"]


def _whole(value: Any) -> int | None:
    """A whole number, also where it stands as text."""
    if isinstance(value, bool):
        return None
    if isinstance(value, int):
        return value
    return int(value) if isinstance(value, str) and re.fullmatch(r"[0-9]{1,4}", value.strip()) else None


def _time(value: Any) -> str:
    """A time as ISO 8601, its fraction cut to what Python reads; "" where it is none."""
    if not isinstance(value, str):
        return ""
    found = re.fullmatch(r"(\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d)(?:\.\d+)?(Z|[+-]\d\d:\d\d)?", value.strip())
    return f"{found[1]}{found[2] or ''}" if found else ""
