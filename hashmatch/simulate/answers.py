"""What the imitated CyberTipline says: its response codes, and the two XML documents it answers with."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import IntEnum

from lxml import etree

from hashmatch.errors import HashmatchError

XML = "application/xml;charset=UTF-8"


class Code(IntEnum):
    """Response codes of the Reporting API that this imitation uses."""

    OK = 0
    SERVER_ERROR = 1000
    SAVE_FAILED = 1100
    NOT_FOUND = 1210
    UPDATE_FAILED = 1300
    INVALID_REQUEST = 4000
    VALIDATION_FAILED = 4100
    MALFORMED_XML = 4110
    MALFORMED_FILE = 4200
    REPORT_UNKNOWN = 5001
    FILE_UNKNOWN = 5002
    ALREADY_RETRACTED = 5101
    ALREADY_FINISHED = 5102


class Declined(HashmatchError):
    """The service says no. The description names fields, never what they hold."""

    def __init__(self, code: int, description: str, *, status: int | None = None) -> None:
        """`status`: the HTTP status, where it is not for the settings to say which."""
        super().__init__(description)
        self.code, self.description, self.http_status = code, description, status


@dataclass(frozen=True, slots=True)
class Answer:
    """One HTTP reply. `padding` counts bytes of white space that are sent after `body[:pad_at]`."""

    body: bytes
    status: int = 200
    content_type: str = XML
    headers: tuple[tuple[str, str], ...] = ()
    padding: int = 0  # bytes
    pad_at: int = 0  # bytes


def told(
    code: int,
    description: str,
    *,
    status: int = 200,
    report_id: int | None = None,
    file_id: str | None = None,
    md5: str | None = None,
    headers: tuple[tuple[str, str], ...] = (),
) -> Answer:
    """A `<reportResponse>`: what every endpoint but /finish answers, and what every failure is told with."""
    root = etree.Element("reportResponse")
    etree.SubElement(root, "responseCode").text = str(int(code))
    etree.SubElement(root, "responseDescription").text = description
    for tag, value in (("reportId", report_id), ("fileId", file_id), ("hash", md5)):
        if value is not None:
            etree.SubElement(root, tag).text = str(value)
    return Answer(_written(root), status=status, headers=headers)


def done(report_id: int, file_ids: Iterable[str]) -> Answer:
    """A `<reportDoneResponse>`: what /finish answers. It has no description, and `<files/>` may be empty."""
    root = etree.Element("reportDoneResponse")
    etree.SubElement(root, "responseCode").text = str(int(Code.OK))
    etree.SubElement(root, "reportId").text = str(report_id)
    files = etree.SubElement(root, "files")
    for file_id in file_ids:
        etree.SubElement(files, "fileId").text = file_id
    return Answer(_written(root))


def _written(root: etree._Element) -> bytes:
    return etree.tostring(root, xml_declaration=True, encoding="UTF-8", standalone=True)
