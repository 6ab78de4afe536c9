"""An authority and what it vouches for: the name pager.example, which is at this machine."""

from __future__ import annotations

import ssl

import pytest
import trustme
from delivery.paging.services import HOST


@pytest.fixture(scope="session")
def authority():
    return trustme.CA()


@pytest.fixture(scope="session")
def ca(authority, tmp_path_factory):
    file = tmp_path_factory.mktemp("authority") / "ca.pem"
    authority.cert_pem.write_to_path(file)
    return file


@pytest.fixture(scope="session")
def tls(authority):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(HOST, "localhost").configure_cert(context)
    return context


@pytest.fixture(scope="module", autouse=True)
def few_authorities(tmp_path_factory):
    """In place of the system's, one of which nothing here is: reading all of those takes most of a test's time."""
    file = tmp_path_factory.mktemp("system") / "ca.pem"
    trustme.CA().cert_pem.write_to_path(file)
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("SSL_CERT_FILE", str(file))
        yield
