"""Every public name says what it is: what ``make docs`` checks before it builds a page."""

import importlib.util
from importlib import import_module
from types import ModuleType

import pytest

from tests.test_readme import ROOT


def builder() -> ModuleType:
    spec = importlib.util.spec_from_file_location("build_docs", ROOT / ".ci/build_docs.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


BUILDER = builder()


@pytest.mark.parametrize("name", BUILDER.PUBLIC)
def test_every_public_name_has_a_docstring(name: str) -> None:
    assert BUILDER.without_docstring(import_module(name)) == []


def test_a_silent_name_would_be_seen() -> None:
    class Silent:
        """Says something; its method does not."""

        def method(self) -> None:
            pass

    def spoken() -> None:
        """Says something."""

    module = ModuleType("shown", "Says something.")
    vars(module).update(__all__=["Silent", "spoken", "mute"], Silent=Silent, spoken=spoken, mute=lambda: None)
    assert BUILDER.without_docstring(module) == [f"{__name__}.{Silent.__qualname__}.method", "shown.mute"]
