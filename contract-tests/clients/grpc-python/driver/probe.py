"""Calls one method at a time, checks its result or error, and prints the outcome."""

# The stubs have type parameters that grpcio's classes lack.
from __future__ import annotations

from collections.abc import Iterable
from typing import TypeVar, cast

import grpc
from google.protobuf.message import Message
from google.rpc import error_details_pb2, status_pb2
from grpc_status import rpc_status
from merch.assistant.v1 import assistant_pb2 as proto

# Limit of a call, in seconds.
PATIENCE = 30
# The `domain` of every `google.rpc.ErrorInfo` of AssistantService.
_DOMAIN = "assistant.merch"

_Request = TypeVar("_Request", bound=Message)
_Response = TypeVar("_Response", bound=Message)
_Detail = TypeVar("_Detail", bound=Message)


class Difference(Exception):  # noqa: N818 (it is the store that differs)
    """The service did not do what its contract says."""


def expect(what: str, expected: object, got: object) -> None:
    """Raises a `Difference` unless both are equal."""
    if expected != got:
        raise Difference(f"{what}: expected {expected!r}, got {got!r}")


class Probe:
    """Calls methods, and keeps which ones were seen to succeed and which to be refused."""

    def __init__(self) -> None:
        self.succeeded: set[str] = set()
        self.refused: set[str] = set()

    def ok(self, method: str, call: grpc.UnaryUnaryMultiCallable[_Request, _Response], request: _Request) -> _Response:
        """Calls a method that has to succeed."""
        try:
            response = call(request, timeout=PATIENCE)
        except grpc.RpcError as error:
            raise Difference(f"{method}: expected OK, got {describe(error)}") from error
        self.succeeded.add(method)
        print(f"ok {method}", flush=True)
        return response

    def no(
        self,
        method: str,
        call: grpc.UnaryUnaryMultiCallable[_Request, _Response],
        request: _Request,
        code: grpc.StatusCode,
        reason: proto.ErrorReason.ValueType,
        fields: Iterable[str] = (),
    ) -> None:
        """Calls a method that has to be refused, with this code and reason, and a violation of each of these fields."""
        try:
            response = call(request, timeout=PATIENCE)
        except grpc.RpcError as error:
            name = proto.ErrorReason.Name(reason)
            self._refusal(method, error, code, name, set(fields))
            self.refused.add(method)
            print(f"ok {method} {code.name} {name}", flush=True)
            return
        raise Difference(f"{method}: expected {code.name}, got {response}")

    def _refusal(self, method: str, error: grpc.RpcError, code: grpc.StatusCode, reason: str, fields: set[str]) -> None:
        status = rich_status(method, error, code)
        info = detail(method, status, error_details_pb2.ErrorInfo)
        if info is None:
            raise Difference(f"{method}: expected a google.rpc.ErrorInfo, got {describe(error)}")
        expect(f"{method}, reason", reason, info.reason)
        expect(f"{method}, domain", _DOMAIN, info.domain)
        violated = detail(method, status, error_details_pb2.BadRequest)
        named = set() if violated is None else {violation.field for violation in violated.field_violations}
        expect(f"{method}, fields of google.rpc.BadRequest", fields, named)


def rich_status(method: str, error: grpc.RpcError, code: grpc.StatusCode) -> status_pb2.Status:
    """The `google.rpc.Status` of a failed call, which has to have this code."""
    if error.code() != code:
        raise Difference(f"{method}: expected {code.name}, got {describe(error)}")
    # The exception has both types, but the stubs forbid `isinstance`.
    status: status_pb2.Status | None = rpc_status.from_call(cast(grpc.Call, error))
    if status is None:
        raise Difference(f"{method}: expected a google.rpc.Status, got {describe(error)}")
    return status


def detail(method: str, status: status_pb2.Status, kind: type[_Detail]) -> _Detail | None:
    """The one detail of this kind, if there is one."""
    found = [message for packed in status.details if packed.Unpack(message := kind())]
    if len(found) > 1:
        raise Difference(f"{method}: expected at most one {kind.__name__}, got {len(found)}")
    return found[0] if found else None


def describe(error: grpc.RpcError) -> str:
    """An error in a few words."""
    return f"{error.code().name}: {error.details()}"
