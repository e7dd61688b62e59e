"""One typed call of the generated client per operation. A leftover argument is an error."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import cache
from http import HTTPStatus
from typing import Any, Protocol, TypeVar
from uuid import UUID

import httpx
from merch_store_client import AuthenticatedClient
from merch_store_client.api.dialog import greet
from merch_store_client.api.order_manager import cancel_order, get_order, list_orders, place_order
from merch_store_client.api.product_manager import get_product, list_products
from merch_store_client.api.user_manager import (
    change_password,
    deactivate_user,
    get_user,
    log_in,
    log_out,
    register,
    update_user,
)
from merch_store_client.models import Credentials, OrderStatus, PasswordChange, Purchase, Registration, UserChange
from merch_store_client.types import UNSET, Unset

from .journey import Json, Members, Misuse

# Limit of a request, in seconds.
_PATIENCE = 30

_Value = TypeVar("_Value")


class Model(Protocol):
    """Common interface of the generated types."""

    def to_dict(self) -> dict[str, Any]: ...


class Answer(Protocol):
    """Common interface of the generated responses, such as `Response[Order | Problem]`."""

    @property
    def status_code(self) -> HTTPStatus: ...
    @property
    def headers(self) -> Mapping[str, str]: ...
    @property
    def parsed(self) -> Model | None: ...


class Arguments:
    """The resolved arguments of one call."""

    def __init__(self, path: Members, query: Members, header: Members, body: Members) -> None:
        self._left = {"path": dict(path), "query": dict(query), "header": dict(header), "body": dict(body)}

    def text(self, place: str, name: str) -> str:
        return _wanted(place, name, self.optional_text(place, name))

    def optional_text(self, place: str, name: str) -> str | Unset:
        value = self._take(place, name)
        if not isinstance(value, str | Unset):
            raise Misuse(f"{place} {name}: expected a text, got {json.dumps(value)}")
        return value

    def integer(self, place: str, name: str) -> int:
        return _wanted(place, name, self.optional_integer(place, name))

    def optional_integer(self, place: str, name: str) -> int | Unset:
        value = self._take(place, name)
        if not isinstance(value, int | Unset) or isinstance(value, bool):
            raise Misuse(f"{place} {name}: expected an integer, got {json.dumps(value)}")
        return value

    def uuid(self, place: str, name: str) -> UUID:
        try:
            return UUID(self.text(place, name))
        except ValueError as error:
            raise Misuse(f"{place} {name}: {error}") from error

    def optional_status(self) -> OrderStatus | Unset:
        value = self.optional_text("query", "status")
        return value if isinstance(value, Unset) else OrderStatus(value)

    def all_taken(self, operation: str) -> None:
        """Raises `Misuse` if an argument is left."""
        for place, left in self._left.items():
            if left:
                raise Misuse(f"{operation} takes no {place} {', '.join(left)}")

    def _take(self, place: str, name: str) -> Json | Unset:
        return self._left[place].pop(name, UNSET)


def _wanted(place: str, name: str, value: _Value | Unset) -> _Value:
    if isinstance(value, Unset):
        raise Misuse(f"{place} {name} is missing")
    return value


def call(url: str, operation: str, token: str | None, args: Arguments) -> Answer:
    """Calls an operation. Raises the client's exceptions, also for undeclared statuses."""
    answer = _dispatch(_client(url, token), operation, args)
    args.all_taken(operation)
    return answer


# One per token: creating a client takes longer than a request.
@cache
def _client(url: str, token: str | None) -> AuthenticatedClient:
    if token is not None:
        return AuthenticatedClient(
            base_url=url,
            token=token,
            timeout=httpx.Timeout(_PATIENCE),
            httpx_args={"trust_env": False},
            raise_on_unexpected_status=True,
        )
    # The generated types require a token; the underlying httpx client sends none.
    return AuthenticatedClient(base_url=url, token="", raise_on_unexpected_status=True).set_httpx_client(
        httpx.Client(base_url=url, timeout=_PATIENCE, trust_env=False)
    )


def _dispatch(client: AuthenticatedClient, operation: str, args: Arguments) -> Answer:
    match operation:
        case "greet":
            return greet.sync_detailed(client=client)
        case "register":
            new_user = Registration(
                sid=args.text("body", "sid"),
                username=args.text("body", "username"),
                email=args.text("body", "email"),
                password=args.text("body", "password"),
            )
            return register.sync_detailed(client=client, body=new_user)
        case "log_in":
            credentials = Credentials(username=args.text("body", "username"), password=args.text("body", "password"))
            return log_in.sync_detailed(client=client, body=credentials)
        case "log_out":
            return log_out.sync_detailed(client=client)
        case "get_user":
            return get_user.sync_detailed(
                args.uuid("path", "user_id"),
                client=client,
                if_none_match=args.optional_text("header", "If-None-Match"),
            )
        case "update_user":
            change = UserChange(
                username=args.optional_text("body", "username"), email=args.optional_text("body", "email")
            )
            return update_user.sync_detailed(
                args.uuid("path", "user_id"),
                client=client,
                body=change,
                if_match=args.optional_text("header", "If-Match"),
            )
        case "deactivate_user":
            return deactivate_user.sync_detailed(args.uuid("path", "user_id"), client=client)
        case "change_password":
            passwords = PasswordChange(
                current_password=args.text("body", "current_password"),
                new_password=args.text("body", "new_password"),
            )
            return change_password.sync_detailed(args.uuid("path", "user_id"), client=client, body=passwords)
        case "list_products":
            return list_products.sync_detailed(
                client=client,
                limit=args.optional_integer("query", "limit"),
                page_token=args.optional_text("query", "page_token"),
                category=args.optional_text("query", "category"),
            )
        case "get_product":
            return get_product.sync_detailed(
                args.integer("path", "product_id"),
                client=client,
                if_none_match=args.optional_text("header", "If-None-Match"),
            )
        case "place_order":
            new_order = Purchase(
                product_id=args.integer("body", "product_id"), quantity=args.integer("body", "quantity")
            )
            return place_order.sync_detailed(
                client=client,
                body=new_order,
                idempotency_key=args.optional_text("header", "Idempotency-Key"),
            )
        case "list_orders":
            return list_orders.sync_detailed(
                client=client,
                limit=args.optional_integer("query", "limit"),
                page_token=args.optional_text("query", "page_token"),
                status=args.optional_status(),
            )
        case "get_order":
            return get_order.sync_detailed(
                args.uuid("path", "order_id"),
                client=client,
                if_none_match=args.optional_text("header", "If-None-Match"),
            )
        case "cancel_order":
            return cancel_order.sync_detailed(args.uuid("path", "order_id"), client=client)
        case _:
            raise Misuse(f"the operation {operation} is not known to this driver")
