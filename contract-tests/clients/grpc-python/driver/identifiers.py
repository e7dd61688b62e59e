"""Ids in the contracts' formats."""

import secrets
import time
import uuid


def uuid7() -> str:
    """A UUIDv7 (RFC 9562): 48 bits of milliseconds since 1970, then random bits. Python has one from 3.14 on."""
    bits = (
        (time.time_ns() // 1_000_000) << 80 | 0x7 << 76 | secrets.randbits(12) << 64 | 0b10 << 62 | secrets.randbits(62)
    )
    return str(uuid.UUID(int=bits))
