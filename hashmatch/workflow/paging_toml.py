"""Keys of the table [paging], each read with the place where it stands; secrets from files that others cannot read."""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any, Final

from hashmatch.delivery.addresses import Egress
from hashmatch.errors import Malformed

MAX_TEXT: Final = 2000  # characters
MAX_SECRETS: Final = 64 << 10  # bytes of a file


def known(given: Mapping[str, Any], keys: Collection[str], where: str) -> None:
    """Returns where every key is one of these: a misspelt one would silently reach nobody.

    Raises:
        Malformed: names one that is not.
    """
    if unknown := sorted(set(given) - set(keys)):
        raise Malformed(f"unknown; known: {', '.join(sorted(keys))}", field=f"{where}{unknown[0]}")


def table(given: Mapping[str, Any], name: str, where: str) -> Mapping[str, Any]:
    """A table; an empty one where it is left out.

    Raises:
        Malformed: it is something else.
    """
    found = given.get(name, {})
    if not isinstance(found, Mapping):
        raise Malformed("want a table", field=f"{where}{name}")
    return found


def text(given: Mapping[str, Any], name: str, where: str, default: str = "") -> str:
    """A text, trimmed.

    Raises:
        Malformed: there is none, or too much.
    """
    found = given.get(name, default)
    if not isinstance(found, str) or not 0 < len(found.strip()) <= MAX_TEXT:
        raise Malformed(f"want a text of 1 to {MAX_TEXT} characters", field=f"{where}{name}")
    return found.strip()


def secrets(given: Mapping[str, Any], name: str, where: str) -> list[str]:
    """The lines of a file that its owner alone may read; at least one.

    Raises:
        Malformed: others may read it, or nobody can; what it holds is not repeated.
    """
    file, field = Path(text(given, name, where)), f"{where}{name}"
    try:
        with file.open("rb") as opened:
            if os.fstat(opened.fileno()).st_mode & 0o077:
                raise Malformed(f"others may read {file}: chmod 600", field=field)
            lines = opened.read(MAX_SECRETS).decode("ascii").splitlines()
    except (OSError, UnicodeDecodeError) as e:
        raise Malformed(f"cannot read {file}: {getattr(e, 'strerror', None) or 'not ASCII'}", field=field) from None
    found = [line for line in lines if line.strip()]
    if not found:
        raise Malformed(f"{file} is empty", field=field)
    return found


def egress(given: Mapping[str, Any], where: str) -> Egress:
    """What may be reached: the public internet, and the networks of `allow`.

    Raises:
        Malformed: not a list of networks.
    """
    allow = given.get("allow", [])
    if not isinstance(allow, list) or not all(isinstance(one, str) for one in allow):
        raise Malformed("want a list of networks", field=f"{where}allow")
    try:
        return Egress(allow)
    except Malformed as e:
        raise Malformed(e.problem, field=f"{where}allow") from e


def authority(given: Mapping[str, Any], where: str) -> Path | None:
    """The file of `ca`; None where it is left out."""
    return Path(text(given, "ca", where)) if "ca" in given else None
