"""The calls of the CyberTipline Reporting API, each sent once. Whoever calls decides what comes after a failure.

TEST is where reports go unless two things say otherwise: `environment`, and credentials that are for PRODUCTION. No
redirect is followed and no proxy of the environment's used. Every call has a connection of its own: on a kept one that
the other side closed meanwhile, nobody could tell a call that never arrived from one whose answer was lost.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from typing import Self

import httpx

from hashmatch import clock
from hashmatch.delivery.cybertip import schema
from hashmatch.delivery.cybertip.body import Readable, UploadBody
from hashmatch.delivery.cybertip.errors import AlreadyFinished, AlreadyRetracted, ReplyLost, RetryLater
from hashmatch.delivery.cybertip.files import FileDetails
from hashmatch.delivery.cybertip.judging import judged, request_id_of
from hashmatch.delivery.cybertip.outcomes import Detailed, Finished, Opened, Retracted, Uploaded
from hashmatch.delivery.cybertip.problems import Problem, file_problems, problems
from hashmatch.delivery.cybertip.report import Report
from hashmatch.delivery.cybertip.service import TIMEOUTS, Credentials, Timeouts, address
from hashmatch.delivery.cybertip.terms import Environment, ReportId
from hashmatch.delivery.cybertip.xml import (
    MAX_ANSWER_BYTES,
    Answer,
    details_element,
    document,
    parse_answer,
    report_element,
)
from hashmatch.errors import BadConfig, Malformed, Refused

XML = {"Content-Type": "text/xml; charset=utf-8"}

trace = logging.getLogger(__name__)


class CyberTipline:
    """One environment of the service. For any thread."""

    def __init__(
        self,
        credentials: Credentials,
        *,
        environment: Environment = Environment.TEST,
        base_url: str | None = None,
        timeouts: Timeouts = TIMEOUTS,
        now: Callable[[], datetime] = clock.now,
    ) -> None:
        """
        Args:
            base_url: another address of the TEST environment, such as a simulator's; http on loopback only.

        Raises:
            BadConfig: credentials of the other environment, or an address that must not be used.
        """
        if credentials.environment is not environment:
            raise BadConfig(f"credentials for {credentials.environment.value}, want {environment.value}")
        self.environment = environment
        self._now, self._timeouts = now, timeouts
        self._http = httpx.Client(
            base_url=address(environment, base_url),
            auth=httpx.BasicAuth(credentials.user, credentials.password),
            timeout=httpx.Timeout(
                connect=timeouts.connect, write=timeouts.write, read=timeouts.first_byte, pool=timeouts.connect
            ),
            # No compression: an answer's size is to be what came over the wire.
            headers={"Accept-Encoding": "identity", "Accept": "application/xml, text/xml"},
            limits=httpx.Limits(max_keepalive_connections=0),
            follow_redirects=False,
            trust_env=False,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """No call may follow."""
        self._http.close()

    def status(self) -> Answer:
        """Whether the service is there and takes the credentials; changes nothing.

        Raises:
            Undelivered: RetryLater or RefusedForGood.
        """
        try:
            return self._ask("status", method="GET")
        except ReplyLost as e:
            raise RetryLater(str(e), answer=e.answer, request_id=e.request_id) from e

    def submit(self, report: Report, files: Sequence[FileDetails]) -> Opened:
        """Open a report; `files` is what will be told of its files, judged now, since later it would be too late.

        Raises:
            Malformed: something is wrong; names the first element. Nothing was sent.
            Undelivered: where the reply was lost, a report may be open that nobody knows of; it expires by itself.
        """
        _refuse(problems(report, files, environment=self.environment, now=self._now()))
        root = report_element(report)
        schema.check(root)
        answer = self._ask("submit", headers=XML, content=document(root))
        if answer.report_id is None or answer.report_id < 1:
            raise ReplyLost("submit: no report's id was answered", answer=answer, request_id=answer.request_id)
        return Opened(ReportId(answer.report_id, self.environment), answer.request_id)

    def upload(self, report_id: ReportId, file: Readable, *, size: int, name: str = "file") -> Uploaded:
        """Add one file to an open report; `file` is read once, from where it stands, `size` bytes to its end.

        Raises:
            Malformed: a size or name that cannot be.
            StoreFailed: the file cannot be read, or is not of that size; the service has nothing of it.
            Undelivered: where the reply was lost, or says another MD5 than ours, the report must not be finished.
        """
        body = UploadBody(self._ours(report_id), file, size=size, name=name)
        answer = self._same_report("upload", report_id, self._ask("upload", headers=body.headers, content=body))
        if answer.file_id is None or answer.md5 is None:
            raise ReplyLost("upload: no file's id and MD5 were answered", answer=answer, request_id=answer.request_id)
        if answer.md5.lower() != body.md5.hex():
            raise ReplyLost("upload: another file arrived than was sent", answer=answer, request_id=answer.request_id)
        return Uploaded(answer.file_id, body.md5, answer.request_id)

    def detail(self, report_id: ReportId, file_id: str, details: FileDetails) -> Detailed:
        """Tell of one uploaded file, once.

        Raises:
            Malformed: something is wrong; names the first element. Nothing was sent.
            Undelivered: the call did not do it.
        """
        _refuse(file_problems(details, environment=self.environment, now=self._now()))
        root = details_element(details, self._ours(report_id), file_id)
        schema.check(root)
        answer = self._ask("fileinfo", headers=XML, content=document(root))
        if answer.file_id not in (None, file_id):
            raise ReplyLost("fileinfo: the answer is of another file", answer=answer, request_id=answer.request_id)
        return Detailed(self._same_report("fileinfo", report_id, answer).request_id)

    def finish(self, report_id: ReportId) -> Finished:
        """File a report. One that was finished before counts as filed: the reply was lost then.

        Raises:
            Undelivered: the call did not do it, or nobody knows; then it may be repeated.
        """
        try:
            answer = self._ask("finish", data={"id": str(self._ours(report_id).number)})
        except AlreadyFinished as e:
            return Finished(b"" if e.answer is None else e.answer.body, None, e.request_id)
        self._same_report("finish", report_id, answer)
        return Finished(answer.body, answer.file_ids, answer.request_id)

    def retract(self, report_id: ReportId) -> Retracted:
        """Withdraw an unfinished report. One that was retracted before counts as withdrawn.

        Raises:
            Undelivered: AlreadyFinished, or the call did not do it, or nobody knows; then it may be repeated.
        """
        try:
            answer = self._ask("retract", data={"id": str(self._ours(report_id).number)})
        except AlreadyRetracted as e:
            return Retracted(e.request_id)
        return Retracted(self._same_report("retract", report_id, answer).request_id)

    # ── one call ────────────────────────────────────────────────────────────────────────────────────────────────────

    def _ask(
        self,
        name: str,
        *,
        method: str = "POST",
        headers: Mapping[str, str] | None = None,
        content: bytes | Iterable[bytes] | None = None,
        data: Mapping[str, str] | None = None,
    ) -> Answer:
        """The answer to one call that was done.

        Raises:
            Undelivered: it was not, or nobody knows.
        """
        request = self._http.build_request(method, f"/{name}", headers=headers, content=content, data=data)
        request_id, status = "", 0
        try:
            response = self._http.send(request, stream=True)
            try:
                status, request_id = response.status_code, request_id_of(response.headers)
                body = self._body(response)
            finally:
                response.close()
        except (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout, httpx.WriteTimeout) as e:
            # Never sent, or not to its end: nothing can have been done with it.
            trace.warning("%s: not sent: %s", name, type(e).__name__)
            raise RetryLater(f"{name}: not sent: {type(e).__name__}") from e
        except httpx.HTTPError as e:
            trace.warning("%s: no answer: %s, HTTP %d, Request-ID %s", name, type(e).__name__, status, request_id)
            raise ReplyLost(f"{name}: no answer: {type(e).__name__}", request_id=request_id) from e
        try:
            answer = None if body is None else parse_answer(body, request_id=request_id)
        except Malformed as e:
            trace.warning("%s: HTTP %d, unreadable (%s), Request-ID %s", name, status, e, request_id)
            answer = None
        else:
            code = None if answer is None else answer.code
            trace.info("%s: HTTP %d, code %s, Request-ID %s", name, status, code, request_id)
        return judged(name, status, response.headers, answer, request_id=request_id, now=self._now())

    def _body(self, response: httpx.Response) -> bytes | None:
        """The answer's bytes; None where they are too many, too slow, or compressed though nobody asked."""
        if response.headers.get("Content-Encoding", "identity") != "identity":
            return None
        until = time.monotonic() + self._timeouts.answer
        pieces, size = [], 0
        for piece in response.iter_raw():
            size += len(piece)
            if size > MAX_ANSWER_BYTES or time.monotonic() > until:
                return None
            pieces.append(piece)
        return b"".join(pieces)

    def _ours(self, report_id: ReportId) -> ReportId:
        if report_id.environment is not self.environment:
            raise Refused(f"a report of the {report_id.environment.value} environment")
        return report_id

    def _same_report(self, name: str, report_id: ReportId, answer: Answer) -> Answer:
        if answer.report_id not in (None, report_id.number):
            raise ReplyLost(f"{name}: the answer is of another report", answer=answer, request_id=answer.request_id)
        return answer


def _refuse(found: Sequence[Problem]) -> None:
    if found:
        more = f" (and {len(found) - 1} more)" if len(found) > 1 else ""
        raise Malformed(found[0].what + more, field=found[0].path)
