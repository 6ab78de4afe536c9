"""How each fault changes what a client gets: an answer instead of the service's, or the service's answer spoilt."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

from lxml import etree

from hashmatch.simulate.answers import Answer, Code, told
from hashmatch.simulate.faults import Fault, Kind

CHALLENGE = (("WWW-Authenticate", 'Basic realm="ESP Web Services"'),)
UNAUTHORISED = "Authentication Required"
BEYOND_ASCII = "Success – ✓"  # so that whoever believes the wrong charset sees it

_WRONG_MD5 = "0" * 32


def unauthorised(*, empty: bool = False) -> Answer:
    """HTTP 401. Both bodies have been seen in the wild; the code is 1000 there, and not the documented 2000."""
    if empty:
        return Answer(b"", status=401, headers=CHALLENGE)
    return told(Code.SERVER_ERROR, UNAUTHORISED, status=401, headers=CHALLENGE)


def instead(fault: Fault, *, elsewhere: str) -> Answer | None:
    """What is answered though the service has not been asked; None where it is asked.

    Args:
        elsewhere: the URL that a redirect leads to.
    """
    seconds = f"{fault.amount:g}"
    answers: Mapping[Kind, Callable[[], Answer]] = {
        Kind.SERVER_ERROR: lambda: told(Code.SERVER_ERROR, "Server error", status=500),
        Kind.UNAVAILABLE: lambda: Answer(b"Service Unavailable\n", status=503, content_type="text/plain"),
        Kind.TOO_MANY: lambda: Answer(b"", status=429, headers=(("Retry-After", seconds),)),
        Kind.UNAUTHORISED_EMPTY: lambda: unauthorised(empty=True),
        Kind.UNAUTHORISED_XML: unauthorised,
        # 307, since a client that follows it would send the body and perhaps the credentials again.
        Kind.REDIRECT: lambda: Answer(b"", status=307, headers=(("Location", elsewhere),)),
        Kind.CODE: lambda: told(int(fault.amount), "As told to"),
    }
    return answers[fault.kind]() if fault.kind in answers else None


def spoilt(answer: Answer, fault: Fault) -> Answer:
    """The service's answer, with this fault in it."""
    match fault.kind:
        case Kind.LATIN1:
            changed = _with_text(answer, "responseDescription", BEYOND_ASCII)
            return replace(changed, content_type="application/xml;charset=ISO-8859-1")
        case Kind.TRUNCATED:
            return replace(answer, body=answer.body[: len(answer.body) * 2 // 3])
        case Kind.RUBBISH:
            page = b"<!doctype html><title>Maintenance</title><p>Back soon & sorry"
            return Answer(page, content_type="text/html")
        case Kind.WRONG_MD5:
            return _with_text(answer, "hash", _WRONG_MD5)
        case Kind.MISSING_FILE:
            return _without_last_file(answer)
        case Kind.HUGE:
            # White space before the end tag: still well-formed, so that only a limit helps.
            at = answer.body.rfind(b"</")
            return replace(answer, padding=int(fault.amount * (1 << 20)), pad_at=at)
    return answer


def _with_text(answer: Answer, tag: str, text: str) -> Answer:
    def change(root: etree._Element) -> None:
        for element in root.findall(tag):
            element.text = text

    return _changed(answer, change)


def _without_last_file(answer: Answer) -> Answer:
    def change(root: etree._Element) -> None:
        for files in root.findall("files"):
            for last in list(files)[-1:]:
                files.remove(last)

    return _changed(answer, change)


def _changed(answer: Answer, change: Callable[[etree._Element], None]) -> Answer:
    root = etree.fromstring(answer.body)
    change(root)
    return replace(answer, body=etree.tostring(root, xml_declaration=True, encoding="UTF-8", standalone=True))
