"""Files as other tools write them: told by their content, read to their rows, and never believed."""

from __future__ import annotations

import contextlib
import io
import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lists.samples import PDQ, PHOTODNA, TEXTS, VICS_2, md5, rds, sha1, sha256

from hashmatch.errors import Malformed
from hashmatch.index.recipe import load_recipes
from hashmatch.lists.formats import Asked, Block, Raw, Reject, Row, Skipped, csv, hex
from hashmatch.lists.formats.ahead import Ahead
from hashmatch.lists.formats.lines import Lines
from hashmatch.lists.formats.reading import Reading, open_list
from hashmatch.v1 import common_pb2, lists_pb2

RECIPES = load_recipes()
WIDTHS = {name: recipe.value_bytes for name, recipe in RECIPES.items()}
AUTO = lists_pb2.IMPORT_FORMAT_AUTO
FORMATS = [number for number in lists_pb2.ImportFormat.values() if number > 0]


def opened(content: bytes | str, form: lists_pb2.ImportFormat.ValueType = AUTO, **asked: object) -> Reading:
    data = content.encode() if isinstance(content, str) else content
    return open_list(io.BytesIO(data), Asked(format=form, hash_types=tuple(RECIPES), **asked), WIDTHS)


def rows(content: bytes | str, form: lists_pb2.ImportFormat.ValueType = AUTO, **asked: object) -> list[Row]:
    return list(opened(content, form, **asked))


def benign(name: str) -> bool:
    return "nsrl" in name


@pytest.mark.parametrize("name", TEXTS)
@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_every_format_is_told_by_its_content(name: str, mark: bytes, end: str) -> None:
    form, text = TEXTS[name]
    found = opened(mark + text.replace("\n", end).encode(), benign=benign(name))
    assert lists_pb2.ImportFormat.Name(found.format) == lists_pb2.ImportFormat.Name(form)
    read = list(found)
    assert any(isinstance(row, Raw | Block) for row in read)
    assert not [row for row in read if isinstance(row, Reject)]
    assert found.bytes


def test_utf_16_and_other_encodings() -> None:
    text = f"md5,label\n{md5(1)},Käse\n"
    for content, encoding in ((text.encode("utf-16"), ""), (text.encode("cp1252"), "cp1252"), (text.encode(), "utf8")):
        assert rows(content, encoding=encoding) == [Raw(2, "md5", md5(1), "Käse")]
    for encoding in ("none-such", "base64", "zlib"):
        with pytest.raises(Malformed) as refused:
            rows(text, encoding=encoding)
        assert refused.value.field == "encoding"


@pytest.mark.parametrize("content", [b"", b"\n\n", b"hello world, this is prose\n" * 3, b"{}", b"[1, 2]", b"\x00" * 99])
def test_what_is_like_nothing_is_refused(content: bytes) -> None:
    with pytest.raises(Malformed) as refused:
        rows(content)
    assert refused.value.field == "format"


def test_columns_that_are_mapped_are_a_tables_whatever_they_are_called() -> None:
    text = f"PDQ hash,Class\n{PDQ[0]},A\n"
    assert rows(text, columns={"PDQ hash": "pdq", "Class": "label"}) == [Raw(2, "pdq", PDQ[0], "A")]


def test_a_mostly_broken_file_of_lines_is_told_of_line_by_line() -> None:
    found = opened(f"zz zz zz\nhello there you\n{PDQ[0]}\n")
    assert found.format == lists_pb2.IMPORT_FORMAT_HEX
    assert [type(row) for row in found] == [Reject, Reject, Raw]


def test_a_hashkeeper_set_without_files_is_refused() -> None:
    with pytest.raises(Malformed, match="describes a set"):
        rows('"hashset_id","name","vendor","num_of_files"\n"1","a","b","3"\n')


# ── VICS ────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_vics_2() -> None:
    read = rows(TEXTS["vics 2.0"][1])
    first = {"label": "US 1 child abuse material", "source_id": "501", "last_seen": "2026-06-07T02:31:49Z"}
    assert read == [
        Raw(1, "md5", md5(1).upper(), **first),
        Raw(1, "sha1", sha1(1).upper(), **first),
        Raw(1, "photodna", PHOTODNA.hex(), **first),
        Skipped(2, "another category than is wanted"),
        Raw(3, "md5", md5(3), label="US 2 exploitative or age difficult", source_id="503"),
        Raw(3, "photodna", PHOTODNA.hex(), label="US 2 exploitative or age difficult", source_id="503"),
        Raw(4, "md5", md5(1), label="US 1 child abuse material", source_id="501"),
    ]
    assert "Synthetic" not in str(read)


def test_vics_for_a_benign_list_is_the_other_way_round() -> None:
    read = rows(TEXTS["vics 2.0"][1], benign=True)
    assert [row.line for row in read if isinstance(row, Raw)] == [2, 2]
    assert sum(isinstance(row, Skipped) for row in read) == 3


def test_vics_categories_hang_on_the_country() -> None:
    assert [row.label for row in rows(TEXTS["vics cases"][1])] == ["UK B"]
    assert [row.label for row in rows(TEXTS["vics 1.3"][1])] == ["category 1"]


@pytest.mark.parametrize(
    ("record", "why"),
    [
        (7, "not an object"),
        ({"MediaID": 1, "MD5": md5(1)}, "no category"),
        ({"Category": True, "MD5": md5(1)}, "no category"),
        ({"Category": "one", "MD5": md5(1)}, "no category"),
        ({"Category": 1}, "no fingerprint of a known type"),
        ({"Category": 1, "MD5": 5}, "md5: not text"),
        ({"Category": 1, "PhotoDNA": [{"HashName": 3}, "x"]}, "no fingerprint of a known type"),
    ],
)
def test_a_bad_vics_record_is_a_reject(record: object, why: str) -> None:
    text = json.dumps({**VICS_2, "value": [record, {"Category": 1, "MD5": md5(1)}]})
    found = rows(text)
    assert found[0] == Reject(1, why)
    assert found[1].text == md5(1)


def test_vics_that_is_cut_anywhere_is_refused_whole() -> None:
    text = TEXTS["vics 2.0"][1].encode()
    for end in range(1, len(text) - 1, 7):
        with pytest.raises(Malformed):
            rows(text[:end], lists_pb2.IMPORT_FORMAT_VICS)


@pytest.mark.parametrize(
    "value", ['{"a":' * 40 + "1" + "}" * 40, '"' + "x" * (3 << 20) + '"', "[" + "1," * 10_001 + "1]", "1e999999"]
)
def test_json_that_would_fill_memory_is_refused(value: str) -> None:
    with pytest.raises(Malformed):
        rows('{"@odata.context": "x", "value": [{"Category": 1, "Tags": ' + value + ', "x": NaN}]}')


# ── NSRL, HashKeeper, ICSE ──────────────────────────────────────────────────────────────────────────────────────────


def test_nsrl() -> None:
    for name in ("nsrl", "nsrl, older"):
        read = rows(TEXTS[name][1], benign=True)
        assert {(row.hash_type, row.text.lower(), row.source) for row in read} == {
            ("sha1", sha1(1), "NSRL"),
            ("md5", md5(1), "NSRL"),
        }
        with pytest.raises(Malformed, match="known software") as refused:
            rows(TEXTS[name][1])
        assert refused.value.field == "format"


def test_rds(tmp_path: Path) -> None:
    content = rds(tmp_path)
    found = opened(content, benign=True)
    assert found.format == lists_pb2.IMPORT_FORMAT_NSRL_SQLITE
    read = list(found)
    assert [(row.line, row.hash_type, row.text.lower()) for row in read if isinstance(row, Raw)] == [
        (n + 1, name, value(n)) for n in range(3) for name, value in (("sha256", sha256), ("sha1", sha1), ("md5", md5))
    ]
    assert read[-1] == Reject(4, "no digest in this row")
    with pytest.raises(Malformed, match="known software"):
        rows(content)
    for damaged in (content[:100], content[:5000], content[:2000] + b"\xff" * 3000 + content[5000:]):
        with contextlib.suppress(Malformed):
            assert all(isinstance(row, Raw | Reject) for row in rows(damaged, benign=True))


def test_hashkeeper_and_icse() -> None:
    assert rows(TEXTS["hashkeeper"][1]) == [Raw(2, "md5", md5(1), "77", "1", source="HashKeeper", notes="seen twice")]
    said = {"label": "Baseline", "source_id": "42", "source": "ICSE"}
    assert rows(TEXTS["icse"][1]) == [
        Raw(2, "md5", md5(1), **said),
        Raw(2, "sha1", sha1(1), **said),
        Raw(2, "photodna", PHOTODNA.hex(), **said),
    ]


# ── ThreatExchange and vPDQ ─────────────────────────────────────────────────────────────────────────────────────────


def test_threatexchange() -> None:
    read = rows(TEXTS["threatexchange"][1])
    assert read == [
        Raw(1, "pdq", PDQ[0], "t", "11", source="ThreatExchange", last_seen="2023-11-14T22:13:20+00:00"),
        Skipped(2, "withdrawn"),
        Skipped(3, "not a fingerprint of media"),
        Skipped(4, "another status than is wanted"),
    ]
    lines = rows(TEXTS["threatexchange, lines"][1])
    assert [(row.hash_type, row.text) for row in lines if isinstance(row, Raw)] == [("pdq", PDQ[0]), ("md5", md5(1))]
    assert isinstance(lines[2], Skipped)
    (cached,) = rows(TEXTS["threatexchange, cache"][1], hash_type="pdq")
    assert (cached.text, cached.label, cached.source_id, cached.first_seen[:4]) == (PDQ[0], "first", "123", "2023")
    one_a_line = "\n".join(json.dumps(one) for one in json.loads(TEXTS["threatexchange"][1])["data"])
    assert rows(one_a_line, lists_pb2.IMPORT_FORMAT_THREATEXCHANGE) == read


def test_vpdq() -> None:
    assert rows(TEXTS["vpdq"][1]) == [
        Raw(1, "pdq", PDQ[0], source_id="0", quality="100", notes="frame at 0.0 s"),
        Raw(2, "pdq", PDQ[1], source_id="30", quality="90", notes="frame at 1.001 s"),
    ]
    assert rows(TEXTS["vpdq, json"][1]) == [Raw(1, "pdq", PDQ[0], source_id="0", quality="100", notes="frame at 0.0 s")]
    assert rows("1,2\n", lists_pb2.IMPORT_FORMAT_VPDQ) == [
        Reject(1, "2 columns, want 4: frame,quality,fingerprint,timestamp")
    ]


# ── labels, opaque types, round trips ───────────────────────────────────────────────────────────────────────────────


def test_labels_are_kept_renamed_or_left_out() -> None:
    text = "md5,label\n" + "".join(f"{md5(n)},{label}\n" for n, label in enumerate(("1", "2", "3", "")))
    read = rows(text, labels={"1": "worst", "2": ""})
    assert [row.label if isinstance(row, Raw) else "out" for row in read] == ["worst", "out", "3", ""]


def test_columns_of_unknown_types_need_to_be_asked_for() -> None:
    text = "xx,label\nabcd,A\n"
    with pytest.raises(Malformed):
        rows(text, lists_pb2.IMPORT_FORMAT_CSV, columns={"xx": "newhash"})
    assert rows(text, lists_pb2.IMPORT_FORMAT_CSV, columns={"xx": "newhash"}, opaque=True) == [
        Raw(2, "newhash", "abcd")
    ]


entries = st.builds(
    lists_pb2.Entry,
    fingerprint=st.builds(common_pb2.Fingerprint, hash_type=st.just("md5"), value=st.binary(min_size=16, max_size=16)),
    label=st.text(st.characters(categories=["L", "N", "P"]), max_size=8),
    source_id=st.text(st.characters(categories=["L", "N", "P"]), max_size=8),
    source=st.text(st.characters(categories=["L", "N"]), max_size=8),
    notes=st.text(st.characters(categories=["L", "N", "P"]), max_size=8),
)


@given(st.lists(entries, max_size=5), st.booleans())
def test_what_csv_writes_it_reads(some: list[lists_pb2.Entry], dated: bool) -> None:
    for entry in some if dated else ():
        entry.expires_at.FromSeconds(1_800_000_000)
    read = rows("".join(csv.write(some)), lists_pb2.IMPORT_FORMAT_CSV)
    assert [(r.hash_type, r.text, r.label, r.source_id, r.source, r.notes) for r in read] == [
        (e.fingerprint.hash_type, e.fingerprint.value.hex(), e.label, e.source_id, e.source, e.notes) for e in some
    ]
    assert all(row.expires_at == ("2027-01-15T08:00:00Z" if dated else "") for row in read)


# ── lines in blocks ─────────────────────────────────────────────────────────────────────────────────────────────────

line = st.sampled_from(
    [PDQ[0], PDQ[1].upper(), md5(1), f"pdq {PDQ[2]}", f"md5 {md5(2)}", "", "# c", "zz" * 32, "a b c", PDQ[0][:-1]]
)


@settings(max_examples=150)
@given(st.lists(line, max_size=30), st.sampled_from(["\n", "\r\n"]), st.booleans(), st.integers(1, 400))
def test_blocks_come_to_the_same_as_lines(some: list[str], end: str, ended: bool, size: int) -> None:
    text = (end.join(some) + (end if ended else "")).encode()
    usual, hex.BLOCK_BYTES = hex.BLOCK_BYTES, size
    try:
        file = Ahead(io.BytesIO(text))
        lines = Lines(file)
        found: list[Raw | Reject] = []
        for row in hex.blocks(file, lines, "pdq", WIDTHS):
            if isinstance(row, Block):
                width = WIDTHS[row.hash_type]
                values = [row.values[i : i + width] for i in range(0, len(row.values), width)]
                assert len(values) == row.number
                found += [Raw(row.first_line + i, row.hash_type, v.hex().encode()) for i, v in enumerate(values)]
            else:
                found.append(row._replace(text=row.text.lower()) if isinstance(row, Raw) else row)
    finally:
        hex.BLOCK_BYTES = usual
    slowly = Lines(io.BytesIO(text))
    expected = [row._replace(text=row.text.lower()) if isinstance(row, Raw) else row for row in hex.read(slowly, "pdq")]
    assert found == expected
    assert (lines.number, lines.bytes) == (slowly.number, slowly.bytes)


def test_a_large_file_is_mostly_blocks() -> None:
    text = "".join(f"{sha256(n)}\n" for n in range(40_000)).encode()
    read = rows(text)
    assert sum(row.number for row in read if isinstance(row, Block)) > 20_000
    assert sum(row.number if isinstance(row, Block) else 1 for row in read) == 40_000


# ── anything at all ─────────────────────────────────────────────────────────────────────────────────────────────────

mutated = st.tuples(st.sampled_from(sorted(TEXTS)), st.integers(0, 400), st.binary(max_size=6)).map(
    lambda given: TEXTS[given[0]][1].encode()[: given[1]] + given[2] + TEXTS[given[0]][1].encode()[given[1] + 1 :]
)


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=300) | mutated, st.sampled_from(FORMATS), st.booleans())
def test_no_bytes_make_any_reader_fail_otherwise(content: bytes, form: int, for_benign: bool) -> None:
    with contextlib.suppress(Malformed):
        for row in rows(content, form, benign=for_benign):
            assert isinstance(row, Raw | Block | Reject | Skipped)
            if isinstance(row, Reject | Skipped):
                assert md5(1) not in row.why
                assert PDQ[0] not in row.why
