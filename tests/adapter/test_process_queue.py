from observe_lib.adapter.process_queue import ProcessQueue, WaitingEvents


def queue_of(*processes: str) -> ProcessQueue:
    """Return a queue with an event of 10 bytes for each letter, ids from 1."""
    queue = ProcessQueue()
    for id, process in enumerate(processes, 1):
        queue.add(id, process, 10)
    return queue


def test_each_process_has_one_at_a_time_in_the_order_of_the_oldest():
    queue = queue_of(*"aabab")
    assert queue.pop(10) == [1, 3]
    assert queue.pop(10) == []
    queue.remove({3: ("b", 10)}, {"b": 5})
    assert queue.pop(10) == [5]
    queue.remove({1: ("a", 10)}, {"a": 2})
    assert queue.pop(10) == [2]
    assert (queue.waiting, queue.size, queue.count_of("a"), queue.count_of("b")) == (3, 30, 2, 1)


def test_what_is_put_back_is_next_again():
    queue = queue_of(*"abc")
    assert queue.pop(2) == [1, 2]
    queue.put_back([1, 1, 99])
    assert queue.pop(9) == [1, 3]


def test_what_is_removed_after_it_was_put_back_is_not_next():
    queue = queue_of(*"aab")
    queue.pop(1)
    queue.put_back([1])
    queue.remove({1: ("a", 10)}, {"a": 2})
    assert queue.pop(9) == [2, 3]


def test_one_more_of_a_process_that_has_one_taken_waits_for_it():
    queue = queue_of("a")
    queue.pop(1)
    queue.add(2, "a", 5)
    assert queue.pop(1) == []
    queue.remove({1: ("a", 10)}, {"a": 2})
    assert queue.pop(1) == [2]
    queue.take(2, 5)
    assert queue.taken(2) == ("a", 5)
    queue.resize(2, 5, 3)
    assert (queue.taken(2), queue.size) == (("a", 3), 3)


def test_as_it_was_found():
    rows = ("b", 3, 30, 7), ("a", 1, 10, 9), ("c", 2, 20, 2)
    queue = ProcessQueue([WaitingEvents(*row) for row in rows])
    assert (queue.waiting, queue.size, queue.count_of("b")) == (6, 60, 3)
    assert queue.pop(9) == [2, 7, 9]
