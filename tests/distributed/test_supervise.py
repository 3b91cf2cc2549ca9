"""Runs that fail in every way: all processes end, and the last line names who failed first."""

import os
import re
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
from places import ROOT

# One program for both sides, as plsc's commands are: a supervisor, or the trainer it starts.
HEAD = """
import os, signal, subprocess, sys, time
from pathlib import Path
from plsc.errors import UserError
from plsc.supervise import SUPERVISED, Heartbeat, record_failure, supervise

here = Path(__file__).parent
rank, size = int(os.environ["PADDLE_TRAINER_ID"]), int(os.environ["PADDLE_TRAINERS_NUM"])

PRELUDE

def mark(name):
    (here / f"{name}{rank}").write_text(str(os.getpid()))

if SUPERVISED not in os.environ:
    assert not {"paddle", "numpy"} & sys.modules.keys()
    mark("supervisor")
    limits = dict(heartbeat_timeout=4.0)
    limits.update(LIMITS)
    sys.exit(supervise([sys.executable, *sys.argv], folder=here / "output" / "run", rank=rank,
                       size=size, host=f"node{rank}", **limits))
mark("trainer")
"""

GLOO = """
with Heartbeat() as heartbeat:
    if rank:
        time.sleep(0.5)  # one that asks before rank 0 listens waits for 3 s
    import paddle
    from paddle import distributed
    distributed.init_parallel_env()
    total = paddle.ones([4])
    for step in range(10000):
        heartbeat.note(f"step {step}")
        distributed.all_reduce(total)
        if step == 10:
            mark("ready")
        time.sleep(0.02)
        if rank == size - 1 and step == 20:
            FAIL
"""


def processes(folder: Path) -> dict[int, str]:
    """Command lines of the processes that run a script of `folder`."""
    found = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            try:
                line = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode()
            except OSError:
                continue
            if str(folder) in line:
                found[int(entry.name)] = line
    return found


class Run:
    """A program's ranks, under the launcher or started one by one, and what they leave."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.started: list[subprocess.Popen] = []
        self.consoles: list[Path] = []
        self.began = time.monotonic()

    def write(self, body: str, prelude: str = "", **limits) -> str:
        script = self.folder / "program.py"
        head = HEAD.replace("PRELUDE", prelude).replace("LIMITS", repr(limits))
        script.write_text(head + body)
        return str(script)

    def start(self, command: list[str], **variables) -> subprocess.Popen:
        console = self.folder / f"console{len(self.started)}"
        environment = {k: v for k, v in os.environ.items() if not k.startswith("PADDLE_")}
        environment |= {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", **variables}
        with open(console, "w") as file:
            process = subprocess.Popen(
                [sys.executable, *command],
                cwd=self.folder,
                env=environment,
                stdout=file,
                stderr=subprocess.STDOUT,
                stdin=subprocess.DEVNULL,
            )
        self.started.append(process)
        self.consoles.append(console)
        return process

    def launch(self, body: str, *options: str, log: str = "log") -> subprocess.Popen:
        script = self.write(body)
        launcher = ["-m", "paddle.distributed.launch", f"--log_dir={self.folder / log}"]
        return self.start([*launcher, *options, script])

    def ranks(self, body: str, size: int, *, absent: tuple[int, ...] = (), **options) -> None:
        """Start ranks without launcher or paddle."""
        script = self.write(body, **options)
        for rank in sorted(set(range(size)) - set(absent)):
            variables = {"PADDLE_TRAINER_ID": str(rank), "PADDLE_TRAINERS_NUM": str(size)}
            self.start([script], **variables)

    def wait(self, seconds: float = 60.0) -> list[int]:
        """Exit codes; every process of the run has ended by then."""
        end = time.monotonic() + seconds
        codes = [process.wait(max(0.1, end - time.monotonic())) for process in self.started]
        while processes(self.folder) and time.monotonic() < end:
            time.sleep(0.1)
        assert not processes(self.folder)
        assert not (self.folder / "output" / "run").exists()
        return codes

    def pid(self, name: str, seconds: float = 40.0) -> int:
        path, end = self.folder / name, time.monotonic() + seconds
        while not (path.exists() and path.read_text()):
            assert time.monotonic() < end, f"{name} did not come:\n{self.text(0)}"
            time.sleep(0.05)
        return int(path.read_text())

    def text(self, number: int) -> str:
        return self.consoles[number].read_text(errors="replace")

    def last_line(self, number: int) -> str:
        """What the user sees last, but for the launcher's own lines."""
        lines = [line for line in self.text(number).splitlines() if "LAUNCH INFO" not in line]
        return lines[-1] if lines else ""

    def assert_named(self, pattern: str, *, logs: str = "log*") -> None:
        """Every console and every rank's log end with a line that matches."""
        line = re.compile(rf"^plsc: {pattern}$")
        ends = [self.last_line(number) for number in range(len(self.consoles))]
        for path in sorted(self.folder.glob(f"{logs}/workerlog.*")):
            ends.append(path.read_text(errors="replace").splitlines()[-1])
        assert all(line.match(end) for end in ends), "\n".join(ends)
        assert len(set(ends)) == 1


@pytest.fixture
def run(tmp_path):
    run = Run(tmp_path)
    yield run
    for process in run.started:
        if process.poll() is None:
            process.terminate()
    for pid in processes(tmp_path):
        os.kill(pid, signal.SIGKILL)
    for process in run.started:
        process.kill()
        process.wait()


OTHERS = "; the other ranks stopped because of it"


# ---- gloo under Paddle's launcher ---------------------------------------------------------------


@pytest.mark.parametrize(
    "size, failure, status, reason",
    [
        (
            2,
            "raise ValueError('bad image')",
            1,
            r"ValueError: bad image \(exit code 1, .*step 20\)",
        ),
        (2, "os.kill(os.getpid(), 9)", 137, r"killed by SIGKILL, .* \(last phase: step 20\)"),
        (3, "os.kill(os.getppid(), 9)", 137, r"its processes were killed \(supervisor \d+; .*\)"),
        (2, "os.kill(os.getpid(), signal.SIGSTOP)", 137, r"hung: no sign of life for 4 s .*20\)"),
    ],
    ids=["exception", "trainer killed", "supervisor killed", "trainer stopped"],
)
def test_a_rank_that_fails_ends_all_and_is_named(run, size, failure, status, reason):
    run.launch(GLOO.replace("FAIL", failure), f"--nproc_per_node={size}")
    assert run.wait() == [status]
    rank = size - 1
    if "getppid" in failure and f"Container rank {rank}" in run.text(0):
        # In the few milliseconds until the line is there, the launcher may show the log without.
        run.consoles.clear()
    run.assert_named(f"rank {rank} on host node{rank} failed first: {reason}{OTHERS}")


def test_two_nodes_name_the_rank_of_either(run):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        master = f"127.0.0.1:{free.getsockname()[1]}"
    body = GLOO.replace("FAIL", "os.abort()")
    for node in range(2):
        options = ["--nnodes=2", f"--master={master}", f"--rank={node}", "--nproc_per_node=1"]
        run.launch(body, *options, log=f"log{node}")
    assert run.wait() == [134, 134]
    run.assert_named(rf"rank 1 on host node1 failed first: ended by SIGABRT \(.*20\){OTHERS}")


@pytest.mark.slow
def test_a_rank_that_stays_away_from_a_collective_is_named_when_gloo_gives_up(run):
    run.launch(GLOO.replace("FAIL", "time.sleep(1000)"), "--nproc_per_node=3")
    assert run.wait(75) == [1]
    named = r"the others waited for it .* \(last phase: step 20, for 3\d s\)"
    run.assert_named(f"rank 2 on host node2 failed first: {named}{OTHERS}")
    assert "most recent call first" in (run.folder / "log" / "workerlog.2").read_text()


def test_sigterm_to_the_launcher_reaches_trainers_once_and_they_end_in_peace(run):
    save = """
heard = []
signal.signal(signal.SIGTERM, lambda number, frame: heard.append(number))
with Heartbeat() as heartbeat:
    heartbeat.note("step 1")
    mark("ready")
    while not heard:
        time.sleep(0.05)
    time.sleep(1.0)  # it saves; the launcher sends SIGTERM three times in 0.6 s
    (here / f"saved{rank}").write_text(str(len(heard)))
"""
    launcher = run.launch(save, "--nproc_per_node=2")
    for rank in range(2):
        run.pid(f"ready{rank}")
    launcher.terminate()
    assert run.wait() == [signal.SIGTERM]  # the launcher's own status
    assert [(run.folder / f"saved{rank}").read_text() for rank in range(2)] == ["1", "1"]
    logs = [path.read_text() for path in (run.folder / "log").glob("workerlog.*")]
    assert len(logs) == 2 and "failed" not in "".join(logs)


# ---- supervisors alone, trainers without paddle --------------------------------------------------

LOOP = """
with Heartbeat() as heartbeat:
    for step in range(1000):
        heartbeat.note(f"step {step}", position=step)
        STEP
        time.sleep(0.1)
"""


def test_a_clean_run_leaves_nothing_and_says_nothing(run):
    run.ranks(LOOP.replace("STEP", "if step == 3 + 5 * rank: sys.exit(0)"), 3)
    assert run.wait(20) == [0, 0, 0]
    assert [run.text(number) for number in range(3)] == ["", "", ""]


def test_a_recorded_failure_is_quoted_with_its_exit_status(run):
    body = LOOP.replace("STEP", "if rank == 1 and step == 3: fail()")
    fail = """
def fail():
    print("several lines\\nof a traceback", file=sys.stderr)
    record_failure("Global.epochs must be at least 1, got 0")
    sys.exit(2)
"""
    run.ranks(fail + body, 3)
    assert run.wait(20) == [2, 2, 2]
    reason = r"Global.epochs must be at least 1, got 0 \(exit code 2, last phase: step 3\)"
    run.assert_named(f"rank 1 on host node1 failed first: {reason}{OTHERS}")


def test_the_same_mistake_on_all_ranks_is_told_as_such(run):
    together = "while len(list(here.glob('trainer?'))) < 2: time.sleep(0.01)\n"
    run.ranks(together + "sys.exit('no such file: /data')", 2)
    assert run.wait(20) == [1, 1]
    run.assert_named(
        r"rank [01] on host node[01] failed first: no such file: /data \(exit code 1, last phase: "
        r"starting\); all 2 ranks ended alike"
    )


def test_a_trainer_that_ignores_sigterm_is_stopped_and_its_children_too(run):
    body = LOOP.replace("STEP", "if rank == 1 and step == 10: os.kill(os.getpid(), 9)")
    stubborn = """
signal.signal(signal.SIGTERM, signal.SIG_IGN)
subprocess.Popen([sys.executable, "-c", "import time; time.sleep(1000)", str(here)])
"""
    run.ranks(stubborn + body, 2)
    assert run.wait(20) == [137, 137]
    run.assert_named(f"rank 1 on host node1 failed first: killed by SIGKILL.*{OTHERS}")


def test_a_rank_that_stays_behind_is_hung_though_its_heart_beats(run):
    body = LOOP.replace("STEP", "time.sleep(1000 if (rank, step) == (1, 5) or step == 6 else 0)")
    run.ranks(body, 3, stall_timeout=1.2)
    assert run.wait(30) == [137, 137, 137]
    reason = r"hung: no progress for 1 s \(last phase: step 5\) while rank 0 was in phase step 6"
    run.assert_named(f"rank 1 on host node1 failed first: {reason}{OTHERS}")
    assert "program.py" in run.text(1) and "most recent call first" in run.text(1)


def test_a_long_step_of_all_ranks_is_no_hang(run):
    body = LOOP.replace("STEP", "if step == 2: time.sleep(3); sys.exit(0)")
    run.ranks(body, 2, stall_timeout=0.5, heartbeat_timeout=2.5)
    assert run.wait(20) == [0, 0]


def test_a_slow_start_is_no_hang_but_has_an_end(run):
    body = "time.sleep([3.0, 1000][rank])\n" + LOOP.replace("STEP", "")
    run.ranks(body, 2, heartbeat_timeout=2.5, startup_timeout=4.0)
    assert run.wait(20) == [137, 137]
    reason = r"hung: no sign of life for 4 s \(last phase: starting\)"
    run.assert_named(f"rank 1 on host node1 failed first: {reason}{OTHERS}")


def test_a_rank_that_never_comes_is_named(run):
    run.ranks(LOOP.replace("STEP", ""), 2, absent=(1,), absence_timeout=2.0)
    assert run.wait(20) == [137]
    run.assert_named(f"rank 1 never came: no sign of it within 2 s: see its own log{OTHERS}")


def test_ranks_that_wait_for_each_other_in_vain_say_that_they_found_no_connection(run):
    """As behind a firewall; their heartbeats are silent too, for paddle holds the lock."""
    body = LOOP.replace("range(1000)", "[-1]").replace("STEP", "time.sleep(1000)")
    run.ranks(body, 2, joining_timeout=2.0, hint="look there")
    assert run.wait(20) == [137, 137]
    met = "rank 1 never came to rank 0: node1 and node0 found no connection"
    run.assert_named(
        f"{met}: waited 2 s for each other to join: see its own log, or look there{OTHERS}"
    )


def test_a_killed_supervisor_takes_its_trainer_with_it_and_others_know_at_once(run):
    run.ranks(LOOP.replace("STEP", "if step == 5: mark('ready')"), 2)
    run.pid("ready1")
    trainer, supervisor = run.pid("trainer1"), run.pid("supervisor1")
    os.kill(supervisor, signal.SIGKILL)
    before = time.monotonic()
    while "failed first" not in run.text(1):  # written to its log by the other
        assert time.monotonic() < before + 3
        time.sleep(0.01)
    assert trainer not in processes(run.folder)
    assert run.wait(20) == [137, -signal.SIGKILL]
    reason = rf"its processes were killed \(supervisor {supervisor}; last phase: .*\)"
    run.assert_named(f"rank 1 on host node1 failed first: {reason}{OTHERS}")


def test_a_supervisor_that_is_stopped_counts_as_lost(run):
    # As a machine that is gone: the lock is held, no beat comes.
    run.ranks(LOOP.replace("STEP", "if step == 5: mark('ready')"), 2, heartbeat_timeout=2.5)
    run.pid("ready1")
    stopped = run.pid("supervisor1")
    os.kill(stopped, signal.SIGSTOP)
    run.started[0].wait(20)
    os.kill(stopped, signal.SIGCONT)
    run.wait(20)
    reason = r"no sign of life from its host for \d s \(last phase: .*\)"
    run.assert_named(f"rank 1 on host node1 failed first: {reason}{OTHERS}")


@pytest.mark.slow
def test_a_run_that_is_suspended_as_a_whole_goes_on(run):
    body = LOOP.replace("STEP", "if step == 5: mark('ready')\n        if step == 15: sys.exit(0)")
    run.ranks(body, 2, heartbeat_timeout=3.0)
    pids = [run.pid(f"ready{rank}") for rank in range(2)]
    pids += [run.pid(f"supervisor{rank}") for rank in range(2)]
    for number, pause in ((signal.SIGSTOP, 4.5), (signal.SIGCONT, 0.0)):
        for pid in pids:
            os.kill(pid, number)
        time.sleep(pause)
    assert run.wait(20) == [0, 0]


def test_records_that_become_visible_late_change_nothing(run):
    delayed = """
from plsc.supervise import shared_files
history, read = {}, shared_files.read

def read_late(path):
    past = history.setdefault(path, [])
    past.append((time.monotonic(), read(path)))
    late = [record for when, record in past if when < time.monotonic() - 1.5]
    return late[-1] if late else (None, 0.0)

shared_files.read = read_late
shared_files.machine = lambda: f"machine {rank}"
"""
    fail = "if rank == 1 and step == 10: raise ValueError('bad image')"
    run.ranks(LOOP.replace("STEP", fail), 3, prelude=delayed)
    assert run.wait(20) == [1, 1, 1]
    reason = r"ValueError: bad image \(exit code 1, last phase: step 10\)"
    run.assert_named(f"rank 1 on host node1 failed first: {reason}{OTHERS}")


def test_training_goes_on_without_the_shared_folder(run):
    body = LOOP.replace("STEP", "if step == 5: mark('ready')\n        if step == 35: sys.exit(0)")
    run.ranks(body, 2, heartbeat_timeout=2.5)
    for rank in range(2):
        run.pid(f"ready{rank}")
    (run.folder / "output" / "run").rename(run.folder / "elsewhere")
    assert run.wait(20) == [0, 0]
    assert "failures are not seen" in run.text(0)


def test_the_launchers_death_asks_the_trainers_to_stop(run):
    body = """
heard = []
signal.signal(signal.SIGTERM, lambda number, frame: heard.append(number))
with Heartbeat() as heartbeat:
    mark("ready")
    while not heard:
        time.sleep(0.05)
    (here / f"saved{rank}").touch()
"""
    launcher = """
import os, subprocess, sys, time
for rank in "01":
    variables = {"PADDLE_TRAINER_ID": rank, "PADDLE_TRAINERS_NUM": "2"}
    subprocess.Popen([sys.executable, sys.argv[2]], env={**os.environ, **variables})
time.sleep(1000)
"""
    process = run.start(["-c", launcher, "paddle.distributed.launch", run.write(body)])
    for rank in range(2):
        run.pid(f"ready{rank}")
    process.kill()
    run.wait(20)
    assert all((run.folder / f"saved{rank}").exists() for rank in range(2))
