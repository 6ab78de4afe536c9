"""Fixtures of the tests of hashing."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest


@pytest.fixture(scope="session")
def drawing() -> ModuleType:
    """The module that draws test pictures (tests/ is no package, so it is loaded by its path)."""
    spec = importlib.util.spec_from_file_location("hashing_drawing", Path(__file__).parent / "drawing.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
