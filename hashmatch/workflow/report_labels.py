"""What the labels of lists mean to the CyberTipline. Pure: tables, and what is in none of them is not told."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Final

from hashmatch.delivery.cybertip.terms import FileAnnotation, IncidentType, IndustryClassification, ReportAnnotation

INCIDENTS: Final[Mapping[str, IncidentType]] = {
    "enticement": IncidentType.ENTICEMENT,
    "grooming": IncidentType.ENTICEMENT,
    "trafficking": IncidentType.TRAFFICKING,
    "molestation": IncidentType.MOLESTATION,
}
"""Labels that say that more happened than possession or distribution. The first that an item has decides."""

REPORT_ANNOTATIONS: Final[Mapping[str, ReportAnnotation]] = {
    "sextortion": ReportAnnotation.SEXTORTION,
    "solicitation": ReportAnnotation.CSAM_SOLICITATION,
    "minor_to_minor": ReportAnnotation.MINOR_TO_MINOR_INTERACTION,
    "spam": ReportAnnotation.SPAM,
    "sadistic_exploitation": ReportAnnotation.SADISTIC_ONLINE_EXPLOITATION,
}

FILE_ANNOTATIONS: Final[Mapping[str, FileAnnotation]] = {
    "livestream": FileAnnotation.LIVE_STREAMING,
    "live_streaming": FileAnnotation.LIVE_STREAMING,
    "meme": FileAnnotation.POTENTIAL_MEME,
    "potential_meme": FileAnnotation.POTENTIAL_MEME,
    "viral": FileAnnotation.VIRAL,
    "generative_ai": FileAnnotation.GENERATIVE_AI,
    "ai_generated": FileAnnotation.GENERATIVE_AI,
    "drawing": FileAnnotation.ANIME_DRAWING_VIRTUAL_HENTAI,
    "anime": FileAnnotation.ANIME_DRAWING_VIRTUAL_HENTAI,
    "self_generated": FileAnnotation.POSSIBLE_SELF_PRODUCTION,
    "infant": FileAnnotation.INFANT,
    "bestiality": FileAnnotation.BESTIALITY,
    "violence": FileAnnotation.VIOLENCE_GORE,
    "physical_harm": FileAnnotation.PHYSICAL_HARM,
}
"""Keys are as `plain` has them."""


def plain(labels: Collection[str]) -> frozenset[str]:
    """Labels as the tables have them: in lower case, with `_` for what is neither letter nor digit."""
    return frozenset("".join(c if c.isalnum() else "_" for c in label.strip().lower()) for label in labels)


def classification(labels: Collection[str]) -> IndustryClassification | None:
    """What the labels agree on; where they do not, nobody knows. Told only under the agreement of hash sharing."""
    found = [one for one in IndustryClassification if one.value.lower() in labels]
    return found[0] if len(found) == 1 else None
