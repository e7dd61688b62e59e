"""Streams log events to LoggingService as its contract asks, and waits for the acknowledgements."""

import queue
import threading
from collections.abc import Iterator

import grpc
from google.protobuf.timestamp_pb2 import Timestamp
from google.rpc import error_details_pb2
from merch.logging.v1 import logging_pb2 as proto
from merch.logging.v1.logging_pb2_grpc import LoggingServiceStub

from .identifiers import uuid7
from .probe import PATIENCE, Difference, describe, detail, expect, rich_status

_METHOD = "StreamLogs"
# Events per request; the contract allows 1,000.
_BATCH = 20


def stream(channel: grpc.Channel, events: int) -> None:
    """Streams log events and prints the id of each acknowledged one."""
    stub = LoggingServiceStub(channel)
    messages = [_event(number) for number in range(events)]
    batches = [messages[start : start + _BATCH] for start in range(0, events, _BATCH)]
    outbound: queue.SimpleQueue[proto.StreamLogsRequest | None] = queue.SimpleQueue()
    sent = 0
    acknowledged = 0
    responses = stub.StreamLogs(_requests(outbound), timeout=PATIENCE)

    def send() -> None:
        nonlocal sent
        outbound.put(proto.StreamLogsRequest(sequence=sent + 1, messages=batches[sent]))
        sent += 1

    def take(response: proto.StreamLogsResponse) -> None:
        nonlocal acknowledged
        got = response.acknowledged_sequence
        if not acknowledged <= got <= sent:
            raise Difference(f"{_METHOD}: expected an acknowledgement of {acknowledged} to {sent}, got {got}")
        for batch in batches[acknowledged:got]:
            for event in batch:
                print(f"event {event.id}", flush=True)
        acknowledged = got

    try:
        # Acknowledged while the stream is open.
        send()
        while acknowledged < sent:
            take(next(responses))
        while sent < len(batches):
            send()
        outbound.put(None)
        for response in responses:
            take(response)
    except grpc.RpcError as error:
        raise Difference(f"{_METHOD}: expected acknowledgements, got {describe(error)}") from error
    except StopIteration as error:
        raise Difference(f"{_METHOD}: expected an acknowledgement, got the end of the stream") from error
    expect(f"{_METHOD}, the last acknowledgement", len(batches), acknowledged)
    print(f"acknowledged {acknowledged}", flush=True)


def refusals(channel: grpc.Channel) -> None:
    """Streams that break a rule are ended with the name of the field, and nothing of them is acknowledged."""
    stub = LoggingServiceStub(channel)
    no_id = _event(0)
    no_id.id = "no id"
    no_time = _event(0)
    no_time.ClearField("time")
    no_time.event = "Not A Word"
    _refused(stub, proto.StreamLogsRequest(sequence=2, messages=[_event(0)]), {"sequence"})
    _refused(stub, proto.StreamLogsRequest(sequence=1), {"messages"})
    faults = {"messages[1].id", "messages[2].time", "messages[2].event"}
    _refused(stub, proto.StreamLogsRequest(sequence=1, messages=[_event(0), no_id, no_time]), faults)


def _refused(stub: LoggingServiceStub, request: proto.StreamLogsRequest, fields: set[str]) -> None:
    code = grpc.StatusCode.INVALID_ARGUMENT
    try:
        responses = list(stub.StreamLogs(iter([request]), timeout=PATIENCE))
    except grpc.RpcError as error:
        violated = detail(_METHOD, rich_status(_METHOD, error, code), error_details_pb2.BadRequest)
        named = set() if violated is None else {violation.field for violation in violated.field_violations}
        expect(f"{_METHOD}, fields of google.rpc.BadRequest", fields, named)
        print(f"ok {_METHOD} {code.name}", flush=True)
        return
    raise Difference(f"{_METHOD}: expected {code.name}, got {responses}")


def _requests(outbound: "queue.SimpleQueue[proto.StreamLogsRequest | None]") -> Iterator[proto.StreamLogsRequest]:
    """What is put into the queue, up to `None`, which closes this side of the stream."""
    while (request := outbound.get()) is not None:
        yield request


def _event(number: int) -> proto.LogMessage:
    now = Timestamp()
    now.GetCurrentTime()
    return proto.LogMessage(
        id=uuid7(),
        time=now,
        service="probe",
        instance=f"thread-{threading.get_ident()}",
        level=proto.LEVEL_INFO,
        event="probe_grpc_python",
        actor="anonymous",
        subject="product:1",
        message="A program in Python streams log events.",
        attributes={"number": str(number)},
    )
