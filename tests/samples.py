"""Samples for tests of transforms."""


def on_image(transform):
    """`transform` as a function (image, rng) -> image; what else is in a sample must stay."""

    def changed(image, rng):
        sample = {"image": image, "label": 7}
        result = transform(sample, rng)
        assert sample["image"] is image, "a transform has edited its input"
        assert result.keys() == sample.keys() and result["label"] == 7
        return result["image"]

    return changed
