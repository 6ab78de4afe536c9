"""Views of evidence: what they show and hide, that nothing of the file comes with them, and what they cost others."""

from __future__ import annotations

import asyncio
import io
import struct
import zlib
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any, TypeVar

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageOps

from hashmatch.errors import DeadlinePassed, Malformed, Overloaded, Unavailable
from hashmatch.media import limits, protocol, sandbox, viewed
from hashmatch.media.image import Undecodable, open_media
from hashmatch.media.levels import Level, NoFrame, Unviewable, View, Viewed
from hashmatch.media.sandbox import Sandbox
from hashmatch.media.view import BLUR_SIDE, view
from hashmatch.types import Reason, Wanted

T = TypeVar("T")
Sandboxed = Callable[[Callable[[Sandbox], Awaitable[T]]], T]
FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "AVIF", "HEIF")
LEVELS = tuple(Level)


def seen(media: bytes, level: Level = Level.FULL, frame: int = 0) -> View:
    """A view made here, of which the parent's reading agrees."""
    made = view(media, level, frame)
    assert isinstance(made, View), made
    assert viewed.view_from(bytes([made.frames, made.all_frames]) + made.png, level, frame) == made
    return made


def pixels(made: View) -> NDArray[np.uint8]:
    """(H, W, 3) as a browser shows it."""
    with Image.open(io.BytesIO(made.png)) as picture:
        assert picture.format == "PNG"
        assert not picture.info
        assert picture.size == (made.width, made.height)
        return np.asarray(picture.convert("RGB"))


def off(made: View, drawn: Image.Image) -> float:
    """Mean difference to what it ought to show, in grey levels."""
    theirs = np.asarray(drawn.convert("RGB").resize((made.width, made.height), Image.Resampling.LANCZOS))
    return float(np.abs(pixels(made).astype(int) - theirs).mean())


def chunks(png: bytes) -> list[bytes]:
    """The kinds of a PNG's chunks."""
    at, found = 8, []
    while at < len(png):
        length, kind = struct.unpack_from(">I4s", png, at)
        found.append(kind)
        at += 12 + length
    return found


@pytest.mark.parametrize("kind", FORMATS)
def test_every_format_at_every_level(drawing: ModuleType, kind: str) -> None:
    drawn = drawing.picture(1120, 840)
    media = drawing.written(drawn, kind)
    for level, size in ((Level.BLURRED, (160, 120)), (Level.GREY, (320, 240)), (Level.FULL, (1024, 768))):
        made = seen(media, level)
        shown = pixels(made)
        assert (made.width, made.height, made.frames) == (*size, 1)
        assert (np.ptp(shown, axis=2).max() == 0) == (level is not Level.FULL)
    assert off(made, drawn) < (12 if kind == "GIF" else 5)


@pytest.mark.parametrize(("width", "height"), [(1, 1), (20, 9), (300, 200), (1, 9000), (9000, 1), (3000, 40)])
def test_sizes_keep_their_proportion_and_only_the_blurred_are_enlarged(width: int, height: int) -> None:
    out = io.BytesIO()
    Image.new("RGB", (width, height), (200, 30, 60)).save(out, "PNG")
    for level in LEVELS:
        made = seen(out.getvalue(), level)
        longer = level.long_side if level is Level.BLURRED else min(level.long_side, max(width, height))
        by = longer / max(width, height)
        assert (made.width, made.height) == (max(1, round(width * by)), max(1, round(height * by)))
        assert np.ptp(pixels(made).reshape(-1, 3), axis=0).max() <= 1


def fine(height: int, width: int, cells: int) -> NDArray[np.uint8]:
    """A checkerboard of so many cells a row, with fine print across it."""
    side = width // cells
    board = ((np.indices((height, width)) // side).sum(axis=0) % 2 * 255).astype(np.uint8)
    picture = Image.fromarray(board)
    pen = ImageDraw.Draw(picture)
    for y in range(8, height, 90):
        pen.rectangle((0, y - 2, width, y + 14), fill=255)
        pen.text((10, y), "the name and the street and the number of the house " * 3, fill=0)
    return np.asarray(picture)


def detail(grey: NDArray[Any]) -> float:
    """Energy a pixel that is finer than half the pixels that a blurred view is made of can carry, in grey levels²."""
    height, width = grey.shape
    spectrum = np.abs(np.fft.fft2(grey.astype(float) * np.outer(np.hanning(height), np.hanning(width)))) ** 2
    across = np.hypot(np.fft.fftfreq(height)[:, None] * height, np.fft.fftfreq(width)[None] * width)
    return float(spectrum[across > BLUR_SIDE / 2].sum() / grey.size**2)


@pytest.mark.parametrize("cells", [24, 40, 64, 160])
def test_detail_is_gone_from_the_blurred_and_kept_in_the_full(drawing: ModuleType, cells: int) -> None:
    drawn = fine(720, 960, cells)
    media = drawing.written(Image.fromarray(drawn).convert("RGB"), "PNG")
    whole = detail(drawn)
    assert whole > 500
    full, grey, blurred = (detail(pixels(seen(media, level))[..., 0]) for level in (Level.FULL, Level.GREY, LEVELS[0]))
    assert full == pytest.approx(whole, rel=0.01)
    assert grey > 0.2 * whole
    assert blurred < 1e-4 * whole


@pytest.mark.parametrize(("columns", "most"), [(BLUR_SIDE, 4), (BLUR_SIDE // 2, 8)])
def test_what_is_left_is_blurred_too(drawing: ModuleType, columns: int, most: int) -> None:
    """Black and white columns as wide as the pixels that a blurred view is made of, and twice as wide."""
    row = np.repeat(np.arange(columns) % 2 * 255, 960 // columns)
    media = drawing.written(Image.fromarray(np.tile(row, (720, 1)).astype(np.uint8)), "PNG")
    blurred, full = (pixels(seen(media, level))[20:100, 20:140].std() for level in (Level.BLURRED, Level.FULL))
    assert blurred < most
    assert full > 120


def test_a_blurred_view_is_made_of_few_numbers(drawing: ModuleType) -> None:
    """All that it knows of a picture is in BLUR_SIDE × BLUR_SIDE pixels: those alone give the same view."""
    blocks = np.random.default_rng(3).integers(0, 2, (100, 100)) * 255
    drawn = Image.fromarray(blocks.repeat(3, 0).repeat(3, 1).astype(np.uint8))
    few = drawn.resize((BLUR_SIDE, BLUR_SIDE), Image.Resampling.LANCZOS)
    blurred, same = (seen(drawing.written(one, "PNG"), Level.BLURRED) for one in (drawn, few))
    assert blurred == same
    assert pixels(blurred).std() > 5


MARKER = b"MARKER-7f3a"


def marked(drawing: ModuleType, kind: str) -> bytes:
    """A file with the marker in every place for words, a position among them."""
    drawn = drawing.picture(200, 150)
    exif = Image.Exif()
    exif[0x010E] = exif[0x9C9C] = exif[0x013B] = MARKER.decode()
    exif.get_ifd(0x8825)[1], exif.get_ifd(0x8825)[0x1B] = "N", MARKER
    if kind == "GIF":
        return bytes(drawing.written(drawn, kind, comment=MARKER))
    profile = MARKER * 20
    if kind == "TIFF":
        return bytes(drawing.written(drawn, kind, description=MARKER.decode(), icc_profile=profile))
    more: dict[str, Any] = {"exif": exif.tobytes(), "icc_profile": profile}
    if kind in ("JPEG", "WEBP"):
        more["xmp"] = b"<x:xmpmeta>" + MARKER + b"</x:xmpmeta>"
    if kind == "JPEG":
        more["comment"] = MARKER
    media = bytes(drawing.written(drawn, kind, **more))
    if kind == "PNG":
        media = drawing.with_png_chunk(media, drawing.png_chunk(b"tEXt", b"Comment\0" + MARKER))
    return media + MARKER


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "GIF", "TIFF", "AVIF"])
def test_nothing_but_pixels_comes_along(drawing: ModuleType, kind: str) -> None:
    media = marked(drawing, kind)
    assert MARKER in media
    for level in LEVELS:
        made = seen(media, level)
        assert set(chunks(made.png)) == {b"IHDR", b"IDAT", b"IEND"}
        assert not any(word in made.png for word in (MARKER, b"Exif", b"GPS", b"xmpmeta", b"ICC"))
        pixels(made)


def _tagged(drawn: Image.Image, value: int) -> Image.Image:
    tagged = drawn.copy()
    tagged.getexif()[0x0112] = value
    return tagged


@pytest.mark.parametrize("value", range(1, 9))
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "TIFF"])
def test_it_is_turned_as_a_viewer_turns_it(drawing: ModuleType, kind: str, value: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = value
    drawn = drawing.picture(400, 300)
    media = drawing.written(drawn, kind, exif=exif.tobytes() if kind != "TIFF" else exif)
    turned = ImageOps.exif_transpose(_tagged(drawn, value))
    made = seen(media)
    assert (made.width, made.height) == turned.size
    assert off(made, turned) < 5


@pytest.mark.parametrize("kind", ["GIF", "PNG", "WEBP", "AVIF", "HEIF", "TIFF"])
def test_frames_are_asked_for_by_number(drawing: ModuleType, kind: str) -> None:
    media = drawing.animation(kind, 5)
    shots = [drawing.picture(120, 90, seed=100 + i) for i in range(5)]
    for i in range(5):
        made = seen(media, frame=i)
        assert (made.frames, made.all_frames) == (5, True)
        assert int(np.argmin([off(made, shot) for shot in shots])) == i
    assert view(media, Level.BLURRED, 5) == NoFrame(5)


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "TIFF"])
def test_what_was_hashed_can_be_looked_at(drawing: ModuleType, kind: str) -> None:
    media = drawing.animation(kind, 150, width=32, height=24)
    _, frames = open_media(media, colour=True, full_size=True)
    hashed = [frame.pixels for frame in frames]
    assert len(hashed) == limits.MAX_FRAMES_HASHED
    for i in (0, 40, 63):
        made = seen(media, frame=i)
        assert (made.frames, made.all_frames) == (limits.MAX_FRAMES_HASHED, False)
        assert np.array_equal(pixels(made), hashed[i])


def test_a_picture_that_lives_in_its_alpha_channel_is_shown(drawing: ModuleType) -> None:
    drawn = drawing.picture(120, 90).convert("L")
    ink = Image.new("RGB", drawn.size, "black")
    ink.putalpha(drawn)
    assert off(seen(drawing.written(ink, "PNG")), drawn) < 1


def outcome(media: bytes) -> str:
    """What hashing makes of the first frame."""
    try:
        next(open_media(media, colour=False, full_size=False)[1])
    except Undecodable as e:
        return e.reason.value
    return "ok"


def test_hostile_media_has_a_view_or_a_reason(sandboxed: Sandboxed[Any], hostile_corpus: list[Any]) -> None:
    """Behind the walls, and in one worker: nothing of it ends that."""

    async def use(box: Sandbox) -> list[Any]:
        wrong: list[Any] = []
        for number, (name, media, expected) in enumerate(hostile_corpus):
            level = LEVELS[number % 3]
            told = await box.view(media, level)
            if isinstance(told, View) and "ok" in expected:
                continue
            first = outcome(media)
            if first == "ok" and not isinstance(told, View):
                wrong.append((name, level, told))
            elif first != "ok" and (told != Unviewable(Reason(first)) or first not in expected):
                wrong.append((name, level, told, first))
        assert box.stats.crashes == box.stats.restarts == box.stats.timeouts == 0
        assert await box.examine(b"", Wanted()) is not None
        return wrong

    assert sandboxed(use) == []


def test_every_format_behind_the_walls(sandboxed: Sandboxed[Any], drawing: ModuleType) -> None:
    media = [drawing.written(drawing.picture(400, 300), kind) for kind in FORMATS]

    async def use(box: Sandbox) -> None:
        for one in media:
            for level in LEVELS:
                assert await box.view(one, level) == view(one, level, 0)

    sandboxed(use)


def test_a_view_of_noise_fits(sandboxed: Sandboxed[Any], drawing: ModuleType) -> None:
    noise = Image.fromarray(np.random.default_rng(5).integers(0, 256, (1024, 1024, 3), np.uint8))
    media = drawing.written(noise, "PNG", compress_level=0)

    async def use(box: Sandbox) -> Viewed:
        return await box.view(media, Level.FULL)

    made = sandboxed(use)
    assert isinstance(made, View)
    assert np.array_equal(pixels(made), np.asarray(noise))


def test_frames_that_are_not_there(sandboxed: Sandboxed[Any], drawing: ModuleType) -> None:
    media = drawing.animation("GIF", 3)

    async def use(box: Sandbox) -> None:
        assert await box.view(media, Level.GREY, frame=2) == view(media, Level.GREY, 2)
        for frame in (3, limits.MAX_FRAMES_HASHED - 1):
            assert await box.view(media, Level.GREY, frame=frame) == NoFrame(3)
        for frame in (-1, limits.MAX_FRAMES_HASHED):
            with pytest.raises(Malformed) as caught:
                await box.view(media, Level.GREY, frame=frame)
            assert caught.value.field == "frame"
        assert box.stats.crashes == box.stats.restarts == 0

    sandboxed(use)


def _running(**how: Any) -> Iterator[Sandboxed[Any]]:
    with asyncio.Runner() as runner:
        box = Sandbox(**how)
        runner.run(box.start())

        async def whole(use: Callable[[Sandbox], Awaitable[Any]]) -> Any:
            while box.stats.idle < box.workers + box.spares:
                await asyncio.sleep(0.01)
            return await use(box)

        yield lambda use: runner.run(whole(use))
        runner.run(box.close())


@pytest.fixture(scope="module")
def sandboxed() -> Iterator[Sandboxed[Any]]:
    """What one sandbox that runs the real job is used for."""
    yield from _running(workers=1)


FAULTY = '''
"""A worker's job whose views do what the media says; its examinations are those of faulty.py."""
from faulty import digests, look, prepare
from hashmatch.media import protocol
from hashmatch.media.levels import NoFrame, Unviewable, View
from hashmatch.types import Reason, Wanted

def view(media, level, frame):
    act, _, argument = bytes(media).partition(b" ")
    if act == b"send":
        return View(argument, 1, 1, frame + 1, True)
    if act == b"frames":
        return NoFrame(int(argument))
    if act == b"reason":
        return Unviewable(Reason(argument.decode()))
    look(media, Wanted(()))
    return Unviewable(Reason.LOW_QUALITY)
'''


@pytest.fixture(scope="module")
def lying(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sandboxed[Any]]:
    """As `sandboxed`, running the job above."""
    folder = tmp_path_factory.mktemp("job")
    (folder / "faulty_views.py").write_text(FAULTY)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(Path(__file__).parent))
        patch.syspath_prepend(str(folder))
        yield from _running(workers=1, job="faulty_views", memory_bytes=150 << 20, deadline=20, cpu_seconds=20)


def chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def png(width: int = 3, height: int = 2, *, depth: int = 8, colour_type: int = 0, more: bytes = b"") -> bytes:
    """A PNG that is as said, which a grey view may be where nothing is."""
    header = struct.pack(">II5B", width, height, depth, colour_type, 0, 0, 0)
    body = zlib.compress(bytes((width + 1) * height))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + more + chunk(b"IDAT", body) + chunk(b"IEND", b"")


NONSENSE = {
    "nothing": b"",
    "text": b"<script>alert(1)</script>",
    "jpeg": b"\xff\xd8\xff\xe0" + bytes(100),
    "too wide": png(321, 2),
    "too high": png(2, 321),
    "no width": png(0, 2),
    "in colour": png(colour_type=2),
    "with a palette": png(colour_type=3),
    "16 bits": png(depth=16),
    "text beside": png(more=chunk(b"tEXt", b"Comment\0x")),
    "animated": png(more=chunk(b"acTL", bytes(8))),
    "two headers": png(more=png()[8:33]),
    "more behind": png() + b"x",
    "cut off": png()[:-1],
    "no pixels": png()[:33] + chunk(b"IEND", b""),
    "too long": png(more=chunk(b"IDAT", bytes(Level.GREY.most_bytes))),
    "in many pieces": png(more=chunk(b"IDAT", b"") * 200),
}


@pytest.mark.parametrize("what", NONSENSE)
def test_only_the_picture_that_was_asked_for_is_read(what: str) -> None:
    assert viewed.view_from(b"\1\1" + png(), Level.GREY, 0) == View(png(), 3, 2, 1, True)
    with pytest.raises(Malformed):
        viewed.view_from(b"\1\1" + NONSENSE[what], Level.GREY, 0)


@given(st.data())
@settings(max_examples=50, deadline=None)
def test_no_answer_is_read_as_more_than_its_level_allows(data: st.DataObject) -> None:
    body = bytearray(b"\1\1" + png(more=chunk(b"IDAT", b"")))
    for _ in range(data.draw(st.integers(0, 3))):
        at = data.draw(st.integers(0, len(body) - 1))
        body[at : at + data.draw(st.integers(0, 3))] = data.draw(st.binary(max_size=3))
    level, frame = data.draw(st.sampled_from(LEVELS)), data.draw(st.integers(0, 2))
    try:
        made = viewed.view_from(bytes(body), level, frame)
    except Malformed:
        return
    assert frame < made.frames <= limits.MAX_FRAMES_HASHED
    assert 1 <= made.width <= level.long_side
    assert 1 <= made.height <= level.long_side
    assert set(chunks(made.png)) == {b"IHDR", b"IDAT", b"IEND"}


@given(st.binary(max_size=40), st.integers(0, limits.MAX_FRAMES_HASHED - 1))
@example(b"[" * 100_000, 0)
@example(b"3", 2)
@example(b"0", 2)
@example(b"true", 2)
@example(b'["too_large"]', 2)
@settings(max_examples=50)
def test_no_absence_is_read_but_a_reason_or_fewer_frames(body: bytes, frame: int) -> None:
    try:
        told = viewed.absence_from(body, frame)
    except Malformed:
        return
    assert isinstance(told, Unviewable) or 1 <= told.frames <= frame


def test_absences_read_back() -> None:
    for reason in Reason:
        assert viewed.absence_from(f'"{reason.value}"'.encode(), 0) == Unviewable(reason)
    assert viewed.absence_from(b"3", 3) == NoFrame(3)


def test_requests_read_back() -> None:
    for level in LEVELS:
        assert protocol.view_from_json(protocol.view_to_json(level, 7)) == (level, 7)


@pytest.mark.parametrize(
    "media",
    [
        b"send " + NONSENSE["too wide"],
        b"frames 1",  # of frame 0
        b"say 07" + b"00000002" + b'"x"'.hex().encode(),  # not a reason
        b"say 067fffffff",  # two gigabytes
        b"flood",
        b"crash",
    ],
)
def test_a_worker_that_answers_nonsense_is_ended(lying: Sandboxed[Any], media: bytes) -> None:
    async def use(box: Sandbox) -> None:
        before = box.stats
        assert await box.view(media, Level.GREY) == Unviewable(Reason.UNDECODABLE)
        assert box.stats.crashes == before.crashes + 1
        while box.stats.restarts == before.restarts:
            await asyncio.sleep(0.01)
        made = await box.view(b"send " + png(), Level.GREY)
        assert made == View(png(), 3, 2, 1, True)

    lying(use)


def test_reasons_and_limits_are_those_of_examinations(lying: Sandboxed[Any]) -> None:
    async def use(box: Sandbox) -> None:
        before = box.stats
        assert await box.view(b"reason too_large", Level.FULL) == Unviewable(Reason.TOO_LARGE)
        assert await box.view(b"bomb", Level.FULL) == Unviewable(Reason.TOO_LARGE)
        assert await box.view(b"raise", Level.FULL) == Unviewable(Reason.UNDECODABLE)
        assert box.stats.restarts == before.restarts  # so far all by the same worker
        box.deadline = 0.2
        assert await box.view(b"spin", Level.FULL) == Unviewable(Reason.TIMED_OUT)
        box.deadline = 20
        assert (box.stats.crashes, box.stats.timeouts) == (before.crashes + 1, before.timeouts + 1)

    lying(use)


def test_a_view_takes_no_worker_from_a_verdict(lying: Sandboxed[Any]) -> None:
    """One worker and its spare: views hold the spare, others wait behind them, and verdicts come as if none did."""

    async def use(box: Sandbox) -> None:
        views = [asyncio.create_task(box.view(b"sleep 60", Level.GREY, share=str(n))) for n in range(3)]
        await asyncio.sleep(0.05)
        assert (box.stats.viewing, box.stats.busy, box.stats.idle, box.stats.waiting) == (1, 0, 1, 0)
        for media in (b"good", b"good", b"crash", b"good"):  # the last by the successor: the other is at the view
            assert bool((await box.examine(media, Wanted())).unhashable) == (media == b"crash")
        verdict = asyncio.create_task(box.examine(b"sleep 60", Wanted()))
        await asyncio.sleep(0.05)
        assert (box.stats.viewing, box.stats.busy, box.stats.idle, box.stats.waiting) == (1, 1, 0, 0)
        for one in (verdict, *views):
            assert not one.done()
            one.cancel()
        while box.stats.viewing or box.stats.busy:
            await asyncio.sleep(0.01)

    lying(use)


def test_a_view_waits_where_a_verdict_would_miss_its_worker(lying: Sandboxed[Any]) -> None:
    async def use(box: Sandbox) -> None:
        assert (await box.examine(b"crash", Wanted())).unhashable  # so that one is left until another has started
        view = asyncio.create_task(box.view(b"send " + png(), Level.GREY))
        await asyncio.sleep(0)
        assert (box.stats.viewing, box.stats.idle) == (0, 1)
        assert not (await box.examine(b"good", Wanted())).unhashable
        assert isinstance(await view, View)

    lying(use)


def test_a_view_behind_another_comes_after_it(lying: Sandboxed[Any]) -> None:
    async def use(box: Sandbox) -> None:
        restarts = box.stats.restarts
        first, second = box.view(b"sleep 0.1", Level.GREY), box.view(b"send " + png(), Level.GREY)
        assert tuple(await asyncio.gather(first, second)) == (
            Unviewable(Reason.LOW_QUALITY),
            View(png(), 3, 2, 1, True),
        )
        assert box.stats.restarts == restarts

    lying(use)


def test_the_line_of_views_is_bounded_and_so_is_the_wait(
    lying: Sandboxed[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sandbox, "LEAVING_SECONDS", 0.0)

    async def use(box: Sandbox) -> None:
        timeouts = box.stats.timeouts
        slow = asyncio.create_task(box.view(b"sleep 60", Level.GREY, timeout=0.3))
        waiting = [asyncio.create_task(box.view(b"sleep 60", Level.GREY)) for _ in range(sandbox.VIEWS_WAITING)]
        await asyncio.sleep(0.05)
        with pytest.raises(Overloaded):
            await box.view(b"x", Level.GREY)
        assert not (await box.examine(b"good", Wanted())).unhashable
        for one in waiting:
            one.cancel()
        with pytest.raises(DeadlinePassed):
            await slow
        while box.stats.timeouts == timeouts or box.stats.viewing:
            await asyncio.sleep(0.01)
        assert isinstance(await box.view(b"send " + png(), Level.GREY), View)

    lying(use)


def test_without_spares_there_are_no_views() -> None:
    with pytest.raises(Unavailable):
        asyncio.run(Sandbox(workers=1, spares=0).view(b"", Level.BLURRED))
