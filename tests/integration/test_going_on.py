"""`Global.checkpoint: auto`, folders that were copied, and runs that have nothing left to do."""

import os
import shutil
import signal
import subprocess
import sys
import time

import pytest

AUTO = "Global.checkpoint=auto"
EVERY = "Global.save_unit=step", "Global.save_interval=4"
STOP = "Global.max_train_step=8"


def flip(path, place=-1):
    """Change one bit of a file."""
    content = bytearray(path.read_bytes())
    content[place] ^= 1
    path.write_bytes(content)


def test_auto_begins_goes_on_and_ends(run):
    run("train", *EVERY, AUTO, STOP)
    assert list(run.losses()) == list(range(1, 9))
    done = run("train", *EVERY, AUTO)
    assert f"resumed {run.output / 'step_8'}" in done.stdout
    last = max(run.losses())
    done = run("train", *EVERY, AUTO)
    assert "nothing left to train" in done.stdout and max(run.losses()) == last
    assert not (run.output / ".run").exists()


def test_a_loop_around_the_launcher_survives_killed_ranks(run):
    """`until ...; do :; done` with a rank killed now and then: the losses of a straight run."""
    run("train", size=2)
    straight = run.losses()
    run.output.rename(run.folder / "straight")
    command = run.world.command(2, *run.arguments("train", *EVERY, AUTO))
    kills = 0
    for _ in range(6):
        known = max(run.losses(), default=0) if run.output.exists() else 0
        with open(run.folder / "console", "a") as console:
            process = subprocess.Popen(command, cwd=run.folder, stdout=console, stderr=console)
        while process.poll() is None and kills < 2:
            time.sleep(0.01)
            if logged(run) > known + 2:
                name = f"{run.folder}/config.yaml".encode()
                pids = map(int, filter(str.isdigit, os.listdir("/proc")))
                os.kill([pid for pid in pids if is_trainer(pid, name)][kills], signal.SIGKILL)
                kills += 1
                break
        if process.wait(120) == 0:
            break
    assert process.returncode == 0 and kills == 2
    assert run.losses() == straight


def logged(run):
    """Return the number of the last step in metrics.jsonl, which may just be written to."""
    try:
        return max(run.losses(), default=0)
    except (OSError, ValueError):
        return 0


def is_trainer(pid, name):
    """Tell whether a process is a trainer of the config `name`: its parent was called alike."""
    try:
        with open(f"/proc/{pid}/cmdline", "rb") as file:
            command = file.read()
        with open(f"/proc/{pid}/stat") as file:
            parent = int(file.read().rpartition(")")[2].split()[1])
        with open(f"/proc/{parent}/cmdline", "rb") as file:
            above = file.read()
    except OSError:
        return False
    return name in command and name in above and b"distributed.launch" not in above


@pytest.mark.parametrize("damage", ["state", "tensors", "gone"])
def test_auto_takes_the_newest_sound_checkpoint(run, damage):
    run("train", *EVERY, STOP)
    latest = run.output / os.readlink(run.output / "latest")
    if damage == "gone":
        shutil.rmtree(latest)
    else:
        flip(latest / {"state": "state.json", "tensors": "backbone.safetensors"}[damage], 40)
    done = run("train", *EVERY, AUTO)
    assert str(latest) in done.stdout.partition("cannot be resumed")[0].splitlines()[-1]
    assert f"resumed {run.output / 'step_4'}:" in done.stdout
    assert "the newest sound checkpoint" in done.stdout
    assert run.state()["epoch"] == 3


def test_auto_with_nothing_sound_begins_nothing(run):
    run("train", *EVERY, STOP)
    for path in run.output.glob("step_*/state.json"):
        path.write_text(path.read_text()[:100])
    assert "none of them is sound" in run.refused("train", *EVERY, AUTO)


def test_a_folder_copied_without_links_is_adopted(run):
    run("train", *EVERY, STOP, "Global.eval_during_train=True", "Global.eval_unit=step")
    copy = run.folder / "copy" / run.output.name
    shutil.copytree(run.output, copy)  # which follows links
    assert not (copy / "latest").is_symlink()
    other = f"Global.output_dir={copy.parent}"
    done = run("train", *EVERY, other, f"Global.checkpoint={copy / 'latest'}")
    assert (copy / "latest").is_symlink() and (copy / "best_model").is_symlink()
    assert "was a copy of a checkpoint" in done.stdout
    straight = run("train", *EVERY, AUTO) and run.losses()
    run.output = copy
    assert run.losses() == straight


def test_a_damaged_best_model_does_not_block_a_sound_latest(run):
    run("train", *EVERY, STOP)
    (run.output / "best_model").symlink_to("step_4")
    (run.output / "step_4" / "state.json").write_text("{")
    done = run("train", *EVERY, f"Global.checkpoint={run.output / 'latest'}")
    assert "WARNING" in done.stdout and run.state()["epoch"] == 3


def test_a_finished_run_names_no_path_that_is_not_there(run):
    run("train")
    finished = run.output / "latest"
    other = run.folder / "other"
    done = run("train", f"Global.output_dir={other}", f"Global.checkpoint={finished}")
    assert "nothing left to train" in done.stdout and str(finished) in done.stdout
    assert str(other / run.output.name / "latest") not in done.stdout


def test_the_same_config_evaluates_what_it_has_trained(run):
    run.config["Global"]["checkpoint"] = "auto"
    run("train", STOP)
    assert "[Eval]" in run("eval").stdout


def test_a_second_run_in_the_folder_is_refused(run):
    command = [sys.executable, *run.arguments("train", "Global.epochs=1000")]
    process = subprocess.Popen(command, cwd=run.folder, stdout=subprocess.PIPE, text=True)
    try:
        next(line for line in process.stdout if "[Iter:" in line)
        assert f"pid {process.pid} on host {os.uname().nodename}" in run.refused("train")
    finally:
        process.kill()
        process.communicate()
