"""What is told of one uploaded file. Its ids are not in it: it is judged before the service gives them.

Courts let police open a file without a warrant only as far as the provider itself looked. So whether somebody looked
has no default here: it is what the view log says, of the whole contents, before the report is finished.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Self

from hashmatch.delivery.cybertip.element import Conflict, Element, Named, Place
from hashmatch.delivery.cybertip.people import DeviceId, IpCaptureEvent
from hashmatch.delivery.cybertip.rules import Past, Text, Url
from hashmatch.delivery.cybertip.terms import DetailsType, FileAnnotation, FileRelevance, IndustryClassification

BATCH_ANNOTATIONS = frozenset({FileAnnotation.VIRAL, FileAnnotation.POTENTIAL_MEME})


@dataclass(frozen=True, slots=True, repr=False)
class OriginalFileHash(Element):
    """A fingerprint of the bytes as the user uploaded them, before any transcoding of the provider's."""

    value: Annotated[str, Place.CONTENT, Text()]
    hash_type: Annotated[str, Place.ATTRIBUTE, Text(64)]  # upper case: MD5, SHA1, PDQ

    @classmethod
    def of(cls, hash_type: str, value: bytes) -> Self:
        """A packed fingerprint of a hash type as this project names it."""
        return cls(value.hex(), hash_type.upper())

    def conflicts(self) -> Iterator[Conflict]:
        if self.hash_type != self.hash_type.upper():
            yield "@hashType", "want upper case"


@dataclass(frozen=True, slots=True, repr=False)
class NameValuePair(Element):
    name: Annotated[str, Text(64)]
    value: Annotated[str, Text()]


@dataclass(frozen=True, slots=True, repr=False)
class Details(Element):
    """What a file says about itself: EXIF, or hashes."""

    name_value_pairs: Annotated[tuple[NameValuePair, ...], Named("nameValuePair")]
    type: Annotated[DetailsType | None, Place.ATTRIBUTE] = None

    def conflicts(self) -> Iterator[Conflict]:
        if not self.name_value_pairs:
            yield "nameValuePair", "must be given"


@dataclass(frozen=True, slots=True, repr=False, kw_only=True)
class FileDetails(Element):
    """One file. `potential_meme` is the older way to say what an annotation says; not both."""

    file_name: Annotated[str | None, Text()] = None
    original_file_name: Annotated[str | None, Text(2056)] = None
    uploaded_to_esp_timestamp: Annotated[datetime | None, Past()] = None
    location_of_file: Annotated[str | None, Url()] = None
    file_viewed_by_esp: bool  # the entire contents, by a person of the provider's
    exif_viewed_by_esp: bool
    publicly_available: bool | None = None
    file_relevance: FileRelevance | None = None  # None: REPORTED
    potential_meme: bool | None = None
    file_annotations: frozenset[FileAnnotation] = frozenset()
    industry_classification: IndustryClassification | None = None
    original_file_hashes: Annotated[tuple[OriginalFileHash, ...], Named("originalFileHash")] = ()
    ip_capture_event: IpCaptureEvent | None = None
    device_ids: Annotated[tuple[DeviceId, ...], Named("deviceId")] = ()
    details: tuple[Details, ...] = ()
    additional_infos: Annotated[tuple[str, ...], Named("additionalInfo"), Text()] = ()

    def conflicts(self) -> Iterator[Conflict]:
        if self.exif_viewed_by_esp and not self.file_viewed_by_esp:
            yield "exifViewedByEsp", "is true only where fileViewedByEsp is"
        if self.potential_meme is not None and self.file_annotations:
            yield "potentialMeme", "is not told beside fileAnnotations"
        if self.file_relevance is FileRelevance.SUPPLEMENTAL:
            if self.potential_meme is not None:
                yield "potentialMeme", "is not told of a supplemental file"
            if FileAnnotation.POTENTIAL_MEME in self.file_annotations:
                yield "fileAnnotations/potentialMeme", "is not told of a supplemental file"
            if self.industry_classification is not None:
                yield "industryClassification", "is not told of a supplemental file"
        seen = set()
        for number, one in enumerate(self.original_file_hashes, start=1):
            if one in seen:
                yield f"originalFileHash[{number}]", "was told already"
            seen.add(one)

    def batch_conflicts(self) -> Iterator[Conflict]:
        """What is wrong with it in a batched report: Reporting API, appendix E."""
        if not self.file_annotations & BATCH_ANNOTATIONS:
            yield "fileAnnotations", "want viral or potentialMeme in a batched report"
        if self.file_annotations - BATCH_ANNOTATIONS:
            yield "fileAnnotations", "are only viral and potentialMeme in a batched report"
        if self.file_relevance is FileRelevance.SUPPLEMENTAL:
            yield "fileRelevance", "is Reported in a batched report"
        for name, given in (
            ("fileName", self.file_name),
            ("originalFileName", self.original_file_name),
            ("locationOfFile", self.location_of_file),
            ("potentialMeme", self.potential_meme),
            ("originalFileHash", self.original_file_hashes or None),
            ("ipCaptureEvent", self.ip_capture_event),
            ("deviceId", self.device_ids or None),
            ("details", self.details or None),
            ("additionalInfo", self.additional_infos or None),
        ):
            if given is not None:
                yield name, "is not told in a batched report"
