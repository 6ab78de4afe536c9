"""Tables that certain tools export: their columns under our names, read as any table is.

NSRL RDS, the National Software Reference Library's files of known software, as CSV: "SHA-1","MD5","CRC32","FileName",
"FileSize","ProductCode","OpSystemCode","SpecialCode", or in the older order SHA-1, FileName, FileSize, ProductCode,
OpSystemCode, MD4, MD5, CRC32, SpecialCode, or RDSv3's text exports with sha256, sha1, md5, file_name, …

HashKeeper's .hsh: "file_id","hashset_id","file_name","directory","hash",…, whose hash is an MD5. The .hke beside it
describes the set and has no fingerprints.

Interpol's ICSE: `MD5;SHA1;PhotoDNA;Image ID;Is distributed;Victim identified;…;Baseline`. What identifies victims is
not kept.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from hashmatch.lists.formats import squeeze


@dataclass(frozen=True, slots=True)
class Table:
    """One tool's table: which columns tell it, and what they are to us."""

    tells: frozenset[str]  # columns that it always has, squeezed
    fields: Mapping[str, str]  # column, squeezed → field
    source: str = ""
    delimiter: str = ""
    benign: bool = False  # of known-benign media alone

    def is_of(self, header: list[str]) -> bool:
        """Whether a header is this table's."""
        return self.tells <= {squeeze(name) for name in header}

    def columns(self, header: list[str], hash_types: tuple[str, ...]) -> dict[str, str]:
        """Columns of a header → fields, for `csv.read`."""
        mapped = {name: self.fields[squeeze(name)] for name in header if squeeze(name) in self.fields}
        known = {*hash_types, "label", "source_id", "notes", "first_seen", "last_seen"}
        return {name: field for name, field in mapped.items() if field in known}


NSRL = Table(
    frozenset({"sha1", "md5", "crc32"}),
    {"sha1": "sha1", "md5": "md5", "sha256": "sha256"},
    source="NSRL",
    benign=True,
)
HASHKEEPER = Table(
    frozenset({"fileid", "hashsetid", "hash"}),
    {"hash": "md5", "fileid": "source_id", "hashsetid": "label", "comments": "notes"},
    source="HashKeeper",
)
HASHKEEPER_SET = frozenset({"hashsetid", "numoffiles"})  # of a .hke
ICSE = Table(
    frozenset({"md5", "sha1", "photodna", "imageid", "baseline"}),
    {"md5": "md5", "sha1": "sha1", "photodna": "photodna", "imageid": "source_id", "baseline": "label"},
    source="ICSE",
    delimiter=";",
)
