"""Runs the journey with the generated client; see ../../README.md."""

import json
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from merch_store_client.models import OrderPage, Problem, ProductPage

from .call import Answer, Arguments, call
from .journey import Json, Members, Misuse, Step, Walk, read_journey
from .values import Difference, Variables, compare, follow

_LANGUAGE = "python"
# Limit of pages in a walk.
_PAGES = 1_000


@dataclass(frozen=True)
class Taken:
    """The result of a step."""

    answer: Answer
    # The typed result as JSON; for a walk, `{"ids": […]}`.
    result: Json


def _take(step: Step, url: str, variables: Variables) -> None:
    token = None if step.token is None else variables.resolve(step.token)
    if not isinstance(token, str | None):
        raise Misuse("the token is not a string")
    path, header, body = (variables.resolve_all(members) for members in (step.path, step.header, step.body))

    def send(query: Members) -> Answer:
        answer = call(url, step.operation, token, Arguments(path, query, header, body))
        if answer.status_code != step.status:
            parsed = answer.parsed
            why = f" ({parsed.code}: {parsed.detail} {parsed.errors})" if isinstance(parsed, Problem) else ""
            raise Difference(f"expected status {step.status}, got {answer.status_code.value}{why}")
        return answer

    query = variables.resolve_all(step.query)
    taken = _once(send, query) if step.walk is None else _walk(send, query, step.walk)
    for name, where in step.keep.items():
        value = follow(where, taken.result) if where.startswith("/") else taken.answer.headers.get(where)
        if value is None:
            raise Difference(f"expected {where}, got nothing")
        variables.set(name, value)
    if step.code is not None:
        problem = taken.answer.parsed
        if not isinstance(problem, Problem):
            raise Difference(f"expected a problem with code {step.code}, got no problem")
        compare("code", variables.resolve(step.code), problem.code)
        compare("status in the problem", taken.answer.status_code.value, problem.status)
        compare("request_id", taken.answer.headers.get("X-Request-Id"), problem.request_id)
    for name, expected in step.headers.items():
        compare(name, variables.resolve(expected), taken.answer.headers.get(name))
    for pointer, expected in step.results.items():
        compare(pointer, variables.resolve(expected), follow(pointer, taken.result))


def _once(send: Callable[[Members], Answer], query: Members) -> Taken:
    answer = send(query)
    return Taken(answer, None if answer.parsed is None else answer.parsed.to_dict())


def _walk(send: Callable[[Members], Answer], query: Members, walk: Walk) -> Taken:
    """Compares the list page by page with the list on one page."""

    def page(asked: Members, limit: int) -> tuple[Answer, list[Json], str | None]:
        answer = send({**asked, "limit": limit})
        parsed = answer.parsed
        ids: list[Json]
        match parsed:
            case OrderPage():
                ids = [str(order.id) for order in parsed.items]
            case ProductPage():
                ids = [product.id for product in parsed.items]
            case _:
                raise Difference(f"expected a page, got {parsed}")
        if len(ids) > limit:
            raise Difference(f"expected at most {limit} items on a page, got {len(ids)}")
        return answer, ids, parsed.next_page or None

    answer, whole, following = page(query, walk.whole)
    compare("next_page of the page with everything", None, following)

    ids: list[Json] = []
    asked = query
    for _ in range(_PAGES):
        _, some, following = page(asked, walk.limit)
        ids += some
        if following is None:
            compare("the ids of all pages", whole, ids)
            compare("the number of different ids", len(ids), len({str(each) for each in ids}))
            return Taken(answer, {"ids": ids})
        # The token carries the filter.
        asked = {"page_token": following}
    raise Difference(f"expected a last page, got {_PAGES} pages and no end")


def _variable(name: str) -> str:
    value = os.environ.get(name, "")
    if not value:
        raise Misuse(f"the variable {name} is not set; contract-tests/clients/README.md says what it is")
    return value


def _drive() -> None:
    url = _variable("MERCH_URL")
    variables = Variables()
    variables.set("unique", _variable("MERCH_UNIQUE"))
    variables.set("sold_out_product", int(_variable("MERCH_SOLD_OUT_PRODUCT")))
    for number, step in enumerate(read_journey(Path(_variable("MERCH_JOURNEY"))), start=1):
        if _LANGUAGE in step.not_in:
            print(f"skipped {number} {step.operation} {step.not_in[_LANGUAGE]}", flush=True)
            continue
        place = f"step {number}, {step.operation} {json.dumps(step.name)}"
        try:
            _take(step, url, variables)
        except Misuse as error:
            raise Misuse(f"{place}: {error}") from error
        except Difference as error:
            raise Difference(f"{place}: {error}") from error
        except Exception as error:
            # Any exception of the client means an unexpected response.
            raise Difference(f"{place}: expected an answer that the client reads, got {error!r}") from error
        print(f"ok {number} {step.operation} {step.status} {step.name}", flush=True)


def main() -> int:
    try:
        _drive()
    except Difference as error:
        print(error, file=sys.stderr)
        return 1
    except (Misuse, OSError, ValueError) as error:
        print(error, file=sys.stderr)
        return 2
    return 0


sys.exit(main())
