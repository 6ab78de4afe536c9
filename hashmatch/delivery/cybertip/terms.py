"""The CyberTipline's own words, exactly as it spells them. What is not here cannot be said to it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum


class Environment(Enum):
    """Which of the two services. Their accounts, their reports and the ids of those have nothing in common."""

    TEST = "test"
    PRODUCTION = "production"


MAX_REPORT_ID = 2**63 - 1  # xs:long; narrower columns have overflowed elsewhere


@dataclass(frozen=True, slots=True)
class ReportId:
    """A report's number, and whose number it is: the same number means another report in the other environment."""

    number: int  # 1..MAX_REPORT_ID
    environment: Environment

    def __str__(self) -> str:
        return f"{self.number} ({self.environment.value})"


class BatchReason(Enum):
    """Why many suspects come in one report."""

    VIRAL_POTENTIAL_MEME = "VIRAL_POTENTIAL_MEME"


class IncidentType(Enum):
    """What happened. The names are ours; the values are NCMEC's, one misspelt in other clients."""

    CSAM = "Child Pornography (possession, manufacture, and distribution)"
    TRAFFICKING = "Child Sex Trafficking"
    TOURISM = "Child Sex Tourism"
    MOLESTATION = "Child Sexual Molestation"
    MISLEADING_DOMAIN = "Misleading Domain Name"
    MISLEADING_WORDS_OR_IMAGES = "Misleading Words or Digital Images on the Internet"
    ENTICEMENT = "Online Enticement of Children for Sexual Acts"
    OBSCENE_MATERIAL_SENT = "Unsolicited Obscene Material Sent to a Child"


class ReportAnnotation(Enum):
    """What a report is about beyond its incident type."""

    SEXTORTION = "sextortion"
    CSAM_SOLICITATION = "csamSolicitation"
    MINOR_TO_MINOR_INTERACTION = "minorToMinorInteraction"
    SPAM = "spam"
    SADISTIC_ONLINE_EXPLOITATION = "sadisticOnlineExploitation"


class FileAnnotation(Enum):
    """What a file shows, or is."""

    ANIME_DRAWING_VIRTUAL_HENTAI = "animeDrawingVirtualHentai"
    POTENTIAL_MEME = "potentialMeme"
    VIRAL = "viral"
    POSSIBLE_SELF_PRODUCTION = "possibleSelfProduction"
    PHYSICAL_HARM = "physicalHarm"
    VIOLENCE_GORE = "violenceGore"
    BESTIALITY = "bestiality"
    LIVE_STREAMING = "liveStreaming"
    INFANT = "infant"
    GENERATIVE_AI = "generativeAi"


class FileRelevance(Enum):
    """Whether a file is what is reported, or helps to understand it."""

    REPORTED = "Reported"
    SUPPLEMENTAL = "Supplemental Reported"


class IndustryClassification(Enum):
    """A: prepubescent, B: pubescent; 1: a sex act, 2: lascivious exhibition.

    Told only by a company that signed the agreement of NCMEC's Industry Hash Sharing Platform: a setting of whoever
    builds the report.
    """

    A1 = "A1"
    A2 = "A2"
    B1 = "B1"
    B2 = "B2"


class DetailsType(Enum):
    """What the name-value pairs about a file are."""

    EXIF = "EXIF"
    HASH = "HASH"


class EventName(Enum):
    """What somebody did when a machine saw an address or a device."""

    LOGIN = "Login"
    REGISTRATION = "Registration"
    PURCHASE = "Purchase"
    UPLOAD = "Upload"
    OTHER = "Other"
    UNKNOWN = "Unknown"


class PhoneType(Enum):
    MOBILE = "Mobile"
    HOME = "Home"
    BUSINESS = "Business"
    WORK = "Work"
    FAX = "Fax"
    INTERNET = "Internet"
    RECOVERY = "Recovery"


class EmailType(Enum):
    HOME = "Home"
    WORK = "Work"
    BUSINESS = "Business"
    RECOVERY = "Recovery"


class AddressType(Enum):
    HOME = "Home"
    BUSINESS = "Business"
    BILLING = "Billing"
    SHIPPING = "Shipping"
    TECHNICAL = "Technical"


class AccountType(Enum):
    """How another account belongs to somebody."""

    BILLING = "Billing"
    LINKED = "Linked"
    BUSINESS = "Business"
    CREATOR = "Creator"
    PARENT_OR_GUARDIAN = "Parent/Guardian"
    OTHER = "Other"


def _codes(text: str) -> frozenset[str]:
    return frozenset(text.split())


US_STATES = _codes(
    "AK AL AR AZ CA CO CT DC DE FL GA GU HI IA ID IL IN KS KY LA MA MD ME MI MN MO MS MT NC ND NE NH NJ NM NV NY OH OK "
    "OR PA PR RI SC SD TN TX UT VA VI VT WA WI WV WY"
)

ISO_COUNTRIES = _codes(
    "AD AE AF AG AI AL AM AO AQ AR AS AT AU AW AX AZ BA BB BD BE BF BG BH BI BJ BL BM BN BO BQ BR BS BT BV BW BY BZ CA "
    "CC CD CF CG CH CI CK CL CM CN CO CR CU CV CW CX CY CZ DE DJ DK DM DO DZ EC EE EG EH ER ES ET FI FJ FK FM FO FR GA "
    "GB GD GE GF GG GH GI GL GM GN GP GQ GR GS GT GU GW GY HK HM HN HR HT HU ID IE IL IM IN IO IQ IR IS IT JE JM JO JP "
    "KE KG KH KI KM KN KP KR KW KY KZ LA LB LC LI LK LR LS LT LU LV LY MA MC MD ME MF MG MH MK ML MM MN MO MP MQ MR MS "
    "MT MU MV MW MX MY MZ NA NC NE NF NG NI NL NO NP NR NU NZ OM PA PE PF PG PH PK PL PM PN PR PS PT PW PY QA RE RO RS "
    "RU RW SA SB SC SD SE SG SH SI SJ SK SL SM SN SO SR SS ST SV SX SY SZ TC TD TF TG TH TJ TK TL TM TN TO TR TT TV TW "
    "TZ UA UG UM US UY UZ VA VC VE VG VI VN VU WF WS YE YT ZA ZM ZW"
)
"""ISO 3166-1 alpha-2 as assigned today."""

COUNTRIES = ISO_COUNTRIES | _codes("A1 A2 AN AP EU FX O1 XK")
"""With the pseudo codes of address databases (A1: behind a proxy), withdrawn ones, and Kosovo's."""
