"""A verification as text."""

from mobo.cli.output import text_table
from mobo.export.verify.table import HEADERS, Found, notes, table_rows, verdict


def verification_text(found: Found) -> str:
    """Return the table of predicted and measured, the notes and the verdict."""
    title = f"{found['name']} for {found['device']}"
    return "\n".join([title, text_table(HEADERS, table_rows(found)), *notes(found), verdict(found)])
