"""Plain text: one fingerprint per line in hexadecimal, or `hash_type fingerprint`. `#` starts a comment.

python-threatexchange's file exchange writes and reads the two-word form. Most of a large file is lines that differ in
their digits alone: those are taken many at a time, a tenth of a microsecond each; whatever else there is is read line
by line, with the same outcome.
"""

from __future__ import annotations

import binascii
from collections.abc import Iterable, Iterator, Mapping

import numpy as np

from hashmatch.lists.formats import Block, Raw, Reject, squeeze
from hashmatch.lists.formats.ahead import Ahead
from hashmatch.lists.formats.lines import MAX_LINE_BYTES, Lines
from hashmatch.v1.lists_pb2 import Entry

BLOCK_BYTES = 1 << 20  # looked at as a whole


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


def blocks(file: Ahead, lines: Lines, hash_type: str, widths: Mapping[str, int]) -> Iterator[Block | Raw | Reject]:
    """As `read`, alike lines as blocks. `lines` reads `file`; `widths` are the bytes of a value per hash type."""
    while text := file.peek(BLOCK_BYTES):
        whole = text[: text.rfind(b"\n") + 1]
        block = _alike(whole, lines.number + 1, hash_type, widths)
        if block is not None:
            file.read(len(whole))
            lines.passed(block.number, len(whole))
            yield block
        else:
            # At least one line, so that a file without line ends gets on.
            yield from _some(read(lines, hash_type), lines, max(1, whole.count(b"\n")))


def _some(rows: Iterator[Raw | Reject], lines: Lines, number: int) -> Iterator[Raw | Reject]:
    last = lines.number + number
    for row in rows:
        yield row
        if lines.number >= last:
            return


def _alike(text: bytes, line: int, hash_type: str, widths: Mapping[str, int]) -> Block | None:
    """The values of lines that all have one length, one hash type before them at most, and nothing but digits else."""
    length = text.find(b"\n") + 1
    if not length or len(text) % length or line == 1:  # the first line may begin with a byte order mark
        return None
    rows = np.frombuffer(text, np.uint8).reshape(-1, length)
    end = 2 if text[length - 2 : length - 1] == b"\r" else 1
    begin = text.find(b" ", 0, length) + 1
    for fixed in (rows[:, :begin], rows[:, length - end :]):
        if not (fixed == fixed[0]).all():
            return None
    named = text[: max(begin - 1, 0)].decode("latin-1") if begin else hash_type
    width = widths.get(named, 0) or widths.get(squeeze(named), 0)
    if not width or length - begin - end != 2 * width:
        return None
    try:
        values = binascii.unhexlify(rows[:, begin : length - end].tobytes())
    except binascii.Error:
        return None
    return Block(line, named, values, len(rows))


def write(entries: Iterable[Entry]) -> Iterator[str]:
    """Lines that `read` reads back. Labels and source ids are left out: this format has no place for them."""
    for entry in entries:
        yield f"{entry.fingerprint.hash_type} {entry.fingerprint.value.hex()}\n"
