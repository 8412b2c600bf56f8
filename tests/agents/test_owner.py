import subprocess
import sys
import time

from corral.agents.owner import running_process, this_process


def test_a_process_that_ended_and_was_not_asked_after_runs_no_more() -> None:
    name = "from corral.agents.owner import this_process as name; print(name(), flush=True)"
    with subprocess.Popen([sys.executable, "-c", f"{name}; input()"], stdin=-1, stdout=-1, text=True) as child:
        assert child.stdout is not None
        owner = child.stdout.readline().strip()
        assert running_process(owner) == child.pid
        child.kill()
        deadline = time.monotonic() + 10
        # Its id stays taken: `wait` has not been called.
        while running_process(owner) is not None:
            assert time.monotonic() < deadline
            time.sleep(0.01)
        assert child.returncode is None
    assert running_process(this_process()) is not None
