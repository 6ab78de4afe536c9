"""Reports to bytes, and answers from bytes.

What is written stands in the schema's order, which the service insists on. What is read comes from the net: bytes go to
the parser as they are, since the service's HTTP header has been seen to name another encoding than its document; no
DTD, no entity and no address in it is followed.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import Enum
from typing import assert_never

from lxml import etree

from hashmatch.delivery.cybertip.element import Element, Place, camel, parts
from hashmatch.delivery.cybertip.files import FileDetails
from hashmatch.delivery.cybertip.report import Report
from hashmatch.delivery.cybertip.terms import MAX_REPORT_ID, ReportId
from hashmatch.errors import Malformed

MAX_ANSWER_BYTES = 4 << 20  # ours: a receipt of 50 000 files; ordinary answers have some hundred bytes
MAX_CODE = 2**31 - 1  # xs:int
_DONE = "reportDoneResponse"
_ROOTS = frozenset({"reportResponse", _DONE})


# ── what is said ────────────────────────────────────────────────────────────────────────────────────────────────────


def report_element(report: Report) -> etree._Element:
    """The `<report>`. `problems()` has found nothing wrong with it."""
    root = etree.Element("report")
    _fill(root, report)
    return root


def details_element(details: FileDetails, report_id: ReportId, file_id: str) -> etree._Element:
    """The `<fileDetails>` of one file of one report."""
    root = etree.Element("fileDetails")
    etree.SubElement(root, "reportId").text = _text(report_id)
    etree.SubElement(root, "fileId").text = file_id
    _fill(root, details)
    return root


def document(root: etree._Element) -> bytes:
    """The element as a document of its own, in UTF-8."""
    return etree.tostring(root, encoding="UTF-8", xml_declaration=True)


def _fill(element: etree._Element, value: Element) -> None:
    for part in parts(type(value)):
        given = getattr(value, part.field)
        for one in given if isinstance(given, tuple) else (given,):
            if one is None:
                continue
            match part.place:
                case Place.INLINE:
                    _fill(element, one)
                case Place.ATTRIBUTE:
                    element.set(part.name, _text(one))
                case Place.CONTENT:
                    element.text = _text(one)
                case Place.WRAPPED:
                    _append(etree.SubElement(element, part.name), camel(type(one).__name__), one)
                case Place.CHILD:
                    _append(element, part.name, one)
                case _:
                    assert_never(part.place)


def _append(parent: etree._Element, name: str, value: object) -> None:
    if isinstance(value, frozenset):
        # Annotations: an empty element where one applies; "false" is not a thing the schema lets anybody say.
        if value:
            element = etree.SubElement(parent, name)
            for annotation in type(next(iter(value))):
                if annotation in value:
                    etree.SubElement(element, annotation.value)
    elif isinstance(value, Element):
        _fill(etree.SubElement(parent, name), value)
    else:
        etree.SubElement(parent, name).text = _text(value)


def _text(value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, Enum):
        return str(value.value)
    if isinstance(value, ReportId):
        return str(value.number)
    if isinstance(value, datetime):
        # Cut to milliseconds, never rounded up: what was in the past stays there.
        precision = "milliseconds" if value.microsecond else "seconds"
        return value.astimezone(UTC).replace(tzinfo=None).isoformat(timespec=precision) + "Z"
    return str(value)


# ── what is answered ────────────────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True)
class Answer:
    """What the service said. `description` may repeat what was sent, so it is in no trace and no error's text."""

    code: int  # 0: done
    description: str = field(default="", repr=False)
    report_id: int | None = None  # 64 bits
    file_id: str | None = None  # opaque; documented as a number, seen as 32 hex digits
    md5: str | None = field(default=None, repr=False)  # hex, of the bytes that arrived
    file_ids: tuple[str, ...] | None = None  # of a finished report; None in every other answer
    body: bytes = field(default=b"", repr=False)  # as it came
    request_id: str = ""  # what NCMEC's support asks for


def parse_answer(body: bytes, *, request_id: str = "") -> Answer:
    """What an answer's body says; elements that are not known are passed over.

    Raises:
        Malformed: it is empty, too long, no XML, no answer, or holds a DTD. The text holds nothing of it.
    """
    root = _root(body)
    tag = etree.QName(root).localname
    if tag not in _ROOTS:
        raise Malformed("want an answer's document", field="answer")
    code = _number(root, "responseCode", MAX_CODE)
    if code is None:
        raise Malformed("must be given", field="responseCode")
    files = _child(root, "files") if tag == _DONE else None
    return Answer(
        code=code,
        description=_content(root, "responseDescription") or "",
        report_id=_number(root, "reportId", MAX_REPORT_ID),
        file_id=_content(root, "fileId"),
        md5=_content(root, "hash"),
        file_ids=None if files is None else tuple(_stripped(one) for one in files if _is(one, "fileId")),
        body=body,
        request_id=request_id,
    )


def _root(body: bytes) -> etree._Element:
    if not body.strip():
        raise Malformed("is empty", field="answer")
    if len(body) > MAX_ANSWER_BYTES:
        raise Malformed(f"{len(body)} bytes, at most {MAX_ANSWER_BYTES}", field="answer")
    # Before the parser sees it: entities in attributes are expanded whatever it is told.
    if b"<!DOCTYPE" in body or b"\0" in body:
        raise Malformed("holds a DTD, or is in an encoding that could hide one", field="answer")
    parser = etree.XMLParser(
        resolve_entities=False, no_network=True, load_dtd=False, remove_comments=True, remove_pis=True
    )
    try:
        root = etree.fromstring(body, parser)
    except (etree.XMLSyntaxError, ValueError):
        # Not chained: the parser's own words quote what it stumbled over.
        raise Malformed("is not XML", field="answer") from None
    if root.getroottree().docinfo.internalDTD is not None:
        raise Malformed("holds a DTD", field="answer")
    return root


def _is(element: etree._Element, name: str) -> bool:
    return isinstance(element.tag, str) and etree.QName(element).localname == name


def _child(root: etree._Element, name: str) -> etree._Element | None:
    return next((one for one in root if _is(one, name)), None)


def _stripped(element: etree._Element) -> str:
    return (element.text or "").strip()


def _content(root: etree._Element, name: str) -> str | None:
    one = _child(root, name)
    return None if one is None else _stripped(one) or None


def _number(root: etree._Element, name: str, most: int) -> int | None:
    text = _content(root, name)
    if text is None:
        return None
    if not re.fullmatch(r"[+-]?[0-9]{1,19}", text) or not -most - 1 <= int(text) <= most:
        raise Malformed("want a whole number", field=name)
    return int(text)
