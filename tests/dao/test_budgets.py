"""Budgets hold over threads and processes: of many that ask at once, no more are let in than there is room for."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pytest
from racing import at_once, in_processes

from prefect_acms.blocks.budget import BudgetLimits, BudgetSettings
from prefect_acms.canonical.budget import Amount
from prefect_acms.canonical.errors import BudgetExceeded, Superseded
from prefect_acms.dao.store import Fence
from prefect_acms.tasks.budgets import Budgets, Estimate

if TYPE_CHECKING:
    from tests.dao.conftest import World

CALLS = 16
ROOM = 3

CALL = """
import os, signal, sys, time
from prefect_acms.blocks.budget import BudgetLimits, BudgetSettings
from prefect_acms.canonical.errors import BudgetExceeded
from prefect_acms.dao.store import open_store
from prefect_acms.tasks.budgets import Budgets, Estimate
url, run_id, *tasks = sys.argv[1:]
store = open_store(url, synchronous="NORMAL")
budgets = Budgets(store, BudgetSettings(run=BudgetLimits(tool_runs=3)))
print("ready", flush=True)
sys.stdin.readline()
for task_id in tasks:
    doomed, task_id = task_id[0] == "!", task_id.lstrip("!")
    try:
        with budgets.reserved(run_id=run_id, task_id=task_id, tool_id="t", estimate=Estimate(tool_runs=1)) as held:
            print("made", flush=True)
            if doomed:
                os.kill(os.getpid(), signal.SIGKILL)
            time.sleep(0.05)
            held.settle(None, 0.05)
    except BudgetExceeded as refusal:
        print("refused", refusal.facts["spent"], flush=True)
"""


def _tasks(world: World, count: int = CALLS) -> tuple[str, list[str]]:
    run = world.run()
    stream = world.stream(run.id)
    return run.id, [world.task(stream.id).id for _ in range(count)]


def _budgets(world: World, run: BudgetLimits, task: BudgetLimits | None = None, **more: Any) -> Budgets:
    return Budgets(world.store, BudgetSettings(run=run, task=task or BudgetLimits()), **more)


@pytest.mark.parametrize(
    ("limits", "estimate"),
    [
        (BudgetLimits(tool_runs=ROOM), Estimate(tool_runs=1)),
        (BudgetLimits(tokens=3 * 1000 + 999), Estimate(tool_runs=1, tokens=1000)),
        (BudgetLimits(usd=0.3), Estimate(tool_runs=1, usd=Decimal("0.1"))),
        (BudgetLimits(wall_sec=30.5), Estimate(tool_runs=1, wall_sec=10)),
    ],
    ids=["tool runs", "tokens", "money", "time"],
)
def test_of_sixteen_threads_no_more_than_three_get_in(
    any_world: World, limits: BudgetLimits, estimate: Estimate
) -> None:
    """Whatever is limited; the others wait, are refused once it is gone for good, and the trail says so once."""
    run_id, tasks = _tasks(any_world)
    budgets = _budgets(any_world, limits)
    inside, most, made, refused = set[int](), [0], list[int](), list[BudgetExceeded]()

    def call(number: int) -> None:
        try:
            with budgets.reserved(run_id=run_id, task_id=tasks[number], tool_id="t", estimate=estimate) as held:
                inside.add(number)
                most[0] = max(most[0], len(inside))
                made.append(number)
                time.sleep(0.02)
                inside.discard(number)
                held.settle(None, estimate.wall_sec)
        except BudgetExceeded as refusal:
            refused.append(refusal)

    at_once(call, CALLS)
    assert (len(made), len(refused)) == (ROOM, CALLS - ROOM)
    assert most[0] <= ROOM
    with any_world.store.begin(read_only=True) as dao:
        spent, reserved = dao.budgets.used(run_id)
        assert (spent.tool_runs, reserved) == (ROOM, Amount())
        told = [row for row in dao.transitions.of_run(run_id) if row.trigger == "budget_exceeded"]
    assert [row.entity_type for row in told] == ["run"]


def test_of_sixteen_tasks_in_four_processes_three_get_in(any_world: World) -> None:
    """The database decides, not the process."""
    run_id, tasks = _tasks(any_world)
    said = in_processes(CALL, [[any_world.store.url, run_id, *tasks[start::4]] for start in range(4)])
    assert sorted(said) == ["made"] * ROOM + ["refused 3 tool runs"] * (CALLS - ROOM)
    with any_world.store.begin(read_only=True) as dao:
        assert dao.budgets.used(run_id)[0].tool_runs == ROOM


def test_no_fourth_gets_in_when_processes_are_killed_in_their_calls(any_world: World) -> None:
    """Others take the run over meanwhile, again and again; a call that was cut off is spent, and makes no room."""
    run_id, tasks = _tasks(any_world)
    # three of the four are killed in their first call, if they get as far
    firsts = [tasks[0], *(f"!{task}" for task in tasks[1:4])]
    shares = [[any_world.store.url, run_id, first, *tasks[4 + at :: 4]] for at, first in enumerate(firsts)]
    with ThreadPoolExecutor(1) as pool:
        race = pool.submit(in_processes, CALL, shares, may_be_killed=True)
        while not race.done():
            with any_world.store.begin() as dao:
                dao.runs.take_over(run_id)
            time.sleep(0.1)
    assert race.result().count("made") == ROOM
    with any_world.store.begin(read_only=True) as dao:
        entries = dao.budgets.of_run(run_id)
        spent, held = dao.budgets.used(run_id)
    assert (spent.tool_runs, held) == (ROOM, Amount())
    assert any(one.info.get("abandoned") and not one.wall_sec for one in entries), "nobody was killed in a call"


def test_a_call_that_needed_less_lets_the_next_one_in(world: World) -> None:
    """Who waits gets what comes back: 2 x 400 of 1000 tokens are used up, so a third call of 200 fits in."""
    run_id, tasks = _tasks(world, 1)
    budgets = _budgets(world, BudgetLimits(tokens=1000))
    order: list[str] = []

    def second() -> None:
        with budgets.reserved(run_id=run_id, tool_id="t", estimate=Estimate(tokens=600)):
            order.append("second")

    with budgets.reserved(run_id=run_id, task_id=tasks[0], tool_id="t", estimate=Estimate(tokens=600)):
        waiting = threading.Thread(target=second)
        waiting.start()
        time.sleep(0.3)
        order.append("first")
    waiting.join(timeout=10)
    assert order == ["first", "second"]
    with world.store.begin(read_only=True) as dao:
        assert dao.budgets.used(run_id) == (Amount(), Amount())


def test_each_task_has_a_budget_of_its_own(world: World) -> None:
    """One that is over does not hold the other back; the sentence says all that there is to know."""
    run_id, (one, other) = _tasks(world, 2)
    budgets = _budgets(world, BudgetLimits(), BudgetLimits(usd=0.25))
    estimate = Estimate(tool_runs=1, usd=Decimal("0.2"))
    for task_id in (one, other):
        with budgets.reserved(run_id=run_id, task_id=task_id, tool_id="ai-edit", estimate=estimate) as held:
            held.settle(None, 1)
    for _ in range(2):
        with (
            pytest.raises(
                BudgetExceeded,
                match=r"^the task's budget of \$0\.25 has no room for ai-edit, which asks for \$0\.2$",
            ),
            budgets.reserved(run_id=run_id, task_id=one, tool_id="ai-edit", estimate=estimate),
        ):
            pass
    with world.store.begin(read_only=True) as dao:
        told = [(row.entity_id, row.trigger) for row in dao.transitions.of_run(run_id) if row.entity_type == "task"]
        assert dao.tasks.get(one).info["budget_exceeded"].keys() == {"usd"}
    assert told.count((one, "budget_exceeded")) == 1
    assert (other, "budget_exceeded") not in told


def test_a_call_gets_the_time_that_is_left(world: World) -> None:
    """Time is the one thing of which less is enough to begin with; less than a second is not."""
    run_id, _ = _tasks(world, 1)
    budgets = _budgets(world, BudgetLimits(wall_sec=100))
    for granted, used in ((90.0, 60.5), (39.5, 39.0)):
        with budgets.reserved(run_id=run_id, tool_id="t", estimate=Estimate(wall_sec=90)) as held:
            assert held.granted.wall_sec == granted
            held.settle(None, used)
    with pytest.raises(BudgetExceeded), budgets.reserved(run_id=run_id, tool_id="t", estimate=Estimate(wall_sec=90)):
        pass


def test_what_a_lost_driver_had_set_aside_for_a_model_is_spent(world: World) -> None:
    """Else a run that is killed again and again would cost nothing. The time comes back; the old driver has no say."""
    run_id, _ = _tasks(world, 1)
    with world.store.begin() as dao:
        epoch = dao.runs.take_over(run_id)
    before = _budgets(world, BudgetLimits(tokens=100, wall_sec=100), fence=Fence(run_id, epoch))
    lost = before.reserved(run_id=run_id, tool_id="t", estimate=Estimate(tool_runs=1, tokens=60, wall_sec=90))
    lost.__enter__()
    with world.store.begin() as dao:
        after = dao.runs.take_over(run_id)
        assert dao.budgets.used(run_id) == (Amount(tool_runs=1, tokens=60), Amount())
        assert [(one.tool_id, one.unpriced) for one in dao.budgets.tally()] == [("t", 1)]
    with pytest.raises(Superseded), before.reserved(run_id=run_id, tool_id="t", estimate=Estimate(tokens=1)):
        pass
    now = _budgets(world, BudgetLimits(tokens=100, wall_sec=100), fence=Fence(run_id, after))
    with now.reserved(run_id=run_id, tool_id="t", estimate=Estimate(tokens=40, wall_sec=90)) as held:
        assert held.granted.wall_sec == 90
    with pytest.raises(BudgetExceeded), now.reserved(run_id=run_id, tool_id="t", estimate=Estimate(tokens=60)):
        pass
    lost.__exit__(None, None, None)
    with world.store.begin(read_only=True) as dao:
        assert dao.budgets.used(run_id)[0].tokens == 60


def test_a_call_that_was_broken_off_is_spent_and_one_that_never_began_is_not(world: World) -> None:
    """A run is cancelled while a model works: what it has used up nobody knows."""
    run_id, _ = _tasks(world, 1)
    budgets = _budgets(world, BudgetLimits(tokens=100))

    def broken_off(*, begins: bool) -> None:
        with budgets.reserved(run_id=run_id, tool_id="t", estimate=Estimate(tool_runs=1, tokens=60)) as held:
            if begins:
                held.begin()
            raise KeyboardInterrupt

    for begins, spent in ((False, Amount()), (True, Amount(tool_runs=1, tokens=60))):
        with pytest.raises(KeyboardInterrupt):
            broken_off(begins=begins)
        with world.store.begin(read_only=True) as dao:
            assert dao.budgets.used(run_id) == (spent, Amount())


def test_what_nobody_settles_is_held_for_a_while_only(world: World) -> None:
    """Its process is dead, and no take-over has told: the next call waits until its time is over."""
    run_id, _ = _tasks(world, 1)
    with world.store.begin() as dao:
        dao.budgets.reserve(run_id=run_id, tool_id="t", amount=Amount(tokens=100), hold_sec=0.3)
    budgets = _budgets(world, BudgetLimits(tokens=100))
    started = time.monotonic()
    with budgets.reserved(run_id=run_id, tool_id="t", estimate=Estimate(tokens=100)):
        assert time.monotonic() - started < 5


def test_a_waiting_call_ends_with_its_run(world: World) -> None:
    """What it is told to wait by may end it."""
    run_id, _ = _tasks(world, 1)
    budgets = _budgets(world, BudgetLimits(tool_runs=1))

    def ended(_seconds: float) -> None:
        raise Superseded(run_id=run_id, held=1, current=2)

    impatient = _budgets(world, BudgetLimits(tool_runs=1), sleep=ended)
    with (
        budgets.reserved(run_id=run_id, tool_id="t", estimate=Estimate(tool_runs=1)),
        pytest.raises(Superseded),
        impatient.reserved(run_id=run_id, tool_id="t", estimate=Estimate(tool_runs=1)),
    ):
        pass
