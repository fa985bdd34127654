import re
import shutil
from html.parser import HTMLParser
from pathlib import Path

import pytest

from mobo.report import write_report
from mobo.report.page import report_html
from mobo.runs.record import RunRecord, read_run
from mobo.space.confirmation import Repeat
from mobo.space.trial import TrialState
from mobo.study.store import Store
from tests.mobo.synthetic_run import CONFIG, TRIALS, MadeUp, make_run


class Page(HTMLParser):
    """Collects headings, the text outside scripts, and every address the page would fetch."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.headings: list[str] = []
        self.text = ""
        self.addresses: list[str] = []
        self.open: list[str] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        if tag not in ("meta", "br"):
            self.open.append(tag)
        self.addresses += [value or "" for name, value in attributes if name in ("src", "href")]

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] in ("h1", "h2"):
            self.headings.append(data)
        if not {"script", "style"} & set(self.open):
            self.text += data + "\n"


@pytest.fixture
def record(tmp_path: Path) -> RunRecord:
    return read_run(make_run(tmp_path / "run").path)


def test_the_page_is_whole_and_fetches_nothing(record: RunRecord) -> None:
    path = write_report(record)
    assert path == record.directory.report_path
    html = path.read_text(encoding="utf-8")
    page = Page(html)
    assert page.open == []
    assert page.addresses == []
    # The script itself once, and no style sheet or font from elsewhere.
    assert html.count("plotly.js v") == 1
    assert "@import" not in html.partition("<script>")[0]
    assert page.headings == [
        "made-up",
        "The front",
        "Picked: trial 2",
        "Layer by layer",
        "Memory timeline",
        "Verified on the desk",
        "How the search went",
        "Where the time went",
        "Trials without a result",
        "How far to trust these numbers",
        "Config and versions",
    ]
    assert re.findall(r'<div id="(\w+)" class="plotly', html) == ["front", "layers", "memory", "hypervolume", "time"]


def test_text_from_outside_is_escaped(record: RunRecord) -> None:
    html = report_html(record)
    assert "the loss is NaN &lt;b&gt;in epoch 3&lt;/b&gt;" in html
    assert "<b>in epoch 3</b>" not in html
    assert "the loss is NaN <b>in epoch 3</b>" in Page(html).text


def test_a_message_cannot_close_the_script(tmp_path: Path) -> None:
    evil = MadeUp(width=512, state=TrialState.INFEASIBLE, message="</script><script>alert(1)</script>")
    html = report_html(read_run(make_run(tmp_path / "run", (*TRIALS, evil)).path))
    assert "<script>alert" not in html
    Page(html)


def test_the_same_run_gives_the_same_page(record: RunRecord) -> None:
    assert report_html(record) == report_html(record)


def test_the_facts_of_front_pick_and_peak_are_in_the_text(record: RunRecord) -> None:
    text = Page(report_html(record)).text
    assert "stem sets the peak" in text
    assert "lowest validation error among the models that keep every limit" in text
    assert "ram_bytes is at least 90000" in text
    # Trial 2 as the table shows it: validation 10 %, test 12.5 %, 4451 bytes of flash.
    row = text[text.index("test error (%)") :]
    assert "channels kept (%)\nparameters kept (%)\n" in row
    assert re.search(r"\n2\n10\.00\n12\.50\n–\n4\.3\n", row)
    assert "scikit-learn" in text
    assert 'name = "made-up"' in text


def test_trust_says_measured_or_borrowed_and_unknown_energy(tmp_path: Path) -> None:
    measured = Page(report_html(read_run(make_run(tmp_path / "m4").path))).text
    assert "borrowed" not in measured
    assert "43.4 mW" in measured
    assert "test split is read once" in measured
    assert "3 of 3 models of the front have one" in measured
    config = CONFIG.replace("nucleo-l4r5zi", "nrf5340-dk")
    borrowed = Page(report_html(read_run(make_run(tmp_path / "m33", config_toml=config).path))).text
    assert "No board with a cortex-m33 was measured under this runtime: its cycles per instruction are" in borrowed
    assert "Nobody measured the power of" in borrowed


def test_a_confirmed_front_shows_the_repeats_and_what_they_mean(record: RunRecord) -> None:
    plain = Page(report_html(record)).text
    assert "confirmed error" not in plain
    assert "made again with other seeds" not in plain
    with Store.open(record.directory.store_path) as store:
        for repeat, error in enumerate((0.18, 0.22)):
            store.save_repeat(Repeat(trial=2, repeat=repeat, seed=1, trained_folds=0, samples=200, error=error))
    text = Page(report_html(read_run(record.directory.path))).text
    assert "confirmed error (%)\nconfirmed, low (%)\nconfirmed, high (%)\nrepeats\n" in text
    assert re.search(r"\n2\n10\.00\n12\.50\n20\.00\n", text)
    assert "Rule: lowest confirmed error (mean of the repeats)" in text
    assert "1 of 3 models of the front were made again with other seeds" in text
    assert "picked model: confirmed error" in text


def test_an_empty_run_and_a_run_without_feasible_trials_have_a_page(tmp_path: Path) -> None:
    empty = Page(report_html(read_run(make_run(tmp_path / "empty", ()).path)))
    assert "No trial was recorded yet." in empty.text
    failed = MadeUp(width=8, state=TrialState.FAILED, message="NaN")
    page = Page(report_html(read_run(make_run(tmp_path / "failed", (failed,)).path)))
    assert "The front is empty" in page.text
    assert "Layer by layer" not in page.headings


def test_deleted_models_are_said_and_do_not_stop_the_page(record: RunRecord) -> None:
    shutil.rmtree(record.directory.models_path)
    assert "The files of trial 2 are not on disk." in Page(report_html(record)).text
