import cv2
import numpy as np

from plsc.datatools.checks.findings import Findings
from plsc.datatools.checks.image_facts import examine_images
from plsc.datatools.checks.image_sets import ImageSet, ImageSets


def test_an_image_is_blank_if_all_of_it_is_of_one_colour():
    even = np.full((112, 112, 3), 7, np.uint8)
    below, edge = even.copy(), even.copy()
    below[1:] += 9  # its first row is even: a face below a plain background
    edge[0, -1, 2] = 8
    files = [cv2.imencode(".png", image)[1].tobytes() for image in (even, below, edge)]
    sets = ImageSets([ImageSet("set", 3, lambda index: (files[index], 5), str)])
    facts = examine_images(sets, Findings(), size=112, num_workers=1)
    assert facts.comparable.tolist() == [False, True, True]
    assert facts.labels.tolist() == [5, 5, 5]
    assert facts.digests[1].tolist() != facts.digests[2].tolist()
