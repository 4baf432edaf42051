from observe_lib.adapter.process_queue import ProcessQueue


def queue_of(processes: str) -> ProcessQueue:
    """Return a queue with an event of 10 bytes for each letter, ids from 1."""
    queue = ProcessQueue()
    for id, process in enumerate(processes, 1):
        queue.add(id, process, 10)
    return queue


def take_all(queue: ProcessQueue) -> list[int]:
    found = []
    while (id := queue.next_id()) is not None:
        queue.take()
        found.append(id)
    return found


def test_each_process_has_one_at_a_time_in_the_order_of_the_oldest():
    queue = queue_of("aabab")
    assert take_all(queue) == [1, 3]
    queue.remove(3, "b", 10)
    assert take_all(queue) == [5]
    queue.remove(1, "a", 10)
    assert take_all(queue) == [2]
    assert (queue.waiting, queue.size, queue.count_of("a"), queue.count_of("b")) == (3, 30, 2, 1)


def test_what_is_put_back_is_next_again():
    queue = queue_of("abc")
    assert take_all(queue) == [1, 2, 3]
    queue.put_back(1, "a")
    queue.put_back(99, "a")
    assert take_all(queue) == [1]


def test_what_was_removed_is_neither_removed_nor_put_back_again():
    queue = queue_of("aa")
    queue.take()
    for _ in range(2):
        queue.remove(1, "a", 10)
    queue.put_back(1, "a")
    assert (queue.waiting, queue.size, take_all(queue)) == (1, 10, [2])


def test_one_more_of_a_process_that_has_one_taken_waits_for_it():
    queue = queue_of("a")
    queue.take()
    queue.add(2, "a", 5)
    assert take_all(queue) == []
    queue.remove(1, "a", 10)
    assert take_all(queue) == [2]


def test_as_it_is_found_by_process():
    queue = ProcessQueue()
    for id, process in ((9, "a"), (7, "b"), (8, "b"), (2, "c")):
        queue.add(id, process, 10)
    assert take_all(queue) == [2, 7, 9]
