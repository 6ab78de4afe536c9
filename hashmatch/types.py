"""The vocabulary: frozen values that every room shares. No I/O, no third-party imports.

Fingerprints of listed material are victims' data, so no `repr` here prints one whole.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from types import MappingProxyType
from typing import NewType

Bits = NewType("Bits", int)
"""Hamming distance or threshold; smaller is closer; thresholds are inclusive."""

Revision = NewType("Revision", int)
"""Position in the change feed of the hash lists; 0 is the empty store."""

EXACT_DIGESTS = frozenset({"md5", "sha1", "sha256"})
"""Hash types that are equal only where the bytes are; every other type says what is seen."""

WHOLE = 1000
"""Permille of the traffic: the share of a list that is not being rolled out."""

COLLISION_UPLOADERS = 50
"""Different uploaders within an hour from which on an entry is held, where its list's policy does not say."""


class Finding(enum.Enum):
    """What the machine found. UNKNOWN never means NO_MATCH."""

    MATCH = "match"
    NO_MATCH = "no_match"
    UNKNOWN = "unknown"


class Disposition(enum.IntEnum):
    """What policy asks for, ordered by strictness. Numbers are the wire's."""

    ALLOW = 1
    REVIEW = 2
    RESTRICT = 3
    BLOCK = 4


class TrustTier(enum.IntEnum):
    """How far a list's entries are to be trusted. Numbers are the wire's."""

    UNSPECIFIED = 0  # nobody said
    VERIFIED = 1  # several trained people agreed: a hotline's or NCMEC's own list
    SINGLE_MEMBER = 2  # one organisation's label
    SELF_REPORTED = 3  # sent in by the public or those concerned, not reviewed
    INTERNAL = 4  # the platform's own findings, not reviewed elsewhere


class SetAsideReason(enum.IntEnum):
    """Why an entry within its list's threshold did not count. Numbers are the wire's."""

    SUPPRESSED = 1
    BENIGN = 2
    OUTSIDE_ROLLOUT = 3
    OUT_OF_SCOPE = 4
    EXPIRED = 5


class Reason(enum.Enum):
    """Why a hash type could not be searched."""

    UNDECODABLE = "undecodable"
    LOW_QUALITY = "low_quality"
    UNSUPPORTED_TYPE = "unsupported_type"
    TOO_LARGE = "too_large"
    TIMED_OUT = "timed_out"
    NOT_COVERED = "not_covered"


@dataclass(frozen=True, slots=True)
class Fingerprint:
    """One value of a hash type, packed first bit first: 32 bytes for `pdq`, 16 for `md5`."""

    hash_type: str
    value: bytes

    def __repr__(self) -> str:
        return f"<{self.hash_type} {self.value[:2].hex()}…>"


@dataclass(frozen=True, slots=True)
class Hashed:
    """A fingerprint of a submission, and how it was taken.

    `variant` says how the frame was changed before hashing: "" is the picture as a viewer displays
    it, "stored" the pixels before EXIF orientation, others as `hashing.variants` names them.
    `quality` is 0..100 where the hash type has one. `frame_ms` is when the frame is shown, 0 for stills.
    """

    fingerprint: Fingerprint
    quality: int | None = None
    variant: str = ""
    frame_ms: int = 0


@dataclass(frozen=True, slots=True)
class Unhashable:
    """A hash type that has no usable fingerprint for this submission, and why."""

    hash_type: str
    reason: Reason


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a submission is to be hashed into: perceptual hash types and query variants beyond the plain reading.

    Exact digests (md5, sha1, sha256) are always computed and are not named here.
    """

    hash_types: tuple[str, ...] = ("pdq",)
    variants: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Examination:
    """What a submission's bytes turned out to be: the whole answer of a decode worker.

    Each wanted hash type is among `hashed`, or once among `unhashable`, or both where only a part of the media could be
    hashed: an animation that is damaged towards its end, say.
    """

    media_type: str = ""  # by content, e.g. "image/jpeg"; "" where unknown
    width: int = 0  # pixels, as displayed
    height: int = 0
    frames: int = 0  # in the file, as far as they were counted
    hashed: tuple[Hashed, ...] = ()
    unhashable: tuple[Unhashable, ...] = ()


@dataclass(frozen=True, slots=True)
class Subject:
    """The caller's own ids for what was uploaded and by whom: opaque to us, personal data to them."""

    content_id: str = ""
    uploader_id: str = ""
    surface: str = ""
    region: str = ""
    occurred_at: datetime | None = None
    attributes: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))

    def __repr__(self) -> str:
        return f"<subject on {self.surface or 'no surface'}>"


@dataclass(frozen=True, slots=True)
class Submission:
    """One request to judge media: either `media`, or fingerprints that the caller made."""

    request_id: str
    media: bytes | None = None
    fingerprints: tuple[Hashed, ...] = ()
    subject: Subject = Subject()
    lists: tuple[str, ...] = ()  # names; empty: every active list
    min_revision: Revision = Revision(0)
    given_id: bool = True  # the caller chose request_id, so a retry can come
    digests: tuple[Hashed, ...] = ()  # the media's exact ones, where they were made as it arrived

    def __repr__(self) -> str:
        size = f"{len(self.media)} bytes" if self.media is not None else f"{len(self.fingerprints)} fingerprints"
        return f"<submission of {size}>"


@dataclass(frozen=True, slots=True)
class Policy:
    """How a list's entries match and what a match asks for."""

    thresholds: Mapping[str, int] = field(default_factory=lambda: MappingProxyType({}))  # bits, inclusive
    disposition: Disposition = Disposition.REVIEW
    shadow: bool = False
    variants: frozenset[str] = frozenset()  # as policies name them: "flips", "nn512", "unletterboxed"
    trust: TrustTier = TrustTier.UNSPECIFIED
    benign: bool = False  # known-benign media: its matches set others aside and are none themselves
    rollout_permille: int = WHOLE  # of the traffic that the list counts for
    rollout_seed: str = ""  # the same seed draws the same items
    surfaces: frozenset[str] = frozenset()  # that the list counts for; empty: all
    regions: frozenset[str] = frozenset()
    refresh_seconds: int = 0  # between two imports, as expected; 0: not expected
    two_person: bool = False  # what one person stages, only another may activate
    collision_uploaders: int = COLLISION_UPLOADERS  # 0: the list's entries are never held


@dataclass(frozen=True, slots=True)
class ListState:
    """One active list as a generation sees it."""

    name: str
    revision: Revision
    version: int
    policy: Policy
    entries: Mapping[str, int]  # active entries per hash type, canaries not counted
    thresholds: Mapping[str, int]  # bits per hash type, defaults filled in; 0 for exact digests
    accepts: frozenset[str]  # variants of a query that are searched here
    refreshed_at: datetime | None = None  # when the last import was activated; None: none was


@dataclass(frozen=True, slots=True)
class Suppression:
    """One entry of one list that does not count here, by local decision, until it expires or is lifted."""

    list: str
    entry_id: str
    reason: str
    by: str
    approver: str  # who else agreed
    created_at: datetime
    expires_at: datetime | None = None  # None: until it is lifted


@dataclass(frozen=True, slots=True)
class Candidate:
    """A listed entry within the distance searched, before any list's policy has spoken."""

    list: str
    entry_id: str
    label: str
    hash_type: str
    distance: Bits
    variant: str
    frame_ms: int
    expires_at: datetime | None = None  # from then on the entry does not count


@dataclass(frozen=True, slots=True)
class Match:
    """A candidate within its list's threshold."""

    list: str
    entry_id: str
    label: str
    hash_type: str
    distance: Bits
    threshold: Bits
    variant: str
    frame_ms: int
    disposition: Disposition  # what its list asks for
    shadow: bool
    held: bool = False  # by the collision guard, out of RESTRICT and BLOCK


@dataclass(frozen=True, slots=True)
class SetAside:
    """A match that did not count: a logged, explained non-match."""

    match: Match
    reason: SetAsideReason
    why: str  # in words


@dataclass(frozen=True, slots=True)
class Coverage:
    """What was searched: lists, their revisions and thresholds, entries per hash type, software versions."""

    revision: Revision
    entries: Mapping[str, int]
    lists: tuple[ListState, ...]
    versions: Mapping[str, str]
    outside_rollout: frozenset[str] = frozenset()  # lists that are not rolled out to this item
    out_of_scope: frozenset[str] = frozenset()  # lists that are not for this item's surface or region


@dataclass(frozen=True, slots=True)
class Verdict:
    """What was found, what was not searched, what policy asks for. Immutable."""

    verdict_id: str
    request_id: str
    at: datetime
    finding: Finding
    disposition: Disposition
    matches: tuple[Match, ...]  # nearest first, the nearest of each list
    matches_found: int  # that count, listed in `matches` or not
    set_aside: tuple[SetAside, ...]  # nearest first
    examination: Examination
    coverage: Coverage
