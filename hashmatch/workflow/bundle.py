"""A report for an authority without an API, as files: JSON, a page to read, and a manifest of digests. Pure: bytes out.

The same case at the same time gives the same bytes. Media goes in as it was uploaded, one at a time, and before the
report: so the report says of every upload whether its file is there, of what is there and not of what was to be.
"""

from __future__ import annotations

import hashlib
import html
import json
import re
import zipfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, BinaryIO, Final

from hashmatch.delivery.cybertip.rules import legible
from hashmatch.workflow.bundle_fields import NAMES, SECTIONS, About, Authority, Value

SCHEMA: Final = "https://hashmatch.example/schemas/report-bundle/1"
PIECE: Final = 1 << 20  # bytes of media read at once
_STYLE: Final = (
    "body{font:16px/1.5 sans-serif;max-width:50em;margin:2em auto;padding:0 1em}th{text-align:left;vertical-align:top;"
    "padding-right:1em;width:16em}td{overflow-wrap:anywhere}.missing{font-weight:bold}"
    "@media print{tr{break-inside:avoid}body{margin:0;max-width:none}}"
)
# Controls, which pages may not hold, and what turns the order of characters around: nothing is to look like another.
_UNSEEN: Final = re.compile("[\x7f-\x9f\u202a-\u202e\u2066-\u2069]")
Facts = Mapping[str, str | int]
"""Of one file: `sha256` in hexadecimal, and `bytes`."""


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
    uploads: tuple[str, ...] = ()  # verdicts
    attached: Mapping[str, Facts] = field(default_factory=dict)  # by verdict, of those whose file goes with it

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
        tuple(item.verdict_id for item in about.items),
    )  # fmt: skip


def as_json(made: Bundle) -> bytes:
    """For programs: keys sorted, so that the same bundle is the same bytes."""
    fields = {told.key: told.value for _, _, found in made.sections for told in found}
    told: dict[str, Any] = {
        "schema": SCHEMA, "authority": made.authority, "case": made.case_id, "missing": list(made.missing),
        "fields": fields, "files": {one: made.attached.get(one) for one in made.uploads},
    }  # fmt: skip
    return json.dumps(told, ensure_ascii=False, sort_keys=True, indent=1).encode() + b"\n"


def as_html(made: Bundle) -> bytes:
    """For people: one page that refers to nothing and runs nothing."""
    return "\n".join(_page(made)).encode() + b"\n"


def _page(made: Bundle) -> Iterator[str]:
    title = _shown(f"Report to {NAMES[made.authority]}: case {made.case_id}")
    yield '<!doctype html><html lang="en"><head><meta charset="utf-8">'
    yield "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">"
    yield f'<meta name="viewport" content="width=device-width"><title>{title}</title>'
    yield f"<style>{_STYLE}</style></head><body><main><h1>{title}</h1>"
    if made.missing:
        wanted = ((told.title, rule) for _, rule, fields in made.sections for told in fields if told.missing)
        listed = "".join(f"<li>{_shown(one)}: it is asked for ({_shown(rule)}) and not known here</li>"
                         for one, rule in wanted)  # fmt: skip
        yield f'<section class="missing"><h2>To be added before it is handed in</h2><ul>{listed}</ul></section>'
    for heading, rule, fields in made.sections:
        yield f"<section><h2>{_shown(heading)}</h2><p>{_shown(rule)}</p><table>"
        for told in fields:
            yield f'<tr><th scope="row">{_shown(told.title)}</th><td>{_cell(told)}</td></tr>'
        yield "</table></section>"
    yield "<section><h2>Files in this bundle</h2><ul>"
    for one in made.uploads:
        facts = made.attached.get(one)
        there = f"media/{one}, {facts['bytes']} bytes, SHA-256 {facts['sha256']}" if facts else "no file goes with this"
        yield f"<li>{_shown(one)}: {_shown(there)}</li>"
    yield "</ul></section></main></body></html>"


def _cell(told: Told) -> str:
    if not told.value:
        return "<strong>missing</strong>" if told.missing else "not known"
    lines = [told.value] if isinstance(told.value, str) else told.value
    return "<br>".join(_shown(line) for line in lines)


def _shown(text: str) -> str:
    return html.escape(_UNSEEN.sub("\ufffd", legible(text)))


def write(target: BinaryIO, made: Bundle, media: Iterable[tuple[str, Callable[[], BinaryIO]]]) -> tuple[bytes, int]:
    """Writes the bundle as a ZIP; the SHA-256 of its manifest, and how many files it has beside that.

    Args:
        media: verdicts, letters, digits, - and _, and what opens the file of each.
    """
    attached: dict[str, Facts] = {}
    with zipfile.ZipFile(target, "w", zipfile.ZIP_STORED) as archive:
        for name, opened in media:
            with opened() as file:
                attached[name] = _put(archive, f"media/{name}", iter(lambda: file.read(PIECE), b""))
        listed = {f"media/{name}": facts for name, facts in attached.items()}
        made = replace(made, attached=attached)
        for name, text in (("report.json", as_json(made)), ("report.html", as_html(made))):
            listed[name] = _put(archive, name, iter([text]))
        manifest = json.dumps({"schema": SCHEMA, "files": listed}, sort_keys=True, indent=1).encode() + b"\n"
        archive.writestr(zipfile.ZipInfo("manifest.json"), manifest)
    return hashlib.sha256(manifest).digest(), len(listed)


def _put(archive: zipfile.ZipFile, name: str, pieces: Iterator[bytes]) -> Facts:
    digest, size = hashlib.sha256(), 0
    info = zipfile.ZipInfo(name)  # with the time 1980-01-01, so that the same bundle is the same bytes
    with archive.open(info, "w", force_zip64=True) as file:
        for piece in pieces:
            digest.update(piece)
            size += len(piece)
            file.write(piece)
    return {"sha256": digest.hexdigest(), "bytes": size}
