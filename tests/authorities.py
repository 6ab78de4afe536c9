"""One authority, that vouches for nobody, in the place of all that the system knows.

Every HTTPS client reads them when it is made, in 20 ms, and tests make a thousand; none reaches anybody they vouch for.
"""

from __future__ import annotations

import os
from pathlib import Path

import certifi
import trustme

VARIABLE = "SSL_CERT_FILE"  # OpenSSL's


def make_one(directory: str) -> None:
    """For this process and, where they say `take`, for those that it starts."""
    file = Path(directory) / "authority.pem"
    trustme.CA().cert_pem.write_to_path(file)
    os.environ[VARIABLE] = str(file)
    take()


def take() -> None:
    certifi.where = lambda: os.environ[VARIABLE]
