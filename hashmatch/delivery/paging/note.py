"""One page to one person, and the port of whatever carries it."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from typing import Final, Protocol

from hashmatch.errors import Malformed

MAX_TEXT: Final = 500  # characters; the wording of a page with the longest ids has some 170
MAX_TO: Final = 320  # of an address, or of a person's name on the rota
MAX_URL: Final = 900  # a line of mail has at most 998
_ID: Final = re.compile(r"[A-Za-z0-9_-]{1,64}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Note:
    """What one person is told; one line, so that no channel can be made to say more."""

    page_id: str
    case_id: str
    tier: int  # 0..3, 0 the most urgent
    drill: bool
    text: str  # worded already: a case's id and nothing else
    to: str = ""  # how the channel knows the person
    url: str = ""  # of the case in the console; "" where there is none
    round: int = 0  # a later one is news to whoever had the earlier, where a repeat of the same one is not

    def __post_init__(self) -> None:
        """
        Raises:
            Malformed: names the field.
        """
        for name, given in (("page_id", self.page_id), ("case_id", self.case_id)):
            if not _ID.fullmatch(given):
                raise Malformed("want 1 to 64 letters, digits, - and _", field=name)
        if not 0 <= self.tier <= 3:
            raise Malformed("want 0 to 3", field="tier")
        if not 0 < len(self.text) <= MAX_TEXT or not (self.text.isascii() and self.text.isprintable()):
            raise Malformed(f"want one line of at most {MAX_TEXT} ASCII characters", field="text")
        if len(self.to) > MAX_TO or not self.to.isprintable():
            raise Malformed(f"want at most {MAX_TO} characters of one line", field="to")
        if len(self.url) > MAX_URL or not (self.url.isascii() and self.url.isprintable()) or " " in self.url:
            raise Malformed(f"want a URL of at most {MAX_URL} characters", field="url")
        if self.round < 0:
            raise Malformed("want 0 or more", field="round")

    @property
    def incident(self) -> str:
        """The same for every round of one page to one person alone: at most 81 letters, digits, - and _."""
        return f"{self.page_id}-{_short(self.to)}"

    @property
    def message(self) -> str:
        """The same for one round of one page to one person alone; as `incident`."""
        return f"{self.page_id}-{_short(self.to, str(self.round))}"

    def __repr__(self) -> str:
        return f"<note of {self.page_id}>"


class Channel(Protocol):
    """Carries notes. For any thread."""

    @property
    def name(self) -> str: ...

    def send(self, note: Note) -> None:
        """Tells one person. Must be safe to repeat with the same note.

        Raises:
            NotTaken: it may be taken later.
            RefusedForGood: this one never.
        """

    def resolve(self, note: Note) -> None:
        """Closes what a note opened, where the channel keeps incidents; elsewhere nothing.

        Raises:
            NotTaken, RefusedForGood: as `send`.
        """

    def close(self) -> None: ...


def _short(*parts: str) -> str:
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:16]
