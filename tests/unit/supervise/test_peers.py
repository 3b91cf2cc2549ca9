"""The shared folder: what ranks learn of each other, in one process."""

import os
import subprocess
import sys
import threading
import time

import pytest

from plsc.supervise import shared_files
from plsc.supervise.diagnosis import Ending, Outcome
from plsc.supervise.peers import ALIVE_BEATS, STALE, UNLOCKED_SILENCE, Peers
from plsc.supervise.verdict import Verdict


@pytest.fixture
def peers(tmp_path):
    """Makes the windows of ranks on one folder."""

    def make(size):
        made = []
        for rank in range(size):
            peer = Peers(tmp_path / "run", rank=rank, size=size, host=f"node{rank}")
            peer.open()
            made.append(peer)
        return made

    return make


def ending(rank, kind=Outcome.FAILED):
    return Ending(rank, f"node{rank}", kind, 1, f"reason {rank}", "step 7")


def test_an_ending_is_known_to_all_with_the_time_of_its_record(peers, tmp_path):
    first, second = peers(2)
    first.end(ending(0))
    second.end(ending(1))
    for window in (first, second):
        window.read_endings()
        for rank in range(2):
            written = (tmp_path / "run" / f"rank-{rank:05d}.end").stat().st_mtime
            assert window.endings[rank].time == pytest.approx(written, abs=1e-6)
            assert window.endings[rank].reason == f"reason {rank}"
    assert first.failed


def test_the_first_record_of_a_rank_holds(peers):
    first, second = peers(2)
    first.end(ending(1, Outcome.LOST))
    second.end(ending(1, Outcome.CLEAN))
    assert second.endings[1].kind is first.endings[1].kind is Outcome.LOST


def test_the_first_verdict_holds(peers):
    first, second = peers(2)
    assert first.verdict() is None
    assert first.publish(Verdict(1, "one", 3)) == Verdict(1, "one", 3)
    assert second.publish(Verdict(0, "two", 4)) == Verdict(1, "one", 3) == second.verdict()


def test_records_of_an_earlier_run_in_the_same_folder_do_not_count(peers, tmp_path):
    first, second = peers(2)
    second.end(ending(1))
    first.publish(Verdict(1, "one", 3))
    long_ago = time.time() - STALE - 10
    for path in (tmp_path / "run").iterdir():
        os.utime(path, (long_ago, long_ago))
    again = Peers(tmp_path / "run", rank=0, size=2, host="node0")
    again.open()
    again.read_endings()
    again.read_beats(0.0)
    assert (again.endings, again.others[1].beat, again.verdict()) == ({}, {}, None)


def test_silence_grows_until_a_new_beat_is_seen(peers):
    first, second = peers(2)
    first.read_beats(0.0)
    assert first.others[1].host == "node1"
    for _ in range(3):
        first.read_beats(1.0)
    assert first.others[1].silence == 3.0
    second.beat("step 3", 3, 0.5)
    first.read_beats(1.0)
    assert first.others[1].silence == 0.0
    assert first.others[1].beat["phase"] == "step 3"


def test_a_rank_is_lost_for_its_silence(peers):
    first, _ = peers(2)
    first.read_beats(0.0)
    first.others[1].silence = 19.9
    first.find_lost(20.0, 120.0)
    assert not first.endings
    first.others[1].silence = 20.0
    first.find_lost(20.0, 120.0)
    assert first.endings[1].kind is Outcome.LOST and first.endings[1].host == "node1"


def test_a_free_lock_is_believed_at_once_here_and_after_silence_elsewhere(peers):
    first, second = peers(2)
    first.read_beats(0.0)
    os.close(second._lock)  # as the kernel does when the process dies
    first.others[1].beat["machine"] = "another"
    first.others[1].silence = UNLOCKED_SILENCE
    first.find_lost(20.0, 120.0)
    assert not first.endings
    first.others[1].silence = UNLOCKED_SILENCE + first.interval
    first.find_lost(20.0, 120.0)
    assert first.endings[1].kind is Outcome.LOST

    first.endings.clear()
    (first.folder / "rank-00001.end").unlink()
    first.others[1].silence = 0.0
    first.others[1].beat["machine"] = shared_files.machine()
    first.find_lost(20.0, 120.0)
    assert first.endings[1].kind is Outcome.LOST


def test_a_rank_that_recorded_its_end_is_not_lost(peers):
    first, second = peers(2)
    first.read_beats(0.0)
    second.end(ending(1, Outcome.CLEAN))
    second.leave()
    first.others[1].silence = 1000.0
    first.find_lost(20.0, 120.0)
    assert first.endings[1].kind is Outcome.CLEAN


def test_ranks_that_go_on_after_a_failure_are_alive(peers):
    first, second, third = peers(3)
    second.beat("step 9", 9, 2.0)
    first.read_beats(0.0)
    third.end(ending(2))
    first.read_endings()
    for beat in range(ALIVE_BEATS):
        assert first.alive() == {}
        second.beat("step 9", 9, 3.0 + beat)
        first.read_beats(1.0)
    alive = first.alive()
    assert list(alive) == [1]
    assert (alive[1].phase, alive[1].position, alive[1].since) == ("step 9", 9, 5.0)


def test_the_last_to_leave_removes_the_folder(peers, tmp_path):
    first, second = peers(2)
    first.leave()
    assert (tmp_path / "run").exists()
    second.leave()
    assert not (tmp_path / "run").exists()


def test_what_a_crashed_machine_left_is_no_record(tmp_path):
    (tmp_path / "verdict").write_text('{"rank": 1, "li')
    assert shared_files.read(tmp_path / "verdict") == (None, 0.0)


def test_the_end_of_a_process_frees_its_lock_and_tells_so(tmp_path):
    path, told = tmp_path / "lock", threading.Event()
    hold = f"""
import pathlib, time
from plsc.supervise import shared_files
assert shared_files.take_lock(pathlib.Path({str(path)!r}))
print("held", flush=True)
time.sleep(60)
"""
    holder = subprocess.Popen([sys.executable, "-c", hold], stdout=subprocess.PIPE, text=True)
    assert holder.stdout.readline() == "held\n"
    assert not shared_files.lock_is_free(path)
    shared_files.when_lock_is_free(path, told.set)
    assert not told.wait(0.3)
    holder.kill()
    assert told.wait(5)
    holder.wait()
    holder.stdout.close()
    assert shared_files.lock_is_free(path)
