"""A master key that never comes here: a command asks the key service that holds it.

The command is run without a shell, with `wrap` or `unwrap` as its last argument. It reads base64 on its standard input
and writes base64 on its standard output; HASHMATCH_KEY_CONTEXT is what the service must bind the answer to (its
"encryption context" or "additional data"). It ends with 0, or it has failed.
"""

from __future__ import annotations

import base64
import binascii
import contextlib
import hashlib
import os
import re
import signal
import subprocess
from collections.abc import Sequence
from typing import Final, Literal

from hashmatch.errors import BadConfig, StoreFailed

CONTEXT: Final = "HASHMATCH_KEY_CONTEXT"
SECONDS: Final = 10.0  # for one answer; key services take well under one
MAX_ANSWER_BYTES: Final = 16 << 10  # base64; AWS wraps a key into under 400, and bounds what it wraps to 6 KiB
_SHOWN = 80  # characters of what a command says when it fails
_MAYBE_A_KEY = re.compile(r"[A-Za-z0-9+/=_-]{24,}")  # a command that traces itself would show what it was given


class CommandMaster:
    """A key service, asked by a command."""

    def __init__(self, argv: Sequence[str], *, seconds: float = SECONDS) -> None:
        """Other arguments are another master key.

        Raises:
            BadConfig: no command.
        """
        if not argv or not argv[0]:
            raise BadConfig("the vault's key command is empty")
        self._argv, self._seconds = list(argv), seconds

    @property
    def id(self) -> str:
        return "command-" + hashlib.sha256("\0".join(self._argv).encode()).hexdigest()[:16]

    def wrap(self, key: bytes, context: bytes) -> bytes:
        wrapped = self._ask("wrap", key, context)
        if not wrapped or key in wrapped:  # one that only echoes would keep every key in the clear
            raise self._failed("wrap", "it gave the key back as it was" if wrapped else "it gave no answer")
        return wrapped

    def unwrap(self, wrapped: bytes, context: bytes) -> bytes:
        return self._ask("unwrap", wrapped, context)

    def _ask(self, verb: Literal["wrap", "unwrap"], given: bytes, context: bytes) -> bytes:
        try:
            process = subprocess.Popen(
                [*self._argv, verb], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                env=os.environ | {CONTEXT: context.decode("ascii")}, start_new_session=True,
            )  # fmt: skip
        except OSError as e:
            raise self._failed(verb, e.strerror or "cannot be run") from e
        with process:
            try:
                answer, said = process.communicate(base64.b64encode(given) + b"\n", self._seconds)
            except subprocess.TimeoutExpired:
                raise self._failed(verb, f"no answer within {self._seconds:g} s") from None
            finally:
                if process.returncode is None:
                    with contextlib.suppress(ProcessLookupError):
                        os.killpg(process.pid, signal.SIGKILL)  # what it started too, which may hold the pipes
        if process.returncode:
            raise self._failed(verb, f"status {process.returncode}{_last_words(said)}")
        try:
            if len(answer) > MAX_ANSWER_BYTES:
                raise self._failed(verb, f"more than {MAX_ANSWER_BYTES} bytes of answer")
            return base64.b64decode(b"".join(answer.split()), validate=True)  # base64(1) breaks lines
        except binascii.Error:
            raise self._failed(verb, "its answer is not base64") from None  # the cause might show some of it

    def _failed(self, verb: str, why: str) -> StoreFailed:
        return StoreFailed(f"the key command {self._argv[0]} {verb}: {why}")


def _last_words(said: bytes) -> str:
    """Some of what a command said when it failed, without anything that may be a key."""
    lines = said.decode("ascii", "replace").split("\n")
    last = next((line for line in reversed(lines) if line.strip()), "")
    shown = "".join(c for c in _MAYBE_A_KEY.sub("…", last.strip()) if c.isprintable())
    return f": {shown[:_SHOWN]}" if shown else ""
