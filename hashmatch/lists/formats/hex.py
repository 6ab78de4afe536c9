"""Plain text: one fingerprint per line in hexadecimal, or `hash_type fingerprint`. `#` starts a comment.

python-threatexchange's file exchange writes and reads the two-word form.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from hashmatch.lists.formats import Raw, Reject
from hashmatch.lists.formats.lines import MAX_LINE_BYTES, Lines
from hashmatch.v1.lists_pb2 import Entry


def read(lines: Lines, hash_type: str) -> Iterator[Raw | Reject]:
    """The rows of a file; those of one word are of `hash_type`."""
    for line in lines:
        if lines.overlong == lines.number:
            yield Reject(lines.number, f"longer than {MAX_LINE_BYTES} bytes")
            continue
        words = line.partition(b"#")[0].split()
        if len(words) == 1:
            yield Raw(lines.number, hash_type, words[0])
        elif len(words) == 2:
            yield Raw(lines.number, words[0].decode("latin-1"), words[1])
        elif words:
            yield Reject(lines.number, f"{len(words)} words, want FINGERPRINT or HASH_TYPE FINGERPRINT")


def write(entries: Iterable[Entry]) -> Iterator[str]:
    """Lines that `read` reads back. Labels and source ids are left out: this format has no place for them."""
    for entry in entries:
        yield f"{entry.fingerprint.hash_type} {entry.fingerprint.value.hex()}\n"
