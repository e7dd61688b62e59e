"""Variables, substitution and comparison."""

import json
import math
import re

from .journey import Json, Members, Misuse

_VARIABLE = re.compile(r"\$\{([a-z0-9_]+)\}")


class Difference(Exception):  # noqa: N818 (it is the store that differs)
    """A mismatch between expected and received values."""


class Variables:
    """The variables of one run. Each is set once."""

    def __init__(self) -> None:
        self._values: Members = {}

    def set(self, name: str, value: Json) -> None:
        if name in self._values:
            raise Misuse(f"the variable {name} is set twice")
        self._values[name] = value

    def resolve(self, value: Json) -> Json:
        """Substitutes variables and computes sums."""
        match value:
            case str():
                whole = _VARIABLE.fullmatch(value)
                return self._get(whole[1]) if whole else _VARIABLE.sub(lambda found: str(self._get(found[1])), value)
            case list():
                return [self.resolve(element) for element in value]
            case {"$sum": terms}:
                return sum(self._integers(terms))
            case {"$product": factors}:
                return math.prod(self._integers(factors))
            case _:
                return value

    def resolve_all(self, members: Members) -> Members:
        return {name: self.resolve(value) for name, value in members.items()}

    def _get(self, name: str) -> Json:
        if name not in self._values:
            raise Misuse(f"the variable {name} is not set")
        return self._values[name]

    def _integers(self, terms: Json) -> list[int]:
        values = self.resolve(terms)
        if not isinstance(values, list):
            raise Misuse(f"expected integers, got {json.dumps(values)}")
        integers = [value for value in values if isinstance(value, int) and not isinstance(value, bool)]
        if len(integers) != len(values):
            raise Misuse(f"expected integers, got {json.dumps(values)}")
        return integers


def compare(what: str, expected: Json, got: Json) -> None:
    """Raises a `Difference` unless `got` matches a resolved value. Absent equals null."""
    match expected:
        case {"$type": "string"}:
            if not isinstance(got, str) or got == "":
                raise Difference(f"expected {what} to be a text that is not empty, got {_show(got)}")
        case {"$type": "integer"}:
            if not isinstance(got, int) or isinstance(got, bool):
                raise Difference(f"expected {what} to be an integer, got {_show(got)}")
        case dict():
            raise Misuse(f"{what}: {json.dumps(expected)} is not known to this driver")
        # As JSON, where `True` is not 1.
        case _ if json.dumps(expected) != json.dumps(got):
            raise Difference(f"expected {what} {json.dumps(expected)}, got {_show(got)}")
        case _:
            pass


def follow(pointer: str, document: Json) -> Json:
    """Follows a JSON pointer (RFC 6901); `None` if it leads nowhere."""
    value = document
    for part in pointer.split("/")[1:]:
        name = part.replace("~1", "/").replace("~0", "~")
        if isinstance(value, list):
            value = value[int(name)] if name.isdecimal() and int(name) < len(value) else None
        else:
            value = value.get(name) if isinstance(value, dict) else None
    return value


def _show(value: Json) -> str:
    return "nothing" if value is None else json.dumps(value)
