"""What is sealed in a vault and no case names: found, for two persons to destroy."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Final

from hashmatch.errors import Refused
from hashmatch.evidence import upkeep
from hashmatch.evidence.upkeep import Swept
from hashmatch.evidence.vault import Vault
from hashmatch.workflow.destroying import Destroying

ORPHAN_AGE: Final = timedelta(hours=1)  # of what was sealed for a verdict that was never written


def known_vault(vault: Vault | None) -> Vault:
    """The vault.

    Raises:
        Refused: there is none here.
    """
    if vault is None:
        raise Refused("no vault is known here: name the workflow's file that the server uses")
    return vault


def swept(vault: Vault | None, destroying: Destroying, now: datetime) -> Swept:
    """What no case names now, and what lost its key; what dead processes left half written is taken away.

    Raises:
        Refused: no vault is known here. StoreFull, StoreFailed: the disk refused; call it again.
    """
    return upkeep.sweep(known_vault(vault), destroying.keeps, now - ORPHAN_AGE)
