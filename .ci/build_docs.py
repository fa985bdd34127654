"""Build the pages of the public API from the docstrings: ``python .ci/build_docs.py build/docs``.

Fails when a public name has no docstring or when pdoc warns. Only the public modules get a page; a name that one of
them offers is documented there, wherever it is defined.
"""

import inspect
import sys
import warnings
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType

ROOMS = ("hw_models", "envs", "mobo")
PUBLIC = tuple(
    name for name in ("hw_models", "envs", "envs.compression", "mobo", "mobo.testing") if find_spec(name) is not None
)


def main(out: Path) -> int:
    """Write the pages and return the exit code."""
    # Only here: a test reads the rest of this file, and pdoc comes with the extra `docs`.
    import pdoc

    modules = [import_module(name) for name in PUBLIC]
    silent = [line for module in modules for line in without_docstring(module)]
    for line in silent:
        print(f"error: {line} has no docstring", file=sys.stderr)
    if silent:
        return 1
    pdoc.render.configure(
        docformat="google", show_source=False, footer_text=f"mobo {import_module('mobo').__version__}"
    )
    names = [module.__name__ for module in modules]
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        pdoc.pdoc(*names, *(f"!{name}" for name in hidden(names)), output_directory=out)
    ours = [warning for warning in caught if "pdoc" in str(warning.filename)]
    for warning in ours:
        print(f"error: {warning.message}", file=sys.stderr)
    print(f"{len(names)} pages in {out}")
    return 1 if ours else 0


def hidden(names: list[str]) -> list[str]:
    """Return a pattern for the modules below every public one that are not public themselves."""
    rest = "|".join(name.replace(".", r"\.") for name in names)
    return [rf"(?!(?:{rest})$)(?:{'|'.join(ROOMS)})\..+"]


def without_docstring(module: ModuleType) -> list[str]:
    """Return the public names of a module, and the public members of its classes, that say nothing about themselves."""
    found = [] if module.__doc__ else [module.__name__]
    for name in module.__all__:
        # Names are resolved at the first use; from here on they stand in the module, where pdoc finds them.
        value = getattr(module, name)
        setattr(module, name, value)
        if inspect.isclass(value):
            found += silent_members(value)
        elif callable(value) and not inspect.getdoc(value):
            found.append(f"{module.__name__}.{name}")
    return found


def silent_members(cls: type) -> list[str]:
    """Return the class, if it is silent, and its own silent public methods and properties."""
    where = f"{cls.__module__}.{cls.__qualname__}"
    found = [] if cls.__doc__ else [where]
    for name, value in vars(cls).items():
        is_documented_kind = inspect.isfunction(value) or isinstance(value, (property, classmethod, staticmethod))
        if not name.startswith("_") and is_documented_kind and not inspect.getdoc(getattr(cls, name)):
            found.append(f"{where}.{name}")
    return found


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
