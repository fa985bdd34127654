"""Inference engines as data: coefficients per core and kernel, memory and flash rules, what they were fitted on.

One TOML file per runtime in ``runtimes/``; the models below are its schema. Nothing here knows a fitted number.
"""

from collections.abc import Mapping
from functools import cache, cached_property
from math import hypot
from pathlib import Path
from typing import Any

from pydantic import Field, ValidationError, field_validator, model_validator

from hw_models import decoding
from hw_models.device import Device
from hw_models.errors import HardwareModelError, unknown_name
from hw_models.files import FileError, problems, read_toml
from hw_models.kernels import GROUPS, INNER_TERMS, KERNEL_TERMS, OPERATOR_GROUP, KernelCall, dot
from hw_models.size_rules import Coefficient, Factor, FlashModel, Form, LogStd, MemoryModel, RuntimeTable

_FOLDER = Path(__file__).with_name("runtimes")

_MAX_DERIVED = 100_000
_DECODE_GROUP = "other"
DECODE_CODE = "decode"
"""Name of the code of DECODE."""

NEAREST_LOG_STD = 0.35
"""Assumed spread of a kernel that is priced like another one: most such guesses within a factor of 1.6."""

DEFAULT_RUNTIME = "tflm-cmsis-nn"
FLOAT_RUNTIME = "tflm-float"
GENERATED_C_RUNTIME = "mobo-c"
DECODE_RUNTIME = "tflm-decode"


class RuntimeModelError(HardwareModelError):
    """A runtime that does not exist, cannot be read, or does not cover what was asked of it."""


class KernelModel(RuntimeTable):
    """Cost of one kernel at one weight width on one core.

    Attributes:
        instructions: Coefficients of the linear form, per term of :mod:`hw_models.kernels`.
        scratch_bytes: Coefficients of the scratch buffer's size, bytes per term; empty for none.
        flash_bytes: Coefficients of what a layer adds to the model, where the flash rules are ``per_kernel``.
        code: Names of the code a layer makes the linker keep, keys of the core's ``code_bytes``.
        log_std: Spread of ln(predicted / counted) over the rows the form was fitted on; 0 for an exact fit. Without
            rows: the spread that a guess is given.
        rows: How many rows it was fitted on; 0 for an assumption.
        source: What it was fitted on or why it was assumed.
    """

    instructions: Form
    scratch_bytes: Form = Field(default_factory=dict)
    flash_bytes: Form = Field(default_factory=dict)
    code: tuple[str, ...] = ()
    log_std: LogStd
    rows: int = Field(ge=0)
    source: str


class Timing(RuntimeTable):
    """How one group of kernels turns instructions into cycles, relative to the core's cycles per instruction.

    Attributes:
        inner: Factor for the instructions of the innermost loops.
        outer: Factor for the others.
        log_std: Spread of the group's time beside the spread that all groups of a network share.
        rows: In how many of the runtime's measurements on the core the group has a tenth of the instructions or more;
            with 0 nothing tells its pace there but other engines, cores and groups.
    """

    inner: Factor
    outer: Factor
    log_std: LogStd
    rows: int = Field(default=0, ge=0)


class CoreModel(RuntimeTable):
    """One core under the runtime.

    Attributes:
        borrowed: True if no board with this core went into the cycles: they are instructions of this core times
            the cycles per instruction of others.
        cycles_per_instruction: Cycles per instruction of the innermost loops of 1x1 convolutions.
        cycles_log_std: Spread of ln(measured / predicted) that all layers of a network on a new board share.
        cycles_rows: How many measured networks and layers of the runtime on this core.
        cycles_source: Which ones.
        bars_judged: Measured networks on this core that were foretold by a fit without them.
        bars_held: How many of those lay inside their 80 % bar.
        operator_instructions: Interpreter overhead per operator.
        operator_source: Where it comes from.
        timings: Group of :data:`hw_models.kernels.GROUPS` -> timing.
        kernels: Kernel name -> widths (``"w8"``, ``"w4"``, ``"w8a16"``, ``"none"``; ``"w8p"``, ``"w4p"`` where weights
            are unpacked from a stored width) -> model.
        code_bytes: Code that is linked only if a layer needs it -> its size, bytes.
    """

    borrowed: bool
    cycles_per_instruction: Factor
    cycles_log_std: LogStd
    cycles_rows: int = Field(ge=0)
    cycles_source: str
    bars_judged: int = Field(default=0, ge=0)
    bars_held: int = Field(default=0, ge=0)
    operator_instructions: Coefficient
    operator_source: str
    timings: dict[str, Timing]
    kernels: dict[str, dict[str, KernelModel]]
    code_bytes: dict[str, Coefficient] = Field(default_factory=dict)

    @field_validator("timings")
    @classmethod
    def _all_groups(cls, timings: dict[str, Timing]) -> dict[str, Timing]:
        for group in timings:
            if group not in GROUPS:
                raise ValueError(unknown_name("group", group, GROUPS))
        missing = [group for group in GROUPS if group not in timings]
        if missing:
            raise ValueError(f"the timing of {missing[0]!r} is missing; needed: {', '.join(GROUPS)}")
        return timings

    @field_validator("kernels")
    @classmethod
    def _known_terms(cls, kernels: dict[str, dict[str, KernelModel]]) -> dict[str, dict[str, KernelModel]]:
        for kernel, models in kernels.items():
            if kernel not in KERNEL_TERMS:
                raise ValueError(unknown_name("kernel", kernel, KERNEL_TERMS))
            for model in models.values():
                for term in (*model.instructions, *model.scratch_bytes, *model.flash_bytes):
                    if term not in KERNEL_TERMS[kernel]:
                        raise ValueError(unknown_name(f"term of {kernel}", term, KERNEL_TERMS[kernel]))
        return kernels

    @model_validator(mode="after")
    def _known_code(self) -> "CoreModel":
        for models in self.kernels.values():
            for name in (name for model in models.values() for name in model.code):
                if name not in self.code_bytes:
                    raise ValueError(unknown_name("code", name, self.code_bytes))
        return self


class Release(RuntimeTable):
    """One release of the engine, relative to the one the coefficients describe.

    Attributes:
        cycles: Core -> factor on all cycles there.
        drops_zero_filters: Whether it removes output channels whose weights are all zero.
        rows: How many measurements of it there are.
    """

    cycles: dict[str, Factor]
    drops_zero_filters: bool
    rows: int = Field(ge=0)


class Runtime(RuntimeTable):
    """One inference engine.

    Attributes:
        name: Lower-case name, the file's name.
        description: One sentence with versions.
        weight_bits: Widths its kernels execute.
        activation_bits: Widths its kernels execute.
        layer_kinds: Kinds of layers it executes; empty for all.
        reference_core: The core most measurements are from.
        release: The release that the cycles are for, a key of ``releases``.
        releases: Releases measured, by the name the measurements give them.
        unmeasured_width_log_std: Spread added for layers of other widths than 8 bits: counted, never timed.
        unmeasured_release_log_std: Spread added for a release that was not measured and has the pace of the nearest.
        memory: Arena rules.
        flash: Model file rules.
        cores: Core name -> coefficients.
    """

    name: str
    description: str
    weight_bits: tuple[int, ...]
    activation_bits: tuple[int, ...]
    layer_kinds: tuple[str, ...] = ()
    reference_core: str
    release: str
    releases: dict[str, Release]
    unmeasured_width_log_std: LogStd
    unmeasured_release_log_std: LogStd = 0.0
    memory: MemoryModel
    flash: FlashModel
    cores: dict[str, CoreModel]

    @cached_property
    def _derived(self) -> dict[str, dict[Any, Any]]:
        # What other modules derived from this runtime alone, so that thousands of estimates compute it once.
        return {}

    def derived(self, what: str) -> dict[Any, Any]:
        """Return the store for results that depend on this runtime and their key alone; emptied when it grows large.

        Args:
            what: Name of the kind of result, so that two modules do not meet in one store.
        """
        store = self._derived.setdefault(what, {})
        if len(store) >= _MAX_DERIVED:
            store.clear()
        return store

    def __copy__(self) -> "Runtime":
        """Copy without the derived results: a copy is usually made to change something."""
        copied = super().__copy__()
        copied.__dict__.pop("_derived", None)
        return copied

    def __deepcopy__(self, memo: dict[int, Any] | None = None) -> "Runtime":
        """Copy deeply without the derived results."""
        copied = super().__deepcopy__(memo)
        copied.__dict__.pop("_derived", None)
        return copied

    @property
    def title(self) -> str:
        """The name, and the release that the cycles are for where there are several."""
        return self.name if len(self.releases) < 2 else f"{self.name}, release {self.release}"

    @property
    def runs_patches(self) -> bool:
        """Whether the first layers run patch by patch where a network says so; other engines run all at once."""
        return self.memory.planner == "static"

    @property
    def saves_stored_widths(self) -> bool:
        """Whether weights with a stored width take less flash; other engines keep them as they compute with them."""
        return self.decodes or self.memory.planner == "static"

    @property
    def decodes(self) -> bool:
        """Whether weights with a stored width are decoded before a layer runs; see :mod:`hw_models.decoding`."""
        return self.memory.decodes

    def core(self, name: str) -> CoreModel:
        """Return the coefficients for a core; raises RuntimeModelError if it is not covered."""
        if name not in self.cores:
            raise RuntimeModelError(
                f"runtime {self.name!r} does not cover the core {name!r}: nothing was measured or counted there. "
                f"Covered: {', '.join(sorted(self.cores))}"
            )
        return self.cores[name]

    def covers(self, device: Device) -> bool:
        """Return whether costs can be estimated for a board."""
        return device.core in self.cores

    def check_device(self, device: Device) -> None:
        """Raise RuntimeModelError if a board's core is not covered: it is listed, but cannot be searched."""
        if not self.covers(device):
            raise RuntimeModelError(
                f"device {device.name!r} cannot be searched: its core {device.core} is not covered by the runtime "
                f"{self.name!r} (covered: {', '.join(sorted(self.cores))}). Choose a board with one of these cores"
            )

    def is_borrowed(self, core: str) -> bool:
        """Return whether a core's latency rests on another core's cycles per instruction."""
        return self.core(core).borrowed

    def kernel_model(self, core: str, call: KernelCall) -> KernelModel:
        """Return the model of a kernel call.

        Raises:
            RuntimeModelError: The core, the kernel or the weight width is not covered.
        """
        kernels = self.core(core).kernels
        models = kernels.get(call.nearest or "" if self.is_nearest(core, call) else call.kernel, {})
        width = call.packed_width if call.packed_width in models else call.width
        if width not in models:
            allowed = ", ".join(sorted(models)) or "(none)"
            raise RuntimeModelError(
                f"runtime {self.name!r} has no {call.kernel} kernel of width {width!r} on {core}: nobody counted it. "
                f"Allowed there: {allowed}"
            )
        return models[width]

    def code(self, core: str, call: KernelCall) -> tuple[str, ...]:
        """Return the names of the code that a kernel call makes the linker keep."""
        model = self.kernel_model(core, call)
        packed = call.packed_width in self.core(core).kernels.get(call.kernel, {})
        own = (f"unpack_w{call.weight_bits}s{call.packed_bits}",) if packed else ()
        return (*model.code, *own, *((DECODE_CODE,) if self.decodes and call.decoding is not None else ()))

    def is_nearest(self, core: str, call: KernelCall) -> bool:
        """Return whether a kernel is priced like the nearest one, because it was not counted itself."""
        return call.nearest is not None and call.kernel not in self.core(core).kernels

    def guess_log_std(self, core: str, call: KernelCall) -> float:
        """Return the spread of a kernel that nobody counted; 0 for one that was."""
        if self.is_nearest(core, call):
            return NEAREST_LOG_STD
        model = self.kernel_model(core, call)
        return 0.0 if model.rows else model.log_std

    def instructions(self, core: str, call: KernelCall) -> float:
        """Return the instructions of one kernel call, the decoding of its weights included, the interpreter's apart."""
        own = dot(self.kernel_model(core, call).instructions, call.terms)
        if call.decoding is None or not self.decodes:
            return own
        return own + decoding.instructions(call.decoding, core)

    def decoding_cycles(self, core: str, call: KernelCall) -> float:
        """Return the cycles in which a call's weights are decoded, as an operator of its own; 0 for plain weights."""
        if call.decoding is None or not self.decodes:
            return 0.0
        model = self.core(core)
        paced = model.timings[_DECODE_GROUP].outer * decoding.instructions(call.decoding, core)
        paced += model.timings[OPERATOR_GROUP].outer * model.operator_instructions
        return paced * model.cycles_per_instruction

    def cycles(self, core: str, call: KernelCall) -> float:
        """Return the cycles of one operator: its kernel's instructions and the interpreter's, each at its own pace.

        Weights that are decoded before are included.
        """
        model = self.core(core)
        form = self.kernel_model(core, call).instructions
        inner = sum(value * call.terms[term] for term, value in form.items() if term in INNER_TERMS)
        timing, around = model.timings[call.group], model.timings[OPERATOR_GROUP]
        outer = dot(form, call.terms) - inner
        paced = timing.inner * inner + timing.outer * outer + around.outer * model.operator_instructions
        return paced * model.cycles_per_instruction + self.decoding_cycles(core, call)

    def at_release(self, name: str) -> "Runtime":
        """Return the runtime with the cycles of another of its releases.

        Raises:
            RuntimeModelError: No measurement of that release went into the runtime.
        """
        if name not in self.releases:
            raise RuntimeModelError(unknown_name(f"release of {self.name}", name, self.releases))
        wanted, present = self.releases[name].cycles, self.releases[self.release].cycles
        cores = {
            core: model.model_copy(
                update={"cycles_per_instruction": model.cycles_per_instruction * wanted[core] / present[core]}
            )
            for core, model in self.cores.items()
        }
        return self.model_copy(update={"cores": cores, "release": name})

    def at_unmeasured_release(self, nearest: str) -> "Runtime":
        """Return the runtime for a release nobody measured: the cycles of the nearest one, with a wider bar.

        Raises:
            RuntimeModelError: No measurement of the nearest release went into the runtime.
        """
        near, more = self.at_release(nearest), self.unmeasured_release_log_std
        cores = {
            core: model.model_copy(update={"cycles_log_std": round(hypot(model.cycles_log_std, more), 4)})
            for core, model in near.cores.items()
        }
        return near.model_copy(update={"cores": cores})

    def scratch_bytes(self, core: str, call: KernelCall) -> int:
        """Return the scratch buffer one kernel call asks for, before alignment."""
        return round(dot(self.kernel_model(core, call).scratch_bytes, call.terms))


def engine_kernels(
    kernels: Mapping[str, dict[str, KernelModel]], *, is_interpreter: bool
) -> dict[str, dict[str, KernelModel]]:
    """Return the counted kernels as an engine has them: only TFLM has a portable kernel for means, others pool."""
    return dict(kernels) if is_interpreter else {**kernels, "mean": kernels["average_pool"]}


def read_runtime(path: Path | str) -> Runtime:
    """Return the runtime of a TOML file.

    A file whose key ``kernels_of`` names a built-in runtime has the kernels (instructions and scratch buffers) of that
    one: engines differ in the pace at which they execute the same work, and only CMSIS-NN's work was counted.

    Raises:
        RuntimeModelError: The file cannot be read, or a key is missing, unknown or out of range.
    """
    try:
        data = read_toml(Path(path))
        if "kernels_of" in data:
            kernels = load_runtime(data.pop("kernels_of")).cores
            is_interpreter = bool((data.get("memory") or {}).get("structures"))
            for core, table in data["cores"].items():
                table["kernels"] = engine_kernels(kernels[core].kernels, is_interpreter=is_interpreter)
        return Runtime(**data)
    except ValidationError as error:
        found = "; ".join(problems(error))
        raise RuntimeModelError(f"the runtime in {path} cannot be read: {found}") from error
    except KeyError as error:
        raise RuntimeModelError(f"the runtime in {path} cannot be read: the key {error} is missing") from error
    except (FileError, TypeError, AttributeError) as error:
        raise RuntimeModelError(f"the runtime in {path} cannot be read: {error}") from error


def runtime_names() -> tuple[str, ...]:
    """Return the names of the built-in runtimes, sorted."""
    return tuple(sorted(path.stem for path in _FOLDER.glob("*.toml")))


@cache
def _built_in(name: str) -> Runtime:
    return read_runtime(_FOLDER / f"{name}.toml")


@cache
def _releases() -> Mapping[str, str]:
    """Return which built-in runtime describes a release."""
    return {release: name for name in runtime_names() for release in _built_in(name).releases}


def load_runtime(name: str, extra_file: Path | str | None = None) -> Runtime:
    """Return a runtime.

    Args:
        name: A built-in runtime, or one of the releases that a built-in runtime lists, e.g. ``"stm32cubeai-8.1.0"``.
        extra_file: A runtime file of your own; if it is of that name, it takes the place of the built-in one.

    Raises:
        RuntimeModelError: No such runtime; the message offers the nearest name.
    """
    own = None if extra_file is None else read_runtime(extra_file)
    if own is not None and own.name == name:
        return own
    if own is not None and name in own.releases:
        return own.at_release(name)
    if name in runtime_names():
        return _built_in(name)
    if name in _releases():
        return _built_in(_releases()[name]).at_release(name)
    allowed = (*runtime_names(), *_releases(), *(() if own is None else (own.name,)))
    raise RuntimeModelError(unknown_name("runtime", name, allowed))


def asked_runtime(name: str | None, file: Path | str | None) -> Runtime | None:
    """Return the runtime that a name, a file of one's own or both ask for; None where neither does.

    A file alone is the runtime it describes.

    Raises:
        RuntimeModelError: No such runtime, or the file cannot be read.
    """
    if name is not None:
        return load_runtime(name, extra_file=file)
    return None if file is None else read_runtime(file)


def default_runtime(device: Device) -> Runtime | None:
    """Return the built-in runtime a board is costed with unless another is named, None if no runtime covers it.

    It is TFLM with CMSIS-NN, the only one this program exports networks to; else the first by name.
    """
    names = sorted(runtime_names(), key=lambda name: (name != DEFAULT_RUNTIME, name))
    return next((runtime for runtime in map(load_runtime, names) if runtime.covers(device)), None)
