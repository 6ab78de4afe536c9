"""The last check before anything is sent: ispws.xsd, which is part of the package.

`problems()` judges what is meant, this how it came to stand. A report that fails here is a fault of ours.
"""

from __future__ import annotations

import threading
from functools import cache
from importlib import resources
from typing import Any

from lxml import etree

from hashmatch.errors import BadConfig, Malformed

PACKAGE, FILE = "hashmatch.delivery.cybertip", "ispws.xsd"

_checking = threading.Lock()  # a schema object remembers the errors of its last document


def check(root: etree._Element) -> None:
    """Pass what the schema allows.

    Raises:
        Malformed: names the first element that it does not; the text holds nothing of what stands there.
        BadConfig: the schema is missing from this installation, or damaged.
    """
    schema = _schema()
    with _checking:
        if schema.validate(root):
            return
        log: Any = schema.error_log  # its stub has no items
        first = log[0]
        where, kind = str(first.path), str(first.type_name)
    # The message itself quotes the value.
    raise Malformed(f"the schema does not allow it: {kind.removeprefix('SCHEMAV_')}", field=where.lstrip("/"))


@cache
def _schema() -> etree.XMLSchema:
    try:
        text = (resources.files(PACKAGE) / FILE).read_bytes()
        return etree.XMLSchema(etree.fromstring(text, etree.XMLParser(resolve_entities=False, no_network=True)))
    except (OSError, etree.LxmlError) as e:
        raise BadConfig(f"{FILE}: {type(e).__name__}") from e
