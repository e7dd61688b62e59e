"""What a client of the store knows and openapi.yaml cannot say: who acts, which names are taken, and which values are opaque.

Only requests that are to be accepted are touched: those that break the contract on purpose go out as they are.
"""

from __future__ import annotations

import json
import os
import threading
import urllib.request
import uuid
from typing import Any

import schemathesis

BASE = os.environ["MERCH_SCHEMATHESIS_URL"]
# The user whose token Schemathesis takes by itself. Its account has to outlast the run, or every answer after would be 401.
MAIN = os.environ["MERCH_SCHEMATHESIS_USERNAME"]
MAIN_ID = os.environ["MERCH_SCHEMATHESIS_USER_ID"]
NOBODY = "0198c0de-7e57-7000-8000-0000000000ff"


class Client:
    """What the run has learnt from its own requests and their answers."""

    def __init__(self) -> None:
        self.lock = threading.RLock()
        # Of the users that the run has registered: name and password, and the token while it is valid.
        self.credentials: dict[str, dict[str, str]] = {}
        self.tokens: dict[str, str] = {}
        # In lower case: names are unique without regard to case.
        self.taken: set[str] = {MAIN.lower()}
        # The filter that each page token carries.
        self.pages: dict[str, dict[str, Any]] = {}
        self.etags: set[str] = set()
        self.keys: dict[str, Any] = {}

    def token(self, user_id: str) -> str | None:
        """The token of a user that the run has registered."""
        with self.lock:
            if user_id not in self.tokens and user_id in self.credentials:
                self.tokens[user_id] = post("/login", self.credentials[user_id])["access_token"]
            return self.tokens.get(user_id)

    def somebody(self) -> dict[str, str]:
        """Name and password of a user that the run has registered, now if there is none."""
        with self.lock:
            if not self.credentials:
                name = fresh_name()
                credentials = {"username": name, "password": "the pass phrase of somebody"}
                user = post("/users", credentials | {"sid": name, "email": f"{name}@mail.example.com"})
                self.taken.update((name, f"{name}@mail.example.com"))
                self.credentials[user["id"]] = credentials
            return next(iter(self.credentials.values()))


def post(path: str, body: dict[str, str]) -> dict[str, Any]:
    """A request besides those of Schemathesis."""
    request = urllib.request.Request(f"{BASE}{path}", json.dumps(body).encode(), {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=10) as answer:
        return dict(json.load(answer))


def fresh_name() -> str:
    """A sid and username that nobody has."""
    return "f" + uuid.uuid4().hex[:14]


CLIENT = Client()


def operation_of(case: Any) -> str:
    return str(case.operation.definition.raw["operationId"])


def is_positive(case: Any) -> bool:
    return case.meta is None or bool(case.meta.generation.mode.is_positive)


def user_of(case: Any) -> str:
    return str((case.path_parameters or {}).get("user_id", ""))


@schemathesis.hook
def before_call(context: Any, case: Any, kwargs: dict[str, Any]) -> None:
    operation = operation_of(case)
    if user_of(case) == MAIN_ID:
        # Closing an account and changing its name or password are tested on accounts that the run makes for itself.
        if operation in ("deactivate_user", "change_password"):
            case.path_parameters["user_id"] = NOBODY
        elif operation == "update_user" and isinstance(case.body, dict):
            case.body.pop("username", None)
    if not is_positive(case):
        return
    headers, query, body = case.headers, case.query, case.body
    with CLIENT.lock:
        # Nobody may touch another's user, so whoever a request is about sends it. A request without a token, to be refused, stays without.
        token = CLIENT.token(user_of(case))
        if token and headers and str(headers.get("Authorization", "")).startswith("Bearer ey"):
            headers["Authorization"] = f"Bearer {token}"
        if query and "page_token" in query:
            carried = CLIENT.pages.get(query["page_token"])
            if carried is None:
                del query["page_token"]
            else:
                for name in ("category", "status"):
                    if query.get(name) != carried.get(name):
                        query.pop(name, None)
        if operation == "list_products" and query is not None and "page_token" not in query:
            # Made-up categories have no products, and three products no second page, unless few are asked for at a time. Some may stay.
            if len(str(query.get("category", ""))) % 4:
                del query["category"]
            if (limit := int(query.get("limit", 20))) <= 50:
                query["limit"] = 1 + limit % 2
        if operation == "update_user" and headers and headers.get("If-Match", "*") not in CLIENT.etags | {"*"}:
            del headers["If-Match"]
        if operation in ("register", "update_user") and isinstance(body, dict):
            for name in ("sid", "username"):
                if name in body and str(body[name]).lower() in CLIENT.taken:
                    body[name] = fresh_name()
            if "email" in body and str(body["email"]).lower() in CLIENT.taken:
                body["email"] = f"{uuid.uuid4().hex}@mail.example.com"
        new_password = {"register": "password", "change_password": "new_password"}.get(operation, "")
        if isinstance(body, dict) and len(str(body.get(new_password, ""))) in range(8, 32):
            # What is generated is often "00000000", which is refused as every common password is.
            body[new_password] += uuid.uuid4().hex
        if operation == "log_in" and isinstance(body, dict) and len(str(body.get("password"))) % 2 == 0:
            # Nobody has a password that is made up; the other half is to be refused.
            body.update(CLIENT.somebody())
        if operation == "place_order" and headers and "Idempotency-Key" in headers:
            # A new key for each order that it means to place.
            if CLIENT.keys.setdefault(headers["Idempotency-Key"], body) != body:
                headers["Idempotency-Key"] = str(uuid.uuid4())
        if operation == "change_password" and isinstance(body, dict) and user_of(case) in CLIENT.credentials:
            # Half of them are wrong, as by chance all would be.
            if len(str(body.get("new_password"))) % 2 == 0:
                body["current_password"] = CLIENT.credentials[user_of(case)]["password"]


@schemathesis.hook
def after_call(context: Any, case: Any, response: Any) -> None:
    operation, status = operation_of(case), response.status_code
    with CLIENT.lock:
        if "etag" in response.headers:
            CLIENT.etags.update(response.headers["etag"])
        if operation in ("register", "update_user") and isinstance(case.body, dict):
            CLIENT.taken.update(str(case.body[name]).lower() for name in ("sid", "username", "email") if name in case.body)
        if operation in ("list_products", "list_orders") and status == 200:
            next_page = json.loads(response.content)["next_page"]
            if next_page is not None:
                query = case.query or {}
                # A page that was itself asked for by token has the filter of that token.
                CLIENT.pages[next_page] = CLIENT.pages.get(query.get("page_token"), query)
        if operation == "register" and status == 201:
            CLIENT.credentials[json.loads(response.content)["id"]] = {name: case.body[name] for name in ("username", "password")}
        known = CLIENT.credentials.get(user_of(case))
        if known is None or status not in (200, 204):
            return
        if operation == "update_user" and isinstance(case.body, dict) and "username" in case.body:
            known["username"] = case.body["username"]
        elif operation == "change_password":
            known["password"] = case.body["new_password"]
            CLIENT.tokens.pop(user_of(case), None)
        elif operation == "deactivate_user":
            del CLIENT.credentials[user_of(case)]
            CLIENT.tokens.pop(user_of(case), None)
