"""multipart/form-data as it arrives: the file `media` goes on piece by piece, the field `request` is kept.

Starlette's own forms write long files to the system's temporary directory as they are; ours must not be there.
"""

from __future__ import annotations

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from hashmatch.errors import Malformed

MAX_JSON_BYTES = 1 << 20  # of a request's JSON part: a thousand fingerprints take 200 KB
MAX_HEADER_BYTES = 4 << 10  # of one part
MAX_PARTS = 4


class Form:
    """One form. Give it the body in order, then `finish`."""

    def __init__(self, content_type: str) -> None:
        """A form of that type.

        Raises:
            Malformed: no boundary is named.
        """
        boundary = parse_options_header(content_type)[1].get(b"boundary")
        if not boundary or len(boundary) > 256:
            raise Malformed("multipart/form-data needs a boundary", field="content-type")
        self._media: list[bytes] = []  # that came and were not given away yet
        self._request = bytearray()
        self._part = ""
        self._seen: list[str] = []
        self._name, self._value = bytearray(), bytearray()
        self._headers: dict[bytes, bytes] = {}
        self._ended = False
        self._parser = MultipartParser(
            boundary,
            {
                "on_part_begin": self._begin,
                "on_header_field": lambda data, start, end: self._add(self._name, data[start:end]),
                "on_header_value": lambda data, start, end: self._add(self._value, data[start:end]),
                "on_header_end": self._header_end,
                "on_headers_finished": self._headers_end,
                "on_part_data": lambda data, start, end: self._data(bytes(data[start:end])),
                "on_end": self._end,
            },
        )

    def write(self, chunk: bytes) -> list[bytes]:
        """Takes the next bytes of the body; what is of `media` among them, in order.

        Raises:
            Malformed: it is no form, or not of these parts.
        """
        try:
            self._parser.write(chunk)
        except FormParserError as e:
            raise Malformed("not a well-formed multipart body", field="body") from e
        media, self._media = self._media, []
        return media

    def finish(self) -> bytes:
        """The field `request`; empty where there was none.

        Raises:
            Malformed: the form was cut short.
        """
        if not self._ended:
            raise Malformed("the multipart body was cut short", field="body")
        return bytes(self._request)

    def _begin(self) -> None:
        self._headers = {}
        if len(self._seen) >= MAX_PARTS:
            raise Malformed(f"more than {MAX_PARTS} parts", field="body")

    def _add(self, to: bytearray, data: bytes) -> None:
        to += data
        if len(to) > MAX_HEADER_BYTES:
            raise Malformed(f"a part's header has more than {MAX_HEADER_BYTES} bytes", field="body")

    def _header_end(self) -> None:
        self._headers[bytes(self._name).lower()] = bytes(self._value)
        self._name.clear()
        self._value.clear()
        if len(self._headers) > 16:
            raise Malformed("a part has too many headers", field="body")

    def _headers_end(self) -> None:
        _, options = parse_options_header(self._headers.get(b"content-disposition", b""))
        self._part = options.get(b"name", b"").decode(errors="replace")
        if self._part not in ("media", "request") or self._part in self._seen:
            raise Malformed("want the file 'media' once, and where needed the field 'request'", field="body")
        self._seen.append(self._part)

    def _data(self, data: bytes) -> None:
        if self._part == "media":
            self._media.append(data)
            return
        self._request += data
        if len(self._request) > MAX_JSON_BYTES:
            raise Malformed(f"more than {MAX_JSON_BYTES} bytes", field="request")

    def _end(self) -> None:
        self._ended = True
