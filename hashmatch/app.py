"""Wires the rooms into one service. What is plugged into what stands here and nowhere else."""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass

from hashmatch import __version__, convert
from hashmatch.audit.ledger import Ledger
from hashmatch.config import Settings
from hashmatch.follower import Follower
from hashmatch.hashing import variants
from hashmatch.hashing.registry import REGISTRY
from hashmatch.index.live import LiveIndex
from hashmatch.index.recipe import Recipe, load_recipes
from hashmatch.lists.keeper import ListKeeper
from hashmatch.media.sandbox import Sandbox
from hashmatch.media.versions import decoders
from hashmatch.pipeline import Pipeline
from hashmatch.store.lists import ListStore
from hashmatch.types import ListState, Revision, Wanted
from hashmatch.v1.store_pb2 import ListRecord, VersionRecord


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
    follower: Follower
    pipeline: Pipeline

    @property
    def widths(self) -> dict[str, int]:
        """Bytes of a value, per hash type that may be looked up."""
        return {t: recipe.value_bytes for t, recipe in self.recipes.items() if recipe.enabled}


@asynccontextmanager
async def running(settings: Settings, *, spares: int = 1) -> AsyncIterator[Service]:
    """The service over `settings.state`, its workers started and its lists being followed.

    Raises:
        BadConfig: the state directory, a recipe or a wall of the sandbox is not as it must be.
        Corrupt: the ledger's tail is damaged.
    """
    recipes = load_recipes(settings.recipes)
    perceptual = tuple(t for t, recipe in recipes.items() if recipe.enabled and recipe.distance == "hamming")
    async with sandboxed(settings, perceptual, spares=spares) as sandbox, AsyncExitStack() as closing:
        store = ListStore(settings.state)
        closing.callback(store.close)
        keeper = ListKeeper(store, recipes)
        ledger = Ledger(settings.state, idempotency_hours=settings.idempotency_hours)
        closing.callback(ledger.close)
        follower = Follower(
            LiveIndex(
                store,
                widths={t: recipes[t].value_bytes for t in perceptual},
                state_of=lambda record, version: list_state(record, version, recipes),
                name_entry=keeper.entry_ids,
            ),
            examine=lambda media: sandbox.examine(media, Wanted(perceptual), first=True),
            poll_seconds=settings.poll_ms / 1000,
            canary_seconds=settings.canary_seconds,
        )
        hashers = {t: REGISTRY[t].version for t in perceptual if t in REGISTRY}
        running_versions = {"hashmatch": __version__, **decoders(), **hashers}
        pipeline = Pipeline(
            examiner=sandbox,
            serving=follower,
            ledger=ledger,
            recipes=recipes,
            versions=running_versions,
            log_no_match=settings.log_no_match,
        )
        following = asyncio.create_task(follower.run(), name="follower")
        closing.push_async_callback(_end, following)
        yield Service(settings, recipes, running_versions, store, keeper, ledger, sandbox, follower, pipeline)


@asynccontextmanager
async def sandboxed(settings: Settings, hash_types: Iterable[str], *, spares: int = 1) -> AsyncIterator[Sandbox]:
    """Decode workers behind their walls, ready to compute the perceptual types among `hash_types`.

    Raises:
        BadConfig: a wall is missing, and the settings do not allow that.
    """
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
    )
    await sandbox.start()
    try:
        yield sandbox
    finally:
        await sandbox.close()


async def _end(task: asyncio.Task[None]) -> None:
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task


def list_state(record: ListRecord, version: VersionRecord, recipes: Mapping[str, Recipe]) -> ListState:
    """What a stored list means under the recipes in force."""
    policy = convert.policy_from_wire(record.policy)
    return ListState(
        name=record.name,
        revision=Revision(record.revision),
        version=version.version,
        policy=policy,
        entries={t: n for t, n in version.entries.items() if t in recipes and recipes[t].enabled},
        thresholds={
            t: policy.thresholds.get(t, recipe.default_threshold) for t, recipe in recipes.items() if recipe.enabled
        },
        accepts=variants.expand(policy.variants),
    )
