"""Wires what follows from a match: cases and those who work them, the outside, evidence. `app.py` plugs it in."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

from hashmatch import clock, corrections
from hashmatch.access.credentials import Credentials
from hashmatch.audit.leaves import Appending
from hashmatch.audit.ledger import Ledger
from hashmatch.config import Settings
from hashmatch.corrections import Corrections
from hashmatch.delivery.cybertip.client import CyberTipline
from hashmatch.delivery.cybertip.terms import Environment
from hashmatch.errors import HashmatchError
from hashmatch.evidence.vault import Vault
from hashmatch.roles import Role
from hashmatch.store import keys
from hashmatch.store.env import Env, Txn
from hashmatch.store.lists import ListStore
from hashmatch.v1.reports_pb2 import ReportRow
from hashmatch.workflow import destinations, policy_file, policy_store, second_looks
from hashmatch.workflow import destroying as destroys
from hashmatch.workflow.blind import Blind
from hashmatch.workflow.calling import Telephones
from hashmatch.workflow.case_steps import Kept
from hashmatch.workflow.case_store import CaseStore
from hashmatch.workflow.casework import Casework
from hashmatch.workflow.destinations import Destinations, Routes
from hashmatch.workflow.destroying import Destroying
from hashmatch.workflow.evidence import FromPlatform, FromVault
from hashmatch.workflow.evidence_settings import EvidenceSettings
from hashmatch.workflow.inquiries import Inquiries
from hashmatch.workflow.orphans import ORPHAN_AGE, swept
from hashmatch.workflow.pager import NAME as PAGER
from hashmatch.workflow.pager import Pager, Pages
from hashmatch.workflow.plan import VERBS
from hashmatch.workflow.policy import Policy
from hashmatch.workflow.policy_store import ClocksInForce, PolicyInForce, PolicyStore
from hashmatch.workflow.report_preparing import Evidence
from hashmatch.workflow.report_settings import Filing, ReportSettings
from hashmatch.workflow.report_store import ReportStore
from hashmatch.workflow.reporting import Reporting
from hashmatch.workflow.rota import Rota
from hashmatch.workflow.sender import Line, Sender
from hashmatch.workflow.viewing import Viewing
from hashmatch.workflow.watching import Several

DIRECTORY: Final = "evidence"  # of the vault, in the state directory
TOLD: Final = frozenset({Role.LEAD, Role.LE_LIAISON, Role.AUDITOR})
"""Roles that are told what was decided, by reports, holds or the log: who has one is never asked for a blind look."""

trace = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Office:
    """What works the cases of one ledger."""

    state: Path
    ledger: Ledger
    wanted: Destinations
    cases: Casework
    inquiries: Inquiries
    viewing: Viewing
    destroying: Destroying
    pages: Pages
    evidence: Evidence | None  # where an item's media is had from; None: nowhere
    vault: Vault | None

    @property
    def rota(self) -> Rota | None:
        """Who is on call; None where nobody is."""
        return self.wanted.paging.rota if self.wanted.paging is not None else None


@contextmanager
def opened(
    ledger: Ledger, settings: Settings, credentials: Credentials, lists: ListStore, *, serving: bool = False,
    evidence: bool = True,
) -> Iterator[Office]:  # fmt: skip
    """The office of a ledger, under the policy and with the destinations that the settings name.

    `evidence` False: without it, so that who only works cases need not be able to read the vault's master key.

    Raises:
        BadConfig: one of their files cannot be read, or is wrong; or the vault's master key does not open the vault.
    """
    wanted = destinations.load(settings.workflow)
    with ExitStack() as closing:
        vault, source = _evidence(ledger, settings, wanted.evidence, closing) if evidence else (None, None)
        described = (lambda verdict_id: vault.describe(verdict_id)) if vault is not None else (lambda _: None)
        cases = casework(ledger, settings, serving=serving, evidence=described)
        cases.blind = _blind(ledger, settings, cases.store, credentials, lists)
        inquiries = Inquiries(ledger.env, cases)
        retention = wanted.evidence.retention
        if wanted.paging is not None:
            closing.callback(wanted.paging.close)
        yield Office(
            settings.state, ledger, wanted, cases, inquiries,
            Viewing(ledger.env, cases.store, cases.blind.is_asked),
            Destroying(ledger, cases, inquiries, vault, retention), Pages(ledger, cases.store), source, vault,
        )  # fmt: skip


def _evidence(
    ledger: Ledger, settings: Settings, wanted: EvidenceSettings, closing: ExitStack
) -> tuple[Vault | None, Evidence | None]:
    if wanted.master is not None:
        vault = Vault(settings.state / DIRECTORY, wanted.master())
        vault.prove()  # a lost key is told now, and not when a report is due
        return vault, FromVault(vault)
    fetch = wanted.fetching(settings.max_media_bytes)
    if fetch is None:
        return None, None
    closing.callback(fetch.close)
    return None, FromPlatform(ledger, fetch)


def _blind(ledger: Ledger, settings: Settings, store: CaseStore, credentials: Credentials, lists: ListStore) -> Blind:
    def people() -> Collection[str]:
        roles: dict[str, set[str]] = {name: set(held) for name, held in settings.accounts.items()}
        for one, _ in credentials.all():
            if not one.dead(clock.now()):
                roles.setdefault(one.name, set()).update(one.roles)
        return {name for name, held in roles.items() if Role.REVIEWER in held and not TOLD & held}

    sampling, deadline = second_looks.of(settings.second_looks, keys.kept(settings.state, "sampling"))
    return Blind(ledger.env, store, sampling, people, listed_since=second_looks.since(lists), deadline=deadline)


def casework(
    ledger: Ledger, settings: Settings, *, serving: bool = False,
    evidence: Callable[[str], Kept | None] = lambda _verdict_id: None,
) -> Casework:  # fmt: skip
    """The cases of a ledger, under the policy and with the destinations that the settings name; without such, and not
    `serving`, with those that a server had last.

    Raises:
        BadConfig: it, or the file of destinations, cannot be read, or is wrong.
    """
    policy = policy_in_force(ledger, settings)
    # Whoever works on the state without the server's own file goes by what the server kept: nothing must go nowhere.
    kept = settings.workflow is None and not serving
    routes = Routes.from_json(ledger.routes()) if kept else destinations.load(settings.workflow).routes
    filing = None
    if routes.environment is not None:
        filing = Filing(ReportStore(ledger.env), CaseStore(ledger.env, ledger.sealing), routes.environment)

    if serving and routes.verbs:
        _warn_of_unrouted(policy.now, routes)

    def route(verb: str) -> Iterable[str]:
        return [corrections.NAME] if verb in corrections.VERBS else routes.route(verb)

    return Casework(
        ledger.env, ledger.sealing, policy, route, filing, ClocksInForce(policy), evidence, policy.reports_to,
    )  # fmt: skip


def _warn_of_unrouted(policy: Policy, routes: Routes) -> None:
    wanted = {verb for rule in policy.rules for verb in (*rule.now, *rule.confirmed)} | {"page"}  # for missed clocks
    if lost := [verb for verb in VERBS if verb in wanted and not list(routes.route(verb))]:
        trace.warning("the policy asks for %s, which no destination takes: nobody is asked", ", ".join(lost))


def policy_in_force(ledger: Ledger, settings: Settings) -> PolicyInForce:
    """The policy of a ledger as it is now; before a server was ever started, the one that the settings name.

    Raises:
        BadConfig: that cannot be read, or has an error.
    """
    return PolicyInForce(ledger.env, policy_file.load(settings.policy))


def policy_version(settings: Settings) -> Callable[[Env, Txn], str]:
    """What tells the version that a server which starts now begins with.

    Raises:
        BadConfig: as `policy_in_force`.
    """
    wanted = policy_file.load(settings.policy).version
    return lambda env, txn: PolicyStore(env).active(txn) or wanted


def adopt_policy(ledger: Ledger, settings: Settings) -> None:
    """Takes over the policy that a server is started with, as `policy_store.start`.

    Raises:
        BadConfig: it has an error, or two persons must agree to it first.
    """
    text = policy_file.text_of(settings.policy)
    store = PolicyStore(ledger.env)
    policy_file.accepted(text)  # before the transaction, in which verdicts of other processes wait
    policy_store.check_in_force(ledger.env)
    with ledger.changing() as log:
        store.keep_persons(log.txn, settings.policy_persons)
        policy_store.start(log, store, text, named=settings.policy is not None, alone=settings.policy_persons == 1)


# ── beside a server ─────────────────────────────────────────────────────────────────────────────────────────────────


@contextmanager
def working(office: Office, lists: Corrections) -> Iterator[Sender]:
    """Sends instructions, files reports, calls who is on call and destroys what is to be destroyed, until left.

    Raises:
        BadConfig: a destination cannot be used.
    """
    ledger, cases, wanted = office.ledger, office.cases, office.wanted
    before = Routes.from_json(ledger.routes())
    if lost := sorted(set(before.verbs) - set(wanted.routes.verbs)):
        trace.warning("nothing is sent any more to %s: the workflow's file does not name them", ", ".join(lost))
    if office.vault is None and (office.state / DIRECTORY).is_dir():
        trace.warning("evidence lies in %s, and the workflow's file names no vault: nothing more is sealed", DIRECTORY)
    ledger.keep_routes(wanted.routes.to_json())
    lines: dict[str, Line] = {one.name: Line(one.opened(), one.confirms) for one in wanted.endpoints}
    lines[corrections.NAME] = Line(lists)
    stopping = threading.Event()
    work: dict[str, Callable[[threading.Event], object]] = {}
    with ExitStack() as closing:
        if wanted.paging is not None:
            pager = Pager(ledger, office.pages, wanted.paging.rota, Telephones(wanted.paging))
            lines[PAGER] = Line(pager)
            work["pager"] = pager.run
        if wanted.reporting is not None:
            client = wanted.reporting.client(now=clock.now)
            closing.callback(client.close)
            work["reporting"] = _reporting(office, wanted.reporting, client).run
        if office.vault is not None:
            work["destroying"] = lambda stop: destroys.repeat(office.destroying, stop.wait)
            work["sweeping"] = partial(_sweep, office)
        late = Several(office.inquiries, *([cases.blind] if cases.blind is not None else []))
        sender = Sender(ledger, cases, lines, late=late)
        sender.start()
        threads = [threading.Thread(target=run, args=(stopping,), name=name, daemon=True) for name, run in work.items()]
        for thread in threads:
            thread.start()
        try:
            yield sender
        finally:
            stopping.set()
            for thread in threads:
                thread.join()
            sender.close()


def _reporting(office: Office, settings: ReportSettings, client: CyberTipline) -> Reporting:
    def client_of(environment: Environment) -> CyberTipline:
        settings.refuse_other(environment)
        return client

    def alerted(log: Appending, row: ReportRow, why: str) -> None:
        # Whatever the case's tier: the law wants it filed, and nothing but a person gets it there.
        office.cases.page(log, row.case_id, f"its report {why}", any_tier=True)

    return Reporting(
        office.ledger, ReportStore(office.ledger.env), office.cases.report_over, client_of, office.evidence,
        settings.reporter, production=settings.production, alerted=alerted,
        batch=settings.batch,
    )  # fmt: skip


def _sweep(office: Office, stopping: threading.Event) -> None:
    """Takes away what dead processes left half written in the vault, and tells of what no verdict names: where a server
    died between sealing and writing; or an older copy of the ledger was restored, and then it must be kept."""
    while True:
        if office.vault is not None:
            try:
                found = swept(office.vault, office.destroying, clock.now())
                if found.orphans or found.lost:
                    orphans, lost = len(found.orphans), len(found.lost)
                    trace.error("the vault: %d items that no case names, %d that lost their key", orphans, lost)
            except HashmatchError as e:
                trace.error("the vault was not swept: %s", e)
            except Exception:  # whatever it is, the next sweep may find what this one did not
                trace.exception("unforeseen error while sweeping the vault")
        if stopping.wait(ORPHAN_AGE.total_seconds()):
            return
