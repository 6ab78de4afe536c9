"""Where each fact of the ledger lies: tables of STATE/ledger, their keys and values.

    events         sequence u64                     → Event          leaves of the log, byte for byte: from 1, no gaps
    nodes          level u8, index u64              → 32 bytes       roots of its complete subtrees, from two leaves
    checkpoints    size u64                         → signed note    what was signed of the tree
    log            "origin", "key"                  → text           the log's name, the verifier key it is signed by
                   "last"                           → size u64, µs i64  the last event: its sequence and time
                   "latest"                        → ISO 8601       the latest time before a clock was set back
                   "feed" 0 name                    → position u64   how far a feed of changes is in the log
                   "run" 0 id                       → RunRecord      processes that write, or crashed and are not noted
                   "routes"                         → JSON           where instructions and reports go, as last served
                   "back" 0 sequence                → nothing        where time runs from an earlier moment again
    subjects       digest, class u8, month u16      → key id         whose key that is
    subject_keys   key id                           → SubjectKeyRecord  keys of sealed fields; outside the tree
    verdict_ids    verdict id                       → sequence u64
    requests       BLAKE2b-256 of request id        → RequestRecord  what a retry is answered
    request_times  minute u32, key in requests      → nothing        the same by age, so that the old are found
    counts         minute u32, finding u8, surface, 0, reason → CountRecord  submissions, summed by minute
    entry_counts   list, 0, entry id                → EntryCountRecord  how often an entry matched, and lately whom
    guard          "from"                           → sequence u64   the first event whose matches are counted
                   "held"                           → keys of entry_counts, one a line, of what is held

The workflow's tables, whose rows are messages of cases.proto and reports.proto and whose keys are made in `workflow/`:

    cases          case id                          → Case
    case_items     case id, 0, number u32           → CaseItem
    case_subjects  keyed digest of a subject        → case id        its latest case
    case_order     closed u8, tier u8, detected µs u64, case id → nothing  for lists, the most urgent first
    entry_cases    LIST/ENTRY, 0, case id           → nothing        which cases an entry made
    case_chores    LIST/ENTRY, 0, case id           → case id        whose cases are worked again, and how far that is
    case_clocks    µs u64, case id, 0, clock        → nothing        when a person must have acted
    dispatches     case id, ".", number             → DispatchRecord
    outbox         destination, 0, due µs u64, dispatch id → nothing  what is sent, or missed, next
    lanes          destination, 0, keyed digest of a subject, number u64 → dispatch id  what waits, in order
    holds          case id, 0, hold id              → HoldRecord
    inquiries      inquiry id                       → InquiryRecord
    inquiry_due    µs u64, inquiry id               → nothing        of those that are open
    grants         case id, 0, grant id             → GrantRecord
    evidence_gone  verdict id                       → nothing        sealed media that the log says is destroyed
    orphans_asked  verdict id                       → name           who asks that what no case names be destroyed
    pages          page id                          → PageRecord
    pages_open     page id                          → nothing        those that are not over
    blind_reviews  case id, 0, round u32            → BlindReview
    blind_due      due µs u64, key in blind_reviews  → nothing        of those that nobody has said
    reviewers      name                             → count          decisions that somebody made
    feedback       LIST/ENTRY, 0, case id           → RIGHT, WRONG   what reviewers made of an entry
    policies       version                          → text           policies that were proposed or in force
    reports        report id                        → ReportRow
    report_queue   µs u64, report id                → nothing        when a report is looked at next

Numbers are big-endian, so that key order is number order. Minutes are whole minutes since 1970-01-01 UTC.
Every value is sealed by `store.codec`.
"""

from __future__ import annotations

import hashlib
import struct
from datetime import UTC, datetime
from typing import Final

VERDICTS: Final = ("verdict_ids", "requests", "request_times", "counts")
LOG: Final = ("events", "nodes", "checkpoints", "log")
SEALING: Final = ("subjects", "subject_keys")
ENTRIES: Final = ("entry_counts", "guard")
CASES: Final = ("cases", "case_items", "case_subjects", "case_order", "entry_cases", "case_clocks", "case_chores")
OUTBOX: Final = ("dispatches", "outbox", "lanes")
HOLDS: Final = "holds"
REPORTS: Final = ("reports", "report_queue")
INQUIRIES: Final = ("inquiries", "inquiry_due")
EVIDENCE: Final = ("grants", "evidence_gone", "orphans_asked")
PAGES: Final = ("pages", "pages_open")
BLIND_REVIEWS, BLIND_DUE = "blind_reviews", "blind_due"
REVIEWERS, FEEDBACK, POLICIES = "reviewers", "feedback", "policies"
OTHERS: Final = (*INQUIRIES, *EVIDENCE, *PAGES, BLIND_REVIEWS, BLIND_DUE, REVIEWERS, FEEDBACK, POLICIES)
NAMES: Final = (*LOG, *VERDICTS, *SEALING, *ENTRIES, *CASES, *OUTBOX, HOLDS, *REPORTS, *OTHERS)
FORMAT = 2  # 1 kept verdicts without a tree
FROM, HELD = b"from", b"held"  # keys in `guard`
MAX_MINUTE = (1 << 32) - 1  # year 10136; clocks beyond either end are held there
ORIGIN, KEY, LAST, LATEST, ROUTES = b"origin", b"key", b"last", b"latest", b"routes"  # keys in `log`
RUN_PREFIX, BACK_PREFIX = b"run\0", b"back\0"
_SEQUENCE, _MINUTE, _COUNT, _NODE = struct.Struct(">Q"), struct.Struct(">I"), struct.Struct(">IB"), struct.Struct(">BQ")


def sequence_key(sequence: int) -> bytes:
    """Key in `events`; also the value in `verdict_ids`."""
    return _SEQUENCE.pack(sequence)


def sequence_of(key: bytes) -> int:
    """The sequence in a key of `events`."""
    return int(_SEQUENCE.unpack(key)[0])


def request_key(request_id: str) -> bytes:
    """Key in `requests`: of one length for every id, and no caller's text."""
    return hashlib.blake2b(request_id.encode(), digest_size=32).digest()


def minute_of(at: datetime) -> int:
    """Whole minutes since 1970-01-01 UTC."""
    return min(max(int(at.timestamp()) // 60, 0), MAX_MINUTE)


def minute_start(minute: int) -> datetime:
    """When a minute begins, UTC."""
    return datetime.fromtimestamp(minute * 60, UTC)


def minute_key(minute: int) -> bytes:
    """The first key of a minute in `request_times` and `counts`."""
    return _MINUTE.pack(minute)


def request_time_key(minute: int, request: bytes) -> bytes:
    """Key in `request_times`."""
    return _MINUTE.pack(minute) + request


def split_request_time(key: bytes) -> tuple[int, bytes]:
    """Minute and key in `requests`."""
    return int(_MINUTE.unpack_from(key)[0]), key[_MINUTE.size :]


def count_key(minute: int, finding: int, surface: str, reason: str = "") -> bytes:
    """Key in `counts`. Neither surface nor reason holds a 0."""
    return _COUNT.pack(minute, finding) + f"{surface}\0{reason}".encode()


def node_key(level: int, index: int) -> bytes:
    """Key in `nodes`."""
    return _NODE.pack(level, index)


def split_node(key: bytes) -> tuple[int, int]:
    """Level and index in a key of `nodes`."""
    level, index = _NODE.unpack(key)
    return level, index


def feed_key(name: str) -> bytes:
    """Key in `log` of how far a feed was followed."""
    return b"feed\0" + name.encode()


def run_key(run: str) -> bytes:
    """Key in `log` of a process that writes."""
    return RUN_PREFIX + run.encode()


def entry_key(list_name: str, entry_id: str) -> bytes:
    """Key in `entry_counts`. List names and entry ids hold neither the 0 between them nor the end of a line."""
    return f"{list_name}\0{entry_id}".encode()


def split_entry(key: bytes) -> tuple[str, str]:
    """List name and entry id in a key of `entry_counts`."""
    list_name, _, entry_id = key.decode().partition("\0")
    return list_name, entry_id
