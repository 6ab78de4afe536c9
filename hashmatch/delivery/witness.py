"""Asks witnesses to cosign a checkpoint: c2sp.org/tlog-witness.

A witness signs only what continues what it signed before, so a log that shows two histories to two people cannot have
both witnessed. It is told how far it has seen the log, and given the proof that the new tree begins with the old one.
"""

from __future__ import annotations

import base64
import urllib.error
import urllib.request
from collections.abc import Sequence

from hashmatch.delivery.publish import SECONDS, opener
from hashmatch.errors import Unavailable

MAX_ANSWER_BYTES = 64 << 10  # a line of signature has some hundred


class Behind(Exception):
    """The witness has seen another size than it was told; the one it has seen."""

    def __init__(self, size: int) -> None:
        super().__init__(size)
        self.size = size


def ask(url: str, old: int, proof: Sequence[bytes], checkpoint: bytes) -> bytes:
    """The witness's lines of signature, which nobody has verified yet.

    Raises:
        Behind: it has seen the log at another size than `old`.
        Unavailable: it did not answer, or does not sign.
    """
    lines = [f"old {old}", *(base64.b64encode(step).decode() for step in proof), "", ""]
    asked = urllib.request.Request(  # noqa: S310 - the settings allow https, and http on loopback
        url.rstrip("/") + "/add-checkpoint", data="\n".join(lines).encode() + checkpoint, method="POST"
    )
    try:
        with opener.open(asked, timeout=SECONDS) as answer:
            return bytes(answer.read(MAX_ANSWER_BYTES))
    except urllib.error.HTTPError as e:
        with e:
            if e.code == 409 and e.headers.get_content_type() == "text/x.tlog.size":
                size = e.read(32).strip()
                if size.isdigit():
                    raise Behind(int(size)) from e
            raise Unavailable(f"a witness refused to sign: HTTP {e.code}") from e
    except (OSError, ValueError) as e:
        raise Unavailable(f"a witness did not answer: {e}") from e
