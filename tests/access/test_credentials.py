"""Bearer keys and certificates: what proves a caller, and what no longer does."""

from __future__ import annotations

from contextlib import closing
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hashmatch.access.credentials import Credentials
from hashmatch.errors import Conflict, Malformed, NotFound
from hashmatch.roles import Role

NOON = datetime(2026, 11, 25, 12, tzinfo=UTC)


class Clock:
    now = NOON

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def credentials(tmp_path, clock):
    with closing(Credentials(tmp_path, now=clock)) as opened:
        yield opened


def test_a_key_proves_its_credential_and_is_kept_nowhere(credentials, tmp_path):
    made, key = credentials.create("eu", ["uploader", "detail"], by="ann")
    found, why = credentials.of_key(key)
    assert (found, why) == (made, "")
    assert found.roles == {Role.UPLOADER, Role.DETAIL}
    secret = key.rpartition("_")[2]
    stored = b"".join(path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())
    assert bytes.fromhex(secret) not in stored
    assert secret.encode() not in stored


def test_revoked_and_expired_keys_are_refused_at_once(credentials, clock):
    made, key = credentials.create("a", ["uploader"], by="ann")
    short, brief = credentials.create("b", ["uploader"], by="ann", expires_at=NOON + timedelta(hours=1))
    credentials.revoke(made.id, by="ann")
    assert credentials.of_key(key) == (None, "revoked")
    assert credentials.of_key(brief)[0] == short
    clock.now += timedelta(hours=1)
    assert credentials.of_key(brief) == (None, "expired")
    clock.now -= timedelta(days=1)  # a clock that is set back brings nothing revoked back
    assert credentials.of_key(key) == (None, "revoked")


def test_another_process_sees_a_revocation_at_once(credentials, tmp_path):
    import subprocess
    import sys

    made, key = credentials.create("a", ["uploader"], by="ann")
    command = [sys.executable, "-m", "hashmatch.cli.main", "keys", "revoke", made.id, "--state", str(tmp_path)]
    subprocess.run(command, check=True, capture_output=True, timeout=60)
    assert credentials.of_key(key) == (None, "revoked")


@pytest.mark.parametrize("key", ["", "hm", "hm__", "hm_x_y", "Bearer", "hm_" + "a" * 12 + "_" + "g" * 64, "x" * 500,
                                 "hm_" + "é" * 12 + "_" + "0" * 64])  # fmt: skip
def test_what_is_no_key_is_malformed(credentials, key):
    assert credentials.of_key(key) == (None, "malformed")


def test_one_wrong_digit_is_unknown(credentials):
    _, key = credentials.create("a", ["uploader"], by="ann")
    wrong = key[:-1] + ("0" if key[-1] != "0" else "1")
    assert credentials.of_key(wrong) == (None, "unknown")
    other = "hm_" + "0" * 12 + key[15:]
    assert credentials.of_key(other) == (None, "unknown")


def test_certificates_prove_by_a_name_that_is_registered(credentials):
    made, key = credentials.create("gw", ["uploader"], by="ann", certificate="gateway.example.org")
    assert key == ""
    assert credentials.of_certificate(["other", "gateway.example.org"])[0] == made
    assert credentials.of_certificate(["gateway.example.org.evil"]) == (None, "unknown")
    credentials.revoke(made.id, by="ann")
    assert credentials.of_certificate(["gateway.example.org"]) == (None, "revoked")
    again, _ = credentials.create("gw", ["uploader"], by="ann", certificate="gateway.example.org")
    assert credentials.of_certificate(["gateway.example.org"])[0] == again


@pytest.mark.parametrize(
    ("arguments", "field"),
    [
        ({"name": ""}, "name"),
        ({"name": " a"}, "name"),
        ({"name": "a\nb"}, "name"),
        ({"name": "a" * 65}, "name"),
        ({"roles": []}, "roles"),
        ({"roles": ["boss"]}, "roles"),
        ({"expires_at": NOON}, "expires_at"),
        ({"per_second": -1}, "per_second"),
        ({"per_day": -1}, "per_day"),
        ({"certificate": "x" * 257}, "certificate"),
    ],
)
def test_what_cannot_be_made_names_its_field(credentials, arguments, field):
    with pytest.raises(Malformed) as refused:
        credentials.create(**{"name": "a", "roles": ["uploader"], "by": "ann", **arguments})
    assert refused.value.field == field
    assert credentials.all() == []


def test_two_live_ones_never_share_a_name(credentials):
    made, _ = credentials.create("a", ["uploader"], by="ann")
    with pytest.raises(Conflict):
        credentials.create("a", ["analyst"], by="ann")
    credentials.revoke(made.id, by="ann")
    credentials.create("a", ["analyst"], by="ann")
    with pytest.raises(NotFound):
        credentials.revoke("none", by="ann")


def test_use_adds_up_over_processes_and_is_forgotten_in_time(credentials):
    made, _ = credentials.create("a", ["uploader"], by="ann")
    day = NOON.date()
    assert credentials.use({made.id: 3}, day) == {made.id: 3}
    assert credentials.use({made.id: 4}, day) == {made.id: 7}
    assert credentials.used(made.id, day) == 7
    assert credentials.all()[0][1] == NOON
    credentials.use({made.id: 1}, day + timedelta(days=91))
    assert credentials.used(made.id, day) == 0


@given(st.text(max_size=200))
def test_no_text_at_all_proves_anybody(text):
    found, why = Anyone.opened().of_key(text)
    assert found is None
    assert why in ("malformed", "unknown")


class Anyone:
    """One store for all examples."""

    _opened: Credentials | None = None

    @classmethod
    def opened(cls) -> Credentials:
        if cls._opened is None:
            import tempfile
            from pathlib import Path

            cls._opened = Credentials(Path(tempfile.mkdtemp()))
            cls._opened.create("a", ["uploader"], by="ann")
        return cls._opened
