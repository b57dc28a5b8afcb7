"""The commands, and what a user sees of a failure."""

from __future__ import annotations

import json
import sys
from typing import Annotated

import typer

from routiium_client.cli.doctor import doctor
from routiium_client.cli.imports import import_files
from routiium_client.cli.read import export, stats, top
from routiium_client.cli.replay import replay
from routiium_client.cli.send import send
from routiium_client.cli.service import Failure
from routiium_client.cli.tail import tail
from routiium_client.cli.version import installed_version

app = typer.Typer(
    name="routiium-analytics",
    help="Put events into Routiium Analytics, and ask it about them.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command("import")(import_files)
for command in (export, stats, top, tail, send, doctor, replay):
    app.command()(command)


def _print_version(asked: bool) -> None:
    if asked:
        print(installed_version())
        raise typer.Exit


@app.callback()
def options(
    show_version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True)
    ] = False,
) -> None:
    """Put events into Routiium Analytics, and ask it about them."""


def main(arguments: list[str] | None = None) -> None:
    """Run a command and end the process: 0 when all is well, 1 when not, 2 for wrong usage."""
    given = sys.argv[1:] if arguments is None else arguments
    try:
        app(args=given)
    except Failure as failure:
        _tell(str(failure), as_json="--json" in given)
        sys.exit(failure.status)
    except BrokenPipeError:
        # Who reads us has seen enough, as `head` does; nothing is left to be flushed.
        sys.stderr.close()
        sys.exit(0)
    except OSError as error:
        _tell(str(error), as_json="--json" in given)
        sys.exit(1)


def _tell(message: str, *, as_json: bool) -> None:
    told = json.dumps({"error": {"message": message}}) if as_json else f"error: {message}"
    print(told, file=sys.stderr)
