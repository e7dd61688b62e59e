"""Calls AssistantService and LoggingService; see ../../README.md."""

import os
import sys

import grpc

from . import assistant, log_events
from .probe import Difference


class Misuse(Exception):  # noqa: N818 (it is no fault of the store)
    """A variable is missing or invalid."""


def _variable(name: str) -> str:
    value = os.environ.get(name, "")
    if not value:
        raise Misuse(f"the variable {name} is not set; contract-tests/clients/README.md says what it is")
    return value


def _channel(name: str) -> grpc.Channel:
    # The loopback address never needs a proxy.
    return grpc.insecure_channel(_variable(name).removeprefix("http://"), options=[("grpc.enable_http_proxy", 0)])


def main() -> int:
    try:
        sold_out = int(_variable("MERCH_SOLD_OUT_PRODUCT"))
        with _channel("MERCH_DB_GRPC") as db:
            assistant.call_all(db, _variable("MERCH_UNIQUE"), sold_out)
        with _channel("MERCH_LOGGING_GRPC") as logging:
            log_events.refusals(logging)
            log_events.stream(logging, int(_variable("MERCH_EVENTS")))
    except (Difference, grpc.RpcError) as error:
        print(error, file=sys.stderr)
        return 1
    except (Misuse, ValueError) as error:
        print(error, file=sys.stderr)
        return 2
    return 0


sys.exit(main())
