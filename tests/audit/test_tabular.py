"""Events as rows, CSV and Parquet: what is written is what is read back."""

from __future__ import annotations

import csv
import os
import sys
from collections.abc import Callable, Iterable, Iterator
from datetime import datetime
from pathlib import Path

import pyarrow.parquet
import pytest
from hypothesis import given
from hypothesis import strategies as st
from logs import NOON, match, workflow

from hashmatch.audit.flat import BATCH, COLUMNS, NUMBERS, row, write_csv, write_parquet
from hashmatch.audit.query import TYPES
from hashmatch.errors import BadConfig, StoreFailed
from hashmatch.v1 import audit_pb2
from hashmatch.v1.audit_pb2 import Event

Writer = Callable[[Iterable[Event], Path], int]
both = pytest.mark.parametrize("write", [write_csv, write_parquet])


def numbered(number: int, event: Event) -> Event:
    event.sequence = number
    event.at.FromDatetime(NOON)
    return event


def some() -> list[Event]:
    facts = [Event(verdict=match(1)), *workflow(), Event(stopped=audit_pb2.Stopped(run="r")), Event()]
    return [numbered(number, event) for number, event in enumerate(facts, 1)]


def read_csv(path: Path) -> list[dict[str, str]]:
    with open(path, newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


# ── rows ────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_the_row_of_a_verdict() -> None:
    made = numbered(7, Event(verdict=match(3)))
    made.verdict.case_id, made.verdict.matches_found = "c1", 5
    assert row(made) == dict.fromkeys(COLUMNS) | {
        "sequence": 7, "at": NOON, "type": "verdict", "verdict_id": "v_00000003", "case_id": "c1", "finding": "MATCH",
        "disposition": "UNSPECIFIED", "surface": "avatars", "list": "known", "entry_id": "e3", "hash_type": "pdq",
        "distance": 3, "threshold": 31, "matches": 5,
        "brief": "MATCH     UNSPECIFIED  v_00000003  known pdq distance 3",
    }  # fmt: skip


@pytest.mark.parametrize("name", TYPES)
def test_every_fact_has_a_row_of_the_one_schema(name: str) -> None:
    event = Event()
    getattr(event, name).SetInParent()
    made = row(numbered(1, event))
    assert tuple(made) == COLUMNS
    assert made["type"] == name
    assert all(made[column] is None or isinstance(made[column], int) for column in NUMBERS)


@pytest.mark.parametrize("event", some(), ids=lambda event: event.WhichOneof("fact"))
def test_no_row_says_whose_it_was(event: Event) -> None:
    told = str(row(event))
    assert not any(word in told for word in ("someone", "content-", "request", bytes(30).hex()))


# ── files ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_csv_is_read_back(tmp_path: Path) -> None:
    assert write_csv(some(), tmp_path / "rows.csv") == len(some())
    for got, event in zip(read_csv(tmp_path / "rows.csv"), some(), strict=True):
        want = row(event)
        assert datetime.fromisoformat(got.pop("at")) == want.pop("at")
        assert got == {name: "" if value is None else str(value) for name, value in want.items()}


def test_parquet_is_read_back(tmp_path: Path) -> None:
    assert write_parquet(some(), tmp_path / "rows.parquet") == len(some())
    table = pyarrow.parquet.read_table(tmp_path / "rows.parquet")
    assert table.to_pylist() == [row(event) for event in some()]
    types = {field.name: str(field.type) for field in table.schema}
    assert types == dict.fromkeys(COLUMNS, "string") | dict.fromkeys(NUMBERS, "int64") | {"at": "timestamp[us, tz=UTC]"}


@both
def test_a_file_of_nothing_has_its_columns(tmp_path: Path, write: Writer) -> None:
    assert write([], tmp_path / "rows") == 0
    if write is write_csv:
        assert (tmp_path / "rows").read_text().strip() == ",".join(COLUMNS)
    else:
        assert pyarrow.parquet.read_table(tmp_path / "rows").schema.names == list(COLUMNS)


FORMULAS = ["=1+1", "+1", "-1", "@SUM(A1)", "\tx", "\rx"]


@pytest.mark.parametrize("text", [*FORMULAS, "plain", "1-2", "", "'=1", 'quoted "=1"', "a,b", "a\nb"])
def test_no_cell_is_a_formula(tmp_path: Path, text: str) -> None:
    event = numbered(1, Event(entry_released=audit_pb2.EntryReleased(list="a", reason=text, by=text)))
    write_csv([event], tmp_path / "rows.csv")
    (got,) = read_csv(tmp_path / "rows.csv")
    want = f"'{text}" if text in FORMULAS else text
    assert (got["reason"], got["actor"]) == (want, want)


words = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=12)


@given(st.lists(st.tuples(words, words, words), max_size=5))
def test_any_text_is_read_back(tmp_path_factory: pytest.TempPathFactory, texts: list[tuple[str, str, str]]) -> None:
    events = [numbered(1, Event(entry_released=audit_pb2.EntryReleased(list=a, by=b, reason=c))) for a, b, c in texts]
    folder = tmp_path_factory.mktemp("rows")
    write_csv(events, folder / "rows.csv")
    read = [(got["list"], got["actor"], got["reason"]) for got in read_csv(folder / "rows.csv")]
    formula = ("=", "+", "-", "@", "\t", "\r")
    assert read == [tuple(f"'{one}" if one.startswith(formula) else one for one in three) for three in texts]
    write_parquet(events, folder / "rows.parquet")
    columns = pyarrow.parquet.read_table(folder / "rows.parquet").select(["list", "actor", "reason"]).to_pylist()
    assert [tuple(one.values()) for one in columns] == [tuple(one or None for one in three) for three in texts]


@both
def test_a_file_is_its_owners(tmp_path: Path, write: Writer) -> None:
    old = os.umask(0)
    try:
        write(some(), tmp_path / "rows")
    finally:
        os.umask(old)
    assert (tmp_path / "rows").stat().st_mode & 0o777 == 0o600


def breaking() -> Iterator[Event]:
    yield from some()
    raise KeyboardInterrupt


@both
def test_a_file_appears_whole_or_not_at_all(tmp_path: Path, write: Writer) -> None:
    with pytest.raises(KeyboardInterrupt):
        write(breaking(), tmp_path / "rows")
    assert list(tmp_path.iterdir()) == []
    write(some(), tmp_path / "rows")
    before = (tmp_path / "rows").read_bytes()
    with pytest.raises(KeyboardInterrupt):
        write(breaking(), tmp_path / "rows")
    assert [path.name for path in tmp_path.iterdir()] == ["rows"]
    assert (tmp_path / "rows").read_bytes() == before


@both
def test_a_file_that_cannot_be_written(tmp_path: Path, write: Writer) -> None:
    with pytest.raises(StoreFailed):
        write(some(), tmp_path / "none" / "rows")


@both
def test_many_events_are_written_in_batches(tmp_path: Path, write: Writer) -> None:
    number = BATCH + 10
    stopped = (numbered(n, Event(stopped=audit_pb2.Stopped(run="r"))) for n in range(1, number + 1))
    assert write(stopped, tmp_path / "rows") == number
    if write is write_csv:
        assert [int(got["sequence"]) for got in read_csv(tmp_path / "rows")] == list(range(1, number + 1))
        return
    file = pyarrow.parquet.ParquetFile(tmp_path / "rows")
    assert [file.metadata.row_group(n).num_rows for n in range(file.num_row_groups)] == [BATCH, 10]
    assert file.read().column("sequence").to_pylist() == list(range(1, number + 1))


def test_without_pyarrow_the_error_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)  # what Python itself takes for a package that is not there
    with pytest.raises(BadConfig, match=r"pip install 'hashmatch\[parquet\]'"):
        write_parquet(some(), tmp_path / "rows")
    assert list(tmp_path.iterdir()) == []
