"""Work beside the kernel, and drawing from several threads."""

import threading

from conftest import wait_for

from al_utils import Round
from al_utils.widgets import (
    query_figures,
)
from al_utils.widgets.controls import BackgroundJob, Latest, png


def test_a_new_job_of_the_same_name_takes_over():
    order, ends = [], []

    def long(stopped):
        stopped.wait(20)
        order.append("first ends")

    BackgroundJob("test", long, ends.append)
    second = BackgroundJob("test", lambda stopped: order.append("second runs"), ends.append)
    assert second.wait(20) and order == ["first ends", "second runs"] and ends == ["", ""]


def test_a_job_that_fails_says_so():
    ends = []

    def fail(stopped):
        raise KeyError("here")

    assert BackgroundJob("test", fail, ends.append).wait(20) and ends == ["KeyError: 'here'"]


def test_only_the_newest_request_is_worked_on():
    gate, worked = threading.Event(), []

    def work(key):
        gate.wait(20)
        worked.append(key)

    latest = Latest("test", work, lambda key, error: None)
    for key in range(5):
        latest.ask(key)
        wait_for(lambda: latest._next is None or key)
    gate.set()
    wait_for(lambda: 4 in worked)
    assert worked == [0, 4]


def test_figures_are_drawn_from_several_threads_at_once():
    rounds = [Round(k, 10, {"test_accuracy": 0.1 * k}, [1]) for k in range(3)]
    drawn = []
    threads = [
        threading.Thread(target=lambda: drawn.append(png(query_figures.against_truth, rounds, [], "me"))) for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(drawn)) == 1
