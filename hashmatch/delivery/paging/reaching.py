"""One person, through the channels that they have."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

from hashmatch.delivery.dispatch import NotTaken, RefusedForGood
from hashmatch.delivery.paging.note import Channel, Note


@dataclass(frozen=True, slots=True)
class Reached:
    """Which channels took it, and what was wrong with the others: no secret, and nothing that they answered."""

    by: tuple[str, ...]
    problems: tuple[str, ...]


def reach(channels: Sequence[tuple[Channel, str]], note: Note, *, every: bool) -> Reached:
    """Tells one person: through the first channel that takes it, or through every one, at once.

    Each comes with how it knows the person; `note.to` is not looked at. Lasts no longer than the slowest channel where
    `every` is true, else than all of them together.
    """
    found: list[tuple[str, str]] = []
    if every:
        found = _all_of(channels, note, _send)
    else:
        for channel, contact in channels:
            found.append(_tried(channel, contact, note, _send))
            if not found[-1][1]:
                break
    return _reached(found)


def resolve(channels: Sequence[tuple[Channel, str]], note: Note) -> Reached:
    """Closes what `reach` opened with the same page, through every channel of the person, at once."""
    return _reached(_all_of(channels, note, _resolve))


def _all_of(
    channels: Sequence[tuple[Channel, str]], note: Note, act: Callable[[Channel, Note], None]
) -> list[tuple[str, str]]:
    with ThreadPoolExecutor(max_workers=max(1, len(channels)), thread_name_prefix="paging") as pool:
        return list(pool.map(lambda one: _tried(one[0], one[1], note, act), channels))


def _send(channel: Channel, note: Note) -> None:
    channel.send(note)


def _resolve(channel: Channel, note: Note) -> None:
    channel.resolve(note)


def _tried(channel: Channel, contact: str, note: Note, act: Callable[[Channel, Note], None]) -> tuple[str, str]:
    """The channel's name, and what went wrong; "" where nothing did."""
    try:
        act(channel, replace(note, to=contact))
    except (NotTaken, RefusedForGood) as e:
        return channel.name, str(e)
    except Exception as e:  # a fault of one channel must not keep the next from telling somebody
        return channel.name, type(e).__name__  # its message may hold anything
    return channel.name, ""


def _reached(found: Sequence[tuple[str, str]]) -> Reached:
    return Reached(
        tuple(name for name, problem in found if not problem),
        tuple(f"{name}: {problem}" for name, problem in found if problem),
    )
