"""The demonstration behind `tools/demo`: a real server, a real list, real verdicts. All pictures are drawn."""

from __future__ import annotations

import argparse
import io
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from demo_outside import Platform, outside
from PIL import Image, ImageDraw, ImageEnhance

from hashmatch.cli import format
from hashmatch.client import Client
from hashmatch.simulate.cybertipline import CyberTipline
from hashmatch.simulate.state import Stage
from hashmatch.types import Subject
from hashmatch.v1 import common_pb2, match_pb2

HASHMATCH = str(Path(sys.executable).parent / "hashmatch")
SIDE = (800, 600)  # pixels


def draw(seed: int) -> Image.Image:
    """A landscape of sorts: coloured noise at every scale, with a few shapes in front."""
    rng = np.random.default_rng(seed)
    picture = np.zeros((SIDE[1], SIDE[0], 3))
    for cells in (3, 6, 12, 24, 48):
        noise = Image.fromarray(rng.integers(0, 256, (cells, cells, 3), dtype=np.uint8))
        picture += np.asarray(noise.resize(SIDE, Image.Resampling.BICUBIC), dtype=float) / cells
    picture = 255 * (picture - picture.min()) / np.ptp(picture)
    drawn = Image.fromarray(picture.astype(np.uint8))
    pen = ImageDraw.Draw(drawn)
    for _ in range(6):
        x, y, r = (int(v) for v in rng.integers((0, 0, 20), (SIDE[0], SIDE[1], 120)))
        colour = (int(rng.integers(256)), int(rng.integers(256)), int(rng.integers(256)))
        pen.ellipse((x - r, y - r, x + r, y + r), fill=colour)
    return drawn


def encode(picture: Image.Image, kind: str, **options: object) -> bytes:
    out = io.BytesIO()
    picture.save(out, kind, **options)
    return out.getvalue()


def samples() -> dict[str, bytes]:
    """What is uploaded, by what it is."""
    listed = draw(1)
    inner = (8, 6, SIDE[0] - 8, SIDE[1] - 6)
    oriented = listed.transpose(Image.Transpose.ROTATE_90)
    exif = Image.Exif()
    exif[0x0112] = 6  # "turn a quarter clockwise to display"
    letterboxed = Image.new("RGB", (SIDE[0], SIDE[1] + 200))
    letterboxed.paste(listed, (0, 100))
    animation = [draw(20).resize((400, 300)), draw(2).resize((400, 300)), draw(21).resize((400, 300))]
    jpeg = encode(listed, "JPEG", quality=90)
    return {
        "an exact copy": encode(listed, "PNG"),
        "recompressed as JPEG, quality 40": encode(listed, "JPEG", quality=40),
        "half the size, as WebP": encode(listed.resize((SIDE[0] // 2, SIDE[1] // 2)), "WEBP"),
        "brighter": encode(ImageEnhance.Brightness(listed).enhance(1.25), "JPEG"),
        "slightly cropped": encode(listed.crop(inner), "JPEG"),
        "turned, with EXIF to turn it back": encode(oriented, "JPEG", quality=90, exif=exif),
        "mirrored": encode(listed.transpose(Image.Transpose.FLIP_LEFT_RIGHT), "JPEG"),
        "between black bars": encode(letterboxed, "JPEG"),
        "second frame of an animation": encode(
            animation[0], "GIF", save_all=True, append_images=animation[1:], duration=500
        ),
        "a stranger": encode(draw(10), "JPEG"),
        "another stranger, as AVIF": encode(draw(11), "AVIF"),
        "a broken file": jpeg[: len(jpeg) // 3],
        "a web page named photo.jpg": b"<!doctype html><title>not a photo</title>",
        "an all-black picture": encode(Image.new("RGB", SIDE), "PNG"),
    }


@contextmanager
def serving(state: Path, workflow: Path) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """A server on a free loopback port, and its address."""
    walls = [] if sys.platform == "linux" else ["--walls", "available"]
    server = subprocess.Popen(
        [HASHMATCH, "serve", "--state", state, "--listen", "127.0.0.1:0", *walls], stdout=subprocess.PIPE, text=True,
        stderr=(state / "serve.log").open("w"), env={**os.environ, "HASHMATCH_WORKFLOW": str(workflow)},
    )  # fmt: skip
    try:
        assert server.stdout is not None
        line = server.stdout.readline()
        if not line:
            sys.exit("the server did not start:\n" + (state / "serve.log").read_text())
        print(line, end="")
        yield server, line.split()[2].rstrip(":")
    finally:
        server.send_signal(signal.SIGTERM)
        server.wait(30)


def hashmatch(state: Path, *command: str, given: str | None = None) -> str:
    print("$ hashmatch", *command)
    walls = "required" if sys.platform == "linux" else "available"
    done = subprocess.run(
        [HASHMATCH, *command], capture_output=True, text=True, check=False, input=given,
        env={**os.environ, "HASHMATCH_STATE": str(state), "HASHMATCH_WALLS": walls},
    )  # fmt: skip
    if done.returncode:
        sys.exit(done.stderr)
    return done.stdout


def audit(state: Path) -> None:
    """Exports the log and verifies it, as somebody would who trusts nobody here."""
    key, folder = state / "log.vkey", state / "audit"
    key.write_text(hashmatch(state, "log", "checkpoint", "--verifier-key"))
    hashmatch(state, "log", "export", str(folder))
    print(hashmatch(state, "log", "verify", str(folder), "--key", str(key)), end="")


def subject(number: int) -> Subject:
    """Whose upload it is: two uploaders take turns."""
    return Subject(content_id=f"post-{number}", uploader_id=f"user-{number % 2}", surface="chat")


def follow(state: Path, platform: Platform, authority: CyberTipline) -> None:
    """What follows from the matches: the platform acts, a person decides, a report is filed, evidence is kept."""

    def run(*command: str) -> str:
        return hashmatch(state, *command)

    def until(condition: Callable[[], bool]) -> None:
        end = time.monotonic() + 30
        while not condition() and time.monotonic() < end:
            time.sleep(0.1)

    until(lambda: "restrict" in {verb for verb, _ in platform.done.values()})
    print(run("cases", "list"), end="")
    case = json.loads(run("cases", "list", "--json").splitlines()[0])["id"]
    run("cases", "claim", case)
    print(run("cases", "decide", case, "--confirm", "--reason", "KNOWN_MATERIAL"), end="")
    until(lambda: "suspend" in {verb for verb, _ in platform.done.values()})
    until(lambda: any(report.stage is Stage.FINISHED for report in authority.reports.values()))
    print("\nThe sample receiver verified and did:")
    format.table(sorted(platform.done.values()), ("verb", "what"))
    print()
    until(lambda: "CLOSED" in run("cases", "show", case))
    print(run("cases", "show", case), end="")
    print(run("reports", "list"), end="")
    print(run("kpi"), end="")
    print()


def load_list(state: Path) -> None:
    """Lists the fingerprints of two drawn pictures, as an analyst would."""
    pictures = []
    for seed in (1, 2):
        path = state / f"listed-{seed}.png"
        path.write_bytes(encode(draw(seed), "PNG"))
        pictures.append(str(path))
    fingerprints = hashmatch(state, "hash", "--type", "pdq,sha256", *pictures)
    create = ["--operator", "hashmatch demo", "--disposition", "block", "--trust", "verified"]
    create += ["--variants", "flips,unletterboxed"]
    hashmatch(state, "lists", "create", "demo", *create)
    print(hashmatch(state, "lists", "import", "demo", "-", "--activate", given=fingerprints), end="")


def row(name: str, answer: match_pb2.MatchResponse) -> tuple[str, ...]:
    finding = common_pb2.Finding.Name(answer.finding).removeprefix("FINDING_")
    disposition = common_pb2.Disposition.Name(answer.disposition).removeprefix("DISPOSITION_").lower()
    if answer.matches:
        nearest = answer.matches[0]
        variant = f", {nearest.variant}" if nearest.variant else ""
        at = f", at {nearest.frame_ms} ms" if nearest.frame_ms else ""
        why = f"{nearest.list}: {nearest.hash_type}, {nearest.distance} of {nearest.threshold} bits{variant}{at}"
    else:
        names = common_pb2.UnhashableReason
        reasons = {h.hash_type: names.Name(h.unhashable) for h in answer.hashed if h.unhashable}
        why = ", ".join(f"{t}: {r.removeprefix('UNHASHABLE_REASON_').lower()}" for t, r in reasons.items())
        why = why or f"{sum(answer.coverage.entries.values())} entries searched"
    return name, finding, disposition, why


def main() -> None:
    arguments = argparse.ArgumentParser(prog="tools/demo", description=__doc__)
    arguments.add_argument("--once", action="store_true", help="exit after the table instead of leaving the server up")
    once = arguments.parse_args().once
    state = Path(tempfile.mkdtemp(prefix="hashmatch-demo-"))
    with outside(state) as (platform, authority, workflow), serving(state, workflow) as (server, address):
        load_list(state)
        with Client(address) as client:
            revision = json.loads(hashmatch(state, "status", "--json"))["revision"]  # answers must not be older
            rows = [
                row(name, client.match(media, request_id=f"demo-{i}", subject=subject(i), min_revision=revision))
                for i, (name, media) in enumerate(samples().items())
            ]
        print()
        format.table(rows, ("uploaded", "finding", "disposition", "why"))
        print()
        follow(state, platform, authority)
        print(hashmatch(state, "log", "tail", "-n", "3"), end="")
        audit(state)
        if not once:
            print(f"\nThe server stays up on {address}, its state in {state}. Try:")
            print(f"  .venv/bin/hashmatch match YOUR-PICTURE --server {address}")
            print(f"  .venv/bin/hashmatch log tail --state {state}")
            print("There is no console yet. Ctrl-C stops the server.")
            try:
                server.wait()
            except KeyboardInterrupt:
                print()


if __name__ == "__main__":
    main()
