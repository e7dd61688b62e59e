"""Client knowledge that openapi.yaml cannot express: the acting user, taken names and opaque values.

Only valid requests are edited; deliberately invalid ones are sent unchanged.
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
# The user whose token Schemathesis takes by itself. It must survive the run, or every later
# response would be 401.
MAIN = os.environ["MERCH_SCHEMATHESIS_USERNAME"]
MAIN_ID = os.environ["MERCH_SCHEMATHESIS_USER_ID"]
UNKNOWN_USER = "0198c0de-7e57-7000-8000-0000000000ff"


class Client:
    """State learnt from requests and responses."""

    def __init__(self) -> None:
        self.lock = threading.RLock()
        # Users of the run: name, password, and a valid token.
        self.credentials: dict[str, dict[str, str]] = {}
        self.tokens: dict[str, str] = {}
        # In lower case: names are unique without regard to case.
        self.taken: set[str] = {MAIN.lower()}
        # The filter of each page token.
        self.pages: dict[str, dict[str, Any]] = {}
        self.etags: set[str] = set()
        self.keys: dict[str, Any] = {}

    def token(self, user_id: str) -> str | None:
        """Returns the token of a registered user."""
        with self.lock:
            if user_id not in self.tokens and user_id in self.credentials:
                self.tokens[user_id] = post("/login", self.credentials[user_id])["access_token"]
            return self.tokens.get(user_id)

    def registered_user(self) -> dict[str, str]:
        """Returns name and password of a registered user; registers one if there is none."""
        with self.lock:
            if not self.credentials:
                name = fresh_name()
                credentials = {"username": name, "password": "a pass phrase for fuzzing"}
                user = post("/users", credentials | {"sid": name, "email": f"{name}@mail.example.com"})
                self.taken.update((name, f"{name}@mail.example.com"))
                self.credentials[user["id"]] = credentials
            return next(iter(self.credentials.values()))


def post(path: str, body: dict[str, str]) -> dict[str, Any]:
    """Sends a request outside of Schemathesis."""
    request = urllib.request.Request(f"{BASE}{path}", json.dumps(body).encode(), {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=10) as answer:
        return dict(json.load(answer))


def fresh_name() -> str:
    """Returns a new name, valid as sid and username."""
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
        # Deactivation and password changes use accounts of their own.
        if operation in ("deactivate_user", "change_password"):
            case.path_parameters["user_id"] = UNKNOWN_USER
        elif operation == "update_user" and isinstance(case.body, dict):
            case.body.pop("username", None)
    if not is_positive(case):
        return
    headers, query, body = case.headers, case.query, case.body
    with CLIENT.lock:
        # The owner of the resource sends the request. Requests without a token stay without.
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
            # Random categories have no products, and three products no second page. Some requests
            # stay random.
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
            # Random passwords are often common ones ("00000000"), which the store refuses.
            body[new_password] += uuid.uuid4().hex
        if operation == "log_in" and isinstance(body, dict) and len(str(body.get("password"))) % 2 == 0:
            # Half of the log-ins use a known password; random ones always fail.
            body.update(CLIENT.registered_user())
        if operation == "place_order" and headers and "Idempotency-Key" in headers:
            # A new key per order.
            if CLIENT.keys.setdefault(headers["Idempotency-Key"], body) != body:
                headers["Idempotency-Key"] = str(uuid.uuid4())
        if operation == "change_password" and isinstance(body, dict) and user_of(case) in CLIENT.credentials:
            # Half of the current passwords are right.
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
                # The token of a later page has the filter of the first.
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
