"""The ``mobo`` command: its subcommands, and the one place where an error becomes one line and an exit code.

Exit codes: 0 done; 1 a valid question with an empty answer (nothing fits) or a promise found broken; 2 bad input, or a
machine that refuses (no space, no right to write); 130 interrupted.
"""

from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from mobo import __version__
from mobo.base.errors import machine_errors
from mobo.cli import (
    benchmark,
    calibrate,
    compress,
    confirm,
    convert,
    cost,
    devices,
    export,
    front,
    goal,
    init,
    measure,
    pick,
    problems,
    report,
    retrain,
    runtimes,
    samplers,
    search,
    tasks,
    validate,
    verify,
    watch,
)
from mobo.cli.expected_errors import EXPECTED_ERRORS
from mobo.cli.output import say

BAD_INPUT = 2


class OneLineErrors(TyperGroup):
    """Prints an error the user can mend as one line; any other one is ours and keeps its traceback."""

    def invoke(self, ctx: Any) -> Any:
        """Run the command; an error raised on purpose ends it with exit code 2."""
        try:
            with machine_errors():
                return super().invoke(ctx)
        except EXPECTED_ERRORS as error:
            for line in str(error).splitlines():
                say(f"error: {line}", err=True)
            raise typer.Exit(BAD_INPUT) from error


app = typer.Typer(
    name="mobo",
    cls=OneLineErrors,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    help="Find the compressed neural networks for a microcontroller that nobody can improve in one respect without "
    "losing in another: error, flash, RAM, latency, energy.",
    epilog="Example: mobo init recordings --device nucleo-l4r5zi, mobo search study.toml, mobo front runs/<study>-001",
)


def _print_version(value: bool) -> None:
    if value:
        say(f"mobo {__version__}")
        raise typer.Exit


@app.callback()
def common(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version and exit.", is_eager=True, callback=_print_version)
    ] = False,
) -> None:
    """Take the options of no command in particular."""


COMMANDS = (
    init,
    search,
    watch,
    front,
    goal,
    confirm,
    retrain,
    pick,
    report,
    convert,
    compress,
    export,
    verify,
    measure,
    cost,
    validate,
    benchmark,
    calibrate,
    devices,
    runtimes,
    tasks,
    problems,
    samplers,
)
for module in COMMANDS:
    app.command(module.NAME, epilog=f"Example: {module.EXAMPLE}")(module.command)


def main() -> None:
    """Run the command line."""
    app()
