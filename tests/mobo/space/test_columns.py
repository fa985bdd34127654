from hw_models.cost import COST_NAMES
from mobo.space import columns


def test_every_cost_has_a_column_of_its_own_name() -> None:
    assert columns.COSTS == COST_NAMES
    assert (
        "trial",
        "validation_error",
        "test_error",
        "float_validation_error",
        *columns.COSTS,
        "download_bytes",
        *columns.KEPT,
        *columns.BARS,
    ) == columns.FRONT
