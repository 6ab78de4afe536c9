"""`hashmatch hash`."""

from __future__ import annotations

import argparse
import asyncio
from collections.abc import AsyncGenerator, Iterable
from contextlib import aclosing

from hashmatch import app
from hashmatch.cli import format, media
from hashmatch.cli.verbs import Verbs, verb
from hashmatch.config import Settings
from hashmatch.errors import Malformed
from hashmatch.hashing.variants import QUERY_VARIANTS
from hashmatch.index.recipe import load_recipes
from hashmatch.types import Examination, Wanted

EXAMPLE = """\
example:
  hashmatch hash photo.jpg
  hashmatch hash --type pdq,md5 --variants nn512 uploads/*.jpg
  hashmatch hash photo.jpg | hashmatch lists import my-list -

Prints `hash_type fingerprint` lines that `lists import` and `match --fingerprints` read; what could not be hashed is
a comment with its reason. `--variants nn512` adds the dialect of Meta's C++ hasher, which samples larger pictures
to 512×512 first: lists made with it differ by 4–6 bits on average."""


def add_parser(verbs: Verbs) -> None:
    parser = verb(
        verbs, "hash", run, "print fingerprints of media", EXAMPLE,
        description="Print fingerprints of media, decoded in the same sandbox that the server uses.",
    )  # fmt: skip
    parser.add_argument(
        "paths", nargs="+", metavar="PATH", help="files, folders with --recursive, '-' for standard input"
    )
    parser.add_argument("--type", default="pdq", metavar="TYPE,…", help="hash types (default: pdq)")
    parser.add_argument(
        "--variants", default="", metavar="V,…", help=f"also hash variants: {', '.join(QUERY_VARIANTS)}"
    )
    parser.add_argument("--recursive", action="store_true", help="walk folders")
    parser.add_argument("--walls", choices=("required", "available"), help="see `hashmatch serve --help`")


def run(args: argparse.Namespace) -> int:
    recipes = load_recipes(args.settings.recipes)
    types = tuple(dict.fromkeys(t.strip() for t in args.type.split(",") if t.strip()))
    for hash_type in types:
        if hash_type not in recipes:
            raise Malformed(f"unknown hash type '{hash_type}'; known: {', '.join(sorted(recipes))}")
    variants = frozenset(v.strip() for v in args.variants.split(",") if v.strip())
    if not variants <= set(QUERY_VARIANTS):
        raise Malformed(f"unknown variants; known: {', '.join(QUERY_VARIANTS)}")
    wanted = Wanted(tuple(t for t in types if recipes[t].distance == "hamming"), variants)
    refused: list[str] = []
    limit = args.settings.max_media_bytes
    found = media.read(args.paths, recursive=args.recursive, limit=limit, refused=refused)
    code = asyncio.run(_hash(args, found, types, wanted))
    return Malformed.exit_code if refused else code


async def _hash(
    args: argparse.Namespace, found: Iterable[tuple[str, bytes]], types: tuple[str, ...], wanted: Wanted
) -> int:
    unhashable = False
    async with aclosing(_examined(media.settings_for(args), found, wanted)) as examined:
        async for name, examination in examined:
            unhashable |= bool(examination.unhashable)
            _print(name, examination, types, args.json)
    return 3 if unhashable else 0


async def _examined(
    settings: Settings, found: Iterable[tuple[str, bytes]], wanted: Wanted
) -> AsyncGenerator[tuple[str, Examination], None]:
    async with app.sandboxed(settings, wanted.hash_types, spares=0) as sandbox:
        async for name, examination in media.in_order(found, lambda m: sandbox.examine(m, wanted), settings.workers):
            yield name, examination


def _print(name: str, examination: Examination, types: tuple[str, ...], as_json: bool) -> None:
    hashed = sorted(
        (h for h in examination.hashed if h.fingerprint.hash_type in types),
        key=lambda h: types.index(h.fingerprint.hash_type),
    )
    if as_json:
        for h in hashed:
            format.emit(
                {
                    "path": name,
                    "hash_type": h.fingerprint.hash_type,
                    "fingerprint": h.fingerprint.value.hex(),
                    "quality": h.quality,
                    "variant": h.variant,
                    "frame_ms": h.frame_ms,
                }
            )
        for u in examination.unhashable:
            format.emit({"path": name, "hash_type": u.hash_type, "unhashable": u.reason.value})
        return
    for h in hashed:
        notes = [name, *([h.variant] if h.variant else []), *([f"{h.frame_ms} ms"] if h.frame_ms else [])]
        quality = [] if h.quality is None else [f"quality {h.quality}"]
        print(f"{h.fingerprint.hash_type} {h.fingerprint.value.hex()}  # {format.plain(', '.join(notes + quality))}")
    for u in examination.unhashable:
        print(f"# {u.hash_type}: {u.reason.value}: {format.plain(name)}")
