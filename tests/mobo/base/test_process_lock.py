from contextlib import closing
from pathlib import Path

import pytest

from mobo.base.errors import StoreError
from mobo.base.process_lock import is_held, take_lock


def test_a_lock_is_held_until_it_is_closed_and_looking_takes_nothing(tmp_path: Path) -> None:
    side = tmp_path / "study.db.lock"
    assert not is_held(side)
    assert not side.exists()
    with closing(take_lock(side, busy="busy", error=StoreError)):
        assert is_held(side)
        with pytest.raises(StoreError, match="busy"):
            take_lock(side, busy="busy", error=StoreError)
    assert not is_held(side)
    take_lock(side, busy="busy", error=StoreError).close()
