"""Who calls, and how much they may."""

from __future__ import annotations

from contextlib import closing
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

from hashmatch.access.callers import Caller, Callers
from hashmatch.access.credentials import Credentials
from hashmatch.access.probing import HITS_OF, MANY, Pattern
from hashmatch.errors import OverBudget, Unauthenticated
from hashmatch.roles import Role

NOON = datetime(2026, 11, 25, 12, tzinfo=UTC)


class Time:
    wall, monotonic = NOON, 100.0

    def pass_(self, seconds):
        self.wall += timedelta(seconds=seconds)
        self.monotonic += seconds


@pytest.fixture
def time():
    return Time()


@pytest.fixture
def credentials(tmp_path, time):
    with closing(Credentials(tmp_path, now=lambda: time.wall)) as opened:
        yield opened


@pytest.fixture
def callers(credentials, time):
    def make(auth="required", alarms=None):
        alarm = (lambda _: None) if alarms is None else alarms.append
        return Callers(credentials, auth=auth, alarm=alarm, now=lambda: time.wall, monotonic=lambda: time.monotonic)

    return make


def test_without_anything_shown(callers, credentials):
    assert callers("open").identify("", (), "p").roles == frozenset(Role)
    assert callers("auto").identify("", (), "p").roles == frozenset(Role)
    with pytest.raises(Unauthenticated):
        callers("required").identify("", (), "p")
    made, _ = credentials.create("a", ["uploader"], by="ann")
    with pytest.raises(Unauthenticated):
        callers("auto").identify("", (), "p")
    credentials.revoke(made.id, by="ann")
    with pytest.raises(Unauthenticated):  # the door does not open again because the last key was taken away
        callers("auto").identify("", (), "p")
    assert callers("open").identify("", (), "p").known


def test_what_is_shown_and_wrong_is_never_anonymous(callers, credentials):
    credentials.create("a", ["uploader"], by="ann")
    for auth in ("open", "auto", "required"):
        for shown in ("Bearer x", "Basic eDp5", "x", "Bearer hm_" + "0" * 12 + "_" + "0" * 64):
            with pytest.raises(Unauthenticated) as refused:
                callers(auth).identify(shown, (), "p")
            assert str(refused.value) == Unauthenticated.__doc__.splitlines()[0]  # which of them it is, is not told
        with pytest.raises(Unauthenticated):
            callers(auth).identify("", ["stranger"], "p")


def test_a_key_decides_before_a_certificate(callers, credentials):
    _, key = credentials.create("a", ["uploader"], by="ann")
    credentials.create("b", ["admin"], by="ann", certificate="b.example")
    assert callers().identify(f"Bearer {key}", ["b.example"], "p").name == "a"
    assert callers().identify("", ["b.example"], "p").name == "b"


def caller_of(callers, credentials, **limits):
    _made, key = credentials.create("a", ["uploader"], by="ann", **limits)
    return callers.identify(f"bearer {key}", (), "p")


def test_a_limit_per_second_lets_a_burst_through_and_fills_again(callers, credentials, time):
    mine = callers()
    caller = caller_of(mine, credentials, per_second=10)
    for _ in range(20):
        mine.spend(caller)
    with pytest.raises(OverBudget) as refused:
        mine.spend(caller)
    assert 0 < refused.value.retry_after <= 0.1
    time.pass_(1)
    for _ in range(10):
        mine.spend(caller)
    with pytest.raises(OverBudget):
        mine.spend(caller)


def test_a_day_is_counted_over_restarts_and_a_clock_set_back_gives_no_second_one(callers, credentials, time):
    alarms = []
    mine = callers(alarms=alarms)
    caller = caller_of(mine, credentials, per_day=10)
    for _ in range(7):
        mine.spend(caller)
    mine.flush(force=True)
    other = callers(alarms=alarms)  # another process, or the same after a restart
    for _ in range(3):
        other.spend(caller)
    assert alarms == ["daily"]
    with pytest.raises(OverBudget) as refused:
        other.spend(caller)
    assert refused.value.retry_after == pytest.approx(12 * 3600)
    time.wall -= timedelta(days=1)
    with pytest.raises(OverBudget):
        other.spend(caller)
    time.wall += timedelta(days=2)
    other.spend(caller)


def test_a_clock_that_jumped_far_ahead_and_back_locks_nobody_out(callers, credentials, time):
    mine = callers()
    caller = caller_of(mine, credentials, per_day=3)
    mine.spend(caller)
    time.wall += timedelta(days=365)
    for _ in range(3):
        mine.spend(caller)
    time.wall -= timedelta(days=365)
    mine.spend(caller)
    time.wall += timedelta(days=1)
    for _ in range(3):
        mine.spend(caller)
    with pytest.raises(OverBudget):
        mine.spend(caller)


def test_who_was_let_in_is_let_go_on_until_the_key_is_revoked(callers, credentials):
    mine = callers("auto")
    mine.still(Caller())
    caller = caller_of(mine, credentials)
    mine.still(caller)
    with pytest.raises(Unauthenticated):
        mine.still(Caller())  # there are keys now
    credentials.revoke(caller.credential.id, by="tests")
    with pytest.raises(Unauthenticated):
        mine.still(caller)


def test_two_processes_learn_of_one_another(callers, credentials):
    one, two = callers(), callers()
    caller = caller_of(one, credentials, per_day=10)
    for _ in range(4):
        one.spend(caller)
        two.spend(caller)
    one.flush(force=True)
    two.flush(force=True)
    two.spend(caller)
    two.spend(caller)
    with pytest.raises(OverBudget):
        two.spend(caller)


def test_anonymous_callers_have_no_limits(callers):
    for _ in range(1000):
        callers("open").spend(Caller())


def probe(rng, base, steps):
    """`base` with a growing number of bits changed: how somebody looks for the threshold."""
    order = rng.permutation(256)
    for count in steps:
        bits = np.unpackbits(np.frombuffer(base, np.uint8))
        bits[order[:count]] ^= 1
        yield np.packbits(bits).tobytes(), count


def test_probing_is_noticed_by_the_twentieth_query():
    rng = np.random.default_rng(1)
    pattern, base = Pattern(), rng.bytes(32)
    for asked, (value, distance) in enumerate(probe(rng, base, range(20, 60, 2)), 1):
        if pattern.add([("pdq", value)], distance <= 31, 0.0):
            assert MANY <= asked <= 20
            return
    raise AssertionError("not noticed")


def test_a_picture_that_spreads_is_no_probing():
    rng = np.random.default_rng(2)
    for matched in (True, False):
        pattern, base = Pattern(), rng.bytes(32)
        copies = [value for _ in range(60) for value, _ in probe(rng, base, [4, 8])]
        strangers = [rng.bytes(32) for _ in copies]  # whatever else is uploaded meanwhile
        for copy, stranger in zip(copies, strangers, strict=True):
            assert pattern.add([("pdq", copy)], matched, 0.0) == []
            assert pattern.add([("pdq", stranger)], False, 0.0) == []
            assert pattern.add([("pdq", rng.bytes(32))], False, 0.0) == []


def test_asking_about_what_is_listed_again_and_again_is_noticed_once_an_hour():
    rng = np.random.default_rng(3)
    pattern = Pattern()
    told = [alarm for i in range(3 * HITS_OF) for alarm in pattern.add([("pdq", rng.bytes(32))], True, i * 0.1)]
    assert [alarm for alarm, _ in told] == ["hits"]
    later = [a for i in range(HITS_OF) for a in pattern.add([("md5", rng.bytes(16))], True, 4000 + i)]
    assert [alarm for alarm, _ in later] == ["hits"]
