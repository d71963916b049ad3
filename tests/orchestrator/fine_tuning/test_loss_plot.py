from orchestrator.fine_tuning.loss_plot import loss_plot


def test_a_curve_falls_from_the_left_to_the_right() -> None:
    assert loss_plot([4, 3, 2, 1], height=2) == [
        "       4 █▄",
        "       0 ███▄",
        "    step 1  4",
    ]


def test_many_steps_share_a_column() -> None:
    *bars, steps = loss_plot([2.0] * 50 + [1.0] * 50, width=10, height=2)
    assert [len(line) for line in bars] == [9 + 5, 9 + 10]
    assert bars[0].startswith("       2 ")
    assert steps.endswith("1      100")


def test_a_curve_of_one_step_or_of_nothing_but_zeros_is_still_one() -> None:
    assert loss_plot([2.0], height=2) == ["       2 █", "       0 █", "    step 1"]
    assert loss_plot([0.0, 0.0], height=2) == ["       1", "       0 ▁▁", "    step 1 2"]


def test_without_a_step_there_is_no_curve() -> None:
    assert loss_plot([]) == []
