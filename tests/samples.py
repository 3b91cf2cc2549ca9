"""Samples and settings for tests of transforms."""


def preparing(to_rgb=True, mean=0.5, std=0.5, scale="1.0/255.0") -> list:
    """Return `transform_ops` that prepare images so."""
    normalize = {"scale": scale, "mean": [mean] * 3, "std": [std] * 3}
    return [{"DecodeImage": {"to_rgb": to_rgb}}, {"NormalizeImage": normalize}, "ToCHWImage"]


def on_image(transform):
    """`transform` as a function (image, rng) -> image; what else is in a sample must stay."""

    def changed(image, rng):
        sample = {"image": image, "label": 7}
        result = transform(sample, rng)
        assert sample["image"] is image, "a transform has edited its input"
        assert result.keys() == sample.keys() and result["label"] == 7
        return result["image"]

    return changed
