"""What may be served: the newest generation whose canaries were found, and the plain reason where there is none.

A list's canary is a picture drawn for that list alone and listed in it. Sending the picture through the real path
(decode worker, hasher, index) and finding its entry proves that path end to end; a list whose canary is not found
would answer NO_MATCH to everything. A new base is proven before it is published, all lists again at an interval.

A list that is not refreshed as its policy expects is still served, and warned of: old is better than nothing.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta

from hashmatch import clock
from hashmatch.builds import Builds
from hashmatch.errors import Corrupt, HashmatchError, Overloaded, Unavailable
from hashmatch.index.generation import Generation, Segment
from hashmatch.index.live import LiveIndex
from hashmatch.lists import terms
from hashmatch.types import Examination, ListState, Revision

CANARY_TOLERANCE = 10  # bits of 256: what PDQ's authors accept between implementations (pdq/README.md)
REMIND_AFTER = timedelta(hours=1)  # between two warnings of one stale list
PATIENCE = 3  # canary intervals that may pass without a proof before verdicts are no longer given

trace = logging.getLogger(__name__)


class Building(Unavailable):
    """A list waits for its snapshot, and nothing can be served before."""


class Follower:
    """Keeps the served generation at what is committed. One event loop owns it."""

    def __init__(
        self,
        live: LiveIndex,
        *,
        builds: Builds,
        examine: Callable[[bytes], Awaitable[Examination]],
        poll_seconds: float,
        canary_seconds: float,
    ) -> None:
        self._live = live
        self._builds = builds
        self._examine = examine
        self._poll_seconds = poll_seconds
        self._canary_seconds = canary_seconds
        self._built: Generation | None = None  # the newest that is not yet proven
        self._thread = ThreadPoolExecutor(1, "follower")  # its own: nobody else's work may keep the lists old
        self._proven = float("-inf")  # monotonic seconds when every canary was last found
        self._reminder = StaleReminder()
        self._moved = asyncio.Condition()
        self._decided = asyncio.Event()  # set once it is known whether verdicts may be given
        self._failure: HashmatchError | None = Unavailable("the lists are being loaded")  # why they may not

    def generation(self) -> Generation:
        """The generation to search.

        Raises:
            Unavailable: with the reason, while none may be served.
        """
        if self._failure is not None or self._live.generation is None:
            raise Unavailable(f"not serving: {self._failure}")
        return self._live.generation

    @property
    def serving(self) -> bool:
        """Whether verdicts may be given now."""
        return self._failure is None

    @property
    def proven_seconds_ago(self) -> float | None:
        """How long ago every list's canary was found; None where it never was."""
        return None if self._proven == float("-inf") else time.monotonic() - self._proven

    async def ready(self) -> None:
        """Waits until it is known whether verdicts may be given, and for what is being built until then.

        Raises:
            HashmatchError: they may not; Corrupt where the lists are not what was written.
        """
        await self._decided.wait()
        if self._failure is not None:
            raise self._failure

    async def reach(self, revision: Revision, timeout: float) -> bool:
        """Waits until the generation is at `revision` or later; False when it took longer than `timeout` seconds."""
        async with self._moved:
            try:
                await asyncio.wait_for(self._moved.wait_for(lambda: self._at(revision)), timeout)
            except TimeoutError:
                return False
        return True

    def _at(self, revision: Revision) -> bool:
        return self._live.generation is not None and self._live.generation.revision >= revision

    async def run(self) -> None:
        """Follows until cancelled."""
        try:
            while True:
                await self._follow()
                await asyncio.sleep(self._poll_seconds)
        finally:
            await self._builds.close()
            self._thread.shutdown()  # waits: the store must not be closed under a load that is still reading it

    async def _follow(self) -> None:
        try:
            await self.refresh()
            if self._live.generation is not None:
                self._reminder.look((s.state for s in self._live.generation.segments.values()), clock.now())
            if time.monotonic() - self._proven > self._canary_seconds and self._live.generation is not None:
                await self.prove(self._live.generation, self._live.generation.segments.values())
                self._proven = time.monotonic()
            self._report(None)
        except Building as e:
            self._report(e, decided=False)
        except (Overloaded, Unavailable) as e:
            # A proof that must wait proves nothing either way, until it has waited too long.
            if self._live.generation is None or time.monotonic() - self._proven > PATIENCE * self._canary_seconds:
                self._report(e)
        except HashmatchError as e:
            self._report(e)
        except Exception as e:
            # A follower that died quietly would serve yesterday's lists for ever.
            trace.exception("unforeseen error while following the lists")
            self._report(HashmatchError(f"{type(e).__name__} while following the lists; see the trace"))

    async def refresh(self) -> None:
        """Serves what is committed now, once its new bases are proven."""
        if self._live.stale():
            built = await asyncio.get_running_loop().run_in_executor(self._thread, self._live.refresh)
            self._built = built or self._built
        self._builds.want(self._live.wanted)
        if self._built is None:
            if self._live.generation is None and self._builds.problem:
                raise Unavailable(self._builds.problem)
            if self._live.generation is None:
                raise Building(self._live.waiting())
            return
        served = self._live.generation.segments if self._live.generation else {}
        unproven = [s for s in self._built.segments.values() if not _same_base(s, served.get(s.state.name))]
        await self.prove(self._built, unproven)
        self._live.publish(self._built)
        self._built = None
        async with self._moved:
            self._moved.notify_all()

    async def prove(self, generation: Generation, segments: Iterable[Segment]) -> None:
        """Finds the canary of every list given.

        Raises:
            Corrupt: a canary is not found; names its list.
        """
        for segment in segments:
            examination = await self._examine(segment.canary_media)
            if examination.unhashable:  # its worker was killed or was late: that says nothing of the list
                raise Unavailable(f"the canary of list '{segment.state.name}' could not be hashed; trying again")
            wanted = segment.canary.keys() & segment.state.thresholds.keys()
            missing = wanted - generation.finds_canary(examination.hashed, segment, CANARY_TOLERANCE)
            if missing:
                raise Corrupt(
                    f"the canary of list '{segment.state.name}' is not found by {', '.join(sorted(missing))}: "
                    "run `hashmatch check`, then restart"
                )

    def _report(self, failure: HashmatchError | None, *, decided: bool = True) -> None:
        if str(failure) != str(self._failure):
            trace.log(logging.ERROR if failure else logging.INFO, "%s", failure or "serving")
        self._failure = failure
        if decided:
            self._decided.set()


class StaleReminder:
    """Warns of lists that are not refreshed as their policies expect: of each at once, then once an hour."""

    def __init__(self) -> None:
        self._warned: dict[str, datetime] = {}  # by list, while it is stale

    def look(self, states: Iterable[ListState], now: datetime) -> None:
        """Traces what is stale, unless it was traced lately."""
        stale = {s.name: s for s in states if terms.stale(s.policy.refresh_seconds, s.refreshed_at, now)}
        self._warned = {name: at for name, at in self._warned.items() if name in stale}
        for name, state in stale.items():
            if name not in self._warned or now - self._warned[name] >= REMIND_AFTER:
                self._warned[name] = now
                trace.warning(
                    "list '%s' is stale: last refreshed at %s, and expected every %d seconds",
                    name, state.refreshed_at, state.policy.refresh_seconds,
                )  # fmt: skip


def _same_base(new: Segment, old: Segment | None) -> bool:
    if old is None or new.number != old.number or new.parts.keys() != old.parts.keys():
        return False
    return all(part.base is old.parts[hash_type].base for hash_type, part in new.parts.items())
