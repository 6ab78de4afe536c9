"""A load generator that costs almost nothing: calls to Match over bare HTTP/2 frames, at their times, whatever happens.

Client and server share the machine here, and a gRPC client in Python costs as much of it per call as the server does:
its lag would be measured, and its hunger taken from the server. This one writes frames that were made beforehand, and
reads of an answer only what tells a verdict (a message) from a refusal (a status alone). Latency counts from when a
call was due, so that a late generator does not hide a late server.

RFC 9113 as far as a client needs it: settings, windows, pings, resets. The header table is kept at size 0, so that
header blocks stand for themselves.
"""

from __future__ import annotations

import asyncio
import random
import statistics
import struct
import time
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from hashmatch.v1 import match_pb2

DATA, HEADERS, RST_STREAM, SETTINGS, PING, GOAWAY, WINDOW_UPDATE = 0, 1, 3, 4, 6, 7, 8
END_STREAM, END_HEADERS, ACK = 1, 4, 1
HEADER_TABLE_SIZE, MAX_CONCURRENT_STREAMS, INITIAL_WINDOW_SIZE = 1, 3, 4
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
FRAME_BYTES = 16384
ONSET = 1.0  # seconds after which a server under a new load answers as it will go on to
WIDE = (1 << 31) - 1 - 65535
CODES = {b"8": "RESOURCE_EXHAUSTED", b"4": "DEADLINE_EXCEEDED", b"14": "UNAVAILABLE", b"1": "CANCELLED"}


def frame(kind: int, flags: int, stream: int, payload: bytes | memoryview = b"") -> bytes:
    return struct.pack(">I", len(payload))[1:] + struct.pack(">BBI", kind, flags, stream) + payload


def literal(name: str, value: str) -> bytes:
    """A header that no table knows (RFC 7541, 6.2.2), without Huffman."""
    key, text = name.encode(), value.encode()
    return b"\0" + bytes((len(key),)) + key + bytes((len(text),)) + text


def header_block(hint: int | None) -> bytes:
    """The headers of a call to Match; `hint`: how much media it carries, where that is said."""
    pairs = [(":method", "POST"), (":scheme", "http"), (":path", "/hashmatch.v1.MatchService/Match"),
             (":authority", "load"), ("te", "trailers"), ("content-type", "application/grpc")]  # fmt: skip
    if hint is not None:
        pairs.append(("hashmatch-media-bytes", str(hint)))
    return b"".join(literal(name, value) for name, value in pairs)


@dataclass(slots=True)
class Call:
    due: float
    rest: memoryview  # of the message, not yet sent
    window: int
    question: Any
    answer: bytearray = field(default_factory=bytearray)


class Connection(asyncio.Protocol):
    """One HTTP/2 connection. `done` is told the question, the seconds it took, the status, and the answer's bytes."""

    def __init__(self, done: Callable[[Any, float, str, bytes], None]) -> None:
        self._done = done
        self._calls: dict[int, Call] = {}
        self._blocked: deque[int] = deque()
        self._held: deque[tuple[Any, bytes, bytes, float]] = deque()  # past the server's bound, as gRPC's clients do
        self._next, self._window, self._initial, self._most = 1, 65535, 65535, 1 << 31
        self._read = bytearray()

    def connection_made(self, transport: Any) -> None:
        self._transport = transport
        settings = struct.pack(">HIHI", HEADER_TABLE_SIZE, 0, INITIAL_WINDOW_SIZE, WIDE)
        transport.write(PREFACE + frame(SETTINGS, 0, 0, settings) + frame(WINDOW_UPDATE, 0, 0, struct.pack(">I", WIDE)))

    def connection_lost(self, error: Exception | None) -> None:
        for stream in list(self._calls):
            self._end(stream, "LOST")

    def ask(self, question: Any, block: bytes, message: bytes, due: float) -> None:
        """Sends a call, as far as windows let it."""
        if len(self._calls) >= self._most:
            self._held.append((question, block, message, due))
            return
        stream, self._next = self._next, self._next + 2
        self._calls[stream] = Call(due, memoryview(message), self._initial, question)
        self._transport.write(frame(HEADERS, END_HEADERS, stream, block))
        self._send(stream)

    def _send(self, stream: int) -> None:
        call = self._calls.get(stream)
        while call is not None and len(call.rest):
            size = min(FRAME_BYTES, len(call.rest), call.window, self._window)
            if size <= 0:
                if self._window <= 0:
                    self._blocked.append(stream)
                return
            part, call.rest = call.rest[:size], call.rest[size:]
            call.window -= size
            self._window -= size
            self._transport.write(frame(DATA, 0 if len(call.rest) else END_STREAM, stream, part))

    def data_received(self, data: bytes) -> None:
        self._read += data
        at = 0
        while len(self._read) - at >= 9:
            size = int.from_bytes(self._read[at : at + 3], "big")
            if len(self._read) - at < 9 + size:
                break
            kind, flags, stream = struct.unpack_from(">BBI", self._read, at + 3)
            self._take(kind, flags, stream, bytes(self._read[at + 9 : at + 9 + size]))
            at += 9 + size
        del self._read[:at]

    def _take(self, kind: int, flags: int, stream: int, payload: bytes) -> None:
        if kind == WINDOW_UPDATE:
            by = int.from_bytes(payload, "big")
            if stream == 0:
                self._window += by
                for _ in range(len(self._blocked)):
                    self._send(self._blocked.popleft())
            elif stream in self._calls:
                self._calls[stream].window += by
                self._send(stream)
        elif kind == DATA and stream in self._calls:
            self._calls[stream].answer += payload
        elif kind == HEADERS and flags & END_STREAM:
            number = payload.partition(b"grpc-status")[2]
            code = number[1 : 1 + number[0]] if number else b""
            self._end(stream, "OK" if code == b"0" else CODES.get(code, code.decode() or "NONE"))
        elif kind == RST_STREAM:
            self._end(stream, f"RESET {int.from_bytes(payload, 'big')}")
        elif kind == PING and not flags & ACK:
            self._transport.write(frame(PING, ACK, 0, payload))
        elif kind == SETTINGS and not flags & ACK:
            for at in range(0, len(payload), 6):
                name, value = struct.unpack_from(">HI", payload, at)
                if name == MAX_CONCURRENT_STREAMS:
                    self._most = value
                elif name == INITIAL_WINDOW_SIZE:
                    for call in self._calls.values():
                        call.window += value - self._initial
                    self._initial = value
            self._transport.write(frame(SETTINGS, ACK, 0))

    def _end(self, stream: int, code: str) -> None:
        if (call := self._calls.pop(stream, None)) is not None:
            self._done(call.question, time.perf_counter() - call.due, code, bytes(call.answer[5:]))
            if self._held and len(self._calls) < self._most:
                self.ask(*self._held.popleft())


@dataclass(frozen=True, slots=True)
class Question:
    """A call made beforehand, and the finding that is right."""

    block: bytes
    message: bytes
    finding: int

    @classmethod
    def of(cls, request: match_pb2.MatchRequest, finding: int, *, hinted: bool = True) -> Question:
        """`hinted`: it says how much media it carries, as our clients do."""
        message = request.SerializeToString()
        hint = len(request.media) if hinted else None
        return cls(header_block(hint), b"\0" + struct.pack(">I", len(message)) + message, finding)


@dataclass(slots=True)
class Outcome:
    """What an open loop saw: seconds of each verdict, and calls by status."""

    seconds: list[float] = field(default_factory=list)
    onset: list[float] = field(default_factory=list)  # those asked in the first ONSET seconds, apart
    codes: Counter[str] = field(default_factory=Counter)
    wrong: int = 0  # verdicts that were not the right ones

    @property
    def asked(self) -> int:
        return sum(self.codes.values())

    @property
    def others(self) -> int:
        """Calls that were neither given a verdict nor refused."""
        return self.asked - self.codes["OK"] - self.codes["RESOURCE_EXHAUSTED"]

    def quantile(self, percent: int) -> float:
        """Milliseconds within which so many of the verdicts came, those of the onset apart."""
        return 1000 * statistics.quantiles(self.seconds, n=100)[percent - 1]


async def open_loop(
    address: str,
    rate: float,
    seconds: float,
    questions: list[Question],
    *,
    seed: int = 1,
    connections: int = 8,
    source: str = "127.0.0.1",
    grace: float = 15.0,
) -> Outcome:
    """Asks at exponential intervals, `rate` a second in the mean, over connections from the address `source`.

    Calls that are not answered so many seconds after the last was sent are LOST.
    """
    found, rng, asked = Outcome(), random.Random(seed), 0

    def done(question: Question, took: float, code: str, answer: bytes) -> None:
        found.codes[code] += 1
        if code == "OK":
            early = time.perf_counter() - took < began + ONSET
            (found.onset if early else found.seconds).append(took)
            found.wrong += match_pb2.MatchResponse.FromString(answer).finding != question.finding

    loop = asyncio.get_running_loop()
    host, _, port = address.rpartition(":")
    made = [
        await loop.create_connection(lambda: Connection(done), host, int(port), local_addr=(source, 0))
        for _ in range(connections)
    ]
    await asyncio.sleep(0.1)  # until their settings have been exchanged
    due = began = time.perf_counter()
    while due - began < seconds:
        due += rng.expovariate(rate)
        if (early := due - time.perf_counter()) > 0:
            await asyncio.sleep(early)
        question = rng.choice(questions)
        made[asked % connections][1].ask(question, question.block, question.message, due)
        asked += 1
    until = time.perf_counter() + grace
    while found.asked < asked and time.perf_counter() < until:
        await asyncio.sleep(0.02)
    for transport, _ in made:
        transport.close()
    await asyncio.sleep(0.05)
    return found
