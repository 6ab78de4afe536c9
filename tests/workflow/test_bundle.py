"""Bundles for authorities without an API: every field of their tables, nothing of the lists, by two persons."""

from __future__ import annotations

import hashlib
import io
import json
import re
import zipfile
from dataclasses import replace
from datetime import timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lxml import html

from hashmatch.errors import Conflict, NotFound, Refused, StoreFailed
from hashmatch.roles import Role
from hashmatch.v1.cases_pb2 import DECISION_CONFIRM, TIER_T0, TIER_T1, TIER_T2, Case, CaseItem
from hashmatch.v1.reports_pb2 import REPORT_STATE_FINISHED, ReportRow
from hashmatch.workflow.bundle import as_html, as_json, bundle, write
from hashmatch.workflow.bundle_fields import SECTIONS, About, Authority, Sender
from hashmatch.workflow.bundling import hand
from hashmatch.workflow.report_attributes import ATTRIBUTES
from hashmatch.workflow.report_store import ReportStore

from .conftest import START, match, plan_of

MEDIA = b"drawn by the test"
SENDER = Sender(company="ExampleApp", email="ts@example.com", legal_email="law@example.com", declared_by="bob")


def about(**attributes):
    case = Case(id="c_1", tier=TIER_T1, authority="NCA")
    case.subject.uploader_id, case.subject.region = "u1", "GB"
    case.detected_at.FromDatetime(START)
    item = CaseItem(verdict_id="v_1", entries=["known/e1"], labels=["A1"], media_type="image/png")
    item.subject.content_id = "post-1"
    item.subject.attributes.update(attributes)
    item.at.FromDatetime(START)
    return About(
        case=case, items=[item], sender=SENDER, now=START + timedelta(hours=1),
        digests={"v_1": {"sha256": hashlib.sha256(MEDIA).digest()}},
    )  # fmt: skip


def keys(authority):
    return [field.key for section in SECTIONS[authority] for field in section.fields]


@pytest.mark.parametrize("authority", Authority)
def test_every_field_of_its_table_is_told_once(authority):
    made = bundle(about(), authority)
    told = json.loads(as_json(made))
    assert sorted(told["fields"]) == sorted(keys(authority))
    assert len(set(keys(authority))) == len(keys(authority))
    page = html.fromstring(as_html(made).decode())
    titles = [f.title for section in SECTIONS[authority] for f in section.fields]
    assert [cell.text_content() for cell in page.iter("th")] == titles
    assert not page.xpath("//script | //*[@src] | //*[@href]")


def test_what_the_nca_asks_for_is_said_as_it_is_known():
    told = json.loads(as_json(bundle(
        about(ip="198.51.100.7", ip_port="443", email="a@example.com", screen_name="x"), Authority.NCA
    )))["fields"]  # fmt: skip
    assert told["priority"] == "2"
    assert told["detection"] == "automated: hash matching of uploads against known"
    assert told["addresses"] == ["v_1: 198.51.100.7 port 443 at 2026-01-01T00:00:00+00:00"]
    assert (told["emails"], told["screen_names"], told["user_id"]) == (["a@example.com"], ["x"], "u1")
    assert told["uploads"] == ["v_1: post-1, image/png, 2026-01-01T00:00:00+00:00, not viewed by us"]
    assert told["digests"] == [f"v_1: sha256 {hashlib.sha256(MEDIA).hexdigest()}"]


@pytest.mark.parametrize(("tier", "priority"), [(TIER_T0, "1"), (TIER_T1, "2"), (TIER_T2, "3")])
def test_its_priority_is_of_its_tier(tier, priority):
    of = about()
    of.case.tier = tier
    assert json.loads(as_json(bundle(of, Authority.NCA)))["fields"]["priority"] == priority


@pytest.mark.parametrize("authority", Authority)
def test_what_must_be_said_and_is_not_known_is_named(authority):
    of = about()
    of.case.subject.Clear()
    of.items[0].entries[:] = []
    made = bundle(of, authority)
    assert set(made.missing) == {"The user's id"} | (
        {"How it was detected"} if authority is not Authority.DSA
        else {"On what grounds"}
    )  # fmt: skip
    assert "To be added before it is handed in" in as_html(made).decode()


@settings(max_examples=50, deadline=None)
@given(st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cs", "Cf", "Cn"]), min_size=1, max_size=40))
def test_whatever_a_user_is_called_is_text_and_never_markup(name):
    page = html.fromstring(as_html(bundle(about(screen_name=name), Authority.NCA)).decode())
    cell = page.xpath("//tr[th='Names on the service']/td")[0]
    assert cell.text_content() == (name if name.strip() else "not known")
    assert all(child.tag == "br" for child in cell)


@given(st.text(st.characters(codec="utf-8"), max_size=40))
def test_whatever_a_value_holds_the_page_can_be_read(text):
    page = as_html(bundle(about(screen_name=text, file_name=text), Authority.NCA)).decode()
    assert not re.search("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]", page)
    told = json.loads(as_json(bundle(about(screen_name=text), Authority.NCA)))["fields"]["screen_names"]
    assert told == ([text] if text.strip() else [])  # for programs, as it is


@pytest.mark.parametrize("authority", Authority)
def test_all_that_the_platform_says_of_an_upload_is_told(authority):
    told = as_json(bundle(about(ip="192.0.2.1", device_id="x"), authority))
    for name in ATTRIBUTES:
        assert as_json(bundle(about(**{"ip": "192.0.2.1", "device_id": "x", name: "DE"}), authority)) != told, name


def test_of_two_uploads_it_is_said_which_was_public():
    of = about(
        publicly_available="true",
        url="https://app.example/1",
        email="a@example.com, b@example.com",
        prior_reports="test:4, 5",
    )
    other = CaseItem(verdict_id="v_2")
    other.subject.attributes.update(publicly_available="false", email="b@example.com")
    made = bundle(replace(of, items=[*of.items, other]), Authority.NCA)
    told = json.loads(as_json(made))["fields"]
    assert told["earlier"] == ["NCMEC 5"]  # tests were never reports
    assert told["public"] == ["v_1: true", "v_2: false"]
    assert told["urls"] == ["v_1: https://app.example/1"]
    assert told["emails"] == ["a@example.com", "b@example.com"]


@pytest.mark.parametrize(
    ("region", "country", "told"),
    [("DE", "", ["DE"]), ("EU", "fr", ["FR"]), ("GB", "US", "not known"), ("", "", "not known")],
)
def test_what_is_no_member_state_is_not_called_one(region, country, told):
    of = about(country=country)
    of.case.subject.region = region
    found = json.loads(as_json(bundle(of, Authority.DSA)))["fields"]["member_states"]
    assert found == told if isinstance(told, list) else found.startswith(told)


def test_that_a_case_was_confirmed_does_not_say_that_a_file_was_viewed():
    of = about()
    of.case.decided_at.FromDatetime(START)
    of.case.reviews.add(by="ann", decision=DECISION_CONFIRM, reason_codes=["SEEN"])
    told = json.loads(as_json(bundle(of, Authority.NCA)))["fields"]
    assert told["uploads"][0].endswith("not viewed by us")
    assert (told["confirmed"], told["grounds"]) == ("by a person, 2026-01-01T00:00:00+00:00", ["SEEN"])
    of.case.reviews_before = 1  # that decision was undone
    told = json.loads(as_json(bundle(of, Authority.NCA)))["fields"]
    assert (told["confirmed"], told["grounds"]) == ("", [])


def test_the_manifest_holds_the_digest_of_every_file_and_the_same_is_the_same_bytes():
    written = []
    for _ in range(2):
        target = io.BytesIO()
        digest, files = write(target, bundle(about(), Authority.NCA), [("v_1", lambda: io.BytesIO(MEDIA))])
        written.append(target.getvalue())
    assert written[0] == written[1]
    with zipfile.ZipFile(io.BytesIO(written[0])) as archive:
        manifest = archive.read("manifest.json")
        listed = json.loads(manifest)["files"]
        assert (hashlib.sha256(manifest).digest(), len(listed)) == (digest, files)
        for name, told in listed.items():
            assert hashlib.sha256(archive.read(name)).hexdigest() == told["sha256"]
        assert archive.read("media/v_1") == MEDIA


class Shelf:
    def open(self, item):
        return (io.BytesIO(MEDIA), len(MEDIA)) if item.subject.content_id == "kept" else None


def given_to(work, case_id, target, by="bob"):
    return hand(work.ledger, work.cases, Shelf(), case_id, Authority.NCA, sender=SENDER, target=target, by=by)


def confirmed(work):
    work.plan = plan_of(authority="NCA")
    record = match("u1", "the-entry", content="kept")
    work.ledger.append(record, log=True, remember=False).result()
    work.match("u1", "the-entry", content="gone")
    work.do("claim", record.case_id, by="ann")
    work.do("decide", record.case_id, confirm=True, by="ann", roles=frozenset(Role), reason_codes=["SEEN"])
    return record.case_id


def test_a_confirmed_case_is_handed_on_by_another_and_the_log_says_so(work, tmp_path):
    case_id = confirmed(work)
    with pytest.raises(Refused, match="another person"):
        given_to(work, case_id, tmp_path / "r.zip", by="ann")
    told = given_to(work, case_id, tmp_path / "r.zip")
    assert (told.files, len(told.without_media), told.missing) == (3, 1, ())
    (said,) = [e.disclosed for e in work.ledger.events(limit=1000) if e.HasField("disclosed")]
    assert (list(said.by), said.manifest_digest) == (["ann", "bob"], told.manifest_sha256)
    with zipfile.ZipFile(tmp_path / "r.zip") as archive:
        assert not any(b"the-entry" in archive.read(name) for name in archive.namelist())
        files = json.loads(archive.read("report.json"))["files"]
        assert sorted(facts is None for facts in files.values()) == [False, True]
        (kept,) = (one for one, facts in files.items() if facts)
        assert files[kept]["sha256"] == hashlib.sha256(archive.read(f"media/{kept}")).hexdigest()
        assert "no file goes with this" in archive.read("report.html").decode()
    with pytest.raises(Conflict):
        given_to(work, case_id, tmp_path / "r.zip")


def test_a_bundle_in_memory_is_the_one_in_a_file_and_bounded(work, tmp_path):
    case_id = confirmed(work)
    given = {"sender": SENDER, "by": "bob"}
    with pytest.raises(Refused, match="reports bundle"):
        hand(
            work.ledger, work.cases, Shelf(), case_id, Authority.NCA, target=io.BytesIO(), most=len(MEDIA) - 1, **given
        )
    assert not [e for e in work.ledger.events(limit=1000) if e.HasField("disclosed")]
    held = io.BytesIO()
    told = hand(work.ledger, work.cases, Shelf(), case_id, Authority.NCA, target=held, most=len(MEDIA), **given)
    assert given_to(work, case_id, tmp_path / "r.zip") == told
    assert (tmp_path / "r.zip").read_bytes() == held.getvalue()


def test_what_a_person_filed_before_is_told_and_a_test_is_not(work, tmp_path):
    first = confirmed(work)
    work.do("record_report", first, authority="NCA", receipt="UK-77", by="bob", duty="UK_REPORT")
    with work.ledger.changing() as log:
        row = ReportStore(work.ledger.env).queue(log, work.get(first), [])
        done = ReportRow()
        done.CopyFrom(row)
        done.state, done.number, done.receipt.body = REPORT_STATE_FINISHED, 4711, b"x"
        ReportStore(work.ledger.env).put(log, done, row)
    second = confirmed(work)
    assert second != first
    given_to(work, second, tmp_path / "r.zip")
    with zipfile.ZipFile(tmp_path / "r.zip") as archive:
        assert json.loads(archive.read("report.json"))["fields"]["earlier"] == ["GB UK-77"]


def test_half_a_bundle_is_never_at_its_name(work, tmp_path):
    class Torn:
        def open(self, item):
            raise StoreFailed("the disk refused")

    case_id, there = confirmed(work), set(tmp_path.iterdir())
    with pytest.raises(StoreFailed):
        hand(
            work.ledger, work.cases, Torn(), case_id, Authority.NCA, sender=SENDER, target=tmp_path / "r.zip", by="bob"
        )
    assert set(tmp_path.iterdir()) == there


def test_what_is_not_confirmed_is_not_handed_on(work, tmp_path):
    case_id = work.match("u1").id
    with pytest.raises(Refused, match="not confirmed"):
        given_to(work, case_id, tmp_path / "r.zip")
    with pytest.raises(NotFound):
        given_to(work, "c_none", tmp_path / "r.zip")
    assert list(tmp_path.glob("*.zip")) == []
