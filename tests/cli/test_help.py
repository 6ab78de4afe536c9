"""Every verb can be learnt from its own help, and the user documents name only what exists."""

from __future__ import annotations

import argparse
import re
import shlex
from pathlib import Path

import pytest

from hashmatch.cli.main import parser

ROOT = Path(__file__).parents[2]


def verbs(top, name="hashmatch"):
    """(name, parser) of every verb that runs something."""
    nested = [a for a in top._actions if isinstance(a, argparse._SubParsersAction)]
    if not nested:
        yield name, top
    for action in nested:
        for verb, sub in action.choices.items():
            yield from verbs(sub, f"{name} {verb}")


PARSER = parser()
ALL = dict(verbs(PARSER))


@pytest.mark.parametrize("name", ALL)
def test_every_verb_has_help_with_an_example_and_speaks_json(name):
    verb = ALL[name]
    options = {option for action in verb._actions for option in action.option_strings}
    assert {"--json", "--state"} <= options
    assert verb.description
    assert "example" in (verb.epilog or "")
    assert name in verb.format_help()
    for action in verb._actions:
        assert action.help or isinstance(action, argparse._HelpAction) or not action.option_strings, action


def examples():
    for name, verb in ALL.items():
        for line in (verb.epilog or "").splitlines():
            if line.startswith("  hashmatch "):
                yield pytest.param(line.strip(), id=f"{name}: {line.strip()[:50]}")
    for page in (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))):
        for line in re.findall(r"^(?:\$ )?(hashmatch .+)$", page.read_text(), re.MULTILINE):
            yield pytest.param(line, id=f"{page.name}: {line[:50]}")


@pytest.mark.parametrize("line", list(examples()))
def test_every_example_parses(line):
    words = shlex.split(line.split("  #")[0], comments=True)
    stops = [i for i, word in enumerate(words) if word in ("|", ">", "<", "&&", ";", ">>")] or [len(words)]
    command = [word for word in words[1 : stops[0]] if word not in ("…", "[…]")]
    PARSER.parse_args(command)
