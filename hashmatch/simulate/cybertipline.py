"""An imitation of NCMEC's CyberTipline Reporting API: the test environment of a service that nobody can test against.

It keeps the documented protocol and, where practice is known to differ, the practice. It is a TEST environment: it
takes no report that refers to a report it does not hold. Written from the documentation, on purpose apart from the
client, so that one misreading is not made twice. What it holds is for tests to look at; bytes of files it never keeps.

    with serving() as tipline:
        client = ...  # at tipline.url, with tipline.settings.user and .password
        tipline.faults.add("finish:lost-reply@1")
        tipline.clock.advance(timedelta(hours=25))
        tipline.reports[report_id].stage
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field

from hashmatch.simulate import rules
from hashmatch.simulate.answers import Answer, Code, Declined, done, told
from hashmatch.simulate.bodies import MAX_ID, Body, form_id, id_of, parts
from hashmatch.simulate.faults import Fault, Faults
from hashmatch.simulate.http import ELSEWHERE, HOST, Server
from hashmatch.simulate.spoiling import unauthorised
from hashmatch.simulate.state import Clock, HeldReport, Reports

ROOT = "/ispws/"
MAX_XML = 16 << 20  # bytes of one report or of one file's details; the service documents no limit
XML_TYPES = frozenset({"text/xml", "application/xml"})
SUCCESS = "Success"


@dataclass(frozen=True, slots=True)
class Settings:
    """What the documentation leaves open, and whom the service knows."""

    user: str = "tester"
    password: str = field(default="tester", repr=False)  # of an imitation on loopback: no secret
    declined_status: int = 200  # HTTP status of a refusal, where none is documented: clients must read the code
    empty_401: bool = False  # whether wrong credentials get an empty body, or XML
    second_fileinfo: int = Code.UPDATE_FAILED  # code that a file's second details are declined with; 0 accepts them
    known_reports: frozenset[int] = frozenset()  # ids of earlier reports that priorCTReports may name


class CyberTipline:
    """The service. For any thread."""

    def __init__(self, settings: Settings, faults: Faults, clock: Clock) -> None:
        self.settings, self.faults, self.clock = settings, faults, clock
        self.url = ""  # such as http://127.0.0.1:40123/ispws, once it is served
        self._reports = Reports(clock, known=settings.known_reports, second_fileinfo=settings.second_fileinfo)
        self._requests: Counter[str] = Counter()  # guarded by _lock
        self._lock = threading.Lock()
        self._endpoints: Mapping[tuple[str, str], Callable[[_Request], Answer]] = {
            ("GET", "status"): self._status,
            ("GET", "xsd"): self._xsd,
            ("POST", "submit"): self._submit,
            ("POST", "upload"): self._upload,
            ("POST", "fileinfo"): self._fileinfo,
            ("POST", "finish"): self._finish,
            ("POST", "retract"): self._retract,
        }

    @property
    def reports(self) -> dict[int, HeldReport]:
        """What is held now, by report id; reports that are over stay to be looked at."""
        return self._reports.held()

    @property
    def requests(self) -> Counter[str]:
        """How many requests came, by endpoint, whatever became of them; "elsewhere" are redirects followed."""
        with self._lock:
            return Counter(self._requests)

    # ── what the server calls ───────────────────────────────────────────────────────────────────────────────────────

    def arrived(self, path: str) -> Fault | None:
        """Count a request; what is to go wrong with it."""
        name = "elsewhere" if path == ELSEWHERE else path.removeprefix(ROOT)
        known = any(name == endpoint for _, endpoint in self._endpoints)
        with self._lock:
            self._requests[name if known or path == ELSEWHERE else "unknown"] += 1
        return self.faults.draw(name) if known else None

    def answer(self, method: str, path: str, *, authorization: str, content_type: str, body: Body, peer: str) -> Answer:
        """Do what is asked, and say how it went."""
        if path == ELSEWHERE:
            return told(Code.OK, SUCCESS)  # as whoever stole the request would say
        if not self._may_enter(authorization):
            return unauthorised(empty=self.settings.empty_401)
        name = path.removeprefix(ROOT) if path.startswith(ROOT) else ""
        endpoint = self._endpoints.get((method, name))
        try:
            if endpoint is None:
                if any(name == known for _, known in self._endpoints):
                    raise Declined(Code.INVALID_REQUEST, f"Invalid request: not with {method}", status=405)
                raise Declined(Code.NOT_FOUND, "Resource not found", status=404)
            return endpoint(_Request(content_type, body, peer))
        except Declined as e:
            return told(e.code, e.description, status=e.http_status or self.settings.declined_status)

    def _may_enter(self, authorization: str) -> bool:
        scheme, _, given = authorization.partition(" ")
        try:
            shown = base64.b64decode(given.strip(), validate=True)
        except (binascii.Error, ValueError):
            return False
        wanted = f"{self.settings.user}:{self.settings.password}".encode()
        return scheme.lower() == "basic" and hmac.compare_digest(shown, wanted)

    # ── endpoints ───────────────────────────────────────────────────────────────────────────────────────────────────

    def _status(self, request: _Request) -> Answer:
        return told(Code.OK, f"Remote User : {self.settings.user}, Remote Ip : {request.peer}")

    def _xsd(self, request: _Request) -> Answer:
        return Answer(rules.schema_text())

    def _submit(self, request: _Request) -> Answer:
        xml = request.xml()
        batched = rules.report(xml, now=self.clock.now(), knows=self._reports.knows)
        return told(Code.OK, SUCCESS, report_id=self._reports.open(xml, batched=batched))

    def _upload(self, request: _Request) -> Answer:
        given_id = ""
        md5, size, came = hashlib.md5(usedforsecurity=False), 0, False
        for name, pieces in parts(request.body, request.content_type):
            if name == "id":
                given_id = id_of(pieces)
            elif name == "file" and not came:
                came = True
                for piece in pieces:
                    md5.update(piece)
                    size += len(piece)
        if not came:
            raise Declined(Code.MALFORMED_FILE, "Malformed file submittal: no file")
        report_id = _report_id(given_id)
        file = self._reports.upload(report_id, md5=md5.hexdigest(), size=size)
        return told(Code.OK, SUCCESS, report_id=report_id, file_id=file.file_id, md5=file.md5)

    def _fileinfo(self, request: _Request) -> Answer:
        xml = request.xml()
        report_id, file_id, viral = rules.file_details(xml, now=self.clock.now(), batched=self._reports.batched)
        self._reports.detail(report_id, file_id, xml, viral=viral)
        return told(Code.OK, SUCCESS, report_id=report_id, file_id=file_id)

    def _finish(self, request: _Request) -> Answer:
        report_id = _report_id(form_id(request.body, request.content_type))
        return done(report_id, self._reports.finish(report_id))

    def _retract(self, request: _Request) -> Answer:
        report_id = _report_id(form_id(request.body, request.content_type))
        self._reports.retract(report_id)
        return told(Code.OK, SUCCESS, report_id=report_id)


@contextmanager
def serving(
    *,
    port: int = 0,
    settings: Settings | None = None,
    faults: str = "",
    clock: Clock | None = None,
) -> Iterator[CyberTipline]:
    """The service, answering on a loopback port as long as the context lasts.

    Args:
        port: 0 takes a free one.
        faults: a spec, as `hashmatch.simulate.faults` describes it.

    Raises:
        BadConfig: the spec is not one.
        Unavailable: the port is taken.
    """
    tipline = CyberTipline(settings or Settings(), Faults(faults), clock or Clock())
    server = Server(tipline, port)
    tipline.url = f"http://{HOST}:{server.server_port}{ROOT.rstrip('/')}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, name="cybertipline")
    thread.start()
    try:
        yield tipline
    finally:
        server.stop()
        thread.join()


@dataclass(frozen=True, slots=True)
class _Request:
    content_type: str
    body: Body
    peer: str

    def xml(self) -> bytes:
        """The body, where it says that it is XML."""
        if self.content_type.partition(";")[0].strip().lower() not in XML_TYPES:
            raise Declined(Code.INVALID_REQUEST, "Invalid request: not XML", status=415)
        return self.body.whole(MAX_XML)


def _report_id(given: str) -> int:
    """A report's id as a form gives it: decimal, 64 bits."""
    if not given:
        raise Declined(Code.INVALID_REQUEST, "Invalid request: no id")
    if not (given.isascii() and given.isdigit() and len(given) <= MAX_ID and int(given) < 1 << 63):
        raise Declined(Code.INVALID_REQUEST, "Invalid request: id is not a number")
    return int(given)
