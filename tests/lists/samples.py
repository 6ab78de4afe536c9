"""A small file of every format, with made-up values, as its tool writes it."""

from __future__ import annotations

import base64
import hashlib
import json
import sqlite3
from pathlib import Path

from hashmatch.v1 import lists_pb2


def md5(number: int) -> str:
    return hashlib.md5(str(number).encode(), usedforsecurity=False).hexdigest()


def sha1(number: int) -> str:
    return hashlib.sha1(str(number).encode(), usedforsecurity=False).hexdigest()


def sha256(number: int) -> str:
    return hashlib.sha256(str(number).encode()).hexdigest()


PDQ = [sha256(number) for number in range(3)]  # as balanced as any digest
PHOTODNA = bytes(range(144))

VICS_2 = {
    "@odata.context": "http://github.com/VICSDATAMODEL/ProjectVic/DataModels/2.0.xml/US/$metadata#Media",
    "value": [
        {
            "MediaID": 501, "Category": 1, "MD5": md5(1).upper(), "SHA1": sha1(1).upper(), "MediaSize": 2835,
            "DateUpdated": "2026-06-07T02:31:49.8300Z", "VictimIdentified": "true", "OffenderIdentified": "false",
            "IsDistributed": "true", "Series": "Synthetic A", "Tags": "t1, t2",
            "PhotoDNA": base64.b64encode(PHOTODNA).decode(),
            "Exifs": [{"PropertyName": "Make", "PropertyValue": "X"}],
        },
        {"MediaID": 502, "Category": 0, "MD5": md5(2), "SHA1": sha1(2)},
        {"MediaID": "503", "Category": "2", "MD5": md5(3), "PhotoDNA": [
            {"HashName": "PhotoDNA", "HashValue": PHOTODNA.hex()}]},
        {"MediaID": 501, "Category": 1, "MD5": md5(1)},
    ],
}  # fmt: skip
VICS_1 = {
    "odata.metadata": "http://github.com/ICMEC/ProjectVic/DataModels/1.3.xml#Media",
    "value": [{"MediaID": 7, "Category": 1, "MD5": md5(4)}],
}
VICS_CASES = {
    "@odata.context": "http://github.com/VICSDATAMODEL/ProjectVic/DataModels/2.0.xml/UK/$metadata#Cases",
    "value": [{"CaseID": "c", "Media": [{"MediaID": 9, "Category": 2, "MD5": md5(5)}]}],
}
THREATEXCHANGE = {
    "data": [
        {"id": "11", "indicator": PDQ[0], "type": "HASH_PDQ", "status": "MALICIOUS", "tags": {"data": [{"text": "t"}]},
         "last_updated": 1700000000},
        {"id": "12", "indicator": md5(6), "type": "HASH_MD5", "should_delete": True},
        {"id": "13", "indicator": "https://example.com", "type": "URI"},
        {"id": "14", "indicator": PDQ[1], "type": "HASH_PDQ", "status": "NON_MALICIOUS"},
    ],
    "paging": {"next": "x"},
}  # fmt: skip

TEXTS: dict[str, tuple[lists_pb2.ImportFormat.ValueType, str]] = {
    "hex": (lists_pb2.IMPORT_FORMAT_HEX, f"{PDQ[0]}\n# a comment\n{PDQ[1]}\n"),
    "hex with types": (lists_pb2.IMPORT_FORMAT_HEX, f"md5 {md5(1)}\npdq {PDQ[1]}\n"),
    "csv": (lists_pb2.IMPORT_FORMAT_CSV, f"MD5;Label\n{md5(1)};A\n"),
    "tsv": (lists_pb2.IMPORT_FORMAT_CSV, f"pdq\tlabel\n{PDQ[0]}\tA\n"),
    "vics 2.0": (lists_pb2.IMPORT_FORMAT_VICS, json.dumps(VICS_2)),
    "vics 1.3": (lists_pb2.IMPORT_FORMAT_VICS, json.dumps(VICS_1)),
    "vics cases": (lists_pb2.IMPORT_FORMAT_VICS, json.dumps(VICS_CASES)),
    "nsrl": (
        lists_pb2.IMPORT_FORMAT_NSRL_CSV,
        (
            '"SHA-1","MD5","CRC32","FileName","FileSize","ProductCode","OpSystemCode","SpecialCode"\n'
            f'"{sha1(1).upper()}","{md5(1).upper()}","00000000","a.dll",12,3,"4",""\n'
        ),
    ),
    "nsrl, older": (
        lists_pb2.IMPORT_FORMAT_NSRL_CSV,
        (
            '"SHA-1","FileName","FileSize","ProductCode","OpSystemCode","MD4","MD5","CRC32","SpecialCode"\n'
            f'"{sha1(1)}","a.dll",12,3,"4","","{md5(1)}","00000000",""\n'
        ),
    ),
    "hashkeeper": (
        lists_pb2.IMPORT_FORMAT_HASHKEEPER,
        (
            '"file_id","hashset_id","file_name","directory","hash","file_size","date_modified","time_modified","time_zone",'
            '"comments","date_accessed","time_accessed"\n'
            f'"1","77","a.jpg","","{md5(1)}","12","","","","seen twice","",""\n'
        ),
    ),
    "icse": (
        lists_pb2.IMPORT_FORMAT_ICSE,
        (
            "MD5;SHA1;PhotoDNA;Image ID;Is distributed;Victim identified;Offender identified;Series name;"
            "Number of submissions;File Available;Media Type;Baseline\n"
            f"{md5(1)};{sha1(1)};{base64.b64encode(PHOTODNA).decode()};42;true;false;false;S;3;true;image;Baseline\n"
        ),
    ),
    "threatexchange": (lists_pb2.IMPORT_FORMAT_THREATEXCHANGE, json.dumps(THREATEXCHANGE)),
    "threatexchange, lines": (
        lists_pb2.IMPORT_FORMAT_THREATEXCHANGE,
        f"pdq {PDQ[0]}\nvideo_md5 {md5(1)}\nraw_text hello there\n",
    ),
    "threatexchange, cache": (lists_pb2.IMPORT_FORMAT_THREATEXCHANGE, f"123,{PDQ[0]},99,1700000000,first second\n"),
    "vpdq": (lists_pb2.IMPORT_FORMAT_VPDQ, f"0,100,{PDQ[0]},0.0\n30,90,{PDQ[1]},1.001\n"),
    "vpdq, json": (
        lists_pb2.IMPORT_FORMAT_VPDQ,
        json.dumps({"0": {"quality": 100, "hash": PDQ[0], "timestamp": 0.0}}),
    ),
}


def rds(folder: Path) -> bytes:
    """An RDSv3 database."""
    path = folder / "rds.db"
    with sqlite3.connect(path) as database:
        database.execute(
            "CREATE TABLE FILE (sha256 TEXT, sha1 TEXT, md5 TEXT, crc32 TEXT, file_name TEXT, package_id INT)"
        )
        rows = [(sha256(n).upper(), sha1(n).upper(), md5(n).upper(), "0", f"{n}.dll", 1) for n in range(3)]
        database.executemany("INSERT INTO FILE VALUES (?, ?, ?, ?, ?, ?)", [*rows, (None, "", None, "0", "none", 1)])
    database.close()
    return path.read_bytes()
