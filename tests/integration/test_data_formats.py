"""One set of faces in every format: the same images in the same order, so the same training."""

from functools import partial
from pathlib import Path

import cv2
import numpy as np
import pytest
from places import ROOT
from small_runs import forked, write_own_bin

PEOPLE = ["anna", "bo", "chris", "dee", "eve"]


@pytest.fixture(scope="module")
def people(tmp_path_factory, tiny_faces):
    """A folder per identity, of unequal numbers of JPEG and PNG files."""
    folder = tmp_path_factory.mktemp("people")
    for line in (tiny_faces / "label.txt").read_text().splitlines():
        name, label = line.split("\t")
        image = cv2.imread(str(tiny_faces / name))
        ending = ".jpg" if int(label) % 2 else ".png"
        person = folder / PEOPLE[int(label)]
        person.mkdir(exist_ok=True)
        cv2.imwrite(str(person / Path(name).with_suffix(ending)), image)
    return folder


plsc_data = partial(forked, "plsc-data", cwd=ROOT)


def list_of(folder):
    listed = {"image_root": str(folder), "cls_label_path": str(folder / "label.txt")}
    return {"name": "FaceIdentificationDataset", **listed}


def losses(run, dataset, *overrides, size=1):
    """Losses by step of a training on `dataset`, exact."""
    transforms = run.config["DataLoader"]["Train"]["dataset"]["transform_ops"]
    run.config["DataLoader"]["Train"]["dataset"] = {**dataset, "transform_ops": transforms}
    run("train", *overrides, size=size)
    return run.losses()


def test_the_same_faces_in_every_format_train_alike(run, people, tmp_path):
    packed, listed = tmp_path / "packed", tmp_path / "listed"
    plsc_data("pack", people, packed)
    plsc_data("unpack", packed, listed)
    run.config["Global"]["epochs"] = 2
    expected = losses(run, {"name": "FaceFolderDataset", "root": str(people)})
    assert len(expected) == 22 and len(set(expected.values())) > 10
    records = {"name": "FaceRecordDataset", "root": str(packed)}
    assert losses(run, records) == expected
    images = list_of(listed)
    assert losses(run, images, "DataLoader.Train.loader.num_workers=2") == expected
    rows = (listed / "label.txt").read_text().replace("\t", " 0 ").replace("\n", " 0\n")
    (listed / "magface.list").write_text(rows)
    images |= {"cls_label_path": str(listed / "magface.list"), "list_format": "magface"}
    assert losses(run, images) == expected
    (packed / "train.idx").unlink()  # it is made again
    assert losses(run, records) == expected
    assert (packed / "train.idx").exists()


def test_records_train_on_two_ranks_as_the_folder_does(run, people, tmp_path):
    plsc_data("pack", people, tmp_path / "packed")
    run.config["Global"]["epochs"] = 1
    expected = losses(run, {"name": "FaceFolderDataset", "root": str(people)}, size=2)
    (tmp_path / "packed" / "train.idx").unlink()  # two ranks want it at the same time
    root = str(tmp_path / "packed")
    assert losses(run, {"name": "FaceRecordDataset", "root": root}, size=2) == expected


def test_real_records_train_as_their_images_do(run, real_faces, tmp_path):
    listed, folders, again = (tmp_path / name for name in ("listed", "folders", "again"))
    plsc_data("unpack", real_faces, listed)
    plsc_data("unpack", real_faces, folders, "--folders")
    plsc_data("pack", folders, again)
    run.config["Model"]["class_num"] = 30
    step = "Global.max_train_step=12"
    expected = losses(run, {"name": "FaceRecordDataset", "root": str(real_faces)}, step)
    assert len(expected) == 12
    assert losses(run, list_of(listed), step) == expected
    assert losses(run, {"name": "FaceFolderDataset", "root": str(folders)}, step) == expected
    assert losses(run, {"name": "FaceRecordDataset", "root": str(again)}, step) == expected


def test_several_verification_sets_at_once(run, tiny_faces, tmp_path, read_metrics):
    listed = run.config["DataLoader"]["Eval"]["dataset"]
    path = write_own_bin(tiny_faces, tmp_path / "own.bin")
    own = {"name": "FaceVerificationBin", "bin_path": str(path)}
    run.config["DataLoader"]["Eval"]["dataset"] = [listed, own, own]
    run.config["Global"] |= {"eval_during_train": True, "epochs": 2}
    done = run("train")
    entries = read_metrics(run.output, "eval")
    sets = [tiny_faces.name, "own", "own_2"]
    assert [entry["set"] for entry in entries] == sets * 2
    means = [np.mean([entry["metric"] for entry in entries[i : i + 3]]) for i in (0, 3)]
    assert entries[1]["metric"] == entries[2]["metric"] != entries[0]["metric"]
    assert f"best metric {max(means):.5f}" in done.stdout
    assert f"mean of 3: {means[1]:.5f}" in done.stdout
    done = run("eval", f"Global.pretrained_model={run.output / 'latest'}", size=2)
    for entry in entries[3:]:
        shown = f"{entry['set']}: accuracy-flip: {entry['accuracy-flip']:.5f}"
        assert shown in done.stdout
    resolved = f"Global.checkpoint={run.output / 'latest'}"
    run.config["Global"]["epochs"] = 3  # a state.json with a list of sets resumes
    run("train", resolved)


def test_a_set_with_more_classes_than_the_head_is_refused_before_training(run, people, tmp_path):
    plsc_data("pack", people, tmp_path / "packed")
    run.config["Model"]["class_num"] = 4
    for dataset in (
        {"name": "FaceFolderDataset", "root": str(people)},
        {"name": "FaceRecordDataset", "root": str(tmp_path / "packed")},
    ):
        run.config["DataLoader"]["Train"]["dataset"] = dataset
        line = run.refused("train")
        assert "Model.class_num is 4" in line and "set Model.class_num to 5" in line
        assert not run.output.exists()


def test_sets_in_the_wrong_place_and_classes_of_nobody(run):
    loaders = run.config["DataLoader"]
    train, pairs = loaders["Train"]["dataset"], loaders["Eval"]["dataset"]
    loaders["Train"]["dataset"] = pairs
    expected = "FaceVerificationDataset holds pairs to verify, which belong into DataLoader.Eval"
    assert f"DataLoader.Train.dataset.name: {expected}" in run.refused("train")
    loaders["Train"]["dataset"], loaders["Eval"]["dataset"] = train, [pairs, train]
    expected = "FaceIdentificationDataset holds images to train on, which belong into DataLoader"
    line = run.refused("train", "Global.eval_during_train=True")
    assert f"DataLoader.Eval.dataset.1.name: {expected}" in line
    done = run("train", "Model.class_num=9", "Global.max_train_step=1")
    assert "the training set has 5 classes, Model.class_num is 9: 4 class centres" in done.stdout
