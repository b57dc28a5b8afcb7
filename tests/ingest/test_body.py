"""Bodies: read and decompressed within their limit, damaged ones said to be so."""

from __future__ import annotations

import gzip
import os
from collections.abc import Callable

import pytest
import zstandard

from ingest.body import MAX_MEMBERS, gunzip, unzstd
from shared.http import ApiError

DATA = os.urandom(100_000) + b"a" * 100_000
SKIPPABLE_FRAME = b"\x50\x2a\x4d\x18\x03\0\0\0abc"

Pack = Callable[[bytes], bytes]
Unpack = Callable[[bytes, int], bytes]


def zstd(data: bytes) -> bytes:
    return zstandard.ZstdCompressor().compress(data)


def zstd_streamed(data: bytes) -> bytes:
    """Without the content's size in the frame, as a stream is compressed."""
    compressor = zstandard.ZstdCompressor().compressobj()
    return compressor.compress(data) + compressor.flush()


def zstd_checked(data: bytes) -> bytes:
    return zstandard.ZstdCompressor(write_checksum=True).compress(data)


KINDS = pytest.mark.parametrize(
    ("pack", "unpack"), [(gzip.compress, gunzip), (zstd, unzstd), (zstd_streamed, unzstd)]
)


def refusal(unpack: Unpack, raw: bytes, limit: int = 1_000_000) -> str:
    with pytest.raises(ApiError) as caught:
        unpack(raw, limit)
    return f"{caught.value.status} {caught.value.description}"


@KINDS
def test_what_was_packed_comes_out(pack: Pack, unpack: Unpack) -> None:
    assert unpack(pack(DATA), 1_000_000) == DATA
    assert unpack(pack(b""), 1_000_000) == b""


@KINDS
def test_several_members_are_one_body(pack: Pack, unpack: Unpack) -> None:
    assert unpack(pack(DATA) + pack(b"") + pack(b"end"), 1_000_000) == DATA + b"end"


@KINDS
def test_the_limit_is_exact(pack: Pack, unpack: Unpack) -> None:
    assert unpack(pack(DATA), len(DATA)) == DATA
    assert refusal(unpack, pack(DATA), len(DATA) - 1).startswith("413 ")
    assert "limit of 199999 bytes" in refusal(unpack, pack(DATA), len(DATA) - 1)


@KINDS
def test_a_bomb_is_refused_at_the_limit(pack: Pack, unpack: Unpack) -> None:
    assert refusal(unpack, pack(bytes(50_000_000)), 100_000).startswith("413 ")


@KINDS
@pytest.mark.parametrize("kept", [1, 3, 5, 20, 60_000, -9, -5, -2])
def test_a_body_cut_short_is_damaged(pack: Pack, unpack: Unpack, kept: int) -> None:
    whole = pack(DATA)
    cut = whole[:kept]

    assert refusal(unpack, cut).startswith("400 ")


@KINDS
def test_other_bytes_are_damaged(pack: Pack, unpack: Unpack) -> None:
    assert refusal(unpack, b'{"id": "plain"}').startswith("400 ")
    assert refusal(unpack, pack(DATA) + b"more").startswith("400 ")


@pytest.mark.parametrize(("pack", "unpack"), [(gzip.compress, gunzip), (zstd_checked, unzstd)])
def test_a_changed_byte_is_damage_where_there_is_a_checksum(pack: Pack, unpack: Unpack) -> None:
    raw = bytearray(pack(DATA))
    raw[1_000] ^= 1

    assert refusal(unpack, bytes(raw)).startswith("400 ")


@pytest.mark.parametrize(("pack", "unpack"), [(gzip.compress, gunzip), (zstd_streamed, unzstd)])
def test_a_body_of_countless_members_is_refused(pack: Pack, unpack: Unpack) -> None:
    assert unpack(pack(b".") * MAX_MEMBERS, 1_000_000) == b"." * MAX_MEMBERS
    assert refusal(unpack, pack(b".") * (MAX_MEMBERS + 1)).startswith("400 ")


def test_skippable_zstd_frames_hold_nothing() -> None:
    assert unzstd(SKIPPABLE_FRAME + zstd(b"data"), 1_000) == b"data"


def test_a_zstd_window_larger_than_the_limit_needs_is_refused() -> None:
    parameters = zstandard.ZstdCompressionParameters(window_log=27)
    compressor = zstandard.ZstdCompressor(compression_params=parameters).compressobj()
    raw = compressor.compress(b"data") + compressor.flush()

    assert refusal(unzstd, raw).startswith("400 ")
