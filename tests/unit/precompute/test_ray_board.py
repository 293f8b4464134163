"""Who has which task: every task is done, whoever is lost or slow."""

from hypothesis import given
from hypothesis import strategies as st

from kdcache.precompute.plan import Task
from kdcache.precompute.ray_board import Board
from kdcache.store.layout import Block

TASKS = tuple(Task(Block(n, 0, n, 1), group, ("cnn",)) for n in range(3) for group in (0, 1))


class _Clock:
    def __init__(self) -> None:
        self.seconds = 0.0

    def __call__(self) -> float:
        return self.seconds


def test_tasks_are_handed_out_once_and_in_order() -> None:
    board = Board(TASKS)
    assert [board.take(n % 2) for n in range(7)] == [*TASKS, None]


def test_a_run_is_done_when_each_task_is_done_once() -> None:
    board = Board(TASKS)
    news = []
    while (task := board.take(0)) is not None:
        news += [board.done(task), board.done(task)]
    assert news == [True, False] * 6
    assert board.is_done


def test_the_tasks_of_a_lost_actor_come_next() -> None:
    board = Board(TASKS)
    board.take(0)
    board.take(1)
    board.take(0)
    board.lose(0)
    assert [board.take(1) for _ in range(3)] == [TASKS[0], TASKS[2], TASKS[3]]


def test_a_task_that_was_taken_back_and_then_done_is_not_handed_out_again() -> None:
    board = Board(TASKS)
    board.take(0)
    board.lose(0)
    assert board.done(TASKS[0])
    assert board.take(1) == TASKS[1]


def test_an_idle_actor_gets_a_task_that_another_one_has_had_for_long_but_no_third_one_does() -> None:
    clock = _Clock()
    board = Board(TASKS[:2], now=clock)
    board.take(0)
    board.take(1)
    clock.seconds = 20.0
    board.done(TASKS[1])
    clock.seconds = 119.0
    assert board.take(1) is None
    clock.seconds = 121.0
    assert board.take(0) is None
    assert board.take(1) == TASKS[0]
    assert board.take(2) is None


@given(
    moves=st.lists(st.tuples(st.integers(0, 3), st.sampled_from(["take", "done", "lose", "wait"]))),
)
def test_whatever_happens_to_the_others_one_actor_brings_a_run_to_its_end(
    moves: list[tuple[int, str]],
) -> None:
    clock = _Clock()
    board = Board(TASKS, now=clock)
    hands: dict[int, list[Task]] = {n: [] for n in range(4)}
    done: list[Task] = []
    for actor, move in moves:
        if move == "take" and (task := board.take(actor)) is not None:
            hands[actor].append(task)
        elif move == "done" and hands[actor]:
            task = hands[actor].pop()
            done += [task] if board.done(task) else []
        elif move == "lose":
            board.lose(actor)
            hands[actor] = []
        clock.seconds += 50.0
    for _ in TASKS:
        clock.seconds += 10_000.0
        last = board.take(9)
        done += [last] if last is not None and board.done(last) else []
    # What one actor has and another was given, too, is for these two to finish.
    left = {task for tasks in hands.values() for task in tasks} - set(done)
    done += [task for task in left if board.done(task)]
    assert board.is_done
    assert sorted(done, key=TASKS.index) == list(TASKS)
