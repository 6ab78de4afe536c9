"""What holds for all tests: their processes keep compiled modules, and the files that take longest begin first."""

from __future__ import annotations

import os
import sys

import pytest

# Folders of tests that start servers, or processes by the dozen; the rest fills what is left of the cores' time.
LONGEST = ("e2e", "audit", "workflow", "lists")


def pytest_configure() -> None:
    # Processes under test import all of hashmatch, which costs half as much again without compiled modules.
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    sys.dont_write_bytecode = False


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    def rank(item: pytest.Item) -> int:
        folder = item.path.parent.name
        return LONGEST.index(folder) if folder in LONGEST else len(LONGEST)

    items.sort(key=rank)
