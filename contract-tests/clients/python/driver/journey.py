"""Reads the journey strictly."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

Json: TypeAlias = "bool | int | float | str | list[Json] | dict[str, Json] | None"
Members: TypeAlias = dict[str, Json]

_STEP = {"name", "operation", "token", "path", "query", "header", "body", "walk", "expect", "keep", "events", "not_in"}


class Misuse(Exception):  # noqa: N818 (it is no fault of the store)
    """An invalid journey or environment, or a bug of this program."""


@dataclass(frozen=True)
class Walk:
    """A walk over pages of `limit` items, beside one page of `whole`."""

    limit: int
    whole: int


@dataclass(frozen=True)
class Step:
    """One call, or one walk over pages."""

    name: str
    operation: str
    token: str | None
    path: Members
    query: Members
    header: Members
    body: Members
    walk: Walk | None
    status: int
    code: str | None
    headers: Members
    results: Members
    keep: dict[str, str]
    not_in: dict[str, str]


def read_journey(path: Path) -> list[Step]:
    """Raises `Misuse` for unknown members, so that no part of a step is ignored."""
    document: Json = json.loads(path.read_text(encoding="utf-8"))
    steps = _members(document, "the journey", {"about", "steps"}).get("steps")
    if not isinstance(steps, list) or not steps:
        raise Misuse("the journey has no steps")
    return [_step(step, f"step {number}") for number, step in enumerate(steps, start=1)]


def _step(value: Json, place: str) -> Step:
    step = _members(value, place, _STEP)
    expect = _members(step.get("expect"), f"{place}, expect", {"status", "code", "headers", "body"})
    walk = None
    if "walk" in step:
        sizes = _members(step["walk"], f"{place}, walk", {"limit", "whole"})
        walk = Walk(_integer(sizes.get("limit"), f"{place}, limit"), _integer(sizes.get("whole"), f"{place}, whole"))
    return Step(
        name=_text(step.get("name"), f"{place}, name"),
        operation=_text(step.get("operation"), f"{place}, operation"),
        token=_text(step["token"], f"{place}, token") if "token" in step else None,
        path=_members(step.get("path", {}), f"{place}, path"),
        query=_members(step.get("query", {}), f"{place}, query"),
        header=_members(step.get("header", {}), f"{place}, header"),
        body=_members(step.get("body", {}), f"{place}, body"),
        walk=walk,
        status=_integer(expect.get("status"), f"{place}, status"),
        code=_text(expect["code"], f"{place}, code") if "code" in expect else None,
        headers=_members(expect.get("headers", {}), f"{place}, headers"),
        results=_members(expect.get("body", {}), f"{place}, expected body"),
        keep=_texts(step.get("keep", {}), f"{place}, keep"),
        not_in=_texts(step.get("not_in", {}), f"{place}, not_in"),
    )


def _members(value: Json, place: str, known: set[str] | None = None) -> Members:
    if not isinstance(value, dict):
        raise Misuse(f"{place}: expected an object, got {json.dumps(value)}")
    unknown = set() if known is None else value.keys() - known
    if unknown:
        raise Misuse(f"{place}: {', '.join(sorted(unknown))} is not known to this driver")
    return value


def _texts(value: Json, place: str) -> dict[str, str]:
    return {member: _text(entry, f"{place}, {member}") for member, entry in _members(value, place).items()}


def _text(value: Json, place: str) -> str:
    if not isinstance(value, str):
        raise Misuse(f"{place}: expected a text, got {json.dumps(value)}")
    return value


def _integer(value: Json, place: str) -> int:
    if not isinstance(value, int) or isinstance(value, bool):
        raise Misuse(f"{place}: expected an integer, got {json.dumps(value)}")
    return value
