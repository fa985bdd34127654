"""PLAID, plug loads: the text files that the package sktime brings along, read without importing it.

sktime 1.2.0 asks for an older pandas than is installed here; ``pip install --no-deps sktime==1.2.0`` is enough, because
only its data files are used.
"""

from importlib.util import find_spec
from pathlib import Path

import numpy as np

from hw_models.files import LARGEST_MODEL_BYTES, read_text
from mobo.tinyml.tasks.data import TaskError
from mobo.tinyml.tasks.parts import Part, RawTask
from mobo.tinyml.tasks.settings import PlaidSettings
from mobo.tinyml.tasks.windows import cut_windows

CLASS_NAMES = (
    "air conditioner", "compact fluorescent lamp", "fan", "fridge", "hairdryer", "heater", "incandescent light bulb",
    "laptop", "microwave", "vacuum", "washing machine",
)  # fmt: skip


def load_plaid(settings: PlaidSettings) -> RawTask:
    """Return windows of every series, with the series as groups and the archive's own test split.

    Raises:
        TaskError: sktime is not installed, or its files are not as expected.

    Source: J. Gao et al.: PLAID: a Public Dataset of High-Resolution Electrical Appliance Measurements for Load
        Identification Research (BuildSys 2014), as the UCR archive has it.
    """
    spec = find_spec("sktime")
    if spec is None or not spec.submodule_search_locations:
        raise TaskError("the task plaid reads files of the package sktime: pip install --no-deps sktime==1.2.0")
    folder = Path(next(iter(spec.submodule_search_locations))) / "datasets" / "data" / "PLAID"
    known, test = (_part(folder / f"PLAID_{part}.ts", settings.window) for part in ("TRAIN", "TEST"))
    return RawTask(str(folder), CLASS_NAMES, known, test)


def _part(path: Path, window: int) -> Part:
    if not path.is_file():
        raise TaskError(f"{path} does not exist; install sktime 1.2.0 (pip install --no-deps sktime==1.2.0)")
    lines = read_text(path, at_most_bytes=LARGEST_MODEL_BYTES).splitlines()
    windows, labels, groups = [], [], []
    for number, line in enumerate(lines, start=1):
        if not line.strip() or line.startswith(("#", "@")):
            continue
        values, _, label = line.partition(":")
        try:
            series = np.array(values.split(","), dtype=np.float32)[:, None]
            labels.append(int(label))
        except ValueError as error:
            raise TaskError(f"{path}, line {number}, is no series of numbers with a label: {error}") from error
        windows.append(cut_windows(series, window, window))
        groups.append(f"{path.stem}:{number}")
    counts = [len(part) for part in windows]
    if sum(counts) == 0:
        raise TaskError(f"{path} holds no window of {window} samples; lower task.window")
    return Part(np.concatenate(windows), np.repeat(labels, counts).astype(np.int64), np.repeat(groups, counts))
