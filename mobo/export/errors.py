"""What goes wrong on the way to the chip."""

from mobo.base.errors import MoboError


class ExportError(MoboError):
    """A model cannot be exported as asked, or an exported one cannot be read."""


class MissingToolError(MoboError):
    """A package or program that this step needs is not installed.

    Args:
        tool: Its name.
        install: The command that installs it.
    """

    def __init__(self, tool: str, *, install: str) -> None:
        super().__init__(f"{tool} is missing; install it with: {install}")
        self.tool, self.install = tool, install
