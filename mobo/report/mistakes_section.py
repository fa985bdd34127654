"""What a model takes for what on the test split, and on whom it errs."""

import plotly.graph_objects as go

from hw_models.files import FileError
from mobo.report.markup import figure_div, paragraph, section, table
from mobo.report.saved_model import SavedModelError
from mobo.report.theme import BLUE, styled
from mobo.runs.directory import RunDirectory
from mobo.runs.mistakes import GroupMistakes, Mistakes, read_mistakes

_MOST_GROUPS = 15
# Names of classes that stand level below the figure, all together.
_LEVEL_LETTERS = 60


def mistakes_section(run: RunDirectory, number: int) -> str:
    """Return the section on one trial's mistakes; empty where none were kept.

    Raises:
        SavedModelError: They cannot be read.
    """
    try:
        mistakes = read_mistakes(run.model_directory(number))
    except FileError as error:
        raise SavedModelError(f"{error}; resume the search to score the front again") from error
    if mistakes is None:
        return ""
    text = "Each row is a class of the test split: what its samples were taken for, in per cent."
    parts = [paragraph(text), figure_div(confusion_figure(mistakes), "confusion", least_px=_width_px(mistakes))]
    if mistakes.groups:
        parts += [paragraph(_groups_text(mistakes.groups)), _groups_table(mistakes.groups)]
    return section("Where it errs", *parts)


def confusion_figure(mistakes: Mistakes) -> go.Figure:
    """Return the confusion matrix, each row in shares of its class."""
    names = list(mistakes.class_names)
    shares = [[count / max(1, sum(row)) for count in row] for row in mistakes.confusion]
    is_small = len(names) <= 20
    figure = go.Figure(
        go.Heatmap(
            x=names,
            y=names,
            z=shares,
            zmin=0.0,
            zmax=1.0,
            colorscale=[[0.0, "#ffffff"], [1.0, BLUE]],
            showscale=False,
            text=[[f"{100 * share:.0f}" if share else "" for share in row] for row in shares] if is_small else None,
            texttemplate="%{text}" if is_small else None,
            customdata=mistakes.confusion,
            hovertemplate="%{y} taken for %{x}: %{customdata} samples<extra></extra>",
        )
    )
    # As text: names that are numbers would become a scale.
    # Slanted to the left: to the right the last name would leave the figure.
    angle = 0 if sum(map(len, names)) <= _LEVEL_LETTERS else -40
    figure.update_xaxes(title_text="taken for", type="category", tickangle=angle, automargin=True)
    # Without a standoff the title stands in the names.
    title = {"text": "is", "standoff": 14}
    figure.update_yaxes(title=title, type="category", autorange="reversed", automargin=True)
    return styled(figure, height=min(900, 160 + 34 * len(names)))


def _width_px(mistakes: Mistakes) -> int:
    """Return what names and numbers of so many classes need."""
    return 140 + 30 * len(mistakes.class_names)


def _groups_text(groups: tuple[GroupMistakes, ...]) -> str:
    shown = "" if len(groups) <= _MOST_GROUPS else f" The {_MOST_GROUPS} of {len(groups)} with the highest error."
    return f"By group (whom or what the samples are from; no group of the test split is in another one).{shown}"


def _groups_table(groups: tuple[GroupMistakes, ...]) -> str:
    rows = [
        (group.name, str(group.samples), str(group.wrong), f"{100 * group.error:.1f}")
        for group in groups[:_MOST_GROUPS]
    ]
    return table(("group", "samples", "wrong", "error (%)"), rows)
