"""Small archives laid out as the official ones, and a server on this machine that sends them."""

import hashlib
import io
import re
import tarfile
import threading
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
from scipy.io import wavfile

from mobo.tinyml.tasks.archives import Archive


def tar_gz(files: Mapping[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return buffer.getvalue()


def archive_of(task: str, content: bytes, *, url: str = "http://127.0.0.1/archive.tar.gz") -> Archive:
    return Archive(task=task, url=url, size_bytes=len(content), sha256=hashlib.sha256(content).hexdigest())


def cifar10(per_batch: int = 40) -> bytes:
    """Five batches and a test batch; the pixels of class c lie around 20 c."""
    generator = np.random.default_rng(0)

    def batch() -> bytes:
        labels = np.arange(per_batch) % 10
        pixels = generator.integers(0, 20, (per_batch, 3072)) + 20 * labels[:, None]
        return np.column_stack([labels, pixels]).astype(np.uint8).tobytes()

    names = [*(f"data_batch_{number}.bin" for number in range(1, 6)), "test_batch.bin"]
    files = {f"cifar-10-batches-bin/{name}": batch() for name in names}
    words = "airplane automobile bird cat deer dog frog horse ship truck"
    return tar_gz(files | {"cifar-10-batches-bin/batches.meta.txt": words.replace(" ", "\n").encode() + b"\n\n"})


def wav(seed: int, *, seconds: float = 1.0, rate_hz: int = 16000) -> bytes:
    buffer = io.BytesIO()
    samples = np.random.default_rng(seed).normal(0, 1000, round(seconds * rate_hz))
    wavfile.write(buffer, rate_hz, samples.astype(np.int16))
    return buffer.getvalue()


def speech_commands(
    speakers: int = 12, words: tuple[str, ...] = ("bed", "cat", "dog"), *, rate_hz: int = 16000, noise_s: float = 120.0
) -> bytes:
    """Every speaker says every word once; the last two speakers are the test list, a long noise is silence."""
    from mobo.tinyml.tasks.speech_commands import WORDS

    names = [f"{word}/{speaker:08x}_nohash_0.wav" for word in (*WORDS, *words) for speaker in range(speakers)]
    test = [name for name in names if int(name.split("/")[1][:8], 16) >= speakers - 2]
    files = {f"./{name}": wav(number, rate_hz=rate_hz, seconds=0.2) for number, name in enumerate(names)}
    noise = {"./_background_noise_/hiss.wav": wav(9999, seconds=noise_s), "./_background_noise_/README.md": b"noise"}
    return tar_gz(files | noise | {"./testing_list.txt": "\n".join(test).encode(), "./LICENSE": b""})


def daliac(subjects: int = 12, *, columns: int = 25) -> bytes:
    """Every subject does every activity for 60 rows."""
    buffer = io.BytesIO()
    generator = np.random.default_rng(0)
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for subject in range(1, subjects + 1):
            labels = np.repeat(np.arange(1, 14), 60)
            table = np.column_stack([generator.normal(labels[:, None], 1.0, (len(labels), columns - 1)), labels])
            text = io.StringIO()
            np.savetxt(text, table, delimiter=",", fmt="%.4g")
            archive.writestr(f"DaLiAc/dataset_{subject}.txt", text.getvalue())
    return buffer.getvalue()


def write_plaid(folder: Path) -> None:
    """Write the text files where a package named sktime would have them: 88 series of 100 to 250 samples."""
    data = folder / "sktime" / "datasets" / "data" / "PLAID"
    data.mkdir(parents=True, exist_ok=True)
    (folder / "sktime" / "__init__.py").write_text("raise ImportError('it must not be imported')\n")
    for seed, part in enumerate(("TRAIN", "TEST")):
        generator = np.random.default_rng(seed)
        series = [generator.normal(number % 11, 1.0, generator.integers(100, 251)) for number in range(88)]
        rows = [",".join(f"{value:.3f}" for value in one) + f":{number % 11}" for number, one in enumerate(series)]
        (data / f"PLAID_{part}.ts").write_text("\ufeff# notes\n@problemName PLAID\n@data\n" + "\n".join(rows) + "\n")


class Server:
    """What the server sends and what it was asked for.

    Attributes:
        content: The file.
        stops_after: Bytes of one answer after which the connection breaks; None for never.
        takes_ranges: Whether it can send a part.
        ranges: The ``Range`` headers it got.
    """

    def __init__(self, content: bytes) -> None:
        self.content, self.stops_after, self.takes_ranges = content, None, True
        self.ranges: list[str | None] = []
        self.url = ""


@contextmanager
def serving(content: bytes) -> Iterator[Server]:
    """Serve a file on this machine for the length of the block."""
    state = Server(content)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked = self.headers.get("Range")
            state.ranges.append(asked)
            start = int(re.fullmatch(r"bytes=(\d+)-", asked)[1]) if asked and state.takes_ranges else 0
            body = state.content[start:]
            self.send_response(206 if start else 200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body[: state.stops_after])

        def log_message(self, *arguments: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    state.url = f"http://127.0.0.1:{server.server_address[1]}/archive.tar.gz"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield state
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
