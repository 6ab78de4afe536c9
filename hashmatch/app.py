"""Wires the rooms into one service. What is plugged into what stands here and nowhere else."""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from functools import partial

from hashmatch import __version__, builder, clock, config, convert
from hashmatch import office as offices
from hashmatch.access.credentials import Credentials
from hashmatch.audit import entry_counts
from hashmatch.audit.feeds import ListFeed
from hashmatch.audit.ledger import Ledger
from hashmatch.audit.runs import Run
from hashmatch.builds import Builds
from hashmatch.config import Settings
from hashmatch.corrections import Corrections
from hashmatch.follower import Follower
from hashmatch.hashing import variants
from hashmatch.hashing.registry import REGISTRY
from hashmatch.index.base import KERNEL
from hashmatch.index.live import LiveIndex
from hashmatch.index.recipe import Recipe, load_recipes, opaque
from hashmatch.lists.keeper import ListKeeper
from hashmatch.lists.proposals import Proposals
from hashmatch.lists.reader import ListReader
from hashmatch.media.sandbox import Sandbox
from hashmatch.media.versions import decoders
from hashmatch.office import Office
from hashmatch.pipeline import Pipeline
from hashmatch.publisher import Publisher
from hashmatch.replay import Replay
from hashmatch.store.lists import ListStore
from hashmatch.store.traffic import Sample, Traffic
from hashmatch.trials import Trials
from hashmatch.types import Fingerprint, ListState, Revision, Wanted
from hashmatch.v1.store_pb2 import EntryCountRecord, ListRecord, VersionRecord
from hashmatch.workflow.case_steps import Watch as CaseWatch
from hashmatch.workflow.sender import Sender
from hashmatch.workflow.subjects import Subjects

trace = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Service:
    """Everything that answers for one state directory, running."""

    settings: Settings
    recipes: Mapping[str, Recipe]
    versions: Mapping[str, str]
    store: ListStore
    keeper: ListKeeper
    ledger: Ledger
    sandbox: Sandbox
    live: LiveIndex
    follower: Follower
    pipeline: Pipeline
    trials: Trials
    proposals: Proposals
    credentials: Credentials
    office: Office
    sender: Sender | None  # None: no cases are kept

    @property
    def widths(self) -> dict[str, int]:
        """Bytes of a value, per hash type that may be looked up; 0 for opaque ones."""
        served = self.live.generation.segments.values() if self.live.generation else ()
        opaque = {t: 0 for segment in served for t in segment.parts if t not in self.recipes}
        return opaque | {t: recipe.value_bytes for t, recipe in self.recipes.items() if recipe.enabled}


@dataclass(frozen=True, slots=True)
class Watch:
    """Whoever wants to know how the service does; called on the event loop, `committed` on the ledger's thread."""

    stage: Callable[[str, float], None] = lambda _name, _seconds: None  # of a submission, and its seconds
    committed: Callable[[int, float], None] = lambda _facts, _seconds: None  # one transaction of the ledger
    stepped: CaseWatch = lambda _step, _case, _at, _codes: None  # a case, on whatever thread


@asynccontextmanager
async def running(
    settings: Settings, *, spares: int = 1, watch: Watch | None = None, serving: bool = False
) -> AsyncIterator[Service]:
    """The service over `settings.state`, its workers started and its lists being followed.

    `serving`: it also sends instructions and files reports, as one server does; else those wait for it.

    Raises:
        BadConfig: the state directory, a recipe or a wall of the sandbox is not as it must be.
        Corrupt: the ledger's tail is damaged.
    """
    recipes = load_recipes(settings.recipes)
    seen = perceptual(recipes)
    if KERNEL == "numpy":
        trace.warning("look-ups are slower than they could be: no C compiler was there when hashmatch was installed")
    watch = watch or Watch()
    async with sandboxed(settings, seen, spares=spares, watch=watch) as sandbox, AsyncExitStack() as closing:
        store = ListStore(settings.state)
        closing.callback(store.close)
        keeper = ListKeeper(store, recipes)
        credentials = Credentials(settings.state)
        closing.callback(credentials.close)
        running_versions = versions(seen)
        with store.view() as view:
            revision = view.revision
        ledger = Ledger(
            settings.state,
            idempotency_hours=settings.idempotency_hours,
            committed=watch.committed,
            feeds=(ListFeed(store), credentials),
            run=Run(running_versions, config.digest(settings), revision, offices.policy_version(settings)),
            origin=settings.log_origin,
        )
        closing.callback(ledger.close)
        if serving and settings.cases:
            offices.adopt_policy(ledger, settings)
        office = closing.enter_context(offices.opened(ledger, settings, credentials, store, serving=serving))
        if settings.cases:
            ledger.consequences = office.cases
        office.cases.watch = watch.stepped
        live = live_index(store, settings, recipes, keeper.entry_ids)
        follower = Follower(
            live,
            builds=Builds(lambda wanted: builder.command(settings.state, settings.recipes, wanted), live.built),
            examine=lambda media: sandbox.examine(media, Wanted(seen), first=True),
            poll_seconds=settings.poll_ms / 1000,
            canary_seconds=settings.canary_seconds,
        )
        traffic = _traffic(settings, closing)
        pipeline = Pipeline(
            examiner=sandbox,
            serving=follower,
            ledger=ledger,
            recipes=recipes,
            versions=running_versions,
            log_no_match=settings.log_no_match,
            sample=_sample(settings, traffic, closing),
            vault=office.vault if settings.cases else None,
            stage=watch.stage,
        )
        following = asyncio.create_task(follower.run(), name="follower")
        closing.push_async_callback(_end, following)
        publisher = Publisher(
            ledger,
            settings.log_publish,
            settings.log_witnesses,
            retention_days=settings.log_retention_days,
            kept=Subjects(office.cases),
        )
        closing.push_async_callback(_end, asyncio.create_task(publisher.run(), name="publisher"))
        trials = Trials(keeper, store, live, traffic, ledger, running_versions)
        proposals = Proposals(store, keeper, release=partial(release, ledger))
        sender = None
        if settings.cases and serving:
            sender = closing.enter_context(offices.working(office, Corrections(keeper, proposals)))
        yield Service(
            settings, recipes, running_versions, store, keeper, ledger, sandbox, live, follower, pipeline, trials,
            proposals, credentials, office, sender,
        )  # fmt: skip


def release(
    ledger: Ledger, name: str, entry_id: str, *, by: str, approver: str = "", reason: str = ""
) -> EntryCountRecord:
    """Lets an entry act again that the collision guard holds, and not be held again for a while.

    Raises:
        NotFound: it never matched.
        StoreFailed: nothing was written.
    """
    until = clock.now() + entry_counts.EXEMPT
    return ledger.release(name, entry_id, until, by=by, approver=approver, reason=reason)


def replay(store: ListStore, recipes: Mapping[str, Recipe]) -> Replay:
    """What computes verdicts on these lists again."""
    return Replay(
        store,
        recipes=recipes,
        state_of=partial(list_state, recipes=recipes),
        name_entry=ListReader(store, recipes).entry_ids,
        versions=versions(perceptual(recipes)),
    )


def perceptual(recipes: Mapping[str, Recipe]) -> tuple[str, ...]:
    """The hash types that are switched on and have a distance."""
    return tuple(t for t, recipe in recipes.items() if recipe.enabled and recipe.distance == "hamming")


def versions(hash_types: Iterable[str]) -> dict[str, str]:
    """Of what judges: this software, its decoders, its hashers."""
    hashers = {t: REGISTRY[t].version for t in hash_types if t in REGISTRY}
    return {"hashmatch": __version__, **decoders(), **hashers}


def live_index(
    store: ListStore,
    settings: Settings,
    recipes: Mapping[str, Recipe],
    name_entry: Callable[[str, Fingerprint], str],
) -> LiveIndex:
    """An index that follows a store, with nothing loaded yet."""
    return LiveIndex(
        store,
        recipes=recipes,
        snapshots=settings.state / builder.DIRECTORY,
        state_of=lambda record, version: list_state(record, version, recipes),
        name_entry=name_entry,
    )


@asynccontextmanager
async def sandboxed(
    settings: Settings, hash_types: Iterable[str], *, spares: int = 1, watch: Watch | None = None
) -> AsyncIterator[Sandbox]:
    """Decode workers behind their walls, ready to compute the perceptual types among `hash_types`.

    Raises:
        BadConfig: a wall is missing, and the settings do not allow that.
    """
    stage = watch.stage if watch else Watch().stage
    sandbox = Sandbox(
        workers=settings.workers,
        spares=spares,
        memory_bytes=settings.worker_memory_bytes,
        deadline=settings.decode_seconds,
        # The deadline strikes first; this holds where the parent is slow.
        cpu_seconds=math.ceil(settings.decode_seconds) + 1,
        hash_types={t: REGISTRY[t].value_bytes for t in hash_types if t in REGISTRY and not REGISTRY[t].exact},
        require_walls=settings.walls == "required",
        queue_limit=settings.queue,
        queue_seconds=settings.queue_ms / 1000,
        waited=lambda seconds: stage("queue", seconds),
    )
    await sandbox.start()
    try:
        yield sandbox
    finally:
        await sandbox.close()


def _traffic(settings: Settings, closing: AsyncExitStack) -> Traffic | None:
    if not settings.traffic_sample:
        return None
    traffic = Traffic(settings.state)
    closing.callback(traffic.close)
    return traffic


def _sample(settings: Settings, traffic: Traffic | None, closing: AsyncExitStack) -> Sample | None:
    if traffic is None:
        return None
    sample = Sample(traffic, items=settings.traffic_sample, days=settings.traffic_days)
    closing.callback(sample.close)
    return sample


async def _end(task: asyncio.Task[None]) -> None:
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task


def list_state(record: ListRecord, version: VersionRecord, recipes: Mapping[str, Recipe]) -> ListState:
    """What a stored list means under the recipes in force. What has no recipe is found by equality."""
    policy = convert.policy_from_wire(record.policy)
    known = {t: recipes.get(t) or opaque(t) for t in {*recipes, *version.entries}}
    searched = {t: recipe for t, recipe in known.items() if recipe.enabled}
    return ListState(
        name=record.name,
        revision=Revision(record.revision),
        version=version.version,
        policy=policy,
        entries={t: n for t, n in version.entries.items() if t in searched},
        thresholds={t: policy.thresholds.get(t, recipe.default_threshold) for t, recipe in searched.items()},
        accepts=variants.expand(policy.variants),
        refreshed_at=convert.moment(record.refreshed_at) if record.HasField("refreshed_at") else None,
    )
