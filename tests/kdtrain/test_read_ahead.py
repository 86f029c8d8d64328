"""A thread that makes items ahead, and how it ends."""

import subprocess
import sys
import threading
import time

import pytest

from kdtrain.runtime.read_ahead import read_ahead

LONG = 10.0
"""Seconds that no test takes."""


def readers():
    return [thread for thread in threading.enumerate() if thread.name == "kdtrain-read-ahead"]


class Counting:
    """0, 1, 2, ...; notes how many were made, and who made them."""

    def __init__(self, count=1000, pause=0.0, fails_at=None):
        self.count, self.pause, self.fails_at = count, pause, fails_at
        self.made, self.threads = 0, set()

    def __iter__(self):
        for number in range(self.count):
            time.sleep(self.pause)
            if number == self.fails_at:
                raise ValueError(f"item {number} is damaged")
            self.made += 1
            self.threads.add(threading.current_thread())
            yield number

    def settled(self):
        """How many are made once the thread makes no more."""
        before = -1
        while before != self.made:
            before = self.made
            time.sleep(0.05)
        return before


def test_items_come_in_order_from_another_thread():
    items = Counting(50)
    with read_ahead(items, 4) as taken:
        assert list(taken) == list(range(50))
    assert threading.current_thread() not in items.threads
    assert readers() == []


@pytest.mark.parametrize("depth", [1, 2, 5])
def test_no_more_than_depth_are_made_ahead(depth):
    items = Counting()
    with read_ahead(items, depth) as taken:
        assert items.settled() == depth
        for number in range(3):
            assert next(taken) == number
            assert items.settled() == depth + number + 1


def test_an_error_comes_where_its_item_would_come():
    with read_ahead(Counting(fails_at=3), 2) as taken:
        assert [next(taken) for _ in range(3)] == [0, 1, 2]
        with pytest.raises(ValueError, match="item 3 is damaged"):
            next(taken)
    assert readers() == []


@pytest.mark.parametrize("pause", [0.0, 0.1], ids=["full", "empty"])
def test_who_leaves_early_waits_for_no_more_than_an_item(pause):
    items = Counting(pause=pause)
    start = time.monotonic()
    with read_ahead(items, 3) as taken:
        next(taken)
        if not pause:
            items.settled()
    assert readers() == []
    assert time.monotonic() - start < LONG
    assert items.made <= 5


def test_a_process_that_leaves_the_thread_behind_ends():
    program = """
from itertools import count
from kdtrain.runtime.read_ahead import read_ahead
ahead = read_ahead(count(), 3)
print(next(ahead.__enter__()))
"""
    done = subprocess.run([sys.executable, "-c", program], timeout=60, capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, "0\n", "")


def test_nothing_is_taken_of_what_is_empty():
    with read_ahead([], 2) as taken:
        assert list(taken) == []
