"""One process of head.py: real training steps of a head, with a stopwatch at their parts."""

import json
import statistics
import sys
import time
from concurrent.futures import wait
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from stopwatch import RowTraffic, Stopwatch, keep_futures
from training_config import training_config
from turns import Turns, memory

from plsc.distributed import world
from plsc.errors import UserError
from plsc.nn import environment as runtime

PHASES = ("sampling", "take", "forward", "backward", "norm", "update", "put")
PER_BATCH = 4  # identities, in batches: each is seen in every fourth step
NOISE = 0.5
PIECE = 1024  # rows
ITEM_SIZE = {"float32": 4, "float16": 2, "bfloat16": 2}


def watch_step(stopwatch: Stopwatch, traffic: RowTraffic, *, item_size: int) -> None:
    """Put the stopwatch and the counters into the code of a step, once for this process."""
    import paddle

    from plsc.engine.update import Updater
    from plsc.recognition.heads.centres import ClassCentres
    from plsc.recognition.heads.gradient import RowGradient
    from plsc.recognition.heads.partial_fc import PartialFC

    for store in store_classes():
        for method, kind in (("take", "take"), ("read", "take"), ("put", "put"), ("write", "put")):
            if method in vars(store):
                given = (lambda rows, *_: rows) if kind == "take" else (lambda *all_: all_[3])
                traffic.at(store, method, kind, lambda *all_, of=given: of(*all_).size * item_size)
        for method in {"take", "put"} & vars(store).keys():
            stopwatch.at(store, method, method)
    for owner, method, phase in (
        (PartialFC, "begin_step", "sampling"),
        (PartialFC, "prefetch", "sampling"),
        (ClassCentres, "take", "take"),
        (PartialFC, "__call__", "forward"),
        (paddle.Tensor, "backward", "backward"),
        (RowGradient, "squared_norm", "norm"),
        (Updater, "step", "update"),
    ):
        stopwatch.at(owner, method, phase)


def store_classes() -> list[type]:
    """Return the classes of plsc.recognition.heads whose instances keep rows."""
    own = "plsc.recognition.heads."
    modules = [module for name, module in sys.modules.items() if name.startswith(own)]
    found = [kind for module in modules for kind in vars(module).values()]
    return [
        kind
        for kind in dict.fromkeys(kind for kind in found if isinstance(kind, type))
        if kind.__module__.startswith(own)
        and hasattr(kind, "take")
        and hasattr(kind, "put")
        and not getattr(kind, "_is_protocol", False)
    ]


class Identities:
    """Batches of vectors around one random vector per identity, for classes all over the range."""

    def __init__(self, settings: SimpleNamespace):
        place = world.current()
        self.batch_size, self.rank, self.seed = settings.batch, place.rank, settings.seed
        random = np.random.default_rng(settings.seed)
        count = min(settings.classes, PER_BATCH * settings.batch * place.size)
        self.classes = random.integers(0, settings.classes, count)
        self.centres = random.standard_normal((count, settings.dim), dtype=np.float32)
        images = settings.batch * place.size * settings.steps
        self.sampler = SimpleNamespace(
            steps_per_epoch=settings.steps, num_images=images, batch_size=settings.batch
        )

    def normalise(self, vectors: Any) -> Any:
        """Nothing to do."""
        return vectors

    def batch(self, step: int) -> Any:
        """Return vectors [b, d] float32 and labels [b] int64 of this rank as a batch."""
        from plsc.data.loader.batch import Batch

        random = np.random.default_rng([self.seed, step, self.rank])
        chosen = random.integers(0, len(self.classes), self.batch_size)
        noise = random.standard_normal((self.batch_size, self.centres.shape[1]), dtype=np.float32)
        images = self.centres[chosen] + NOISE * noise
        return Batch({"images": images, "labels": self.classes[chosen]})


def config_of(settings: SimpleNamespace) -> Any:
    """A training whose backbone is one small layer."""
    from paddle import nn

    from plsc.config.registry import BACKBONES

    @BACKBONES.register
    class BenchmarkLayer(nn.Layer):
        """[b, d] -> [b, d]."""

        frozen_names: tuple[str, ...] = ()

        def __init__(self, num_features: int = 512):
            super().__init__()
            self.num_features = num_features
            self.layer = nn.Linear(num_features, num_features, bias_attr=False)

        def forward(self, vectors):
            return self.layer(vectors)

    # Half a row more: the head rounds ratio times classes down.
    ratio = min(1.0, (settings.rows + 0.5) / settings.classes)
    storage = {"storage": settings.storage, "dtype": settings.dtype}
    if settings.storage == "file":
        storage["storage_dir"] = settings.folder
    return training_config(
        "BenchmarkLayer",
        classes=settings.classes,
        ratio=ratio,
        dim=settings.dim,
        lr=settings.lr,
        storage=storage,
        Global={"output_dir": settings.folder, "seed": settings.seed},
        Optimizer={"name": settings.optimizer, "weight_decay": 5e-4},
    )


def fill_state(training: Any) -> None:
    """Touch the optimizer state's memory, which a long training has long touched."""
    from plsc.checkpoint.sharded_files import WEIGHT

    centres = training.task.head.centres
    for name in centres.names:
        for start in range(0, centres.shard.num_local, PIECE) if name != WEIGHT else ():
            stop = min(start + PIECE, centres.shard.num_local)
            centres.write(name, centres.read(name, start, stop), start)


def measure(settings: SimpleNamespace) -> dict[str, Any]:
    """Train for `settings.steps` steps after one that is not counted; all ranks together."""
    from plsc.distributed import collectives
    from plsc.engine.build import build_training
    from plsc.engine.trainer import train_step

    turns = Turns(settings.turns, number=settings.number, count=settings.processes)
    loader = Identities(settings)
    began = time.perf_counter()
    training = build_training(config_of(settings), loader, loader)
    if settings.storage != "file":
        fill_state(training)
    built = time.perf_counter() - began
    stopwatch, traffic, futures = Stopwatch(), RowTraffic(), keep_futures()
    watch_step(stopwatch, traffic, item_size=ITEM_SIZE[settings.dtype])
    steps: list[dict[str, float]] = []
    losses: list[float] = []
    exchanged = 0
    for step in range(settings.steps + 1):
        batch, following = loader.batch(step), loader.batch(step + 1)
        upcoming = following if training.task.wants_upcoming else None
        turns.wait()
        if step == 1:
            traffic.bytes.clear()
            exchanged = 0
        stopwatch.seconds.clear()
        began, used = time.perf_counter(), time.process_time()
        with collectives.count_traffic() as carried:
            report = train_step(training, batch, lr=settings.lr, upcoming=upcoming)
        with stopwatch.phase("take"):
            wait(futures)  # rows read ahead are of this process's turn, not of the next one's
        total, cpu = time.perf_counter() - began, time.process_time() - used
        if world.current().is_main:
            turns.give()
        futures.clear()
        exchanged += carried.bytes.total()
        training.progress.advance()
        losses.append(report.loss)
        parts = {name: stopwatch.seconds[name] for name in PHASES}
        steps.append({**parts, "other": total - sum(parts.values()), "total": total, "cpu": cpu})
    moved = {kind: total // settings.steps for kind, total in traffic.bytes.items()}
    report = {
        "classes": settings.classes,
        "rows": settings.rows,
        "seconds": {name: spread([one[name] for one in steps[1:]]) for name in steps[0]},
        **memory(),
        "bytes_taken": moved["take"],
        "bytes_put": moved["put"],
        "bytes_exchanged": exchanged // settings.steps,
        "loss_first": round(losses[0], 4),
        "loss_last": round(losses[-1], 4),
        "build_seconds": round(built, 1),
    }
    ranks = collectives.gather_objects(report)
    for name in ("peak_gb", "resident_gb", "mapped_files_gb", "bytes_taken", "bytes_put"):
        report[name] = max(rank[name] for rank in ranks)
    return report


def spread(seconds: list[float]) -> dict[str, float]:
    """Median and minimum."""
    return {"median": round(statistics.median(seconds), 4), "min": round(min(seconds), 4)}


def main() -> None:
    """Measure what the JSON object of the first argument says; write the report where it says."""
    settings = SimpleNamespace(**json.loads(sys.argv[1]))
    runtime.prepare(local_size=world.current().local_size)
    runtime.import_paddle()
    import paddle

    paddle.set_device("cpu")
    world.init()
    try:
        report = measure(settings)
    except UserError as error:
        sys.exit(f"head: {error}")
    if world.current().is_main:
        Path(settings.report).write_text(json.dumps(report))


if __name__ == "__main__":
    main()
