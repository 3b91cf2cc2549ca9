"""One epoch of a rank's batches, read by worker processes: loader_run.py FOLDER NUM_WORKERS.

The process group is up before the workers are forked, and is used between batches. Rank r writes
its images and labels to FOLDER/r.npz.
"""

import sys
from pathlib import Path

import numpy as np
import paddle

from plsc.data.loader.batches import TrainLoader
from plsc.data.loader.sampler import EpochSampler
from plsc.distributed import world
from plsc.distributed.collectives import gather
from plsc.recognition.datasets.face import FaceIdentificationDataset


def main(folder: Path, num_workers: int) -> None:
    place = world.init()
    paddle.matmul(paddle.ones([64, 64]), paddle.ones([64, 64]))  # its threads are up, too
    transforms = ["DecodeImage", "RandFlipImage", "NormalizeImage", "ToCHWImage"]
    dataset = FaceIdentificationDataset(str(folder), str(folder / "label.txt"), transforms)
    sampler = EpochSampler(len(dataset), batch_size=3, rank=place.rank, world_size=place.size)
    loader = TrainLoader(dataset, sampler, num_workers=num_workers)
    images, labels = [], []
    for batch in loader.batches(0):
        everyone = gather(paddle.to_tensor(batch["labels"])).numpy()
        assert len(everyone) == 3 * place.size
        images.append(batch["images"])
        labels.append(batch["labels"])
    loader.close()
    np.savez(folder / f"{place.rank}.npz", images=images, labels=labels)


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
