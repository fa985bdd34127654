"""The page as a browser shows it: Chromium, by way of Qt (``pip install PySide6-Addons==6.8.3``), at three widths."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mobo.report import write_report
from mobo.runs.mistakes import mistakes_of
from mobo.runs.record import read_run
from tests.mobo.synthetic_run import make_run

pytestmark = pytest.mark.slow

_SETTLED_MS, _PATIENCE_MS = 2_000, 60_000

# What scrolls sideways under its own frame may be wider than the page; what is in a figure lies within the figure.
FACTS = """
(() => {
  const box = element => element.getBoundingClientRect();
  const name = e => `${e.tagName} ${e.getAttribute("class") || ""} "${e.textContent.slice(0, 40)}" ${box(e).left} to ${box(e).right}`;
  const inside = (e, left, right) => box(e).left >= left - 1 && box(e).right <= right + 1;
  const shown = root => [...root.querySelectorAll("*")].filter(e => box(e).width > 0 && box(e).height > 0);
  const page = document.documentElement.clientWidth;
  const figures = [...document.querySelectorAll(".plotly-graph-div")];
  const titles = figure => [...figure.querySelectorAll("text[class*=title], text.annotation-text, .ytick text")];
  const meet = (a, b) => a.left < b.right && b.left < a.right && a.top < b.bottom && b.top < a.bottom;
  return JSON.stringify({
    scrolls: document.documentElement.scrollWidth - innerWidth,
    outside: shown(document.querySelector("main")).filter(e => !e.closest(".scroll > *, pre, .plotly-graph-div"))
      .filter(e => !inside(e, 0, page)).map(name),
    cut: figures.flatMap(figure => shown(figure).filter(e => e.closest("text") || e.tagName === "text")
      .filter(e => !inside(e, box(figure).left, box(figure).right)).map(name)),
    overlapping: figures.flatMap(figure => titles(figure).flatMap((a, place, all) =>
      all.slice(place + 1).filter(b => meet(box(a), box(b))).map(b => name(a) + " and " + name(b)))),
    drawn: figures.filter(figure => figure.querySelector("svg.main-svg")).length,
  });
})()
"""


@pytest.fixture(scope="module")
def shown(
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Callable[[Path, int], tuple[dict[str, Any], list[str]]]]:
    """Return what opens a page at a width, and gives its facts and what its console said."""
    patch = pytest.MonkeyPatch()
    patch.setenv("QT_QPA_PLATFORM", "offscreen")
    patch.setenv("QTWEBENGINE_CHROMIUM_FLAGS", "--no-sandbox --disable-gpu")
    core = pytest.importorskip("PySide6.QtWebEngineCore", exc_type=ImportError)
    widgets = pytest.importorskip("PySide6.QtWebEngineWidgets", exc_type=ImportError)
    from PySide6.QtCore import QEventLoop, QTimer, QUrl
    from PySide6.QtWidgets import QApplication

    application = QApplication.instance() or QApplication(["report"])
    said: list[str] = []

    class Page(core.QWebEnginePage):  # type: ignore[name-defined]
        def javaScriptConsoleMessage(self, level: Any, message: str, line: int, source: str) -> None:
            said.append(f"{level.name} {message}")

    def waited(begin: Callable[[Callable[..., None]], object]) -> Any:
        loop, answers = QEventLoop(), []
        QTimer.singleShot(_PATIENCE_MS, loop.quit)
        begin(lambda *answer: (answers.append(answer), loop.quit()))
        loop.exec()
        assert answers, "the browser does not answer"
        return answers[0][0] if answers[0] else None

    def look(path: Path, width: int) -> tuple[dict[str, Any], list[str]]:
        said.clear()
        view = widgets.QWebEngineView()
        page = Page(view)
        view.setPage(page)
        view.resize(width, 900)
        view.show()

        def load(done: Callable[..., None]) -> None:
            page.loadFinished.connect(done)
            page.load(QUrl.fromLocalFile(str(path.resolve())))

        assert waited(load)
        waited(lambda done: QTimer.singleShot(_SETTLED_MS, done))
        facts = json.loads(waited(lambda done: page.runJavaScript(FACTS, 0, done)))
        view.setPage(None)
        page.deleteLater()
        view.deleteLater()
        return facts, [text for text in said if not text.startswith("Info")]

    yield look
    application.processEvents()
    patch.undo()


@pytest.mark.parametrize("width", [360, 768, 1280])
def test_nothing_is_cut_and_the_console_is_silent(
    width: int, tmp_path: Path, shown: Callable[[Path, int], tuple[dict[str, Any], list[str]]]
) -> None:
    # A long folder, such as stands in commands of the page.
    folder = tmp_path / "a-folder-with-a-long-name-that-no-line-of-a-telephone-holds"
    run = make_run(folder)
    names = [f"a class with a name ({number})" for number in range(12)]
    labels = np.arange(240) % len(names)
    mistakes_of(np.roll(labels, 1), labels, names, None).write(run.model_directory(2))
    facts, said = shown(write_report(read_run(run.path)), width)
    assert said == []
    assert facts["scrolls"] <= 0
    assert facts["outside"] == []
    assert facts["cut"] == []
    assert facts["overlapping"] == []
    assert facts["drawn"] == 6
