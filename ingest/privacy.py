"""What must not leave ingest: keys are hashed, credentials masked, addresses shortened."""

from __future__ import annotations

import ipaddress
import re
from functools import lru_cache

from routiium_client.event import key_id
from shared.events import MAX_ERROR_MESSAGE, MAX_TEXT, ReceivedEvent

MASK = "[masked]"

# Each alternative is decided at its first few characters, so a hostile text costs linear time.
_CREDENTIAL = re.compile(
    r"""
    (?<![A-Za-z0-9]) (?:
        (?i:bearer) \s+ [^\s"',;]+                      # an Authorization header
      | (?i:api[-_]?key) ["']? \s* [:=] \s* ["']? [^\s"',;]{8,}   # api-key: …, "api_key": "…"
      | (?:sk|pk|rk)-[A-Za-z0-9_\-*]{4,}                # OpenAI, Anthropic, LiteLLM, …
      | (?:sk|pk|rk)_(?:live|test)_[A-Za-z0-9]{4,}      # Stripe's form
      | gsk_[A-Za-z0-9]{8,}                             # Groq
      | hf_[A-Za-z0-9]{8,}                              # Hugging Face
      | xai-[A-Za-z0-9]{8,}                             # xAI
      | AIza[A-Za-z0-9_\-]{16,}                         # Google
      | (?:AKIA|ASIA)[A-Z0-9]{12,}                      # AWS
      | gh[pousr]_[A-Za-z0-9]{16,}                      # GitHub
      | eyJ[A-Za-z0-9_\-]{8,}(?:\.[A-Za-z0-9_\-]*){0,2} # a JWT, whole or cut short
    )
    """,
    re.VERBOSE,
)


class Scrubber:
    """Removes from an event what must not be queued, in place."""

    def __init__(self, *, key_salt: str, anonymize_ip: bool) -> None:
        self._salt = key_salt.encode()
        self._anonymize_ip = anonymize_ip

    def scrub(self, event: ReceivedEvent) -> None:
        auth = event.auth
        key = auth.api_key
        if key is not None:
            auth.api_key = None
        given, label = auth.api_key_id, auth.api_key_label
        if key:
            auth.api_key_id = key_id(key, self._salt)
        elif given is not None and looks_like_credential(given):
            auth.api_key_id = key_id(given, self._salt)
        if label is not None and looks_like_credential(label):
            auth.api_key_label = mask(label)[:MAX_TEXT]
        response = event.response
        if response is not None and response.error_message is not None:
            response.error_message = mask(response.error_message)[:MAX_ERROR_MESSAGE]
        request = event.request
        if "?" in request.endpoint:
            request.endpoint = request.endpoint.partition("?")[0]
        if self._anonymize_ip and request.client_ip is not None:
            request.client_ip = shorten_address(request.client_ip)


def mask(text: str) -> str:
    """`text` with everything that looks like a credential replaced."""
    return _CREDENTIAL.sub(MASK, text)


@lru_cache(maxsize=4096)
def looks_like_credential(text: str) -> bool:
    """Whether `mask` would change `text`. Remembered: ids and labels of keys repeat."""
    return _CREDENTIAL.search(text) is not None


@lru_cache(maxsize=4096)
def shorten_address(address: str) -> str | None:
    """The /24 of an IPv4 or the /48 of an IPv6 address, as its first address; None for neither.

    The first hop of an X-Forwarded-For list counts; a port is dropped. Remembered: clients repeat.
    """
    first = address.partition(",")[0].strip()
    if first.startswith("["):
        first = first[1:].partition("]")[0]
    elif first.count(":") == 1:
        first = first.partition(":")[0]
    try:
        parsed = ipaddress.ip_address(first.partition("%")[0])
    except ValueError:
        return None
    if isinstance(parsed, ipaddress.IPv6Address) and parsed.ipv4_mapped is not None:
        parsed = parsed.ipv4_mapped
    bits = 24 if parsed.version == 4 else 48
    return str(ipaddress.ip_network((parsed, bits), strict=False).network_address)
