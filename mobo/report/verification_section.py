"""What verifying the export of a model found, where somebody did."""

from pathlib import Path

from hw_models.files import FileError, read_json
from mobo.export.verify.table import HEADERS, VerifyFile, notes, table_rows, verdict
from mobo.report.markup import bullets, paragraph, section, table
from mobo.report.saved_model import SavedModelError
from mobo.runs.directory import RunDirectory
from mobo.tinyml.model_names import VERIFICATION


def verification_section(run: RunDirectory, model: Path) -> str:
    """Return the section on the verification of a model of the run, or what makes one where there is none.

    Raises:
        SavedModelError: The file cannot be read or has another form.
    """
    path = model / VERIFICATION
    title = "Verified on the desk"
    if not path.is_file():
        command = f"mobo pick {run.path} --device NAME --export DIR --verify"
        return section(
            title, paragraph(f"No verification is kept beside it: `{command}` exports the picked model and proves it.")
        )
    try:
        found = read_json(path, VerifyFile).model_dump()
        text = f"{found['name']}, predictions for {found['device']}: {verdict(found)}."
        return section(title, paragraph(text), table(HEADERS, table_rows(found)), bullets(notes(found)))
    except FileError as error:
        raise SavedModelError(f"{error}; verify the model again") from error
