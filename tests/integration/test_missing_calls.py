"""One process works without the modules and calls that macOS or Windows lack."""

import re

import numpy as np
import pytest
from places import ROOT

# Others use some of these too when they are imported: numpy, multiprocessing, subprocess.
SCRIPT = """
import multiprocessing.util, numpy, os, signal, subprocess, sys, tempfile
for name in ("resource", "fcntl", "grp", "pwd"):
    sys.modules[name] = None
for name in (
    "fork", "sync", "pread", "preadv", "pwritev", "posix_fallocate", "posix_fadvise",
    "sched_getaffinity", "O_CLOEXEC", "uname", "getuid",
):
    os.__dict__.pop(name, None)
for name in ("SIGKILL", "SIGPIPE", "SIGCHLD", "SIGHUP", "SIGUSR1", "SIGUSR2", "SIGALRM"):
    signal.__dict__.pop(name, None)
from plsc.cli import embed, evaluate, train
command, *arguments = sys.argv[1:]
main = {"train": train, "evaluate": evaluate, "embed": embed}[command].main
sys.exit(main(arguments))
"""


def test_train_evaluate_embed(run, tiny_faces):
    def work(command, *arguments):
        return run.world.run(1, "-c", SCRIPT, command, *arguments)

    run.config["Global"] |= {"use_visualdl": False, "max_train_step": 2}
    _, *config = run.arguments("train")
    said = work("train", *config).stdout
    assert "peak memory unknown" in said
    checkpoint = run.output / "latest"
    trained = work("evaluate", *config, "-o", f"Global.pretrained_model={checkpoint}").stdout
    (accuracy,) = re.findall(r"accuracy-flip: ([\d.]+)", trained)
    alone = ["--num-workers", 0]
    pairs = ["--pairs", tiny_faces / "pairs.txt", *alone]
    assert f"{100 * float(accuracy):.2f}" in work("evaluate", "--model", checkpoint, *pairs).stdout
    work("embed", checkpoint, tiny_faces / "label.txt", "--out", run.folder / "e.npy", *alone)
    assert np.load(run.folder / "e.npy").shape[1] == run.config["Model"]["num_features"]


@pytest.mark.parametrize(
    ("call", "guarded_in"),
    [
        ("os.sched_getaffinity", {"plsc/nn/environment.py"}),
        ("os.posix_fallocate", {"plsc/files/offsets.py"}),
        ("os.preadv", {"plsc/files/offsets.py", "plsc/recognition/heads/file_rows.py"}),
        ("os.pread(", {"plsc/files/offsets.py"}),
    ],
)
def test_a_call_that_some_systems_lack_is_guarded_in_one_place(call, guarded_in):
    sources = [*ROOT.glob("plsc/**/*.py"), *ROOT.glob("tools/**/*.py")]
    found = {str(path.relative_to(ROOT)) for path in sources if call in path.read_text()}
    assert found == guarded_in
