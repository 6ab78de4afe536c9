"""Pages as mails: plain text, marked as sent by a machine, the same Message-ID for the same page and person."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import datetime
from email.message import EmailMessage
from email.policy import SMTP
from typing import Final

from hashmatch import clock
from hashmatch.delivery.paging.note import Note
from hashmatch.delivery.paging.smtp import Smtp
from hashmatch.errors import Malformed

# Refuses headers of more than one line, and folds none: what is read is what was written.
_POLICY: Final = SMTP.clone(max_line_length=998)
MAX_ADDRESS: Final = 254  # characters; RFC 5321 §4.5.3.1.3, without the brackets
# What HTML takes in a field for addresses, and a domain of two labels: no quotes, no comments, no names before it.
_ADDRESS: Final = re.compile(
    r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+(?:\.[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+)*"
    r"@(?:[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?\.)+[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
)


def address(text: str) -> str:
    """One address, and nothing that a header would read as more.

    Raises:
        Malformed: it is none.
    """
    if len(text) > MAX_ADDRESS or not _ADDRESS.fullmatch(text):
        raise Malformed("want an address such as ana@example.com", field="email")
    return text


class Email:
    """Mails. `note.to` is an address. For any thread."""

    name: Final = "email"

    def __init__(self, smtp: Smtp, sender: str, *, now: Callable[[], datetime] = clock.now) -> None:
        """
        Raises:
            Malformed: the sender is no address.
        """
        self._smtp, self._sender, self._now = smtp, address(sender), now

    def send(self, note: Note) -> None:
        """As `Channel.send`.

        Raises:
            Malformed: `note.to` is no address.
        """
        mail = mail_of(note, self._sender, self._now())
        self._smtp.hand_over(self._sender, note.to, mail.as_bytes())

    def resolve(self, note: Note) -> None:
        """Nothing: what was told is told."""

    def close(self) -> None:
        """Nothing: no connection is kept."""


def mail_of(note: Note, sender: str, at: datetime) -> EmailMessage:
    """The mail of a note.

    Raises:
        Malformed: an address is none.
    """
    mail = EmailMessage(policy=_POLICY)
    mail["From"] = address(sender)
    mail["To"] = address(note.to)
    mail["Subject"] = note.text
    mail["Date"] = at
    mail["Message-ID"] = f"<{note.message}@{sender.rpartition('@')[2]}>"
    mail["Auto-Submitted"] = "auto-generated"  # RFC 3834: nobody's absence answers it
    mail["Importance"] = "high"  # RFC 2156
    mail.set_content("\n".join(line for line in (note.text, note.url) if line) + "\n", cte="7bit")
    return mail
