"""The main job from end to end on rendered faces: what `make quickstart` runs.

Renders identities, trains on two processes, evaluates on identities never trained on, exports to
ONNX, and says what the accuracy is worth. Everything is written to ./quickstart.
"""

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
FOLDER = Path("quickstart")
CONFIG = ROOT / "configs" / "quickstart.yaml"
MODEL = "QuickFace_nano"
PROCESSES = 2
ACCURACY, ABOVE_CONTROLS = 0.95, 0.10


def step(number: int, title: str, *command: str, capture: bool = False) -> str:
    """Run `command` with its output shown; its last line of output if `capture`."""
    print(f"\n=== {number}/6 {title}\n$ {' '.join(command)}", flush=True)
    scripts = Path(sys.executable).parent
    environment = {**os.environ, "PATH": f"{scripts}{os.pathsep}{os.environ['PATH']}"}
    done = subprocess.run(
        command, env=environment, stdout=subprocess.PIPE if capture else None, text=True
    )
    if done.returncode:
        sys.exit(f"quickstart: {title} failed with status {done.returncode}")
    return done.stdout.strip().splitlines()[-1] if capture else ""


def main() -> None:
    """All six steps and the summary."""
    began = time.monotonic()
    output = FOLDER / "output" / MODEL
    shutil.rmtree(output.parent, ignore_errors=True)
    config = os.path.relpath(CONFIG)
    python, weights = "python", f"Global.pretrained_model={output / 'latest'}"
    render = "plsc.data.dataset.tools.render_synthetic_faces"
    step(1, "render faces", python, "-m", render, "--output_dir", str(FOLDER / "faces"))
    launch = ["-m", "paddle.distributed.launch", f"--nproc_per_node={PROCESSES}"]
    launch += ["--log_level=WARNING", f"--log_dir={FOLDER / 'log'}"]
    step(2, f"train on {PROCESSES} processes", python, *launch, "plsc-train", "-c", config)
    step(3, "evaluate on identities never trained on", "plsc-eval", "-c", config, "-o", weights)
    step(4, "export to ONNX and compare", "plsc-export", "-c", config, "-o", weights)
    tool = os.path.relpath(ROOT / "tools" / "controls.py")
    said = step(5, "measure the controls", python, tool, "-c", config, capture=True)
    controls = json.loads(said)
    summary = summarise(output, controls, time.monotonic() - began)
    (FOLDER / "summary.json").write_text(json.dumps(summary, indent=1) + "\n", encoding="utf-8")
    print(f"\n=== 6/6 summary\n{text_of(summary)}", flush=True)
    best_control = max(controls.values())
    if summary["accuracy"] < max(ACCURACY, best_control + ABOVE_CONTROLS):
        sys.exit(
            f"quickstart: accuracy {summary['accuracy']:.4f} is below {ACCURACY} or less than "
            f"{ABOVE_CONTROLS} above the better control ({best_control:.4f})"
        )


def summarise(output: Path, controls: dict[str, float], seconds: float) -> dict:
    """Return what the run showed, as plain data."""
    entries = [json.loads(line) for line in (output / "metrics.jsonl").read_text().splitlines()]
    speeds = sorted(entry["images_per_second"] for entry in entries if entry["kind"] == "train")
    last = [entry for entry in entries if entry["kind"] == "eval"][-1]
    return {
        "accuracy": last["metric"],
        "std": last["std"],
        "controls": controls,
        "images_per_second": speeds[len(speeds) // 2],
        "seconds": seconds,
        "files": [
            str(path)
            for path in (
                FOLDER / "faces",
                output / "latest",
                output.with_suffix(".onnx"),
                output / "metrics.jsonl",
                FOLDER / "summary.json",
            )
        ],
    }


def text_of(summary: dict) -> str:
    """Return the summary for people."""
    rows = {"trained network": summary["accuracy"], **summary["controls"]}
    lines = [f"  {name.replace('_', ' '):<18} {value:.4f}" for name, value in rows.items()]
    return "\n".join(
        [
            "verification accuracy on unseen identities (10 folds, with flip):",
            *lines,
            f"training speed       {summary['images_per_second']:.0f} images/s, "
            f"{PROCESSES} processes",
            f"time                 {summary['seconds']:.0f} s",
            "files:",
            *(f"  {path}" for path in summary["files"]),
            "",
            "next, with your own aligned 112x112 faces, one folder per person:",
            "  .venv/bin/plsc-data pack faces/train dataset/mine",
            "  .venv/bin/plsc-data pairs faces/test dataset/mine/val.bin",
            "  cp configs/IResNet18_ORL_ArcFace_cpu.yaml mine.yaml  # root, bin_path, class_num",
            "  .venv/bin/plsc-train -c mine.yaml",
            "  .venv/bin/plsc-eval -c mine.yaml "
            "-o Global.pretrained_model=output/IResNet18/best_model",
        ]
    )


if __name__ == "__main__":
    main()
