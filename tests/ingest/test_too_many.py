"""A body of too many events is refused before they are gone through one by one."""

from __future__ import annotations

import msgpack
import pytest

from ingest import litellm, native, otlp
from ingest.source import Parser, TooManyEvents

BAD = b"[" + b"{}," * 20 + b"{}]"
SPANS = b'{"resourceSpans":[{"scopeSpans":[{"spans":%s}]}]}'


@pytest.mark.parametrize(
    ("parse", "body"),
    [
        (native.parse_json, BAD),
        (native.parse_json, b'{"events":%s}' % BAD),
        (native.parse_json, b"[" + b"1e999," * 20 + b"1]"),
        (native.parse_ndjson, b"{}\n" * 21),
        (native.parse_msgpack, msgpack.packb([{}] * 21)),
        (litellm.parse, BAD),
        (litellm.parse, b"{}\n" * 21),
        (otlp.parse_json, SPANS % (b"[" + b"1," * 20 + b"1]")),
        (otlp.parse_json, SPANS % (b"[" + b"{}," * 200 + b"{}]")),
    ],
)
def test_a_parser_counts_before_it_looks(parse: Parser, body: bytes) -> None:
    with pytest.raises(TooManyEvents):
        parse(body, 20)


def test_as_many_as_are_allowed_are_looked_at() -> None:
    assert len(native.parse_json(BAD, 21)) == 21
