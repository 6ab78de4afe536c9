"""Fixtures that carry the drawing and hostile-media modules: tests here are not a package, so they do not import."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest


def _load(name: str) -> ModuleType:
    known = sys.modules.get(f"media_{name}")
    if known is not None:
        return known
    spec = importlib.util.spec_from_file_location(f"media_{name}", Path(__file__).with_name(f"{name}.py"))
    if spec is None or spec.loader is None:
        raise ImportError(name)
    module = importlib.util.module_from_spec(spec)
    sys.modules[f"media_{name}"] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def drawing() -> ModuleType:
    """tests/media/drawing.py."""
    return _load("drawing")


@pytest.fixture(scope="session")
def hostile_corpus(drawing: ModuleType) -> list[Any]:
    """(name, bytes, expected): `expected` is a set of reasons' values, or holds "ok" where it must decode."""
    return list(_load("hostile").corpus(drawing))
