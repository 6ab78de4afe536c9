"""Instructions as records of an Apache Kafka topic.

Each is the CloudEvent that a webhook would get, in structured mode and not in binary mode: so it has the very same
bytes on every way, one reader does for all, and ids stand in no header, which brokers' tools show. Its key is whose it
is, as the outbox orders them: all about one uploader are in one partition, in order. Such a topic must not be
compacted, which would drop all but the last of an uploader.

librdkafka repeats within one attempt without a duplicate (enable.idempotence); but the next attempt is a new record,
under the same event's id, by which who reads it tells. Only the delivery report after acks=all is a receipt.

librdkafka resolves names itself, and connects to whichever brokers the cluster names. So before each instruction the
named and the given brokers are resolved and checked; but unlike a webhook's, the connection is not bound to the very
address that was checked: there the certificate must be right, or the network was allowed by name.
"""

from __future__ import annotations

import logging
import ssl
import threading
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any, Final

from confluent_kafka import KafkaError, KafkaException, Producer

from hashmatch.delivery.addresses import Egress
from hashmatch.delivery.dispatch import CONTENT_TYPE, Dispatch, NotTaken, Receipt, RefusedForGood
from hashmatch.delivery.guarded_http import CALL_SECONDS, Resolve, Unreachable, resolve
from hashmatch.delivery.hosts import Host
from hashmatch.errors import BadConfig

PORT: Final = 9092
MECHANISMS: Final = ("SCRAM-SHA-512", "SCRAM-SHA-256", "PLAIN")
GRACE_SECONDS: Final = 1.0  # after which whoever waits believes no more that librdkafka keeps to its time
POLL_SECONDS: Final = 0.2
_NEVER: Final = frozenset({KafkaError.MSG_SIZE_TOO_LARGE, KafkaError.INVALID_RECORD})
_TOLD: Final = {
    KafkaError._AUTHENTICATION: "the brokers refuse the credentials",
    KafkaError.SASL_AUTHENTICATION_FAILED: "the brokers refuse the credentials",
    KafkaError.TOPIC_AUTHORIZATION_FAILED: "these credentials may not write to the topic",
    KafkaError.UNKNOWN_TOPIC_OR_PART: "there is no such topic",
    KafkaError._UNKNOWN_TOPIC: "there is no such topic",
    KafkaError._SSL: "TLS with the brokers fails",
}

trace = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Security:
    """How brokers are spoken to."""

    tls: bool = True
    ca: Path | None = None  # PEM of the authorities of their certificates, instead of the system's
    cert: Path | None = None  # PEM of our own certificate
    key: Path | None = None  # PEM of its key
    mechanism: str = MECHANISMS[0]
    user: str = ""  # empty: no SASL
    password: str = field(default="", repr=False)

    def settings(self) -> dict[str, Any]:
        """As librdkafka takes them.

        Raises:
            BadConfig: a file cannot be read; or a password would go in clear.
        """
        if self.user and self.mechanism == "PLAIN" and not self.tls:
            raise BadConfig("a password goes in clear with PLAIN: use TLS, or SCRAM")
        found = {"security.protocol": ("SASL_" if self.user else "") + ("SSL" if self.tls else "PLAINTEXT")}
        if self.user:
            found |= {"sasl.mechanism": self.mechanism, "sasl.username": self.user, "sasl.password": self.password}
        if self.tls:
            context = ssl.create_default_context()  # tries the files, since librdkafka tells only once it is used
            try:
                if self.ca is not None:
                    context.load_verify_locations(self.ca)
                    found["ssl.ca.location"] = str(self.ca)
                if self.cert is not None and self.key is not None:
                    context.load_cert_chain(self.cert, self.key, password="")  # never ask a terminal
                    found |= {"ssl.certificate.location": str(self.cert), "ssl.key.location": str(self.key)}
            except (OSError, ssl.SSLError) as e:
                raise BadConfig(f"cannot read the authority or the certificate: {e}") from e
        return found


class Kafka:
    """One topic. For any thread; owns one, which serves what librdkafka reports."""

    def __init__(
        self, name: str, brokers: Sequence[Host], egress: Egress, *, topic: str, security: Security,
        resolver: Resolve = resolve, seconds: float = CALL_SECONDS,
    ) -> None:  # fmt: skip
        """Reaches nothing yet. `brokers`: some of one cluster; `seconds`: for one instruction, whatever happens.

        Raises:
            BadConfig: as `Security.settings`.
        """
        self.name = name
        self._brokers, self._egress, self._topic = tuple(brokers), egress, topic
        self._clear, self._resolver = not security.tls, resolver
        self._half = seconds / 2  # one for the cluster to name its brokers, one for the record
        self._settings = security.settings() | {
            "bootstrap.servers": ",".join(str(one) for one in self._brokers),
            "client.id": "hashmatch",
            "enable.idempotence": True,
            "acks": "all",
            # After it a record is taken out of the queue: it cannot come late, behind the next of its uploader.
            "message.timeout.ms": int(self._half * 1000),
            "linger.ms": 0,
            # As Java's clients do it, so that an uploader has the same partition as in the platform's own topics.
            "partitioner": "murmur2_random",
            "reconnect.backoff.ms": 250,
            "reconnect.backoff.max.ms": 2000,
            "log_level": 0,  # it would write to stderr; what matters of it comes as an error, too
        }
        self._lock = threading.Lock()  # over what follows
        self._producer: Producer | None = None
        self._serving: threading.Thread | None = None
        self._closed = False
        self._heard: int | None = None  # code of the last error; written by the serving thread, replaced whole

    def deliver(self, dispatch: Dispatch) -> Receipt:
        """As `Destination.deliver`."""
        report: SimpleQueue[KafkaError | None] = SimpleQueue()
        producer: Producer | None = None
        try:
            self._check((one.name, one.port) for one in self._brokers)
            producer = self._opened()
            known = producer.list_topics(self._topic, timeout=self._half)
            self._check((one.host, one.port) for one in known.brokers.values())
            if (problem := known.topics[self._topic].error) is not None:
                raise KafkaException(problem)
            producer.produce(
                self._topic, dispatch.body(), key_of(dispatch).encode(), headers=[("content-type", CONTENT_TYPE)],
                on_delivery=lambda error, _: report.put(error),
            )  # fmt: skip
            error = report.get(timeout=self._half + GRACE_SECONDS)
            if error is not None:
                raise KafkaException(error)
        except Unreachable as e:
            self._drop(producer or self._producer)  # it would go on connecting
            raise NotTaken(str(e)) from e
        except (Empty, BufferError) as e:
            raise NotTaken("the brokers did not answer in time") from e
        except KafkaException as e:
            raise self._told(producer, e.args[0]) from e
        self._heard = None
        return Receipt()

    def close(self) -> None:
        """Ends the connections and the thread."""
        with self._lock:
            self._closed, self._producer = True, None
            serving, self._serving = self._serving, None
        if serving is not None:
            serving.join()

    def _check(self, hosts: Iterable[tuple[str, int]]) -> None:
        for name, port in hosts:
            Host(name, port).addresses(self._egress, self._resolver, clear=self._clear)

    def _opened(self) -> Producer:
        with self._lock:
            if self._closed:
                raise NotTaken("it was closed")
            if self._producer is None:
                self._heard = None
                self._producer = Producer(self._settings | {"error_cb": self._hear})
                name = f"kafka-{self.name}"
                self._serving = threading.Thread(target=self._serve, args=(self._producer,), name=name, daemon=True)
                self._serving.start()
            return self._producer

    def _serve(self, producer: Producer) -> None:
        while self._producer is producer:
            producer.poll(POLL_SECONDS)

    def _drop(self, producer: Producer | None) -> None:
        """Lets go of a producer, where it is still the one in use: it ends once no call has it any more."""
        with self._lock:
            if self._producer is producer:
                self._producer = self._serving = None

    def _hear(self, error: KafkaError) -> None:
        trace.debug("kafka '%s': %s", self.name, error)
        if error.code() in _TOLD:
            self._heard = error.code()

    def _told(self, producer: Producer | None, error: KafkaError) -> NotTaken | RefusedForGood:
        """What a failure means; never more than what we, or librdkafka, said."""
        if error.fatal():  # this producer sends nothing any more
            self._drop(producer)
        if error.code() in _NEVER:
            return RefusedForGood(f"Kafka never takes it: {error.name()}")
        heard = _TOLD.get(error.code()) or _TOLD.get(self._heard or 0)
        return NotTaken(f"{heard or 'Kafka did not take it'}: {error.name()}")


def key_of(dispatch: Dispatch) -> str:
    """Whose an instruction is: the uploader, else the content, else the case alone, as in its body."""
    if dispatch.verb == "page":  # it says nothing about anybody, and waits behind nothing
        return dispatch.case_id
    return dispatch.uploader_id or dispatch.content_id or dispatch.case_id
