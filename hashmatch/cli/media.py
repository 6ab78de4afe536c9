"""Media that the command line names: files, folders, standard input."""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections import deque
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

from hashmatch.cli.format import plain
from hashmatch.config import Settings
from hashmatch.errors import Malformed

T = TypeVar("T")
R = TypeVar("R")


def read(paths: Sequence[str], *, recursive: bool, limit: int, refused: list[str]) -> Iterator[tuple[str, bytes]]:
    """(name, bytes) of every file; '-' is standard input. Folders need `recursive`.

    A file that cannot be read, or is larger than `limit` bytes, is told on standard error and its name is appended to
    `refused`; the others go on.

    Raises:
        Malformed: a folder without `recursive`.
    """
    for name, path in named(paths, recursive=recursive):
        try:
            if path is None:
                media = sys.stdin.buffer.read(limit + 1)
            else:
                with path.open("rb") as file:
                    media = file.read(limit + 1)
            why = f"more than {limit} bytes; raise max_media_bytes to judge it" if len(media) > limit else ""
        except OSError as e:
            why = f"cannot be read: {e.strerror}"
        if why:
            print(f"hashmatch: {plain(name)}: {why}", file=sys.stderr)
            refused.append(name)
        else:
            yield name, media


def settings_for(args: argparse.Namespace) -> Settings:
    """The settings, with no more workers than there is work: each takes a third of a second to start."""
    settings: Settings = args.settings
    return settings if args.recursive else replace(settings, workers=min(settings.workers, len(args.paths)))


async def in_order(
    found: Iterable[tuple[str, T]], work: Callable[[T], Awaitable[R]], width: int
) -> AsyncGenerator[tuple[str, R], None]:
    """(name, result) of every item in the order given, `width` of them being worked on at once."""
    pending: deque[tuple[str, asyncio.Task[R]]] = deque()
    for name, item in found:
        pending.append((name, asyncio.create_task(_awaited(work(item)))))
        if len(pending) > width:
            name, task = pending.popleft()
            yield name, await task
        await asyncio.sleep(0)  # reading the next file blocks: let this one be sent off first
    while pending:
        name, task = pending.popleft()
        yield name, await task


async def _awaited(result: Awaitable[R]) -> R:
    return await result


def named(paths: Sequence[str], *, recursive: bool) -> Iterator[tuple[str, Path | None]]:
    """The files that `paths` name, folders walked in order where `recursive`."""
    for name in paths:
        path = Path(name)
        if name == "-":
            yield "-", None
        elif path.is_dir():
            if not recursive:
                raise Malformed(f"{name} is a folder; add --recursive")
            yield from ((str(found), found) for found in sorted(path.rglob("*")) if found.is_file())
        else:
            yield name, path
