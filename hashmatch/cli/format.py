"""How the command line speaks: tables for people, one JSON object per line for programs."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from google.protobuf.json_format import MessageToDict
from google.protobuf.message import Message
from tqdm import tqdm


def emit(record: Mapping[str, Any] | Message) -> None:
    """Prints one JSON object on one line."""
    plain = MessageToDict(record, preserving_proto_field_name=True) if isinstance(record, Message) else dict(record)
    print(json.dumps(plain, ensure_ascii=False, default=str))


def table(rows: Sequence[Sequence[object]], headers: Sequence[str]) -> None:
    """Prints aligned columns; the last one is not padded. Control characters are shown, not obeyed."""
    cells = [[plain(str(cell)) for cell in row] for row in rows]
    widths = [max(len(row[i]) for row in [list(headers), *cells]) for i in range(len(headers))]
    for row in [list(headers), *cells]:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


def plain(text: str) -> str:
    """`text` with its control characters shown: it comes from outside, and a terminal must not obey it."""
    return "".join(c if c.isprintable() else f"\\x{ord(c):02x}" for c in text)


@contextmanager
def progress(what: str, total: int | None, unit: str) -> Iterator[tqdm[Any]]:
    """A progress bar on a terminal, nothing in a pipe."""
    scale = unit == "B"
    with tqdm(total=total, desc=what, unit=unit, unit_scale=scale, disable=not sys.stderr.isatty(), leave=False) as bar:
        yield bar


@contextmanager
def phases() -> Iterator[Callable[[str, int, int], None]]:
    """A progress bar for work of several phases; called with the phase, how far it is, and how far it goes, 0 where
    nobody knows."""
    bar: tqdm[Any] | None = None
    showing = ""

    def tell(phase: str, done: int, total: int) -> None:
        nonlocal bar, showing
        if bar is None or phase != showing:
            if bar is not None:
                bar.close()
            quiet = not sys.stderr.isatty()
            bar, showing = tqdm(total=total or None, desc=phase, unit_scale=True, disable=quiet, leave=False), phase
        bar.update(done - bar.n)

    try:
        yield tell
    finally:
        if bar is not None:
            bar.close()


def colour(text: str, code: str) -> str:
    """`text` in an ANSI colour, where standard output is a terminal that wants it."""
    if not sys.stdout.isatty() or os.environ.get("NO_COLOR"):
        return text
    return f"\x1b[{code}m{text}\x1b[0m"
