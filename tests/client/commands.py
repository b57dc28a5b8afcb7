"""The command line as a user runs it, in this process."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import pytest

from routiium_client.cli.main import main
from tests.harness import Pipeline


@dataclass(frozen=True)
class Ended:
    """What a command printed, and its exit status."""

    status: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


class CommandLine:
    """Runs commands against a pipeline; its addresses come from the environment."""

    def __init__(self, capsys: pytest.CaptureFixture[str]) -> None:
        self._capsys = capsys

    def __call__(self, *arguments: str) -> Ended:
        self._capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            main([str(argument) for argument in arguments])
        code = ended.value.code
        captured = self._capsys.readouterr()
        return Ended(code if isinstance(code, int) else 0, captured.out, captured.err)

    def good(self, *arguments: str) -> Ended:
        """A command that must end well."""
        ended = self(*arguments)
        assert ended.status == 0, ended
        return ended


def addresses(pipeline: Pipeline) -> dict[str, str]:
    return {
        "ROUTIIUM_ANALYTICS_INGEST_URL": pipeline.ingest_url,
        "ROUTIIUM_ANALYTICS_QUERY_URL": pipeline.query_url,
    }
