"""The page about an evaluation: its figures, its pictures, and nothing that reaches elsewhere."""

import base64
import builtins
import json
import re
from html.parser import HTMLParser

import cv2
import numpy as np
import pytest

from plsc.data.sets.set_names import distinct, set_name
from plsc.errors import UserError
from plsc.recognition.metrics.roc import far_name
from plsc.recognition.metrics.verification import verify
from plsc.recognition.report import plots
from plsc.recognition.report.evaluation import MeasuredSet, ModelCard
from plsc.recognition.report.outputs import Outputs, to_dict
from plsc.recognition.report.page import page, write_page
from plsc.recognition.report.pictures import hardest_pairs

NAME = '<b>it\'s</b> & "mine"'
CARD = ModelCard(
    path="models/<i>net</i>.onnx",
    kind="ONNX file",
    dim=16,
    size=(112, 96),
    colour_order="BGR",
    mean=(1.0, 2.5, 3.0),
    std=(128.0,) * 3,
    notes=("mean: <assumed>",),
)


def measure(num_pairs=400, *, name=NAME, noise=1.0, flip=True, seed=0):
    rng = np.random.default_rng(seed)
    issame = np.arange(num_pairs) % 2 == 0
    first, stranger = rng.standard_normal((2, num_pairs, 16))
    second = np.where(issame[:, None], first + noise * stranger, stranger)
    rows = np.stack([first, second], axis=1).reshape(2 * num_pairs, 16)
    return verify(rows, rows[:, ::-1] if flip else None, issame, name=name)


class Images:
    """Image i is all of one grey, 40 + i % 200, and 8 pixels wide."""

    def __init__(self, side=8):
        self.side = side

    def read(self, index):
        pixels = np.full((self.side, 2 * self.side, 3), 40 + index % 200, np.uint8)
        return cv2.imencode(".png", pixels)[1].tobytes(), -1

    def where(self, index):
        return f'"quoted" <{index}>.png'


class Reader(HTMLParser):
    """Tags with their attributes, and the text of table cells, row by row."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.rows, self.texts = [], [], []
        self.open = []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))
        if tag not in ("meta", "img", "br"):
            self.open.append(tag)
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self.rows[-1].append("")

    def handle_endtag(self, tag):
        assert self.open.pop() == tag, tag

    def handle_data(self, data):
        self.texts.append(data)
        if {"td", "th"} & set(self.open):
            self.rows[-1][-1] += data


@pytest.fixture(scope="module")
def report():
    return measure()


def two_sets(report):
    return [MeasuredSet(each, Images()) for each in (report, measure(60, name="small"))]


@pytest.fixture(scope="module")
def written(report):
    return page(CARD, two_sets(report))


def test_the_figures_are_those_of_the_report(written, report):
    rows = Reader(written).rows
    head, first, second, mean, *_ = rows
    assert (first[0], second[0], mean[0]) == (NAME, "small", "mean")
    figures = dict(zip(head, first, strict=True))
    best, plain = report.accuracy_flip, report.accuracy
    assert figures["accuracy %"] == f"{100 * best.mean:.2f} ± {100 * best.std:.2f}"
    assert figures["without flip"] == f"{100 * plain.mean:.2f} ± {100 * plain.std:.2f}"
    assert figures["AUC %"] == f"{100 * report.curve.auc:.2f}"
    assert figures["EER %"] == f"{100 * report.curve.eer.rate:.2f}"
    thresholds = {row[0]: row[1:] for row in rows[4 : 4 + 7]}
    assert thresholds.pop("FAR") == ["TAR %", "impostors", "cosine", "L2^2", "angle"]
    for point in report.points:
        cells = thresholds.pop(far_name(point.far))
        if not point.resolved:
            assert cells == [f"not resolved: needs {point.needed} impostors"]
            continue
        assert cells[:2] == [f"{100 * point.tar:.2f}", f"{point.accepted} of 200"]
        assert float(cells[2]) == pytest.approx(point.threshold.cosine, abs=5e-5)
        assert float(cells[3]) == pytest.approx(2 - 2 * point.threshold.cosine, abs=5e-5)
    assert (
        not thresholds and [point.resolved for point in report.points] == [True] * 2 + [False] * 4
    )
    text = " ".join(Reader(written).texts)
    assert f"{report.curve.eer.threshold.cosine:.4f}" in text and f"{best.cosine:.4f}" in text
    assert "(pixel − [1 2.5 3]) ÷ 128" in text and "112×96 pixels, BGR" in text


def test_text_from_files_is_text(written):
    read = Reader(written)
    assert NAME in read.texts and CARD.path in read.texts and CARD.notes[0] in read.texts
    assert not {"b>it", "<i>", "<assumed>"} & set(re.findall(r"b>it|<i>|<assumed>", written))
    places = [attributes["title"] for tag, attributes in read.tags if "title" in attributes]
    assert len(places) == 2 * 2 * 2 * 8 and all(place.startswith('"quoted" <') for place in places)


def test_nothing_reaches_elsewhere(written):
    read = Reader(written)
    assert not {tag for tag, _ in read.tags} & {"script", "link", "iframe", "object", "base"}
    for tag, attributes in read.tags:
        assert not [name for name in attributes if name.startswith("on")]
        for name in ("src", "href", "srcset", "action"):
            assert attributes.get(name, "#").startswith(("#", "data:image/")), (tag, name)
        if tag == "img":
            assert attributes["alt"]
    ids = {attributes["id"] for _, attributes in read.tags if "id" in attributes}
    links = {attributes["href"] for tag, attributes in read.tags if tag == "a"}
    assert links == {f"#{name}" for name in ids} == {"#set-1", "#set-2"}
    assert "url(" not in written and "@import" not in written
    plotted = [a["src"] for _, a in read.tags if a.get("src", "").startswith("data:image/svg")]
    assert len(plotted) == 4
    for uri in plotted:
        svg = base64.b64decode(uri.split(",")[1]).decode()
        assert svg.startswith("<svg") and "<script" not in svg and "<!DOCTYPE" not in svg
        assert all(link.startswith("#") for link in re.findall(r'href="([^"]*)', svg))
        assert "<date>" not in svg.lower()


def test_the_page_is_the_same_again_and_replaced_whole(written, report, tmp_path):
    again = page(CARD, two_sets(report))
    assert again == written
    path = write_page(tmp_path, CARD, [MeasuredSet(report, Images())])
    before = path.read_bytes()

    class Unreadable(Images):
        def read(self, index):
            raise UserError(f"{index}: gone")

    with pytest.raises(UserError, match="gone"):
        write_page(tmp_path, CARD, [MeasuredSet(report, Unreadable())])
    assert path.read_bytes() == before and list(tmp_path.iterdir()) == [path]
    odd = MeasuredSet(measure(60, name="not\udcff utf-8"), Images())
    assert b"not\\udcff utf-8" in write_page(tmp_path, CARD, [odd]).read_bytes()


@pytest.mark.parametrize("same", [True, False])
def test_hardest_pairs(report, same):
    pairs = hardest_pairs(report, Images(300), same=same, most=8)
    scores = [pair.score for pair in pairs]
    of_kind = np.sort(report.scores[report.issame == same])
    assert scores == (of_kind[:8] if same else of_kind[::-1][:8]).tolist()
    for pair in pairs:
        assert report.scores[pair.number - 1] == pair.score
        for index, uri, place in zip((-2, -1), pair.images, pair.places, strict=True):
            image = 2 * pair.number + index
            assert place == Images().where(image)
            jpeg = base64.b64decode(uri.removeprefix("data:image/jpeg;base64,"))
            pixels = cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR)
            assert pixels.shape == (56, 112, 3)  # made smaller, in its proportions
            assert np.abs(pixels.astype(int) - (40 + image % 200)).max() <= 1
    assert len(hardest_pairs(measure(20), Images(), same=same, most=99)) == 10


def test_spread():
    assert plots.spread([], 0.1) == [] and plots.spread([0.1, 0.5], 0.1) == [0.1, 0.5]
    moved = plots.spread([0.1, 0.11, 0.12, 0.9], 0.1)
    assert (np.diff(moved) >= 0.1 * (1 - 1e-5)).all() and moved[3] == 0.9
    assert np.mean(moved[:3]) == pytest.approx(0.11)


def test_without_matplotlib(tmp_path, monkeypatch):
    real = builtins.__import__

    def missing(name, *rest):
        if name.split(".")[0] == "matplotlib":
            raise ImportError(name)
        return real(name, *rest)

    monkeypatch.setattr(builtins, "__import__", missing)
    with pytest.raises(UserError, match="needs matplotlib: pip install matplotlib$"):
        Outputs(report=str(tmp_path / "page")).check()
    assert not (tmp_path / "page").exists()


def test_what_cannot_be_written_is_refused_before_the_work(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="--report .*file"):
        Outputs(report=str(tmp_path / "file")).check()
    with pytest.raises(UserError, match="missing is not a folder"):
        Outputs(json=str(tmp_path / "missing" / "out.json")).check()


def test_outputs(tmp_path, capsys, report):
    sets = [MeasuredSet(report, Images())]
    Outputs(json="-").write(CARD, sets)
    assert json.loads(capsys.readouterr().out) == json.loads(json.dumps(to_dict(CARD, [report])))
    Outputs(json=str(tmp_path / "out.json")).write(CARD, sets)
    found = json.loads((tmp_path / "out.json").read_text())
    assert found["sets"][0]["eer"]["rate"] == report.curve.eer.rate
    assert found["model"]["colour_order"] == "BGR"
    shown = capsys.readouterr().out
    assert NAME in shown and "needs 1000 impostors" in shown and "measure it anew" in shown


def test_names_of_sets(tmp_path):
    assert distinct(["lfw", "a", "lfw", "lfw_2", "lfw"]) == [
        "lfw",
        "a",
        "lfw_2",
        "lfw_2_2",
        "lfw_3",
    ]
    (tmp_path / "lfw").mkdir()
    for path, name in {
        "x/agedb_30.bin": "agedb_30", "lfw/label.txt": "lfw", "lfw/pairs.txt": "lfw", "lfw": "lfw",
        "lfw/hard.txt": "hard", "a\nb.bin": "'a\\nb'",
    }.items():  # fmt: skip
        assert set_name(tmp_path / path) == name
