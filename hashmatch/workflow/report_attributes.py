"""What a platform may say about an upload in its attributes, and how each is read. Pure.

`ATTRIBUTES` is the whole list: an attribute that is not in it is told to no authority. A value that cannot be read is a
problem, by the attribute's name and never by its value; a person may have it left out.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from datetime import UTC, date, datetime
from typing import Final

from hashmatch.delivery.cybertip.problems import Problem
from hashmatch.delivery.cybertip.rules import legible
from hashmatch.delivery.cybertip.terms import Environment, ReportId

ATTRIBUTES: Final[Mapping[str, str]] = {
    # of the uploader
    "email": "e-mail addresses, parted by commas",
    "email_verified": "true or false, of all of them",
    "phone": "telephone numbers, parted by commas",
    "first_name": "",
    "last_name": "",
    "date_of_birth": "YYYY-MM-DD",
    "screen_name": "",
    "display_name": "",
    "profile_url": "",
    "profile_bio": "",
    "group_id": "the platform's own, of a group that the account belongs to",
    "prior_reports": "numbers of earlier reports, parted by commas; test:NUMBER for those of the test environment",
    "account_disabled": "temporary, permanent or false",
    "account_disabled_at": "ISO 8601 with a zone",
    "user_notified": "true or false: whether the user was told of that",
    "compromised_account": "true or false",
    "city": "where the account seems to be",
    "state": "the same, in the US: the postal abbreviation",
    "country": "the same: a code of two letters",
    # of one upload
    "ip": "the address that it came from",
    "ip_port": "1..65535",
    "ip_time": "ISO 8601 with a zone; else when the upload occurred",
    "ip_proxy": "true or false: whether the address may be a proxy's",
    "device_id": "",
    "device_id_type": "IMEI, ICCID …; wanted beside device_id",
    "file_name": "as the user called it",
    "url": "where it could be seen",
    "publicly_available": "true or false: whether others could see it without being asked in",
    "chat_client": "where it was sent in a chat: which",
    "chat_room": "and its room",
}
"""Names and what they hold; "": text."""

_FLAGS: Final = {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}
_PRIOR: Final = re.compile(r"(test:)?([0-9]{1,19})")


class Attributes:
    """Those of one upload. What cannot be read is added to `problems`."""

    def __init__(self, given: Mapping[str, str], omit: Collection[str], problems: list[Problem]) -> None:
        self._given = {name: legible(value) for name, value in given.items() if value.strip() and name not in omit}
        self._problems = problems

    def text(self, name: str) -> str | None:
        return self._given.get(name)

    def many(self, name: str) -> list[str]:
        return [one.strip() for one in self._given.get(name, "").split(",") if one.strip()]

    def flag(self, name: str) -> bool | None:
        given = self.text(name)
        if given is None:
            return None
        found = _FLAGS.get(given.strip().lower())
        if found is None:
            self._wrong(name, "want true or false")
        return found

    def whole(self, name: str) -> int | None:
        given = (self.text(name) or "").strip()
        if given.isascii() and given.isdigit() and len(given) <= 19:
            return int(given)
        if given:
            self._wrong(name, "want a whole number")
        return None

    def time(self, name: str) -> datetime | None:
        given = self.text(name)
        if given is None:
            return None
        try:
            at = datetime.fromisoformat(given.strip())
            if at.utcoffset() is not None:
                return at.astimezone(UTC)
        except (ValueError, OverflowError):
            self._wrong(name, "want a time as ISO 8601 has it")
        else:
            self._wrong(name, "has no zone")
        return None

    def day(self, name: str) -> date | None:
        given = self.text(name)
        if given is None:
            return None
        try:
            return date.fromisoformat(given.strip())
        except ValueError:
            self._wrong(name, "want YYYY-MM-DD")
        return None

    def one_of(self, name: str, choices: Collection[str]) -> str | None:
        given = (self.text(name) or "").strip().lower()
        if given in choices:
            return given
        if given:
            self._wrong(name, f"want one of {', '.join(choices)}")
        return None

    def prior(self, name: str, environment: Environment) -> list[ReportId]:
        """Earlier reports. In the test environment those of production are left out: it does not know them."""
        found = []
        for one in self.many(name):
            read = _PRIOR.fullmatch(one)
            if read is None:
                self._wrong(name, "want numbers of reports")
                continue
            theirs = Environment.TEST if read[1] else Environment.PRODUCTION
            if environment is Environment.PRODUCTION or theirs is environment:
                found.append(ReportId(int(read[2]), theirs))
        return found

    def _wrong(self, name: str, what: str) -> None:
        problem = Problem(f"attributes/{name}", what)
        if problem not in self._problems:
            self._problems.append(problem)
