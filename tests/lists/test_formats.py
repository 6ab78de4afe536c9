"""Files as analysts have them → rows and rejects with the right line numbers."""

from __future__ import annotations

import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hashmatch.errors import Malformed
from hashmatch.lists.formats import Raw, Reject, csv, hex, squeeze
from hashmatch.lists.formats.csv import MAX_ROW_LINES
from hashmatch.lists.formats.lines import MAX_LINE_BYTES, Lines
from hashmatch.v1 import common_pb2, lists_pb2

TYPES = ("md5", "pdq", "sha1", "sha256")


def read_hex(text: bytes) -> list[Raw | Reject]:
    return list(hex.read(Lines(io.BytesIO(text)), "pdq"))


def read_csv(text: bytes | str, **columns: str) -> list[Raw | Reject]:
    data = text.encode() if isinstance(text, str) else text
    return list(csv.read(Lines(io.BytesIO(data)), "pdq", columns, TYPES))


@pytest.mark.parametrize("end", [b"\n", b"\r\n"])
@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"])
def test_hex(end: bytes, mark: bytes) -> None:
    text = mark + end.join([b"ABcd", b"", b"# all of it", b"  md5\t01  # from case 7", b"a b c", b"ff"])
    assert read_hex(text) == [
        Raw(1, "pdq", b"ABcd"),
        Raw(4, "md5", b"01"),
        Reject(5, "3 words, want FINGERPRINT or HASH_TYPE FINGERPRINT"),
        Raw(6, "pdq", b"ff"),
    ]


def test_a_line_without_an_end_does_not_fill_memory() -> None:
    class Endless(io.RawIOBase):
        """Eight megabytes of one line; remembers the most that was asked for at once."""

        left, most = 8 << 20, 0

        def readable(self) -> bool:
            return True

        def readline(self, size: int | None = -1) -> bytes:
            self.most = max(self.most, size or 0)
            taken = min(size or 0, self.left)
            self.left -= taken
            return b"a" * taken

    file = Endless()
    assert list(hex.read(Lines(file), "pdq")) == [Reject(1, f"longer than {MAX_LINE_BYTES} bytes")]
    assert file.most == MAX_LINE_BYTES
    assert read_hex(b"a" * (MAX_LINE_BYTES + 5) + b"\nff\n")[1] == Raw(2, "pdq", b"ff")
    assert read_hex(b"#" * (MAX_LINE_BYTES - 1) + b"\nff\n") == [Raw(2, "pdq", b"ff")]


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-be"])
def test_utf_16_is_named(encoding: str) -> None:
    text = ("\ufeff" if encoding == "utf-16-be" else "") + "md5\nff\n"
    for read in (read_hex, read_csv):
        with pytest.raises(Malformed, match="UTF-16"):
            read(text.encode(encoding))


@pytest.mark.parametrize("separator", [",", ";", "\t", "|"])
def test_csv_takes_the_columns_it_knows(separator: str) -> None:
    rows = (
        ("SHA-1", "Label", "remark", "MD5", "Source ID"),
        ("aa", "A1", "x, y; z|w", "bb", "7"),
        ("", "", "", "cc", ""),
    )
    text = "\r\n".join(separator.join(f'"{cell}"' for cell in row) for row in rows)
    assert read_csv("\ufeff" + text) == [
        Raw(2, "sha1", "aa", "A1", "7"),
        Raw(2, "md5", "bb", "A1", "7"),
        Raw(3, "md5", "cc"),
    ]


def test_csv_takes_the_columns_it_is_told() -> None:
    text = "Hash Value,Algo,MD5,Cat\nAA,SHA-256,bb,1\n"
    told = {"hash value": "fingerprint", "ALGO": "hash_type", "cat": "label"}
    assert read_csv(text, **told) == [Raw(2, "SHA-256", "AA", "1")]
    assert read_csv("h,q\nAA,70\n", h="fingerprint", q="quality") == [Raw(2, "pdq", "AA", quality="70")]
    assert read_csv("full;small\nAA;BB\n", full="pdq", small="pdq") == [Raw(2, "pdq", "AA"), Raw(2, "pdq", "BB")]


def test_csv_one_column() -> None:
    assert read_csv("pdq\naa\n\nbb") == [Raw(2, "pdq", "aa"), Raw(4, "pdq", "bb")]


def test_csv_counts_lines_and_not_rows() -> None:
    text = 'md5,label\naa,"two\nlines"\nbb,"three\r\n\r\nlines"\ncc,\n'
    assert [row.line for row in read_csv(text)] == [2, 4, 7]


def test_csv_rejects() -> None:
    text = 'md5,label\naa,x,y\n,x\nbb,"x"y\ncc,ok\nee\n'
    assert [(row.line, row.why if isinstance(row, Reject) else row.text) for row in read_csv(text)] == [
        (2, "3 columns, the header has 2"),
        (3, "no fingerprint in this row"),
        (4, "not CSV: ',' expected after '\"'"),
        (5, "cc"),
        (6, "ee"),
    ]


def test_csv_an_open_quote_swallows_nothing_unseen() -> None:
    rows = "".join(f"{i:032x},x\n" for i in range(1000))
    assert isinstance(read_csv(f'md5,label\n00,"open\n{rows}')[0], Reject)  # to the end of the file
    closed = read_csv(f'md5,label\n00,"open\n{rows}01,"\n')
    assert closed[0] == Reject(2, f"a quote is still open after {MAX_ROW_LINES} lines")


def test_csv_bytes_that_are_no_text_harm_only_their_row() -> None:
    rows = read_csv(b"md5,name\naa,caf\xe9\nbb,ok\n")
    assert [row.text for row in rows if isinstance(row, Raw)] == ["aa", "bb"]


def test_csv_overlong_line_is_rejected() -> None:
    text = f"md5,label\naa,{'x' * MAX_LINE_BYTES}\nbb,ok\n"
    assert read_csv(text) == [Reject(2, f"a line longer than {MAX_LINE_BYTES} bytes"), Raw(3, "md5", "bb", "ok")]


@pytest.mark.parametrize(
    ("text", "columns", "why"),
    [
        ("", {}, "none of the 0 columns"),
        ("a,b\n1,2\n", {}, "none of the 2 columns"),
        (f"{'0123456789abcdef' * 4}\n{'f' * 64}\n", {}, "none of the 1 columns"),
        ("label,md5\n", {"md6": "md5"}, "0 columns are named 'md6'"),
        ("md5,MD5\n", {"md5": "md5"}, "2 columns are named 'md5'"),
        ("md5,x\n", {"x": "colour"}, "'colour' is not a hash type"),
        ("md5,label,LABEL\n", {}, "2 columns are 'label'"),
        ('"md5"x\n', {}, "the header cannot be read"),
    ],
)
def test_csv_headers_that_cannot_be_used(text: str, columns: dict[str, str], why: str) -> None:
    with pytest.raises(Malformed, match=why) as refused:
        read_csv(text, **columns)
    assert refused.value.field == "columns"
    assert "0123456789abcdef" not in str(refused.value)


def test_squeeze() -> None:
    assert [squeeze(name) for name in ("SHA-256", " sha_256 ", "Source ID")] == ["sha256", "sha256", "sourceid"]


# Labels as they are kept: one printable line.
words = st.text(st.characters(codec="utf-8", exclude_categories=("C", "Z")) | st.just(" "), max_size=20).map(str.strip)
entries = st.lists(
    st.builds(
        lambda hash_type, value, label, source_id: lists_pb2.Entry(
            fingerprint=common_pb2.Fingerprint(hash_type=hash_type, value=value), label=label, source_id=source_id
        ),
        st.sampled_from(TYPES),
        st.binary(min_size=1, max_size=8),
        words,
        words,
    )
)


@given(entries)
def test_what_csv_writes_it_reads(given_entries: list[lists_pb2.Entry]) -> None:
    text = "".join(csv.write(given_entries))
    read = [(r.hash_type, r.text, r.label, r.source_id) for r in read_csv(text) if isinstance(r, Raw)]
    assert read == [(e.fingerprint.hash_type, e.fingerprint.value.hex(), e.label, e.source_id) for e in given_entries]


@given(entries)
def test_what_hex_writes_it_reads(given_entries: list[lists_pb2.Entry]) -> None:
    read = read_hex("".join(hex.write(given_entries)).encode())
    assert [(r.hash_type, r.text.decode()) for r in read if isinstance(r, Raw)] == [
        (e.fingerprint.hash_type, e.fingerprint.value.hex()) for e in given_entries
    ]


@given(st.binary(max_size=300))
def test_any_bytes_are_rows_rejects_or_malformed(junk: bytes) -> None:
    for head in (b"", b"md5,label\n"):
        for read in (read_hex, read_csv):
            try:
                lines = [row.line for row in read(head + junk)]
            except Malformed:
                continue
            assert lines == sorted(lines)
            assert all(1 <= line <= (head + junk).count(b"\n") + (head + junk).count(b"\r") + 1 for line in lines)
