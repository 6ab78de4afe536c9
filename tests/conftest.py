"""What holds for all tests: what would only cost time, again and again, is done once, and the longest begin first."""

from __future__ import annotations

import os
import sys
import tempfile

import authorities
import pytest

# Folders of tests that start servers, or processes by the dozen; the rest fills what is left of the cores' time.
LONGEST = ("e2e", "audit", "media", "workflow", "lists")


def pytest_configure(config: pytest.Config) -> None:
    # Processes under test import all of hashmatch, which costs half as much again without compiled modules.
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    sys.dont_write_bytecode = False
    directory = tempfile.TemporaryDirectory()
    config.add_cleanup(directory.cleanup)
    authorities.make_one(directory.name)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    def rank(item: pytest.Item) -> int:
        folder = item.path.parent.name
        return LONGEST.index(folder) if folder in LONGEST else len(LONGEST)

    items.sort(key=rank)
