import pandas as pd

from experiments.code.check_integer_interpreter import NETWORKS, WIDTHS, rows, summary
from mobo.tinyml.networks import OWN_MODULE, network_families


def test_every_family_but_the_users_own_is_compared() -> None:
    assert set(NETWORKS) == set(network_families()) - {OWN_MODULE}


def test_a_family_is_compared_element_by_element() -> None:
    found = list(rows("autoencoder", 20))
    assert [row["weight_bits"] for row in found] == list(WIDTHS)
    # 160 inputs, layers of 48, 48, 8, 48, 48 and 10 outputs, and what they are reshaped to at the start.
    assert {row["compared_elements"] for row in found} == {20 * (160 + 160 + 48 + 48 + 8 + 48 + 48 + 10)}
    assert {row["differing_elements"] for row in found} == {0}
    assert "| autoencoder | 4 and 8 | 20 | 8 | 10,600 | 0 | 0 |" in summary(pd.DataFrame(found))
