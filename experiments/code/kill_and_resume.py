"""Disturb a search many times, resume it each time, and compare it with one that was never disturbed.

    python -m experiments.code.kill_and_resume [CONFIG] [--kills 5] [--rounds 1] [--trials 40] [--jobs 1] [--seed 0]
        [--stage STAGE ...] [--out results/code/kill_and_resume]

What disturbs the one:

- it is killed (SIGKILL) at each of the moments of :mod:`experiments.code.kill_moments`, ``--rounds`` times; with two
  jobs or more the moments of a trial are met in a worker, and kill by turns the search and that worker, some time
  after which the search is killed, too;
- ``--kills`` times it is killed at a random moment, as often one of its workers is and then it, and as often no file
  of it may grow beyond a random size, as on a full disk, until it gives up by itself.

Compared are all trials (times aside), every file of every model and the table of the front, which has the test errors;
and no finished trial may be lost, no process and no half-written file stay behind, no search give up otherwise than
with one line and exit code 2. The undisturbed search and the last resumption are commands; the disturbed ones are forks
of this process, which has loaded the libraries already. The result is added to those of other studies and seeds in the
same folder: `summary.json` and a page. Exit code 1 when this one failed.
"""

import json
import multiprocessing
import os
import random
import resource
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from hashlib import sha256
from multiprocessing.context import ForkProcess
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from experiments.code.kill_moments import MOMENTS, SEARCH, WORKER, Moment, Trap
from mobo.base.atomic_write import write_text
from mobo.base.markdown import table
from mobo.base.sqlite_file import undo_cut_off
from mobo.space.trial import Trial, TrialState
from mobo.study.store import Store

FULL_BYTES = (2_000, 8_000, 20_000, 40_000)
"""How large a file may become on the full disk."""

GONE_WITHIN_S = 30.0
"""A process of a killed search that is still there after this was left behind."""

TRIALS_WITHIN = 8
"""A moment that so many further trials do not come by is given up, and the search killed."""

STAGES = tuple(dict.fromkeys(moment.stage for moment in MOMENTS))
_ENDING = ("scoring", "tables", "report")
JOURNAL = "study.db-journal"
_LATER_S = 2.0
_HALF_WRITTEN = (".*.part", ".*.old", ".probe.*")

Row = dict[str, Any]


def main(
    config: Annotated[Path, typer.Argument()] = Path("experiments/searches/quickstart.toml"),
    kills: Annotated[int, typer.Option(help="How often each disturbance at a random moment comes.")] = 5,
    rounds: Annotated[int, typer.Option(help="How often it is killed at each of the chosen moments.")] = 1,
    trials: Annotated[int, typer.Option(help="Trials of both searches.")] = 40,
    jobs: Annotated[int, typer.Option(help="Trials that run at a time, in worker processes from 2.")] = 1,
    seed: Annotated[int, typer.Option(help="Seed of the moments and of the study.")] = 0,
    stage: Annotated[list[str] | None, typer.Option(help=f"Only moments of these: {', '.join(STAGES)}.")] = None,
    out: Annotated[
        Path, typer.Option(help="Where the result goes; run directories go below it and are removed.")
    ] = Path("results/code/kill_and_resume"),
    override: Annotated[list[str] | None, typer.Option(help="key=value given to both searches.")] = None,
) -> None:
    """Run both searches, compare them, and write the page of all results so far."""
    work = (out / f"runs-{seed}").absolute()
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True)
    settings = [*(override or []), f"trials={trials}", f"compute.jobs={jobs}", f"seed={seed}"]
    campaign = Campaign(config, settings, work, jobs=jobs, trials=trials, generator=random.Random(seed))
    start = time.monotonic()
    whole = campaign.finish("whole")
    duration_s = time.monotonic() - start
    rows = list(campaign.disturb(kills=kills, rounds=rounds, stages=stage or STAGES, pace_s=duration_s / trials))
    resumed = campaign.finish("killed")
    differing = [name for name in whole if whole[name] != resumed[name]]
    half_written = _half_written(work / "killed")
    options = {"--kills": kills, "--rounds": rounds, "--trials": trials, "--jobs": jobs, "--seed": seed}
    arguments = [text for option, value in options.items() for text in (option, str(value))]
    arguments += [text for name in stage or () for text in ("--stage", name)]
    arguments += [text for change in override or () for text in ("--override", change)]
    portion = {
        "command": shlex.join(["python", "-m", "experiments.code.kill_and_resume", str(config), *arguments]),
        "jobs": jobs, "differing": differing, "half_written": half_written,
        "undisturbed_s": round(duration_s, 1), **_described(whole), "disturbances": rows,
    }  # fmt: skip
    clean = has_passed(portion)
    portions = _added(out / "summary.json", portion)
    write_text(out / "summary.json", _text(portions))
    write_text(out / "README.md", page(portions))
    if clean:
        shutil.rmtree(work)
    print(f"{len(rows)} disturbances; differing: {differing or 'nothing'}; verdict: {'passed' if clean else 'FAILED'}")
    raise typer.Exit(0 if clean else 1)


class Campaign:
    """One study, searched undisturbed and disturbed.

    Args:
        config: The study.
        settings: What is changed in it.
        work: Where the runs go.
        jobs: Trials at a time.
        trials: Of the study.
        generator: Draws everything that is random here.
    """

    def __init__(
        self, config: Path, settings: list[str], work: Path, *, jobs: int, trials: int, generator: random.Random
    ) -> None:
        self._config, self._settings, self._work = config, settings, work
        self._jobs, self._trials, self._generator = jobs, trials, generator
        self._run = work / "killed"

    def finish(self, name: str) -> Mapping[str, Any]:
        """Bring a run to its end as a command; return what must be equal."""
        run = self._work / name
        command = [sys.executable, "-m", "mobo", *self._arguments(run)]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        with Store.open(run / "study.db", read_only=True) as store:
            trials = store.trials()
        files = {str(path.relative_to(run)): path for path in sorted((run / "models").rglob("*")) if path.is_file()}
        return {
            "trials": trials,
            "model files": {name: sha256(path.read_bytes()).hexdigest() for name, path in files.items()},
            "front": (run / "front.csv").read_bytes(),
        }

    def disturb(self, *, kills: int, rounds: int, stages: Sequence[str], pace_s: float) -> Iterator[Row]:
        """Disturb the run again and again; yield a row for each time. ``pace_s`` is what a trial takes."""
        import mobo.search  # noqa: F401 - so that no fork has to load it

        for place, (kind, moment) in enumerate(self._plan(kills, rounds, stages)):
            before = self._finished()
            stage = "random" if moment is None else moment.stage
            if len(before) == self._trials and stage not in ("start-up", *_ENDING) and kind != "disk":
                continue  # too late for it
            if kind == "disk":
                row = self._fill_disk()
            elif moment is not None:
                row = self._kill_at(moment, kind)
            else:
                row = self._kill_at_random(kind, pace_s)
            after = self._finished()
            lost = [number for number, trial in before.items() if after.get(number) != trial]
            row |= {
                "finished": len(after), "lost": lost, "cut_off": _is_cut_off(self._run),
                "half_written": len(_half_written(self._run)),
            }  # fmt: skip
            print(place, row, flush=True)
            yield row

    def _plan(self, kills: int, rounds: int, stages: Sequence[str]) -> list[tuple[str, Moment | None]]:
        """Return what disturbs, in order: what only a new run has first, what only a finished one has last."""
        chosen = [
            (number + place, moment) for number in range(rounds) for place, moment in enumerate(MOMENTS)
            if moment.stage in stages and (self._jobs > 1 or "worker" not in moment.what)
        ]  # fmt: skip
        first = self._generator.randint(0, 1)
        victims = [
            (WORKER if moment.in_trial and self._jobs > 1 and (turn + first) % 2 else SEARCH, moment)
            for turn, moment in chosen
        ]
        new = [one for one in victims if one[1].stage == "new run"][: sum(m.stage == "new run" for m in MOMENTS)]
        ending = [one for one in victims if one[1].stage in _ENDING]
        kinds = ("random", "disk") if self._jobs == 1 else ("random", "random worker", "disk")
        middle: list[list[tuple[str, Moment | None]]] = [[(kind, None)] for kind in kinds for _ in range(kills)]
        for victim, moment in victims:
            if moment.event.endswith("replaced"):
                middle[-1].append((victim, moment))
            elif moment.stage not in ("new run", *_ENDING):
                middle.append([(victim, moment)])
        self._generator.shuffle(middle)
        self._generator.shuffle(ending)
        ending.sort(key=lambda one: one[1].stage != "scoring")
        disks: list[tuple[str, Moment | None]] = [("disk", None)] * min(kills, 2)
        return [*new, *(one for group in middle for one in group), *ending, *disks]

    def _kill_at(self, moment: Moment, victim: str) -> Row:
        token = self._work / "armed"
        token.touch()
        arrival = self._generator.randint(1, -(-moment.most // self._jobs))
        delay_s = self._generator.uniform(0, moment.within_s)
        kind: Literal["search", "worker"] = "worker" if victim == WORKER else "search"
        process = self._started(trap=Trap(moment, kind, arrival, delay_s, token))
        most = self._told() + TRIALS_WITHIN
        while process.is_alive() and token.exists() and (moment.stage in _ENDING or self._told() < most):
            process.join(0.1)
        reached = not token.exists()
        if victim == WORKER and reached:
            process.join(self._generator.uniform(0, _LATER_S))
        elif reached:
            process.join(GONE_WITHIN_S)
        row = {"stage": moment.stage, "moment": moment.what, "victim": victim, "arrival": arrival, "reached": reached}
        return row | self._end(process)

    def _kill_at_random(self, kind: str, pace_s: float) -> Row:
        process = self._started()
        target, delay_s = self._told() + self._generator.randint(0, 1), self._generator.uniform(0, pace_s)
        while process.is_alive() and self._told() < target:
            process.join(0.1)
        process.join(delay_s)
        reached = process.is_alive()
        if reached and kind == "random worker":
            reached = _kill_worker(process, self._generator)
            process.join(self._generator.uniform(0, _LATER_S))
        victim = WORKER if kind == "random worker" else SEARCH
        return {"stage": "random", "moment": "random", "victim": victim, "reached": reached} | self._end(process)

    def _fill_disk(self) -> Row:
        process = self._started(file_bytes=self._generator.choice(FULL_BYTES))
        most = self._told() + TRIALS_WITHIN
        while process.is_alive() and self._told() < most:
            process.join(0.1)
        reached = not process.is_alive()
        row = {"stage": "disk", "moment": "the disk is full", "victim": "", "reached": reached} | self._end(process)
        errors = [line for line in self._errors().splitlines() if line.startswith("error: ")]
        is_clear = not reached or (process.exitcode == 2 and len(errors) == 1)
        return row if is_clear else row | {"fault": f"exit code {process.exitcode}: {self._errors()[-500:]}"}

    def _arguments(self, run: Path) -> list[str]:
        arguments = ["search", str(self._config), *self._settings, "--out", str(run)]
        return [*arguments, "--resume"] if run.exists() else arguments

    def _started(self, trap: Trap | None = None, file_bytes: int | None = None) -> ForkProcess:
        fork = multiprocessing.get_context("fork")
        process = fork.Process(target=self._searched, args=(self._arguments(self._run), trap, file_bytes))
        process.start()
        return process

    def _searched(self, arguments: list[str], trap: Trap | None, file_bytes: int | None) -> None:
        """Run a search in this process, which is a fork."""
        from mobo.cli.app import app

        os.setsid()
        for descriptor, path in ((1, Path(os.devnull)), (2, self._work / "errors.txt")):
            os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), descriptor)
        if trap is not None:
            trap.lay(jobs=self._jobs)
        if file_bytes is not None:
            # Python ignores the signal that goes with it: the system refuses to write, as it does on a full disk.
            resource.setrlimit(resource.RLIMIT_FSIZE, (file_bytes, file_bytes))
        app(arguments)

    def _told(self) -> int:
        """Return about how many trials are finished, without touching the store: to read it may mend it."""
        log = self._run / "log.txt"
        return log.read_bytes().count(b"\ntrial ") if log.is_file() else 0

    def _finished(self) -> dict[int, Trial]:
        """Return the finished trials, from a copy of the store: what was cut off is for the search to undo."""
        # A search killed while it loads its data has no study yet.
        if not (self._run / "study.db").is_file() or (self._run / "study.db").stat().st_size == 0:
            return {}
        copy = self._work / "copy"
        shutil.rmtree(copy, ignore_errors=True)
        copy.mkdir()
        for name in ("study.db", JOURNAL):
            if (self._run / name).is_file():
                shutil.copy(self._run / name, copy)
        undo_cut_off(copy / "study.db", "study")
        if (copy / "study.db").stat().st_size == 0:
            return {}
        with Store.open(copy / "study.db", read_only=True) as store:
            return {trial.number: trial for trial in store.trials() if trial.state.is_finished}

    def _errors(self) -> str:
        return (self._work / "errors.txt").read_text(encoding="utf-8", errors="replace")

    def _end(self, process: ForkProcess) -> Row:
        """Kill a search if it is still there; return what is left of its session, and what is wrong with its end."""
        process.kill()
        process.join()
        # Workers die with the search, but a busy machine takes a moment to clear them away.
        deadline_s = time.monotonic() + GONE_WITHIN_S
        while (left := _session(process.pid)) and time.monotonic() < deadline_s:
            time.sleep(0.1)
        is_clear = process.exitcode in (-signal.SIGKILL, 0, 2) and "Traceback" not in self._errors()
        fault = "" if is_clear else f"exit code {process.exitcode}: {self._errors()[-500:]}"
        return {"exit_code": process.exitcode, "left_behind": left, "fault": fault}


def page(portions: Sequence[Mapping[str, Any]]) -> str:
    """Return the page of all results."""
    rows = [(portion["jobs"], row) for portion in portions for row in portion["disturbances"]]
    met = [(jobs, row) for jobs, row in rows if row["reached"]]
    places = Counter((row["stage"], row["moment"], row["victim"], jobs) for jobs, row in met)
    names = list(dict.fromkeys((stage, moment, victim) for stage, moment, victim, _ in sorted(places, key=_order)))
    jobs = sorted({portion["jobs"] for portion in portions})
    killed = {victim: sum(row["victim"] == victim for _, row in met) for victim in (SEARCH, WORKER, "")}
    chosen = sum(row["stage"] not in ("random", "disk") for _, row in met)
    studies = [
        [number, portion["jobs"], portion["trials"], portion["children"], portion["siblings"], portion["stopped"],
         portion["agent"], portion["front"], portion["model_files"], len(portion["disturbances"]),
         ", ".join(portion["differing"]) or "nothing", "yes" if has_passed(portion) else "NO"]
        for number, portion in enumerate(portions, start=1)
    ]  # fmt: skip
    lines = [
        "# A search that is disturbed, against one that is not",
        f"{killed[SEARCH]} times the search was killed by itself or from outside, {killed[WORKER]} times one of its "
        f"workers (and then the search), {killed['']} times the disk was full; {chosen} of these kills at chosen "
        f"moments. Finished trials lost: {sum(len(row['lost']) for _, row in rows)}. Kills that left a transaction cut "
        f"off: {sum(row['cut_off'] for _, row in rows)}, a half-written file or folder: "
        f"{sum(row['half_written'] > 0 for _, row in rows)}, a worker that complained of the death of its search: "
        f"{sum(row['exit_code'] == -signal.SIGKILL and bool(row['fault']) for _, row in rows)}. Moments that a search "
        f"did not come by, not counted: {len(rows) - len(met)}.",
        "`python -m experiments.code.kill_and_resume --help` says what is done and compared. One study a row; children "
        "use the training of an earlier trial, siblings are trials that go on from one's fine-tuned weights, stopped "
        "are trainings that ended early, agent are trials with a policy of the shipped agent.",
        table(
            ["study", "jobs", "trials", "children", "from siblings", "stopped", "agent", "front", "model files",
             "disturbances", "differing", "passed"], studies),
        "Commands:",
        "\n".join(f"{number}. `{portion['command']}`" for number, portion in enumerate(portions, start=1)),
        "## Where it was killed",
        "Before what is named here happens, or up to some milliseconds into it; met in a worker where trials run in "
        "workers. Random moments are drawn while trials run.",
        table(
            ["stage", "moment", "killed", *(f"jobs {count}" for count in jobs)],
            [[stage, moment, victim or "nobody", *(places[stage, moment, victim, count] for count in jobs)]
             for stage, moment, victim in names]),
    ]  # fmt: skip
    return "\n\n".join(lines) + "\n"


def _order(place: tuple[str, str, str, int]) -> tuple[int, int, str]:
    """Return where a row of the table stands: as in the list of moments, what is random last."""
    stage, moment, victim, _ = place
    listed = [(one.stage, one.what) for one in MOMENTS]
    known = (stage, moment) in listed
    return (0 if known else 1, listed.index((stage, moment)) if known else 0, stage + victim)


def _described(whole: Mapping[str, Any]) -> Row:
    trials: tuple[Trial, ...] = whole["trials"]
    return {
        "trials": len(trials),
        "children": sum(trial.is_child for trial in trials),
        "siblings": sum(trial.sibling is not None for trial in trials),
        "stopped": sum(trial.state is TrialState.STOPPED for trial in trials),
        "agent": sum(str(dict(trial.design).get("policy", "")).startswith("agent") for trial in trials),
        "front": len(whole["front"].splitlines()) - 1,
        "model_files": len(whole["model files"]),
    }


def has_passed(portion: Mapping[str, Any]) -> bool:
    """Return whether nothing differs, is lost, or stays behind, and no search gave up otherwise than it should."""
    return not (portion["differing"] or portion["half_written"] or any(map(_is_bad, portion["disturbances"])))


def _is_bad(row: Row) -> bool:
    # What is said beside a search that was killed, its workers say, who lost it in the middle of a word.
    is_fault = row["fault"] and row["exit_code"] != -signal.SIGKILL
    return bool(row["lost"] or row["left_behind"] or is_fault)


def _added(path: Path, portion: Row) -> list[Row]:
    """Return the results so far, in the order of their commands, with this one in the place of an older one."""
    earlier: list[Row] = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else []
    return [*(one for one in earlier if one["command"] != portion["command"]), portion]


def _text(portions: Sequence[Row]) -> str:
    """Return the results as JSON with one disturbance a line."""
    texts = []
    for portion in portions:
        facts = json.dumps({key: value for key, value in portion.items() if key != "disturbances"}, indent=1)
        rows = ",\n  ".join(map(json.dumps, portion["disturbances"]))
        texts.append(f'{facts.removesuffix("}").rstrip()},\n "disturbances": [\n  {rows}\n ]\n}}')
    return "[\n" + ",\n".join(texts) + "\n]\n"


def _half_written(run: Path) -> list[str]:
    return sorted(path.name for pattern in _HALF_WRITTEN for path in run.rglob(pattern))


def _kill_worker(process: ForkProcess, generator: random.Random) -> bool:
    """Kill one of a search's workers, if it has any yet."""
    listing = subprocess.run(
        ["ps", "-o", "pid=,args=", "--ppid", str(process.pid)], capture_output=True, text=True, check=False
    )
    workers = [int(line.split()[0]) for line in listing.stdout.splitlines() if "spawn_main" in line]
    if workers:
        os.kill(generator.choice(workers), signal.SIGKILL)
    return bool(workers)


def _session(leader: int | None) -> list[int]:
    listing = subprocess.run(["ps", "-o", "pid=", "-s", str(leader)], capture_output=True, text=True, check=False)
    return [int(pid) for pid in listing.stdout.split()]


def _is_cut_off(run: Path) -> bool:
    """Return whether a transaction was cut off that had begun to change the store."""
    journal = run / JOURNAL
    # SQLite's file format: 8 bytes that mark a journal, then the number of pages in it that are safely on disk.
    return journal.is_file() and int.from_bytes(journal.read_bytes()[8:12], "big") > 0


if __name__ == "__main__":
    typer.run(main)
