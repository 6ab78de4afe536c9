"""Spans for an OpenTelemetry collector, where the settings name one; the caller's trace is continued.

A call is a span, its stages are spans inside it. Spans carry the method, the status and how long things took: never an
id of a subject or a fingerprint. Without an endpoint nothing of OpenTelemetry is imported.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from hashmatch import __version__
from hashmatch.config import Settings
from hashmatch.errors import BadConfig

EXPORT_SECONDS = 5.0  # for one batch; a collector that hangs costs spans, never calls
_HEADERS = ("traceparent", "tracestate")  # W3C Trace Context


class Tracing:
    """Makes spans, or nothing. For the event loop."""

    def __init__(self, settings: Settings) -> None:
        """Starts sending, where the settings say where to.

        Raises:
            BadConfig: the packages for it are not installed.
        """
        self._tracer: Any = None
        self._provider: Any = None
        if not settings.tracing_endpoint:
            return
        try:
            from opentelemetry import trace
            from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
            from opentelemetry.sdk.resources import Resource
            from opentelemetry.sdk.trace import TracerProvider
            from opentelemetry.sdk.trace.export import BatchSpanProcessor
            from opentelemetry.sdk.trace.sampling import ParentBased, TraceIdRatioBased
            from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
        except ImportError as e:
            raise BadConfig("tracing_endpoint needs more packages: pip install 'hashmatch[tracing]'") from e
        self._provider = TracerProvider(
            resource=Resource.create({"service.name": "hashmatch", "service.version": __version__}),
            sampler=ParentBased(TraceIdRatioBased(settings.tracing_permille / 1000)),
        )
        exporter = OTLPSpanExporter(endpoint=settings.tracing_endpoint, timeout=EXPORT_SECONDS)
        self._provider.add_span_processor(BatchSpanProcessor(exporter))
        self._tracer = self._provider.get_tracer("hashmatch", __version__)
        self._propagator = TraceContextTextMapPropagator()
        self._api = trace

    @contextmanager
    def call(self, method: str, metadata: Mapping[str, str]) -> Iterator[dict[str, str]]:
        """A span round one call; put its status's name under "code" into what this yields."""
        told: dict[str, str] = {}
        if self._tracer is None:
            yield told
            return
        context = self._propagator.extract({k: metadata[k] for k in _HEADERS if k in metadata})
        with self._tracer.start_as_current_span(
            method.lstrip("/"), context=context, kind=self._api.SpanKind.SERVER, record_exception=False
        ) as span:
            try:
                yield told
            finally:
                span.set_attribute("rpc.system", "grpc")
                span.set_attribute("rpc.grpc.status", told.get("code", "OK"))

    def stage(self, name: str, seconds: float) -> None:
        """A span that ends now, inside the call that is being answered."""
        if self._tracer is None or not self._api.get_current_span().is_recording():
            return
        end = time.time_ns()
        self._tracer.start_span(name, start_time=end - int(seconds * 1e9)).end(end)

    def close(self) -> None:
        """Sends what is left."""
        if self._provider is not None:
            self._provider.shutdown()
