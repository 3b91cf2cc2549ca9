"""Who owns a run's folder: one living run, found by its lock or by its signs of life."""

import json
import os
import re
import signal
import subprocess
import sys
import threading
import time

import pytest

from plsc.errors import UserError
from plsc.supervise import run_claim, shared_files
from plsc.supervise.run_claim import RunClaim

HOLDER = """
import os, sys, time
from pathlib import Path
from plsc.supervise.run_claim import RunClaim
with RunClaim(Path(sys.argv[1])):
    child = os.fork()  # as a loader's worker is
    if child:
        print(os.getpid(), child, flush=True)
    time.sleep(60)
"""


@pytest.fixture
def holder(tmp_path):
    """(a process that holds tmp_path/"run", its pid, its forked child's pid)."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(tmp_path / "run")], stdout=subprocess.PIPE, text=True
    )
    pid, child = map(int, process.stdout.readline().split())
    yield process, pid, child
    process.kill()
    process.wait()
    process.stdout.close()
    os.kill(child, signal.SIGKILL)


def record(tmp_path, **changes):
    """Write the record of an owner whose lock tells nothing; return its path."""
    path = tmp_path / "run" / ".run" / "owner"
    path.parent.mkdir(parents=True, exist_ok=True)
    entries = {"token": "t", "pid": 4711, "host": "far", "machine": "m", "locked": True, "count": 0}
    path.write_text(json.dumps(entries | changes))
    return path


def test_a_second_run_is_refused_with_pid_and_host_of_the_first(tmp_path, holder):
    _, pid, _ = holder
    with pytest.raises(UserError, match=rf"pid {pid} on host {re.escape(os.uname().nodename)}"):
        RunClaim(tmp_path / "run").__enter__()


def test_a_killed_run_does_not_block_though_its_worker_lives(tmp_path, holder):
    process, _, child = holder
    process.kill()
    process.wait()
    os.kill(child, 0)  # it is there
    with RunClaim(tmp_path / "run") as claim:
        claim.require()
    assert not (tmp_path / "run").exists() or not list((tmp_path / "run").iterdir())


def test_an_owner_on_another_machine_lives_while_its_record_changes(tmp_path):
    record(tmp_path)
    beating = threading.Timer(0.3, record, [tmp_path], {"count": 1})
    beating.start()
    with pytest.raises(UserError, match="pid 4711 on host far"):
        RunClaim(tmp_path / "run").__enter__()
    beating.join()


def test_a_silent_owner_on_another_machine_is_waited_for_and_then_replaced(
    tmp_path, monkeypatch, capsys
):
    monkeypatch.setattr(run_claim, "SILENCE", 1.0)
    record(tmp_path)
    with RunClaim(tmp_path / "run"):
        assert "pid 4711 on host far" in capsys.readouterr().err


def test_where_there_are_no_locks_signs_of_life_decide_on_one_machine_too(tmp_path, monkeypatch):
    monkeypatch.setattr(shared_files, "lock", lambda descriptor: False)
    path = record(tmp_path, locked=False, machine=shared_files.machine())
    beating = threading.Timer(0.3, record, [tmp_path], {"count": 1})
    beating.start()
    with pytest.raises(UserError, match="pid 4711"):
        RunClaim(tmp_path / "run").__enter__()
    beating.join()
    os.utime(path, (time.time() - 100,) * 2)
    with RunClaim(tmp_path / "run"):
        pass


def test_a_run_that_was_given_up_writes_nothing_more(tmp_path, monkeypatch):
    monkeypatch.setattr(run_claim, "BEAT_INTERVAL", 0.05)
    with RunClaim(tmp_path / "run") as claim:
        path = record(tmp_path, token="another")
        time.sleep(0.3)
        with pytest.raises(UserError, match="taken over by another run"):
            claim.require()
        path.unlink()


def test_dead_launches_go_and_living_ones_stay(tmp_path):
    launches = tmp_path / "run" / ".run"
    for name in ("dead", "living", "old", "starting"):
        (launches / name).mkdir(parents=True)
    here = {"locked": True, "machine": shared_files.machine()}
    for name in ("dead", "living"):
        shared_files.replace(launches / name / "rank-00000.beat", here)
        (launches / name / "rank-00000.lock").touch()
    held = shared_files.take_lock(launches / "living" / "rank-00000.lock")
    long_ago = (time.time() - 1000,) * 2
    os.utime(launches / "old", long_ago)
    with RunClaim(tmp_path / "run"):
        assert sorted(p.name for p in launches.iterdir() if p.is_dir()) == ["living", "starting"]
    os.close(held)
