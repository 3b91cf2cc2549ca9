"""`plsc-doctor`: is this machine ready to train? Versions, devices, preflight, a short training."""

import importlib.metadata
import json
import os
import platform
import sys
from collections.abc import Sequence

from plsc import __version__
from plsc.cli.options import add_shared, new_parser
from plsc.cli.status import exit_status
from plsc.distributed import world
from plsc.nn import environment as runtime

PACKAGES = (
    "paddlepaddle",
    "paddlepaddle-gpu",
    "numpy",
    "numba",
    "opencv-python-headless",
    "safetensors",
    "onnx",
    "paddle2onnx",
    "onnxruntime",
    "visualdl",
)
KERNELS = {
    "numba": "numba's, for PReLU and convolutions",
    "paddle": "Paddle's: training on CPUs is slow, pip install numba unless PLSC_STOCK_CPU=1",
}
DESCRIPTION = """\
Say whether this machine is ready to train: versions, devices, threads and memory, one all-reduce
over all ranks, and ten seconds of training on random images. Run it under
`python -m paddle.distributed.launch` to check that several processes or machines find each other.
"""


def versions() -> dict[str, str | None]:
    """Return installed versions by package; None where it is not installed."""
    found: dict[str, str | None] = {"plsc": __version__, "python": platform.python_version()}
    for name in PACKAGES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            found[name] = None
    return found


def processor() -> str:
    """Return the CPU's name."""
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            return next(line.split(":", 1)[1].strip() for line in file if "model name" in line)
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def memory() -> dict[str, float | None]:
    """Return total and available memory in GiB, as far as the system says."""
    try:
        with open("/proc/meminfo", encoding="utf-8") as file:
            lines = dict(line.split(":", 1) for line in file)
        kilobytes = {key: int(lines[key].split()[0]) for key in ("MemTotal", "MemAvailable")}
    except (OSError, KeyError, ValueError):
        return {"total": None, "available": None}
    return {
        "total": round(kilobytes["MemTotal"] / 2**20, 1),
        "available": round(kilobytes["MemAvailable"] / 2**20, 1),
    }


def examine(*, backbone: str, seconds: float) -> dict:
    """Return everything `plsc-doctor` reports, as plain data; called by all ranks."""
    place = world.current()
    report: dict = {
        "versions": versions(),
        "processor": processor(),
        "cores": runtime.cores(),
        "memory_gib": memory(),
    }
    environment = runtime.prepare(local_size=place.local_size)
    report["kernels"] = environment.pop("kernels")
    report["environment"] = environment
    runtime.import_paddle()
    import paddle

    from plsc.engine.build import set_device
    from plsc.nn.device import num_gpus
    from plsc.recognition.trial import run_trial

    gpus = num_gpus()
    device = "gpu" if gpus else "cpu"
    set_device(device)
    world.init(device=device)
    trial = run_trial(backbone, batch_size=16, seconds=seconds, device=device)
    report["paddle_built_for"] = "gpu" if paddle.is_compiled_with_cuda() else "cpu"
    report["gpus"] = gpus
    report["preflight"] = f"{place.size} process(es) answered"
    report["training"] = vars(trial)
    report["ready"] = trial.last_loss < trial.first_loss
    return report


def main(argv: Sequence[str] | None = None) -> int:
    """Run `plsc-doctor`; the exit status is 0 where training works."""
    return exit_status("plsc-doctor", lambda: _run(argv))


def _run(argv: Sequence[str] | None) -> int:
    parser = new_parser("plsc-doctor", description=DESCRIPTION)
    parser.add_argument("--backbone", default="QuickFace_nano", help="what the check trains")
    parser.add_argument("--seconds", type=float, default=10.0, help="how long it trains")
    add_shared(parser, "json")
    options = parser.parse_args(argv)
    report = examine(backbone=options.backbone, seconds=options.seconds)
    if world.current().is_main:
        print(json.dumps(report, indent=1) if options.json else _text(report), flush=True)
    return 0 if report["ready"] else 1


def _text(report: dict) -> str:
    installed = [f"{name} {version}" for name, version in report["versions"].items() if version]
    absent = [name for name, version in report["versions"].items() if not version]
    ram, trial = report["memory_gib"], report["training"]
    environment = " ".join(f"{name}={value}" for name, value in report["environment"].items())
    verdict = "ready to train" if report["ready"] else "NOT ready: the loss did not fall"
    return "\n".join(
        [
            f"versions    {', '.join(installed)}",
            f"absent      {', '.join(absent) or 'nothing'}",
            f"device      paddle built for {report['paddle_built_for']}, {report['gpus']} GPU(s)",
            f"processor   {report['processor']}, {report['cores']} cores, pid {os.getpid()}",
            f"memory      {ram['available']} of {ram['total']} GiB free",
            f"environment {environment}",
            f"CPU kernels {KERNELS[report['kernels']]}",
            f"preflight   {report['preflight']}",
            f"training    {trial['steps']} steps, loss {trial['first_loss']:.3f} -> "
            f"{trial['last_loss']:.3f}, {trial['images_per_second']:.1f} images/s, "
            f"{trial['precision']}",
            f"verdict     {verdict}",
        ]
    )


if __name__ == "__main__":
    sys.exit(main())
