from pathlib import Path

import numpy as np

from plsc.data.loader.generators import ImageGenerators
from plsc.data.loader.sampler import EpochSampler
from plsc.recognition.datasets.face import FaceIdentificationDataset

SCRIPT = Path(__file__).with_name("loader_run.py")


def test_workers_forked_from_ranks_of_a_gloo_world(worlds, tiny_faces):
    for path in tiny_faces.iterdir():
        (worlds.folder / path.name).write_bytes(path.read_bytes())
    worlds.run(2, SCRIPT, worlds.folder, "2", timeout=120)
    labels = worlds.folder / "label.txt"
    transforms = ["DecodeImage", "RandFlipImage", "NormalizeImage", "ToCHWImage"]
    dataset = FaceIdentificationDataset(str(worlds.folder), str(labels), transforms)
    order = EpochSampler(len(dataset), batch_size=6).order(0)
    ranks = [np.load(worlds.folder / f"{rank}.npz") for rank in (0, 1)]
    together = np.concatenate([rank["images"] for rank in ranks], axis=1).reshape(-1, 112, 112, 3)
    assert len(together) == 24  # 22 images fill four global batches of 6
    for image, index in zip(together, [*order, *order[:2]], strict=True):
        expected = dataset.get(int(index), ImageGenerators(0, 0)(int(index)))
        assert np.array_equal(image, expected["images"])
