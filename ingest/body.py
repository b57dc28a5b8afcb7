"""Reading a request body: bounded, and decompressed while it is bounded.

A body is refused as soon as it is over its limit, before the rest of it is read or unpacked, so a
small compressed body can't become a large one in memory.
"""

from __future__ import annotations

import zlib
from typing import Any

import falcon
import zstandard
from shared.http import ApiError

ENCODINGS = ("gzip", "zstd", "identity")


async def read_body(request: Any, limit: int) -> bytes:
    """The request's body, decompressed.

    `limit` is in bytes and holds before and after decompression. Raises ApiError: 413 over the
    limit, 415 for an unknown Content-Encoding, 400 for damaged compression.
    """
    encoding = (request.get_header("Content-Encoding") or "identity").strip().lower()
    if encoding not in ENCODINGS:
        accepted = ", ".join(ENCODINGS)
        raise ApiError(
            falcon.HTTP_415,
            "unsupported_media_type",
            f"Content-Encoding {encoding!r} is not accepted; accepted are {accepted}",
        )
    raw = await _read_raw(request, limit)
    if encoding == "gzip":
        return _gunzip(raw, limit)
    if encoding == "zstd":
        return _unzstd(raw, limit)
    return raw


async def _read_raw(request: Any, limit: int) -> bytes:
    length = request.content_length
    if length is not None and length > limit:
        raise _too_large(limit)
    chunks: list[bytes] = []
    size = 0
    async for chunk in request.stream:
        size += len(chunk)
        if size > limit:
            raise _too_large(limit)
        chunks.append(chunk)
    if length is not None and size < length:
        raise ApiError(
            falcon.HTTP_400, "invalid_request", f"the body ended after {size} of {length} bytes"
        )
    return chunks[0] if len(chunks) == 1 else b"".join(chunks)


def _gunzip(raw: bytes, limit: int) -> bytes:
    parts: list[bytes] = []
    left = limit
    try:
        while raw:
            unzip = zlib.decompressobj(wbits=31)
            parts.append(unzip.decompress(raw, left + 1))
            left -= len(parts[-1])
            if left < 0:
                raise _too_large(limit)
            if not unzip.eof:
                raise _damaged("gzip", "it is cut short")
            raw = unzip.unused_data
    except zlib.error as error:
        raise _damaged("gzip", str(error)) from None
    return b"".join(parts)


def _unzstd(raw: bytes, limit: int) -> bytes:
    parts: list[bytes] = []
    left = limit
    try:
        reader = zstandard.ZstdDecompressor().stream_reader(raw, read_across_frames=True)
        while part := reader.read(min(left + 1, 1024 * 1024)):
            parts.append(part)
            left -= len(part)
            if left < 0:
                raise _too_large(limit)
    except zstandard.ZstdError as error:
        raise _damaged("zstd", str(error)) from None
    if raw and not _is_whole_zstd(raw):
        raise _damaged("zstd", "it is cut short")
    return b"".join(parts)


def _is_whole_zstd(raw: bytes) -> bool:
    while raw:
        unzip = zstandard.ZstdDecompressor().decompressobj()
        unzip.decompress(raw)
        if not unzip.eof:
            return False
        raw = unzip.unused_data
    return True


def _too_large(limit: int) -> ApiError:
    return ApiError(
        falcon.HTTP_413,
        "payload_too_large",
        f"the body is over the limit of {limit} bytes after decompression; send smaller batches",
    )


def _damaged(encoding: str, reason: str) -> ApiError:
    return ApiError(
        falcon.HTTP_400, "invalid_request", f"the body is not valid {encoding}: {reason}"
    )
