"""Spans, at a collector that is really asked."""

from __future__ import annotations

import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from hashmatch import config
from hashmatch.server.tracing import Tracing

TRACE = "0af7651916cd43dd8448eb211c80319c"


def collected(work):
    """The spans that a collector is sent while `work` uses a Tracing that points to it."""
    spans = []

    class Collector(BaseHTTPRequestHandler):
        def do_POST(self):
            body = self.rfile.read(int(self.headers["content-length"]))
            if self.headers.get("content-encoding") == "gzip":
                import gzip

                body = gzip.decompress(body)
            for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
                spans.extend(span for scope in resource.scope_spans for span in scope.spans)
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_):
            pass

    server = HTTPServer(("127.0.0.1", 0), Collector)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        url = f"http://127.0.0.1:{server.server_port}/v1/traces"
        settings = config.load(None, {}, {"tracing_endpoint": url, "tracing_permille": 0}).settings
        tracing = Tracing(settings)
        work(tracing)
        tracing.close()
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
    return {span.name: span for span in spans}


def test_a_callers_trace_is_continued_and_stages_are_inside():
    def work(tracing):
        with tracing.call(
            "/hashmatch.v1.MatchService/Match", {"traceparent": f"00-{TRACE}-b7ad6b7169203331-01"}
        ) as told:
            tracing.stage("search", 0.25)
            told["code"] = "NOT_FOUND"

    found = collected(work)
    call, search = found["hashmatch.v1.MatchService/Match"], found["search"]
    assert call.trace_id.hex() == search.trace_id.hex() == TRACE
    assert search.parent_span_id == call.span_id
    assert 0.24e9 < search.end_time_unix_nano - search.start_time_unix_nano < 0.26e9
    assert ("rpc.grpc.status", "NOT_FOUND") in [(a.key, a.value.string_value) for a in call.attributes]


def test_calls_without_a_trace_are_sampled_and_nonsense_is_no_trace():
    def work(tracing):
        for metadata in ({}, {"traceparent": "00-zz"}, {"traceparent": f"00-{TRACE}-b7ad6b7169203331-00"}):
            with tracing.call("/x/Y", metadata):
                tracing.stage("search", 0.1)

    assert collected(work) == {}


def test_without_an_endpoint_there_is_nothing():
    tracing = Tracing(config.Settings())
    with tracing.call("/x/Y", {"traceparent": f"00-{TRACE}-b7ad6b7169203331-01"}) as told:
        tracing.stage("search", 0.1)
        told["code"] = "OK"
    tracing.close()
