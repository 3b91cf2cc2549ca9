"""Random numbers of single images, whichever process reads them and in whatever order."""

import numpy as np


class ImageGenerators:
    """A generator for each image: a function of these numbers and the image's index, no more.

    Philox (Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", 2011) gives number n of a
    stream by encrypting n. Here `numbers` make the key, and image i has the 2^64 blocks of four
    numbers from i·2^64 on: no two images share one. To go to an image's place takes a tenth of the
    time that a new generator takes, which is a tenth of an image's decoding.
    """

    def __init__(self, *numbers: int):
        key = np.random.SeedSequence(numbers).generate_state(2, np.uint64)
        self._bits = np.random.Philox(key=key)
        self._generator = np.random.Generator(self._bits)
        self._state = self._bits.state

    def __call__(self, index: int) -> np.random.Generator:
        """Return the image's generator, at its start; to be used before the next call."""
        self._state["state"]["counter"][1] = index
        self._bits.state = self._state
        return self._generator
