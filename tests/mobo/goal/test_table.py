from mobo.goal.table import COLUMNS, goal_table
from tests.mobo.goal.goal_study import made_up


def test_a_row_says_what_was_chosen_and_what_it_saves() -> None:
    head, _, row, other = goal_table([made_up(), made_up(met=False)]).splitlines()
    assert head == "| " + " | ".join(COLUMNS) + " |"
    cells = [cell.strip() for cell in row.strip("|").split("|")]
    assert cells == [
        "made-up",
        "met (at most 1 points, 95 % confidence)",
        "lenet5, 2.50",
        "trial 4",
        "3.00",
        "+0.50 [-1.00, +0.90]",
        "+1.00 [-0.50, +3.00]",
        "8,000, 2,000, 1,000",
        "8.0, 2.0",
        "2.0, 2.0",
        "950 (width=4), -5.00 [-9.00, -1.00]",
    ]
    cells = [cell.strip() for cell in other.strip("|").split("|")]
    assert cells[:3] == ["made-up", "undecidable (at most 1 points, 95 % confidence)", "lenet5, 2.50"]
    assert set(cells[3:]) == {"-"}
