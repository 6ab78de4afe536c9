"""The body of an upload: one report's id and one file, which is read once, piece by piece, and is never held whole."""

from __future__ import annotations

import hashlib
import re
import secrets
from collections.abc import Iterator
from typing import Protocol

from hashmatch.delivery.cybertip.terms import ReportId
from hashmatch.errors import Malformed, StoreFailed

PIECE = 256 << 10  # bytes read at once
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")


class Readable(Protocol):
    """What a file must do: an open one does, and so does what decrypts on the way."""

    def read(self, size: int, /) -> bytes: ...


class UploadBody:
    """Bytes of `multipart/form-data` (RFC 7578), once through; afterwards `md5` is that of the file's."""

    def __init__(self, report_id: ReportId, file: Readable, *, size: int, name: str) -> None:
        """
        Args:
            size: of the file, bytes.
            name: what the service is told the file is called. The user's own name for it is among its details.

        Raises:
            Malformed: fields "size" and "name".
        """
        if size <= 0:
            raise Malformed(f"{size} bytes, want some", field="size")
        if not _NAME.fullmatch(name):
            raise Malformed("want 1 to 100 of A–Z, a–z, 0–9, '.', '_' and '-'", field="name")
        boundary = secrets.token_hex(16)  # 128 random bits: not in any file
        self._file, self._size = file, size
        self._head = (
            f'--{boundary}\r\nContent-Disposition: form-data; name="id"\r\n\r\n{report_id.number}\r\n'
            f'--{boundary}\r\nContent-Disposition: form-data; name="file"; filename="{name}"\r\n'
            "Content-Type: application/octet-stream\r\n\r\n"
        ).encode()
        self._tail = f"\r\n--{boundary}--\r\n".encode()
        # The service compares by MD5: against damage on the way, not against anybody.
        self._digest = hashlib.md5(usedforsecurity=False)
        self.headers = {
            "Content-Type": f"multipart/form-data; boundary={boundary}",
            "Content-Length": str(len(self._head) + size + len(self._tail)),
        }

    @property
    def md5(self) -> bytes:
        """Of what was read so far, 16 bytes."""
        return self._digest.digest()

    def __iter__(self) -> Iterator[bytes]:
        """
        Raises:
            StoreFailed: the file cannot be read, or is not of its size. The request was then not sent whole.
        """
        yield self._head
        left = self._size
        while piece := self._read():
            left -= len(piece)
            if left < 0:
                break
            self._digest.update(piece)
            yield piece
        if left:
            raise StoreFailed("the file to be uploaded is not as long as it was said to be")
        yield self._tail

    def _read(self) -> bytes:
        try:
            return self._file.read(PIECE)
        except OSError as e:
            raise StoreFailed(f"the file to be uploaded cannot be read: {e.strerror or type(e).__name__}") from e
