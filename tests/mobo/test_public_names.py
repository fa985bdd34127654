import pytest

import mobo


@pytest.mark.parametrize("name", mobo.__all__)
def test_every_public_name_leads_somewhere(name: str) -> None:
    assert getattr(mobo, name).__name__ == name


def test_another_name_does_not() -> None:
    with pytest.raises(AttributeError, match="has no attribute 'Sudy'"):
        mobo.__getattr__("Sudy")
