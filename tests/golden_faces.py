"""A plug-in: the images and faces of the golden trainings of detectors, as a data set."""

import numpy as np
from detectors import figures, golden_images, padded

from plsc.config.registry import DATASETS
from plsc.data.transforms.normalisation import as_given


@DATASETS.register
class GoldenFaces:
    """Image i of the run is image i % batch of step i // batch, to be taken in this order."""

    normalise = staticmethod(as_given)

    def __init__(self, run: str):
        golden, setting = figures("training_faces.npz"), figures("training.json")[run]["setting"]
        size, batch = setting["image_size"], setting["batch"]
        self.skipped: dict[int, str] = {}
        self.images = np.concatenate(
            [golden_images(seed, batch, size, size) for seed in setting["image_seeds"]]
        )
        steps, rows = range(setting["steps"]), range(batch)
        faces = [golden[f"{run}/step{step}_faces{row}"] for step in steps for row in rows]
        self.faces = padded(faces)
        self.fields = {
            "images": ((3, size, size), np.float32),
            "faces": (self.faces["faces"].shape[1:], np.float32),
            "count": ((), np.int64),
        }

    def __len__(self):
        return len(self.images)

    def get(self, index, rng):
        own = {name: values[index] for name, values in self.faces.items()}
        return {"images": self.images[index], **own}
