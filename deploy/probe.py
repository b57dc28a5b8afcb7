"""`python -m deploy.probe URL`: exit status 0 where URL answers 200, else 1 and why.

For the health checks of containers whose image has no curl.
"""

from __future__ import annotations

import sys
from http.client import HTTPException
from urllib.error import HTTPError
from urllib.request import urlopen

TIMEOUT_SECONDS = 4.0


def problem(url: str) -> str | None:
    """What is wrong with the answer of `url`; None where it is 200."""
    try:
        with urlopen(url, timeout=TIMEOUT_SECONDS) as answer:
            return None if answer.status == 200 else f"status {answer.status}"
    except HTTPError as error:
        return f"status {error.code}: {error.read(500).decode(errors='replace')}"
    except (OSError, HTTPException) as error:
        return f"no answer: {error}"


def main(arguments: list[str]) -> int:
    if len(arguments) != 1 or not arguments[0].startswith(("http://", "https://")):
        print("usage: python -m deploy.probe http://127.0.0.1:8087/healthz/live", file=sys.stderr)
        return 2
    if wrong := problem(arguments[0]):
        print(f"{arguments[0]}: {wrong}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
