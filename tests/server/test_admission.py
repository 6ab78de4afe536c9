"""Bounds on what is held at once."""

from __future__ import annotations

import pytest

from hashmatch.errors import Overloaded
from hashmatch.server.admission import Admission


def test_bytes_and_requests_are_bounded_and_given_back():
    admission = Admission(most_bytes=100, most_requests=2)
    with admission.admit(60):
        with pytest.raises(Overloaded, match="media are held") as refused, admission.admit(50):
            pass
        assert refused.value.retry_after > 0
        with admission.admit(40), pytest.raises(Overloaded, match="2 requests"), admission.admit():
            pass
    with admission.admit(100):
        pass


def test_an_upload_grows_while_it_arrives_and_is_refused_in_the_middle():
    admission = Admission(most_bytes=100, most_requests=10)
    with admission.admit(50), admission.admit() as grow:
        grow(30)
        with pytest.raises(Overloaded):
            grow(30)
    with admission.admit(100):
        pass


def test_one_alone_is_always_admitted():
    with Admission(most_bytes=100, most_requests=1).admit(500) as grow:
        grow(500)
