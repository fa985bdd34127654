"""What verifying the export of a model found, where somebody did."""

import json

from mobo.export.verify.table import HEADERS, notes, table_rows, verdict
from mobo.report.markup import bullets, paragraph, section, table
from mobo.report.saved_model import SavedModelError
from mobo.runs.directory import RunDirectory
from mobo.tinyml.model_names import VERIFICATION


def verification_section(run: RunDirectory, number: int) -> str:
    """Return the section on one trial's verification; it says how to get one where there is none.

    Raises:
        SavedModelError: The file cannot be read or has another form.
    """
    path = run.model_directory(number) / VERIFICATION
    title = "Verified on the desk"
    if not path.is_file():
        command = f"mobo pick {run.path} --device NAME --export DIR --verify"
        return section(title, paragraph(f"Not verified yet: `{command}` exports the picked model and proves it."))
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        text = f"{found['name']}, predictions for {found['device']}: {verdict(found)}."
        return section(title, paragraph(text), table(HEADERS, table_rows(found)), bullets(notes(found)))
    except (OSError, KeyError, TypeError, AttributeError, json.JSONDecodeError) as error:
        raise SavedModelError(f"{path} cannot be read: {error!r}; verify the model again") from error
