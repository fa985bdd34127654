"""``mobo report``."""

from mobo.cli.arguments import Run
from mobo.cli.output import say

NAME = "report"
EXAMPLE = "mobo report runs/quickstart-001"


def command(run: Run) -> None:
    """Write report.html into the run's folder (it opens offline), and print its path."""
    from mobo.report import write_report
    from mobo.runs.record import read_run

    record = read_run(run)
    record.directory.check_writable()
    say(str(write_report(record)))
