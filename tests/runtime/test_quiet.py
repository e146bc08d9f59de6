from __future__ import annotations

import os
import threading
import warnings

import pytest

from pfedge_runtime.inputs.quiet import quiet, quiet_native, write_back


def test_filters_are_back_when_the_last_thread_has_left():
    entered, leave = threading.Event(), threading.Event()

    def other():
        with quiet():
            entered.set()
            leave.wait(10)

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        before = list(warnings.filters)
        thread = threading.Thread(target=other)
        with quiet():
            thread.start()
            entered.wait(10)
        warnings.warn("the other thread is still inside", stacklevel=1)
        leave.set()
        thread.join()
        assert warnings.filters == before
        with pytest.raises(UserWarning):
            warnings.warn("nobody is inside", stacklevel=1)


def test_what_native_code_writes_is_given_as_lines(capfd):
    with quiet_native() as lines:
        os.write(2, b"Corrupt JPEG data: bad Huffman code\nprogress 3 %\n")
        os.write(2, b"x" * 10)
    assert lines == ["Corrupt JPEG data: bad Huffman code", "progress 3 %", "x" * 10]
    assert capfd.readouterr().err == ""
    write_back(lines[1:2])
    os.write(2, b"after")
    assert capfd.readouterr().err == "progress 3 %\nafter"


def test_more_than_fits_into_a_pipe_blocks_nobody(capfd):
    with quiet_native() as lines:
        for _ in range(40):
            try:
                os.write(2, b"y" * 4096)
            except BlockingIOError:
                break
    assert sum(map(len, lines)) == 2**16
