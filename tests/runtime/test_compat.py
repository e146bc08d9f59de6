from __future__ import annotations

import threading

from pfedge_runtime._compat import cached_property


class Asked:
    def __init__(self, meeting=None):
        self.times = 0
        self._meeting = meeting

    @cached_property
    def value(self) -> int:
        """What it is."""
        self.times += 1
        if self._meeting:
            self._meeting.wait(timeout=30)
        return self.times


def test_it_is_computed_when_first_asked_for_and_kept():
    asked = Asked()
    assert asked.times == 0
    assert (asked.value, asked.value, asked.times) == (1, 1, 1)
    assert Asked().value == 1
    assert Asked.value.__doc__ == "What it is."


def test_two_instances_are_computed_at_a_time():
    """Each waits for the other within; under a lock that they share neither would arrive."""
    both = [Asked(threading.Barrier(2))]
    both.append(Asked(both[0]._meeting))
    threads = [threading.Thread(target=lambda one=one: one.value) for one in both]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [one.value for one in both] == [1, 1]
    assert not both[0]._meeting.broken
