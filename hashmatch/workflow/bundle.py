"""A report for an authority without an API, as files: JSON, a page to read, and a manifest of digests. Pure: bytes out.

The same case at the same time gives the same bytes. Media goes in as it was uploaded, one at a time.
"""

from __future__ import annotations

import hashlib
import html
import json
import zipfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, BinaryIO, Final

from hashmatch.workflow.bundle_fields import NAMES, SECTIONS, About, Authority, Value

SCHEMA: Final = "https://hashmatch.example/schemas/report-bundle/1"
PIECE: Final = 1 << 20  # bytes of media read at once
_STYLE: Final = (
    "body{font:16px/1.5 sans-serif;max-width:50em;margin:2em auto;padding:0 1em}th{text-align:left;vertical-align:top;"
    "padding-right:1em;width:16em}td{overflow-wrap:anywhere}.missing{font-weight:bold}"
)


@dataclass(frozen=True, slots=True)
class Told:
    """One field as it is told."""

    key: str
    title: str
    required: bool
    value: Value

    @property
    def missing(self) -> bool:
        """Whether it must be told and is not known."""
        return self.required and not self.value


@dataclass(frozen=True, slots=True)
class Bundle:
    """What an authority is told, in its own sections."""

    authority: Authority
    case_id: str
    sections: tuple[tuple[str, str, tuple[Told, ...]], ...]  # title, whose rule, fields

    @property
    def missing(self) -> tuple[str, ...]:
        """Titles of what a person must add before it is handed in."""
        return tuple(told.title for _, _, fields in self.sections for told in fields if told.missing)


def bundle(about: About, authority: Authority) -> Bundle:
    """What an authority is told of a case."""
    return Bundle(
        authority, about.case.id,
        tuple(
            (one.title, one.rule, tuple(Told(f.key, f.title, f.required, f.take(about)) for f in one.fields))
            for one in SECTIONS[authority]
        ),
    )  # fmt: skip


def as_json(made: Bundle) -> bytes:
    """For programs: keys sorted, so that the same bundle is the same bytes."""
    fields = {told.key: told.value for _, _, found in made.sections for told in found}
    told: dict[str, Any] = {
        "schema": SCHEMA, "authority": made.authority, "case": made.case_id, "missing": list(made.missing),
        "fields": fields,
    }  # fmt: skip
    return json.dumps(told, ensure_ascii=False, sort_keys=True, indent=1).encode() + b"\n"


def as_html(made: Bundle) -> bytes:
    """For people: one page that refers to nothing and runs nothing."""
    return "\n".join(_page(made)).encode() + b"\n"


def _page(made: Bundle) -> Iterator[str]:
    title = html.escape(f"Report to {NAMES[made.authority]}: case {made.case_id}")
    yield f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{title}</title>'
    yield f"<style>{_STYLE}</style></head><body><main><h1>{title}</h1>"
    if made.missing:
        listed = "".join(f"<li>{html.escape(one)}</li>" for one in made.missing)
        yield f'<section class="missing"><h2>To be added before it is handed in</h2><ul>{listed}</ul></section>'
    for heading, rule, fields in made.sections:
        yield f"<section><h2>{html.escape(heading)}</h2><p>{html.escape(rule)}</p><table>"
        for told in fields:
            yield f'<tr><th scope="row">{html.escape(told.title)}</th><td>{_cell(told)}</td></tr>'
        yield "</table></section>"
    yield "</main></body></html>"


def _cell(told: Told) -> str:
    if not told.value:
        return "<strong>missing</strong>" if told.missing else "not known"
    lines = [told.value] if isinstance(told.value, str) else told.value
    return "<br>".join(html.escape(line) for line in lines)


def write(target: BinaryIO, made: Bundle, media: Iterable[tuple[str, Callable[[], BinaryIO]]]) -> tuple[bytes, int]:
    """Writes the bundle as a ZIP; the SHA-256 of its manifest, and how many files it has beside that.

    Args:
        media: names in the bundle, letters, digits, - and _, and what opens each.
    """
    listed: dict[str, Mapping[str, str | int]] = {}
    with zipfile.ZipFile(target, "w", zipfile.ZIP_STORED) as archive:
        for name, text in (("report.json", as_json(made)), ("report.html", as_html(made))):
            listed[name] = _put(archive, name, iter([text]))
        for name, opened in media:
            with opened() as file:
                listed[f"media/{name}"] = _put(archive, f"media/{name}", iter(lambda: file.read(PIECE), b""))
        manifest = json.dumps({"schema": SCHEMA, "files": listed}, sort_keys=True, indent=1).encode() + b"\n"
        archive.writestr(zipfile.ZipInfo("manifest.json"), manifest)
    return hashlib.sha256(manifest).digest(), len(listed)


def _put(archive: zipfile.ZipFile, name: str, pieces: Iterator[bytes]) -> Mapping[str, str | int]:
    digest, size = hashlib.sha256(), 0
    info = zipfile.ZipInfo(name)  # with the time 1980-01-01, so that the same bundle is the same bytes
    with archive.open(info, "w", force_zip64=True) as file:
        for piece in pieces:
            digest.update(piece)
            size += len(piece)
            file.write(piece)
    return {"sha256": digest.hexdigest(), "bytes": size}
