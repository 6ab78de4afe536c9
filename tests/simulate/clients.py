"""A client of the imitated CyberTipline, as thin as can be: nothing it does hides what the service does."""

from __future__ import annotations

import httpx
from lxml import etree
from simulate.documents import REPORT

from hashmatch.simulate.cybertipline import Settings

XML = {"Content-Type": "text/xml; charset=utf-8"}
USER = Settings().user, Settings().password
UNKNOWN_ID = 7


class Client:
    """What is asked is sent, and what comes is handed back without judgement."""

    def __init__(self, tipline):
        self.tipline = tipline
        self.http = httpx.Client(base_url=tipline.url, auth=USER, timeout=5)

    def get(self, name):
        return self.http.get(f"/{name}")

    def submit(self, document=REPORT):
        return self.http.post("/submit", content=document.encode(), headers=XML)

    def upload(self, report_id, data=b"benign"):
        return self.http.post("/upload", data={"id": str(report_id)}, files={"file": ("a.bin", data)})

    def fileinfo(self, document):
        return self.http.post("/fileinfo", content=document.encode(), headers=XML)

    def finish(self, report_id):
        return self.http.post("/finish", data={"id": str(report_id)})

    def retract(self, report_id):
        return self.http.post("/retract", data={"id": str(report_id)})

    def opened(self, document=REPORT):
        return int(field(self.submit(document), "reportId"))

    def uploaded(self, report_id, data=b"benign"):
        return field(self.upload(report_id, data), "fileId")


def field(reply, tag):
    return etree.fromstring(reply.content).findtext(tag)


def code(reply):
    return int(field(reply, "responseCode"))
