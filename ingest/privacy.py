"""What must not leave ingest: keys are hashed, credentials masked, addresses shortened."""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
import re

from shared.events import MAX_ERROR_MESSAGE, MAX_TEXT, ReceivedEvent

MASK = "[masked]"

_CREDENTIAL = re.compile(
    r"""
      \b[Bb]earer\s+[^\s"',;]+                       # an Authorization header
    | \b(?:sk|pk|rk)-[A-Za-z0-9_\-*]{4,}             # OpenAI, Anthropic, LiteLLM, …
    | \b(?:sk|pk|rk)_(?:live|test)_[A-Za-z0-9]{4,}   # Stripe's form
    | \bgsk_[A-Za-z0-9]{8,}                          # Groq
    | \bhf_[A-Za-z0-9]{8,}                           # Hugging Face
    | \bxai-[A-Za-z0-9]{8,}                          # xAI
    | \bAIza[A-Za-z0-9_\-]{20,}                      # Google
    | \b(?:AKIA|ASIA)[A-Z0-9]{12,}                   # AWS
    | \bgh[pousr]_[A-Za-z0-9]{16,}                   # GitHub
    | \beyJ[A-Za-z0-9_\-]{8,}\.[A-Za-z0-9_\-]{8,}\.[A-Za-z0-9_\-]*  # a JWT
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
        if auth.api_key is not None:
            auth.api_key_id = self.key_id(auth.api_key) if auth.api_key else None
            auth.api_key = None
        elif auth.api_key_id is not None and _CREDENTIAL.search(auth.api_key_id):
            auth.api_key_id = self.key_id(auth.api_key_id)
        if auth.api_key_label is not None:
            auth.api_key_label = mask(auth.api_key_label)[:MAX_TEXT]
        if event.response is not None and event.response.error_message is not None:
            event.response.error_message = mask(event.response.error_message)[:MAX_ERROR_MESSAGE]
        request = event.request
        if "?" in request.endpoint:
            request.endpoint = request.endpoint.partition("?")[0]
        if self._anonymize_ip and request.client_ip is not None:
            request.client_ip = shorten_address(request.client_ip)

    def key_id(self, key: str) -> str:
        """`key_` and the first 16 hex digits of HMAC-SHA256(salt, key)."""
        digest = hmac.new(self._salt, key.encode("utf-8", "surrogatepass"), hashlib.sha256)
        return "key_" + digest.hexdigest()[:16]


def mask(text: str) -> str:
    """`text` with everything that looks like a credential replaced."""
    return _CREDENTIAL.sub(MASK, text)


def shorten_address(address: str) -> str | None:
    """The /24 of an IPv4 or the /48 of an IPv6 address, as its first address; None for neither.

    The first hop of an X-Forwarded-For list counts; a port is dropped.
    """
    first = address.partition(",")[0].strip()
    if first.startswith("["):
        first = first[1:].partition("]")[0]
    elif first.count(":") == 1:
        first = first.partition(":")[0]
    try:
        parsed = ipaddress.ip_address(first)
    except ValueError:
        return None
    if isinstance(parsed, ipaddress.IPv6Address) and parsed.ipv4_mapped is not None:
        parsed = parsed.ipv4_mapped
    bits = 24 if parsed.version == 4 else 48
    return str(ipaddress.ip_network((parsed, bits), strict=False).network_address)
