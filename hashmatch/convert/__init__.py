"""Wire and stored messages ↔ our types: the one place that knows both.

Towards our types these functions parse: what they return is valid, what they refuse is Malformed with the field's
path as google.rpc.BadRequest wants it. Towards the wire they cannot fail.
"""

from hashmatch.convert.policies import (
    disposition_to_wire,
    policy_from_wire,
    policy_to_wire,
    suppression_from_wire,
    suppression_to_wire,
)
from hashmatch.convert.submissions import (
    MAX_FINGERPRINTS,
    MAX_REQUEST_ID_CHARS,
    REASON_TO_WIRE,
    examination_to_wire,
    fingerprint_from_wire,
    fingerprint_to_wire,
    fingerprints_from_wire,
    hashed_to_wire,
    refuse_unknown_fields,
    subject_from_wire,
    subject_to_wire,
    submission_from_wire,
    unhashable_to_wire,
)
from hashmatch.convert.times import moment, moment_in, timestamp
from hashmatch.convert.verdicts import (
    FINDING_TO_WIRE,
    coverage_to_wire,
    list_state_to_wire,
    match_count_to_wire,
    match_to_wire,
    record_to_response,
    record_to_traffic,
    set_aside_to_wire,
    verdict_to_record,
)

__all__ = [
    "FINDING_TO_WIRE",
    "MAX_FINGERPRINTS",
    "MAX_REQUEST_ID_CHARS",
    "REASON_TO_WIRE",
    "coverage_to_wire",
    "disposition_to_wire",
    "examination_to_wire",
    "fingerprint_from_wire",
    "fingerprint_to_wire",
    "fingerprints_from_wire",
    "hashed_to_wire",
    "list_state_to_wire",
    "match_count_to_wire",
    "match_to_wire",
    "moment",
    "moment_in",
    "policy_from_wire",
    "policy_to_wire",
    "record_to_response",
    "record_to_traffic",
    "refuse_unknown_fields",
    "set_aside_to_wire",
    "subject_from_wire",
    "subject_to_wire",
    "submission_from_wire",
    "suppression_from_wire",
    "suppression_to_wire",
    "timestamp",
    "unhashable_to_wire",
    "verdict_to_record",
]
