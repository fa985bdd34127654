"""Disturb a search at random moments, resume it each time, and compare it with one that was never disturbed.

    python -m experiments.code.kill_and_resume [CONFIG] [--kills 5] [--trials 8] [--jobs 1] [--out
        results/code/kill_and_resume]

Both searches run as the command line runs them. What disturbs the one takes turns:

- ``search``: it is killed (SIGKILL);
- ``worker``, with two jobs or more: one of its workers is killed, and some time later it is;
- ``disk``: no file of it may grow beyond a random size, as on a full disk, until it gives up by itself.

Compared are all trials, times aside. Writes a table of the disturbances and the verdict; exit code 1 when a finished
trial was lost or changed, a process stayed behind, or a search gave up otherwise than with one line and exit code 2.
"""

import json
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Annotated

import typer

from mobo.base.atomic_write import write_text
from mobo.space.trial import Trial
from mobo.study.store import Store

FULL_BYTES = (2_000, 8_000, 20_000, 40_000)
"""How large a file may become on the full disk."""

GONE_WITHIN_S = 5.0
"""A process of a killed search that is still there after this was left behind."""


def main(
    config: Annotated[Path, typer.Argument()] = Path("experiments/searches/quickstart.toml"),
    kills: Annotated[int, typer.Option(help="How often the search is disturbed.")] = 5,
    trials: Annotated[int, typer.Option(help="Trials of both searches.")] = 8,
    jobs: Annotated[int, typer.Option(help="Trials that run at a time, in worker processes from 2.")] = 1,
    seed: Annotated[int, typer.Option(help="Seed of the moments.")] = 0,
    out: Annotated[
        Path, typer.Option(help="Where the table goes; run directories go below it and are removed.")
    ] = Path("results/code/kill_and_resume"),
    override: Annotated[list[str] | None, typer.Option(help="key=value given to both searches.")] = None,
) -> None:
    """Run both searches and compare them."""
    work = out / "runs"
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True)
    settings = [*(override or []), f"trials={trials}", f"compute.jobs={jobs}"]
    start = time.monotonic()
    whole = _trials(_finish(config, work / "whole", settings))
    duration_s = time.monotonic() - start
    generator = random.Random(seed)
    rows: list[dict[str, object]] = []
    kinds = ("search", "worker", "disk") if jobs > 1 else ("search", "disk")
    # Each kill lands in another trial, at a random moment of it; never among the last ones, which end together.
    for kill, target in enumerate(sorted(generator.sample(range(trials - jobs + 1), kills))):
        delay_s = generator.uniform(0, duration_s / trials)
        kind = kinds[kill % len(kinds)]
        before = _finished(work / "killed")
        command = _command(config, work / "killed", settings, resume=(work / "killed").exists())
        if kind == "disk":
            left, fault = [], _fill_disk(command, generator.choice(FULL_BYTES))
        else:
            process = subprocess.Popen(command, stdout=subprocess.DEVNULL, start_new_session=True)
            _wait(process, work / "killed", target, delay_s)
            if kind == "worker":
                _kill_worker(process, generator)
                time.sleep(delay_s)
            left = _kill(process)
            # After the death of a worker it may have come to its end.
            fault = "" if process.returncode in (-signal.SIGKILL, 0) else f"exit code {process.returncode}"
        after = _finished(work / "killed")
        lost = [number for number, trial in before.items() if after.get(number) != trial]
        rows.append(
            {
                "kill": kill,
                "kind": kind,
                "after_finished": target,
                "and_s": round(delay_s, 2),
                "finished": len(after),
                "lost": lost,
                "left_behind": left,
                "fault": fault,
            }
        )
        print(rows[-1], flush=True)
    resumed = _trials(_finish(config, work / "killed", settings, resume=True))
    same = resumed == whole
    clean = same and not any(row["lost"] or row["left_behind"] or row["fault"] for row in rows)
    summary = {
        "config": str(config), "settings": settings, "kills": rows, "uninterrupted_s": round(duration_s, 1),
        "counts": Counter(row["kind"] for row in rows),
        "trials": len(whole), "equal_trials": sum(a == b for a, b in zip(whole, resumed, strict=False)), "equal": same,
    }  # fmt: skip
    write_text(out / "summary.json", json.dumps(summary, indent=1) + "\n")
    shutil.rmtree(work)
    print(
        f"{summary['equal_trials']} of {len(whole)} trials equal after {kills} disturbances; "
        f"verdict: {'passed' if clean else 'FAILED'}"
    )
    raise typer.Exit(0 if clean else 1)


def _command(config: Path, run: Path, settings: list[str], *, resume: bool) -> list[str]:
    command = [sys.executable, "-m", "mobo", "search", str(config), *settings, "--out", str(run)]
    return [*command, "--resume"] if resume else command


def _finish(config: Path, run: Path, settings: list[str], *, resume: bool = False) -> Path:
    subprocess.run(_command(config, run, settings, resume=resume), check=True, stdout=subprocess.DEVNULL)
    return run


def _wait(process: "subprocess.Popen[bytes]", run: Path, target: int, delay_s: float) -> None:
    """Wait until so many trials are finished, and some time more."""
    while len(_finished(run)) < target and process.poll() is None:
        time.sleep(0.1)
    time.sleep(delay_s)
    if process.poll() is not None:
        raise SystemExit(f"the search ended by itself (exit code {process.returncode}) before it could be killed")


def _kill_worker(process: "subprocess.Popen[bytes]", generator: random.Random) -> None:
    """Kill one of a search's workers, if it has any yet."""
    listing = subprocess.run(
        ["ps", "-o", "pid=,args=", "--ppid", str(process.pid)], capture_output=True, text=True, check=False
    )
    workers = [int(line.split()[0]) for line in listing.stdout.splitlines() if "spawn_main" in line]
    if workers:
        os.kill(generator.choice(workers), signal.SIGKILL)


def _fill_disk(command: list[str], most_bytes: int) -> str:
    """Run a search that cannot write larger files; return what is wrong with how it gave up."""
    # Python ignores the signal that goes with it: the system refuses to write, as it does on a full disk.
    limits = (most_bytes, most_bytes)
    done = subprocess.run(
        command,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        check=False,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, limits),
    )
    errors = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    is_clear = done.returncode == 2 and len(errors) == 1 and "Traceback" not in done.stderr
    return "" if is_clear else f"exit code {done.returncode}: {done.stderr[-2000:]}"


def _kill(process: "subprocess.Popen[bytes]") -> list[int]:
    """Kill a search; return what is left of its session."""
    process.kill()
    process.wait()
    # Workers die with the search, but a busy machine takes a moment to clear them away.
    deadline_s = time.monotonic() + GONE_WITHIN_S
    while (left := _session(process.pid)) and time.monotonic() < deadline_s:
        time.sleep(0.1)
    return left


def _session(leader: int) -> list[int]:
    listing = subprocess.run(["ps", "-o", "pid=", "-s", str(leader)], capture_output=True, text=True, check=False)
    return [int(pid) for pid in listing.stdout.split()]


def _trials(run: Path) -> tuple[Trial, ...]:
    with Store.open(run / "study.db", read_only=True) as store:
        return store.trials()


def _finished(run: Path) -> dict[int, Trial]:
    # A search killed while it loads its data has no study yet.
    if not (run / "study.db").is_file() or (run / "study.db").stat().st_size == 0:
        return {}
    return {trial.number: trial for trial in _trials(run) if trial.state.is_finished}


if __name__ == "__main__":
    typer.run(main)
