"""One light supervisor per rank: a rank that dies or hangs stops all, and the last line names it.

The launcher starts supervisors, each starts its trainer and watches it through a pipe and the
other supervisors through small files in a folder that all nodes share:

    supervisor.py     the loop: watch, stop, report
    stop_requests.py  signals to the supervisor, death of the launcher
    child_process.py  the trainer as a process: start, heartbeat, standard error, signals
    watch.py          when a running trainer counts as hung
    heartbeat.py      the trainer's side of the pipe
    diagnosis.py      exit code and last words -> how a rank ended
    run_claim.py      one run owns a folder: its owner, and what dead launches left there
    peers.py          the shared folder: beats, endings, verdict; whether another rank still lives
    shared_files.py   its files and locks
    verdict.py        how all ranks ended -> which of them failed first

Nothing here imports paddle or numpy: a supervisor costs a few megabytes and starts at once.
"""

from plsc.supervise.heartbeat import SUPERVISED, Heartbeat, record_failure
from plsc.supervise.supervisor import supervise

__all__ = ["SUPERVISED", "Heartbeat", "record_failure", "supervise"]
