import pytest
import torch

from models.training.schedules import SCHEDULES, Watch, scale_rate


def rates(schedule: str, epochs: list[float], of: int = 10, warm: int = 0, decay: int = 10):
    return [
        scale_rate(schedule, epoch, of, warmup_epochs=warm, decay_epochs=decay) for epoch in epochs
    ]


def test_cosine_falls_over_half_a_wave():
    assert rates("cosine", [0, 2.5, 5, 10]) == pytest.approx([1, 0.853553, 0.5, 0], abs=1e-6)


def test_cosine_waits_until_its_decay_begins():
    assert rates("cosine", [0, 6, 8, 10], decay=4) == pytest.approx([1, 1, 0.5, 0], abs=1e-6)


def test_one_cycle_is_torch_s():
    parameter = torch.nn.Parameter(torch.zeros(1))
    optimizer = torch.optim.SGD([parameter], lr=1.0, momentum=0.9)
    cycle = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=1.0, total_steps=1001)
    expected = []
    for _ in range(1000):
        expected.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        cycle.step()

    # its peak lies one step before 0.3 of the time
    found = rates("one-cycle", [step / 1000 for step in range(1000)], of=1)
    assert found == pytest.approx(expected, abs=0.003)
    assert max(found) == pytest.approx(1)


def test_plateau_and_constant_stay():
    for schedule in ("plateau", "constant"):
        assert rates(schedule, [0, 5, 9.9]) == [1, 1, 1]


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_a_warm_up_begins_at_nothing_and_no_rate_exceeds_the_highest(schedule: str):
    found = rates(schedule, [step / 10 for step in range(101)], warm=2)

    assert found[0] == 0
    assert max(found) <= 1
    assert min(found) >= 0


def test_a_watch_cuts_the_rate_after_its_patience_and_again_after_as_long():
    watch = Watch(patience=2, factor=0.5)
    seen = []
    for value in [3.0, 2.0, 2.5, 2.5, 2.5, 2.5, 1.0, 2.0]:
        watch.see(value)
        seen.append(watch.scale)

    assert seen == [1, 1, 1, 0.5, 0.5, 0.25, 0.25, 0.25]


def test_the_cuts_are_those_of_torch_s_scheduler():
    values = [1.0, 0.9, 0.95, 0.91, 0.92, 0.93, 0.5, 0.6, 0.6, 0.6, 0.6, 0.6]
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    # torch waits for one more than its patience
    theirs = torch.optim.lr_scheduler.ReduceLROnPlateau(
        optimizer, factor=0.1, patience=2, threshold=0.0
    )
    watch = Watch(patience=3, factor=0.1)
    for value in values:
        theirs.step(value)
        watch.see(value)
        assert watch.scale == pytest.approx(optimizer.param_groups[0]["lr"])


def test_training_stops_after_as_many_validations_without_a_better_one():
    watch = Watch(stop_after=2)
    over = []
    for value in [3.0, 3.0, 2.0, float("nan"), 2.0]:
        watch.see(value)
        over.append(watch.is_over)

    assert over == [False, False, False, False, True]


def test_a_watch_that_nobody_asked_to_stop_never_does():
    watch = Watch()
    for _ in range(100):
        watch.see(1.0)

    assert not watch.is_over
    assert watch.scale == 1


def test_a_watch_goes_on_where_it_was():
    watch = Watch(patience=3, stop_after=5)
    for value in (1.0, 2.0, 2.0):
        watch.see(value)

    again = Watch(**watch.to_json())

    assert again == watch
    again.see(2.0)
    assert again.cuts == 1
