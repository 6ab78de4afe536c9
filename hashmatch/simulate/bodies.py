"""Bodies of requests, read in pieces: an upload of any size takes the memory of one piece."""

from __future__ import annotations

from collections.abc import Iterator
from email.message import Message
from email.parser import BytesParser
from email.policy import HTTP
from io import BufferedIOBase
from urllib.parse import parse_qs

from hashmatch.simulate.answers import Code, Declined

PIECE = 64 << 10  # bytes
MAX_LINE = 8 << 10  # bytes, of a chunk's size or of a part's headers
MAX_FORM = 64 << 10  # bytes; a form holds one id
MAX_ID = 64  # bytes


class CutOff(Exception):
    """The peer went away, or does not speak HTTP, before its request was whole."""


class Body:
    """The body of one request, once through. Counted by Content-Length, or chunked (RFC 9112 §7.1)."""

    def __init__(self, stream: BufferedIOBase, headers: Message) -> None:
        """
        Raises:
            CutOff: the headers do not say how long it is.
        """
        self._stream = stream
        self._chunked = "chunked" in headers.get("Transfer-Encoding", "").lower()
        self._left = 0  # bytes of the body, or of the present chunk
        self._over = False
        if not self._chunked:
            length = headers.get("Content-Length", "0").strip()
            if not (length.isascii() and length.isdigit()):
                raise CutOff
            self._left = int(length)

    def read(self, size: int = PIECE) -> bytes:
        """Up to `size` bytes; b"" at the end."""
        if self._chunked and not self._left and not self._over:
            self._next_chunk()
        if not self._left:
            return b""
        piece = self._stream.read(min(size, self._left))
        if not piece:
            raise CutOff
        self._left -= len(piece)
        if self._chunked and not self._left:
            self._line()  # CRLF after the chunk's data
        return piece

    def whole(self, limit: int) -> bytes:
        """All of it.

        Raises:
            Declined: it is longer than `limit` bytes.
        """
        pieces, size = [], 0
        while piece := self.read():
            size += len(piece)
            if size > limit:
                raise Declined(Code.INVALID_REQUEST, f"The body is longer than {limit} bytes")
            pieces.append(piece)
        return b"".join(pieces)

    def drain(self) -> None:
        """Read what is left, so that an answer reaches a client that is still sending."""
        while self.read():
            pass

    def _next_chunk(self) -> None:
        try:
            self._left = int(self._line().partition(b";")[0], 16)
        except ValueError as e:
            raise CutOff from e
        if self._left < 0:
            raise CutOff
        if not self._left:
            self._over = True
            while self._line():  # trailers
                pass

    def _line(self) -> bytes:
        line = self._stream.readline(MAX_LINE)
        if not line.endswith(b"\n"):
            raise CutOff
        return line.strip()


def parts(body: Body, content_type: str) -> Iterator[tuple[str, Iterator[bytes]]]:
    """The named parts of a multipart/form-data body (RFC 7578), each with its bytes in pieces.

    A part's bytes that were not taken are skipped when the next part is asked for.

    Raises:
        Declined: 4200, it is not such a body, or it ends before its last boundary.
    """
    declared = BytesParser(policy=HTTP).parsebytes(f"Content-Type: {content_type}\r\n\r\n".encode("latin-1", "replace"))
    boundary = declared.get_boundary()
    if declared.get_content_type() != "multipart/form-data" or not boundary:
        raise Declined(Code.MALFORMED_FILE, "Malformed file submittal: not multipart/form-data")
    split = _Split(body, b"\r\n--" + boundary.encode("latin-1", "replace"))
    split.skip()
    while not split.at_end():
        headers = BytesParser(policy=HTTP).parsebytes(split.head(), headersonly=True)
        name = headers.get_param("name", "", header="content-disposition")
        pieces = split.pieces()
        yield str(name), pieces
        for _ in pieces:
            pass


def form_id(body: Body, content_type: str) -> str:
    """The `id` of a form, multipart or urlencoded; "" where it has none.

    Raises:
        Declined: it is no form.
    """
    media_type = content_type.partition(";")[0].strip().lower()
    if media_type == "application/x-www-form-urlencoded":
        fields = parse_qs(body.whole(MAX_FORM).decode("utf-8", "replace"))
        return fields.get("id", [""])[0]
    if media_type != "multipart/form-data":
        raise Declined(Code.INVALID_REQUEST, "Invalid request: not a form")
    found = ""
    for name, pieces in parts(body, content_type):
        if name == "id":
            found = id_of(pieces)
    return found


def id_of(pieces: Iterator[bytes]) -> str:
    """The text of a part that holds an id. What is too long for one is cut, and is no id then."""
    kept = b""
    for piece in pieces:
        kept = (kept + piece)[: MAX_ID + 1]
    return kept.decode("utf-8", "replace")


class _Split:
    """Cuts a body at a delimiter that may lie across pieces."""

    def __init__(self, body: Body, delimiter: bytes) -> None:
        self._body, self._delimiter = body, delimiter
        self._held = b"\r\n"  # so that a delimiter at the very start is one

    def pieces(self) -> Iterator[bytes]:
        """What comes before the next delimiter; afterwards it is passed."""
        while (at := self._held.find(self._delimiter)) < 0:
            sure = len(self._held) - len(self._delimiter) + 1  # the rest may be a delimiter's beginning
            if sure > 0:
                yield self._held[:sure]
                self._held = self._held[sure:]
            self._more()
        before, self._held = self._held[:at], self._held[at + len(self._delimiter) :]
        if before:
            yield before

    def skip(self) -> None:
        """Go past the next delimiter."""
        for _ in self.pieces():
            pass

    def at_end(self) -> bool:
        """Whether the delimiter just passed was the last."""
        while len(self._held) < 2:
            self._more()
        return self._held.startswith(b"--")

    def head(self) -> bytes:
        """The headers of the part that begins here."""
        self._line()  # what may pad a delimiter
        head = b""
        while line := self._line():
            head += line + b"\r\n"
            if len(head) > MAX_LINE:
                raise Declined(Code.MALFORMED_FILE, "Malformed file submittal: endless headers")
        return head + b"\r\n"

    def _line(self) -> bytes:
        while b"\r\n" not in self._held:
            if len(self._held) > MAX_LINE:
                raise Declined(Code.MALFORMED_FILE, "Malformed file submittal: an endless line")
            self._more()
        line, _, self._held = self._held.partition(b"\r\n")
        return line

    def _more(self) -> None:
        piece = self._body.read()
        if not piece:
            raise Declined(Code.MALFORMED_FILE, "Malformed file submittal: it ends before its last boundary")
        self._held += piece
