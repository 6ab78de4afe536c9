"""Evidence from its sealing to its destruction: over a real ledger, a real vault and a real platform."""

from __future__ import annotations

import hashlib
import io
import json
import re
import threading
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID
from standardwebhooks import Webhook as Reference

from hashmatch.audit import erasure
from hashmatch.delivery.addresses import Egress
from hashmatch.delivery.evidence_fetch import EvidenceFetch
from hashmatch.delivery.guarded_http import GuardedHttp
from hashmatch.delivery.standard_webhooks import Secret
from hashmatch.errors import Corrupt, Malformed, NotFound, Refused, StoreFailed
from hashmatch.evidence import upkeep
from hashmatch.evidence.master import FileMaster, create_master_file
from hashmatch.evidence.package import read_package
from hashmatch.evidence.vault import Vault
from hashmatch.roles import Role
from hashmatch.store.backup import back_up, differences
from hashmatch.workflow.destroying import Destroying
from hashmatch.workflow.disclosing import disclose
from hashmatch.workflow.evidence import FromPlatform, FromVault
from hashmatch.workflow.hold_table import RULES, Basis, Kind, Part
from hashmatch.workflow.inquiries import Asked, Inquiries, take
from hashmatch.workflow.inquiry import Kind as InquiryKind
from hashmatch.workflow.subjects import Subjects

from .conftest import START, match, plan_of
from .receivers import SECRET

MEDIA = b"drawn by the test"
KEEP = timedelta(days=90)
AGENCY = {"agency": "Police", "contact": "a@p.example", "jurisdiction": "US", "reference": "7", "legal_basis": "2258B"}


@pytest.fixture
def vault(work, tmp_path):
    create_master_file(tmp_path / "master")
    made = Vault(tmp_path / "vault", FileMaster(tmp_path / "master"))
    made.prove()
    work.cases._evidence = made.describe
    work.inquiries = Inquiries(work.ledger.env, work.cases)
    work.plan = plan_of(instructions=())
    return made


def destroying(work, vault):
    return Destroying(work.ledger, work.cases, work.inquiries, vault, KEEP)


def due(work, vault):
    with work.ledger.env.read() as txn:
        return destroying(work, vault).due(txn, work.now)[0]


def kept(work, vault, uploader="u1", media=MEDIA):
    """A case whose item is sealed, as the pipeline does it: before the verdict is written."""
    record = match(uploader)
    hashed = record.hashed.add(hash_type="sha256")
    hashed.fingerprint.hash_type, hashed.fingerprint.value = "sha256", hashlib.sha256(media).digest()
    vault.seal(record.verdict_id, media, media_type="image/png", at=work.now)
    work.ledger.append(record, log=True, remember=False).result()
    return work.get(record.case_id)


def closed(work, case, confirm=True):
    work.do("claim", case.id, by="ann")
    return work.do("decide", case.id, confirm=confirm, by="ann", roles=frozenset(Role), reason_codes=["SEEN"])


def item(work, case):
    with work.ledger.env.read() as txn:
        return next(work.cases.store.items(txn, case.id))


def ask(work, vault, case, by, **more):
    with work.ledger.changing() as log:
        return destroying(work, vault).destroy(log, case.id, by=by, ground="over", **more)


def destroyed(work):
    return [e.destroyed for e in work.ledger.events(limit=1000) if e.HasField("destroyed")]


def test_what_matched_is_sealed_and_the_log_says_so(work, vault):
    case = kept(work, vault)
    one = item(work, case)
    assert (one.evidence, one.evidence_bytes) == (hashlib.sha256(MEDIA).digest(), len(MEDIA))
    (said,) = [e.evidence_kept for e in work.ledger.events(limit=100) if e.HasField("evidence_kept")]
    keyed = work.ledger.sealing.fingerprint_digest("sha256", one.evidence)
    assert (said.case_id, said.content_digest, said.size) == (case.id, keyed, len(MEDIA))
    file, size = FromVault(vault).open(one)
    with file:
        assert (file.read(), size) == (MEDIA, len(MEDIA))


def test_two_persons_destroy_it_once_its_time_is_over(work, vault):
    case = closed(work, kept(work, vault))
    with pytest.raises(Refused, match="retention"):
        ask(work, vault, case, "ann")
    assert due(work, vault) == []
    retained = work.now + KEEP
    work.now += KEEP + timedelta(seconds=1)
    (one,) = due(work, vault)
    assert (one.case.id, one.rule, one.items, one.bytes) == (case.id, "our own retention", 1, len(MEDIA))
    assert one.since.ToDatetime(UTC) == retained
    waits, number = ask(work, vault, case, "ann")
    assert (waits.destroy_asked_by, number, destroyed(work)) == ("ann", 0, [])
    with pytest.raises(Refused, match="another person"):
        ask(work, vault, case, "ANN")
    done, number = ask(work, vault, case, "bob")
    (certificate,) = destroyed(work)
    assert (number, list(certificate.by), certificate.ground) == (1, ["ann", "bob"], "over")
    keyed = work.ledger.sealing.fingerprint_digest("sha256", hashlib.sha256(MEDIA).digest())
    assert list(certificate.content_digests) == [keyed]
    assert done.destroy_asked_by == ""
    assert vault.describe(item(work, case).verdict_id) is not None  # the process ends here; another goes on
    assert destroying(work, vault).carry_out() == 1
    assert destroying(work, vault).carry_out() == 0
    assert vault.describe(item(work, case).verdict_id) is None
    assert FromVault(vault).open(item(work, case)) is None
    with pytest.raises(Refused, match="nothing is kept"):
        ask(work, vault, case, "ann")
    assert due(work, vault) == []


def test_two_persons_destroy_what_no_case_names(work, vault):
    case, here = kept(work, vault), destroying(work, vault)
    for name in ("v_lost1", "v_lost2"):
        vault.seal(name, name.encode(), media_type="image/png", at=work.now)

    def orphans():
        return upkeep.sweep(vault, here.keeps, work.now + timedelta(hours=2)).orphans

    def ask_(by):
        with work.ledger.changing() as log:
            return here.destroy_orphans(log, orphans(), by=by, ground="the server died")

    assert {one.item_id for one in orphans()} == {"v_lost1", "v_lost2"}
    assert ask_("ann") == (0, 2)
    with pytest.raises(Refused, match="another person"):
        ask_("ANN")
    vault.seal("v_lost3", b"3", media_type="image/png", at=work.now)
    assert ask_("ann") == (0, 1)  # of what came since
    vault.seal("v_lost4", b"4", media_type="image/png", at=work.now)
    assert ask_("bob") == (3, 1)
    with pytest.raises(Refused, match="another person"):
        ask_("bob")  # what the log destroyed is neither asked for nor certified again, before the vault has followed
    (certificate,) = destroyed(work)
    assert (certificate.case_id, list(certificate.by), len(certificate.key_ids)) == ("", ["ann", "bob"], 3)
    assert here.carry_out() == 3
    assert {*vault.items()} == {"v_lost4", item(work, case).verdict_id}


def test_an_open_case_keeps_its_evidence(work, vault):
    with pytest.raises(Refused, match="open"):
        ask(work, vault, kept(work, vault), "ann")
    with pytest.raises(Refused, match="no vault"):
        ask(work, None, kept(work, vault), "ann")


def test_what_a_report_on_its_way_may_want_is_kept(work, vault):
    case = closed(work, kept(work, vault))
    work.now += KEEP + timedelta(seconds=1)
    work.waits = lambda _log, _case_id: True
    with pytest.raises(Refused, match="on its way"):
        ask(work, vault, case, "ann")


def test_a_clock_that_was_set_back_once_shortens_no_duty(work, vault):
    work.match("u9")
    there = work.now
    work.now -= timedelta(days=6 * 365)  # as after a start without a battery
    case = closed(work, kept(work, vault))
    work.do("place_hold", case.id, kind="US_REPORT", ground="g", by="lea", reference="r", since=work.now)
    with pytest.raises(Refused):
        ask(work, vault, case, "ann")
    work.now = there + timedelta(days=1)
    with pytest.raises(Refused, match="US_REPORT"):
        ask(work, vault, case, "ann")


def test_a_vault_that_cannot_be_read_costs_the_evidence_and_never_the_match(work, vault):
    def fails(_verdict_id):
        raise StoreFailed("the vault is away")

    work.cases._evidence = fails
    case = work.match("u1")
    assert not item(work, case).evidence
    assert work.ledger.healthy


def requested(work, case, steps=("VERIFY", "APPROVE")):
    with work.ledger.changing() as log:
        row = work.inquiries.receive(
            log, Asked(kind=InquiryKind.LE_DESTROY, case_ids=[case.id], **AGENCY), by="liaison"
        )
    for number, step in enumerate(steps):
        with work.ledger.changing() as log:
            take(work.inquiries, log, row.id, step, by=f"p{number}", said="called back", counsel="di")
    return row.id


def test_an_agencys_request_sets_our_own_retention_aside_once_it_is_checked(work, vault):
    case = closed(work, kept(work, vault))
    for steps in ((), ("VERIFY",)):
        with pytest.raises(Refused, match=r"verified|counsel"):
            ask(work, vault, case, "ann", inquiry_id=requested(work, case, steps))
    ask(work, vault, case, "ann", inquiry_id=requested(work, case))
    ask(work, vault, case, "bob")
    assert destroyed(work)[0].ground == "over (request 7)"


def test_a_request_is_of_its_kind_and_about_its_case(work, vault):
    case, other = closed(work, kept(work, vault)), closed(work, kept(work, vault, "u2"))
    with pytest.raises(Refused, match="another case"):
        ask(work, vault, case, "ann", inquiry_id=requested(work, other))
    with work.ledger.changing() as log:
        asked = Asked(kind=InquiryKind.LE_PRESERVATION, case_ids=[case.id], **AGENCY)
        row = work.inquiries.receive(log, asked, by="liaison")
    with pytest.raises(Malformed):
        ask(work, vault, case, "ann", inquiry_id=row.id)


@pytest.mark.parametrize(
    "kind", [k for k in Kind if RULES[k].basis is not Basis.OURS and Part.MEDIA in RULES[k].covers]
)
def test_nothing_under_a_clock_is_destroyed_by_any_path(work, vault, kind):
    case = closed(work, kept(work, vault))
    work.do(
        "place_hold", case.id, kind=kind, ground="g", by="lea", jurisdiction="US", reference="r",
        since=work.now if RULES[kind].basis is Basis.LAW else None,
    )  # fmt: skip
    request = requested(work, case)
    work.now += KEEP + timedelta(days=1) if RULES[kind].period is None else timedelta(days=1)
    paths = [
        lambda: ask(work, vault, case, "ann"),
        lambda: ask(work, vault, case, "ann", inquiry_id=request),
        lambda: erasure.erase(
            work.ledger, erasure.subject(uploader_id="u1"), ground="g", by="ann", kept=Subjects(work.cases)
        ),
    ]
    for path in paths:
        with pytest.raises(Refused):
            path()
    assert erasure.expire(
        work.ledger, days=31, now=work.now + timedelta(days=70), ground="g", by="h", kept=Subjects(work.cases)
    ) == 0  # fmt: skip
    assert destroying(work, vault).carry_out() == 0
    assert due(work, vault) == []
    assert vault.describe(item(work, case).verdict_id) is not None


# ── from the platform ───────────────────────────────────────────────────────────────────────────────────────────────


@contextmanager
def platform(answer):
    """A platform that answers `answer(asked)`: a status and a body."""
    asked = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            body = self.rfile.read(int(self.headers["content-length"]))
            Reference(SECRET).verify(body, dict(self.headers))
            asked.append(json.loads(body))
            status, media = answer(asked[-1])
            self.send_response(status)
            self.send_header("content-length", str(len(media)))
            self.end_headers()
            self.wfile.write(media)

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    http = GuardedHttp(f"http://127.0.0.1:{server.server_address[1]}/evidence", Egress(["127.0.0.0/8"]), seconds=2)
    fetch = EvidenceFetch(http, [Secret(SECRET)], most=100)
    try:
        yield fetch, asked
    finally:
        fetch.close()
        server.shutdown()
        thread.join()
        server.server_close()


def test_the_platform_gives_what_was_judged_and_nothing_else(work, vault):
    case = kept(work, vault)
    one = item(work, case)
    with platform(lambda _: (200, MEDIA)) as (fetch, asked):
        file, size = FromPlatform(work.ledger, fetch).open(one)
        assert (file.read(), size) == (MEDIA, len(MEDIA))
    assert asked == [
        {"type": "hashmatch.evidence", "content_id": one.subject.content_id, "verdict_id": one.verdict_id,
         "case_id": case.id}
    ]  # fmt: skip
    for answer in ((200, b"another file"), (200, MEDIA * 99), (404, b""), (410, b"")):
        with platform(lambda _, told=answer: told) as (fetch, _):
            assert FromPlatform(work.ledger, fetch).open(one) is None
    for answer in ((500, b""), (302, b""), (401, b"")):
        with platform(lambda _, told=answer: told) as (fetch, _), pytest.raises(StoreFailed):
            FromPlatform(work.ledger, fetch).open(one)
    with platform(lambda _: (200, b"other")) as (fetch, _), pytest.raises(Corrupt):
        fetch.fetch(content_id="c", verdict_id="v", case_id="c", sha256=bytes(32))


def test_what_was_never_judged_is_not_fetched(work, vault):
    told = work.do("tell", match("u9").subject, told_by="q_1", tier=2)
    with platform(lambda _: (200, MEDIA)) as (fetch, asked):
        assert FromPlatform(work.ledger, fetch).open(item(work, told)) is None
    assert asked == []


# ── to an agency ────────────────────────────────────────────────────────────────────────────────────────────────────

KEY = rsa.generate_private_key(65537, 2048)


def certificate():
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "an agency")])
    made = x509.CertificateBuilder(name, name, KEY.public_key(), 7, START, datetime(2036, 1, 1, tzinfo=UTC))
    return made.sign(KEY, hashes.SHA256())


def order(work, case, steps=("VERIFY", "APPROVE"), kind=InquiryKind.LE_PROCESS):
    with work.ledger.changing() as log:
        row = work.inquiries.receive(log, Asked(kind=kind, case_ids=[case.id], scope="all", **AGENCY), by="liaison")
    for number, step in enumerate(steps):
        with work.ledger.changing() as log:
            take(work.inquiries, log, row.id, step, by=f"p{number}", said="called back")
    return row.id


def hand(work, vault, inquiry_id, target, by="liaison", **more):
    return disclose(
        work.ledger, work.cases, work.inquiries, FromVault(vault), inquiry_id, target=target,
        recipient=certificate().public_bytes(Encoding.PEM), by=by, **more,
    )  # fmt: skip


def test_an_agency_gets_the_facts_and_the_media_and_no_listed_fingerprint(work, vault, tmp_path):
    case = kept(work, vault)
    told = hand(work, vault, order(work, case), tmp_path / "package.p7m")
    opened = read_package((tmp_path / "package.p7m").read_bytes(), certificate(), KEY)
    assert opened.manifest_digest == told.manifest_sha256
    one = item(work, case)
    assert opened.parts[f"{case.id}/media/{one.verdict_id}"] == MEDIA
    facts = json.loads(opened.parts[f"{case.id}/facts.json"])
    assert facts["items"][0]["digests"] == {"sha256": hashlib.sha256(MEDIA).hexdigest()}
    assert facts["items"][0]["matched"] == ["known"]
    assert not re.search(rb"\be1\b", opened.parts[f"{case.id}/facts.json"])  # a word: ids may hold these letters, too
    (said,) = [e.disclosed for e in work.ledger.events(limit=1000) if e.HasField("disclosed")]
    assert (list(said.by), said.files, said.manifest_digest) == (["p1", "liaison"], 2, told.manifest_sha256)


def test_what_is_too_much_for_one_package_is_shared_out_and_nothing_is_left_out(work, vault, tmp_path):
    case = kept(work, vault)
    for _ in range(4):
        work.now += timedelta(seconds=1)
        assert kept(work, vault).id == case.id
    inquiry_id = order(work, case)
    found = []
    for number in (1, 2, 3):
        target = tmp_path / f"{number}.p7m"
        told = hand(work, vault, inquiry_id, target, most=2 * len(MEDIA), number=number)
        opened = read_package(target.read_bytes(), certificate(), KEY)
        assert (told.packages, opened.manifest["about"]["package"], opened.manifest["about"]["packages"]) == (
            3,
            number,
            3,
        )
        found.append([name for name in opened.parts if "/media/" in name])
        assert len(json.loads(opened.parts[f"{case.id}/facts.json"])["items"]) == 5
    assert [len(names) for names in found] == [2, 2, 1]
    assert len({name for names in found for name in names}) == 5
    for number in (0, 4):
        with pytest.raises(Malformed, match="package: want 1 to 3"):
            hand(work, vault, inquiry_id, tmp_path / "no", most=2 * len(MEDIA), number=number)


@pytest.mark.usefixtures("vault")
def test_what_the_platform_keeps_is_shared_out_by_what_was_judged(work, tmp_path):
    for _ in range(3):
        record = match("u1")
        record.media_bytes = len(MEDIA)
        work.ledger.append(record, log=True, remember=False).result()
    case = work.get(record.case_id)
    inquiry_id, platform, found = order(work, case), Platform(), []
    for number in (1, 2, 3):
        target = tmp_path / f"{number}.p7m"
        told = disclose(
            work.ledger, work.cases, work.inquiries, platform, inquiry_id, target=target, most=len(MEDIA),
            recipient=certificate().public_bytes(Encoding.PEM), by="liaison", number=number,
        )  # fmt: skip
        assert told.packages == 3
        parts = read_package(target.read_bytes(), certificate(), KEY).parts
        found += [name for name in parts if "/media/" in name]
    assert len(found) == len(set(found)) == 3


class Platform:
    """Where the platform keeps what was uploaded."""

    def open(self, _item):
        return io.BytesIO(MEDIA), len(MEDIA)


def test_nothing_leaves_unchecked_or_by_one_person(work, vault, tmp_path):
    case = kept(work, vault)
    target = tmp_path / "package.p7m"
    for steps in ((), ("VERIFY",)):
        with pytest.raises(Refused, match="APPROVED"):
            hand(work, vault, order(work, case, steps), target)
    with pytest.raises(Refused, match="another person"):
        hand(work, vault, order(work, case), target, by="p1")
    with pytest.raises(Refused, match="not answered with evidence"):
        hand(work, vault, order(work, case, kind=InquiryKind.LE_PRESERVATION), target)
    with pytest.raises(NotFound):
        hand(work, vault, "q_none", target)
    assert not target.exists()
    assert not [e for e in work.ledger.events(limit=1000) if e.HasField("disclosed")]


def test_what_is_kept_elsewhere_is_not_left_out_in_silence(work, vault, tmp_path):
    case = kept(work, vault)
    with pytest.raises(Refused, match="not known here"):
        disclose(
            work.ledger, work.cases, work.inquiries, None, order(work, case), target=tmp_path / "p", by="liaison",
            recipient=certificate().public_bytes(Encoding.PEM),
        )  # fmt: skip


def test_what_nobody_has_is_said_to_be_missing(work, vault, tmp_path):
    case = kept(work, vault)
    vault.destroy(item(work, case).verdict_id)
    bare = work.match("u5")
    for one in (bare,):
        told = hand(work, vault, order(work, one), tmp_path / f"{one.id}.p7m")
        assert (told.files, told.missing) == (1, (item(work, one).verdict_id,))


def test_a_backup_holds_the_evidence_and_opens_with_the_master_key(work, vault, tmp_path):
    verdict_id, gone = (item(work, kept(work, vault, who)).verdict_id for who in ("u1", "u2"))
    vault.destroy(gone)
    work.ledger.close()
    (tmp_path / "vault").rename(tmp_path / "evidence")
    back_up(tmp_path, tmp_path / "copy")
    copied = Vault(tmp_path / "copy" / "evidence", FileMaster(tmp_path / "master"))
    copied.prove()
    assert list(copied.items()) == [verdict_id]
    with copied.open(verdict_id)[0] as file:
        assert file.read() == MEDIA
    assert list(differences(tmp_path / "copy")) == []
