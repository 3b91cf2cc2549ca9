"""Photographs with faces as training takes them: shares of the image, padded, counted."""

import json

import cv2
import numpy as np
import pytest
from places import SHARED_DATA
from refusals import refused

from plsc.config.registry import DATASETS
from plsc.data.lists.face_list import read_face_list
from plsc.data.loader.batches import TrainLoader
from plsc.data.loader.sampler import EpochSampler
from plsc.detection.datasets.wider_face import WiderFaceDataset

MEAN = np.array([104, 117, 123])


@pytest.fixture
def marked(tmp_path):
    """Three images; a face of one has landmarks."""
    (tmp_path / "images").mkdir()
    random, lines = np.random.default_rng(0), []
    for index, faces in enumerate([1, 3, 2]):
        pixels = random.integers(0, 256, (90, 120, 3)).astype(np.uint8)
        cv2.imwrite(str(tmp_path / "images" / f"{index}.png"), pixels)
        lines.append(f"# {index}.png")
        for face in range(faces):
            points = " ".join(f"{30 + n} {31 + n} 0" for n in range(5)) if not face else ""
            lines.append(f"{20 + 5 * face} 15 40 40 {points} {'0.9' if points else ''}".strip())
    (tmp_path / "label.txt").write_text("\n".join(lines) + "\n")
    return tmp_path / "label.txt"


def still(size=96):
    """Transforms that take the whole image, padded to a square of `size`."""
    mean = {"scale": 1.0, "mean": [104, 117, 123], "std": [1, 1, 1]}
    crop = {"size": size, "scale": [9, 9], "whole": 0}
    return [{"DecodeImage": {"to_rgb": False}}, {"RandCropFaces": crop}, {"NormalizeImage": mean},
            "ToCHWImage"]  # fmt: skip


def test_samples(marked):
    dataset = DATASETS.get("WiderFaceDataset", "name")(str(marked))
    assert len(dataset) == 3 and dataset.image_size == 640
    for index, most in enumerate([1, 3, 2]):
        sample = dataset.get(index, np.random.default_rng(index))
        for name, (shape, dtype) in dataset.fields.items():
            assert np.shape(sample[name]) == shape, name
            assert name == "count" or sample[name].dtype == dtype
        assert 1 <= sample["count"] <= most
        faces = sample["faces"][: sample["count"]]
        assert (faces[:, :4] >= 0).all() and (faces[:, :4] <= 1).all()
        assert set(faces[:, 14]) <= {1, -1} and not sample["faces"][sample["count"] :].any()
    batch = np.zeros((2, 640, 640, 3), np.uint8)
    np.testing.assert_array_equal(dataset.normalise(batch)[1, :, 5, 7], -MEAN)


def test_faces_are_shares_of_the_image(marked):
    """The image is 120 wide and taken whole, nine times as large: the square's side is 810."""
    dataset = WiderFaceDataset(str(marked), transform_ops=still())
    for seed in range(3):
        sample = dataset.get(0, np.random.default_rng(seed))
        box, points = sample["faces"][0, :4] * 810, sample["faces"][0, 4:14].reshape(5, 2) * 810
        np.testing.assert_allclose(box[2:] - box[:2], [40, 40], atol=1e-3)
        offset = points - box[:2]
        np.testing.assert_allclose(offset, [[10 + n, 16 + n] for n in range(5)], atol=1e-3)


def test_batches_are_the_same_for_any_number_of_workers(marked):
    def batches(workers):
        sampler = EpochSampler(3, batch_size=2, shuffle=True, seed=3)
        dataset = WiderFaceDataset(str(marked), transform_ops=still())
        loader = TrainLoader(dataset, sampler, num_workers=workers, seed=3)
        try:
            return [dict(batch.fields) for batch in loader.batches(0)]
        finally:
            loader.close()

    for one, other in zip(batches(0), batches(2), strict=True):
        for name in one:
            np.testing.assert_array_equal(one[name], other[name])


def test_what_is_wrong_is_said(marked):
    path = str(marked)
    refused(lambda: WiderFaceDataset(path, "nowhere"), "image_root: nowhere is not a folder")
    refused(lambda: WiderFaceDataset(path, transform_ops=["DecodeImage"]), "RandCropFaces")
    ops = still()[:2]
    refused(lambda: WiderFaceDataset(path, transform_ops=ops), "must end with NormalizeImage")
    (marked.parent / "images" / "1.png").write_bytes(b"no image")
    dataset = WiderFaceDataset(path)
    refused(lambda: dataset.get(1, np.random.default_rng(0)), "1.png", "label.txt:3")
    skipping = WiderFaceDataset(path, on_bad="skip")
    assert skipping.get(1, np.random.default_rng(0))["count"] >= 1 and 1 in skipping.skipped
    marked.write_text("# 0.png\n1 2 0 0\n")
    refused(lambda: WiderFaceDataset(path), "no image has a face to learn from")


def test_what_mindface_makes_of_real_labels():
    folder = SHARED_DATA / "widerface_mini"
    if not folder.exists():
        pytest.skip("a small WIDER FACE (../shared/data/widerface_mini) is not here")
    found = read_face_list(folder / "train" / "label.txt").to_train_on()
    expected = json.loads((folder / "expected_labels.json").read_text())
    assert found.names == [entry["image"] for entry in expected]
    for index, entry in enumerate(expected):
        targets = np.array(entry["targets"])
        np.testing.assert_allclose(found.boxes(index), targets[:, :4], atol=1e-3)
        points = np.nan_to_num(found.points[found.faces(index)].reshape(-1, 10), nan=-1)
        np.testing.assert_allclose(points, targets[:, 4:14], atol=1e-3)
        assert ((points[:, 0] < 0) == (targets[:, 14] < 0)).all()
