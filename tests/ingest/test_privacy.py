"""What never leaves ingest: keys, credentials, and addresses where they are to be shortened."""

from __future__ import annotations

import time
from typing import Any

import pytest

from ingest.privacy import MASK, Scrubber, mask, shorten_address
from routiium_client.event import key_id
from shared.events import ReceivedAuth, ReceivedEvent, ReceivedRequest, ReceivedResponse


def scrubbed(*, anonymize_ip: bool = False, salt: str = "Jefe", **parts: Any) -> ReceivedEvent:
    event = ReceivedEvent(**{"request": ReceivedRequest("/v1/responses"), **parts})
    Scrubber(key_salt=salt, anonymize_ip=anonymize_ip).scrub(event)
    return event


def test_a_key_becomes_the_start_of_its_hmac_sha256() -> None:
    # RFC 4231, test case 2.
    auth = scrubbed(auth=ReceivedAuth(api_key="what do ya want for nothing?")).auth

    assert auth.api_key_id == "key_5bdcc146bf60754e"
    assert auth.api_key is None


def test_the_id_of_a_key_depends_on_the_salt_and_the_key_alone() -> None:
    def id_of(salt: str, key: str) -> str | None:
        return scrubbed(salt=salt, auth=ReceivedAuth(api_key=key)).auth.api_key_id

    assert id_of("a", "k") == id_of("a", "k")
    assert len({id_of("a", "k"), id_of("b", "k"), id_of("a", "l")}) == 3


def test_a_raw_key_wins_over_an_id_that_came_with_it() -> None:
    auth = scrubbed(auth=ReceivedAuth(api_key="k", api_key_id="team-7")).auth

    assert auth.api_key_id == key_id("k", b"Jefe")


def test_an_empty_key_is_no_key() -> None:
    auth = scrubbed(auth=ReceivedAuth(api_key="", api_key_id="team-7")).auth

    assert (auth.api_key, auth.api_key_id) == (None, "team-7")


def test_a_key_sent_as_its_own_id_is_hashed_as_a_key() -> None:
    raw = "sk-proj-Zm9vYmFyYmF6cXV4"

    as_id = scrubbed(auth=ReceivedAuth(api_key_id=raw)).auth
    as_key = scrubbed(auth=ReceivedAuth(api_key=raw)).auth

    assert as_id == as_key
    assert raw not in str(as_id)


def test_an_id_that_is_no_key_is_kept() -> None:
    for given in ("key_5bdcc146bf60754e", "7f3a" * 16, "team-7", "user@example.org"):
        assert scrubbed(auth=ReceivedAuth(api_key_id=given)).auth.api_key_id == given


CREDENTIALS = [
    "sk-proj-Zm9vYmFyYmF6cXV4",
    "sk-ant-api03-abcdefghijkl_mnop-qrs",
    "sk-lit****7890",
    "pk-lf-12345678-90ab",
    "sk_live_51H8abcdefgh",
    "gsk_abcdefgh12345678",
    "hf_abcdefghABCDEFGH",
    "xai-abcdefgh12345678",
    "AIzaSyA1234567890abcdefghijklmnopqrstuv",
    "AKIAIOSFODNN7EXAMPLE",
    "ghp_abcdefghijklmnopqrst0123456789",
    "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0In0.dozjgNryP4J3jVmNHl0w",
    "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIx",
    "Bearer 7d1c6b2f0a",
    "bearer  7d1c6b2f0a",
    "BEARER 7d1c6b2f0a",
    "api-key: 0123456789abcdef0123456789abcdef",
    'api_key="0123456789abcdef"',
]


@pytest.mark.parametrize("credential", CREDENTIALS)
@pytest.mark.parametrize(
    "around", ["{}", "Incorrect key: {}.", "(key={})", "a_{}", "«{}»", "a\n{}"]
)
def test_a_credential_inside_a_message_is_masked(credential: str, around: str) -> None:
    message = around.format(credential)
    response = scrubbed(response=ReceivedResponse(401, error_message=message)).response

    assert response is not None
    assert response.error_message is not None
    assert MASK in response.error_message
    assert credential.split()[-1].strip('"')[6:] not in response.error_message


def test_a_credential_in_a_label_is_masked_and_the_rest_kept() -> None:
    auth = scrubbed(auth=ReceivedAuth(api_key_label="prod sk-abcd1234 (eu)")).auth

    assert auth.api_key_label == f"prod {MASK} (eu)"


@pytest.mark.parametrize(
    "message",
    [
        "The task-force asked for disk-space; risk-adjusted, desk-bound.",
        "Rate limit reached for gpt-4o in organization org-x on tokens per min (TPM)",
        "api_key is required",
        "the bearer",
        "AI is key",
    ],
)
def test_plain_words_are_not_masked(message: str) -> None:
    assert mask(message) == message


def test_a_masked_message_stays_within_its_bound() -> None:
    message = "sk-abcd " * 256
    response = scrubbed(response=ReceivedResponse(401, error_message=message)).response

    assert response is not None
    assert response.error_message is not None
    assert len(response.error_message) == 2_048


@pytest.mark.parametrize(
    "pattern", ["eyJ-", "bearer ", "api_key ", 'api_key : "', "sk-", "AIza-", "eyJaaaaaaaa.", " "]
)
def test_masking_takes_time_in_proportion_to_the_text(pattern: str) -> None:
    def cost(size: int) -> float:
        text = (pattern * size)[:size]
        started = time.process_time()
        mask(text)
        return time.process_time() - started

    # Quadratic work would be 400 times as much, and seconds of it.
    assert min(cost(400_000) for _ in range(3)) < 40 * max(cost(20_000), 0.005)


def test_the_query_of_an_endpoint_is_dropped() -> None:
    assert scrubbed(request=ReceivedRequest("/v1/chat?key=abc")).request.endpoint == "/v1/chat"


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ("203.0.113.77", "203.0.113.0"),
        ("203.0.113.77:51234", "203.0.113.0"),
        ("203.0.113.77, 10.0.0.1, 10.0.0.2", "203.0.113.0"),
        (" 203.0.113.77 ,10.0.0.1", "203.0.113.0"),
        ("2001:db8:abcd:12:34::1", "2001:db8:abcd::"),
        ("[2001:db8:abcd:12::1]:443", "2001:db8:abcd::"),
        ("[2001:db8:abcd:12::1]", "2001:db8:abcd::"),
        ("2001:db8:abcd:12::1, 203.0.113.77", "2001:db8:abcd::"),
        ("::ffff:203.0.113.77", "203.0.113.0"),
        ("[::ffff:203.0.113.77]:80", "203.0.113.0"),
        ("fe80::1:2:3%eth0", "fe80::"),
        ("::1", "::"),
        ("unknown", None),
        ("host.example.org:80", None),
        ("203.0.113", None),
        ("203.0.113.999", None),
        ("", None),
    ],
)
def test_an_address_is_shortened_or_dropped(given: str, kept: str | None) -> None:
    assert shorten_address(given) == kept
    request = ReceivedRequest("/", client_ip=given)
    assert scrubbed(anonymize_ip=True, request=request).request.client_ip == kept


def test_an_address_is_kept_whole_unless_told_otherwise() -> None:
    request = ReceivedRequest("/", client_ip="203.0.113.77, 10.0.0.1")

    assert scrubbed(request=request).request.client_ip == "203.0.113.77, 10.0.0.1"
