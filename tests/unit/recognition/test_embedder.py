"""One network through all the forms that a model comes in: embeddings stay the same."""

import json

import cv2
import numpy as np
import onnx
import pytest
import yaml
from checkpoints import saved
from filled_nets import embeddings
from onnx import TensorProto, helper, numpy_helper
from onnx_models import images, told, vectors, write_model
from samples import preparing

import plsc
from plsc.config.load import parse_config
from plsc.data.transforms.input_pixels import trained_on
from plsc.errors import UserError
from plsc.export.convert import export_onnx, export_paddle
from plsc.inference import onnx_network
from plsc.recognition.description import describe_model
from plsc.recognition.embedder import Embedder
from plsc.recognition.export_spec import embedding_spec

DIM = 16
THRESHOLDS = {"set": "lfw", "flip": True, "far": {"1e-3": {"cosine": 0.3}, "1e-2": {"cosine": 0.2}}}


def config(to_rgb=True, mean=0.5, std=0.5):
    """The config of a network that was trained on such images."""
    ops = preparing(to_rgb, mean, std)
    dataset = {"name": "FaceRecordDataset", "root": "nowhere", "transform_ops": ops}
    return {
        "Model": {"name": "QuickFace_nano", "num_features": DIM},
        "DataLoader": {"Train": {"dataset": dataset, "sampler": {"batch_size": 2}}},
    }


@pytest.fixture(scope="module")
def backbone(small_backbone):
    return small_backbone(DIM)


@pytest.fixture(scope="module")
def pictures():
    """RGB uint8 [5, 112, 112, 3], not alike when mirrored or with colours exchanged."""
    rng = np.random.default_rng(1)
    coarse = rng.integers(0, 256, (5, 14, 14, 3), np.uint8)
    return np.stack([cv2.resize(image, (112, 112)) for image in coarse])


def reference(backbone, rgb, *, mean=127.5, std=127.5, bgr=False):
    """What the network gives for pixels prepared in float64."""
    pixels = rgb[..., ::-1] if bgr else rgb
    prepared = ((pixels.astype(np.float64) - mean) / std).transpose(0, 3, 1, 2)
    return embeddings(backbone, prepared)


@pytest.fixture(scope="module")
def models(backbone, tmp_path_factory):
    """The network in each form, as plsc writes it."""
    folder = tmp_path_factory.mktemp("models")
    said = describe_model(DIM, trained_on(parse_config(config())))
    spec = embedding_spec(backbone.num_features, metadata=said)
    export_onnx(backbone, folder / "net.onnx", spec)
    export_paddle(backbone, folder / "net", spec)
    return {
        "onnx": folder / "net.onnx",
        "paddle": folder / "net",
        "checkpoint": saved(folder, backbone, config=parse_config(config()).to_dict(), model=said),
    }


def close(found, expected):
    assert found.dtype == np.float32 and found.shape == expected.shape
    np.testing.assert_allclose(found, expected, rtol=0, atol=2e-5 * np.abs(expected).max())


@pytest.mark.parametrize("kind", ["onnx", "paddle", "checkpoint"])
def test_all_forms_give_the_backbones_embeddings(kind, models, backbone, pictures):
    embedder = plsc.Embedder(models[kind], batch_size=2)
    info = embedder.info
    assert (info.kind, info.dim, info.size) == (kind, DIM, (112, 112))
    assert (info.colour_order, info.mean, info.std) == ("RGB", (127.5,) * 3, (127.5,) * 3)
    assert info.alignment_template[0] == (38.2946, 51.6963) and len(info.alignment_template) == 5
    assert info.notes and not info.assumptions
    expected = reference(backbone, pictures)
    close(embedder.embed(pictures), expected)
    close(embedder.embed(pictures[..., ::-1], colour_order="BGR"), expected)
    mirrored = reference(backbone, pictures[:, :, ::-1])
    close(embedder.embed(pictures, flip=True), mirrored)
    assert np.abs(mirrored - expected).max() > 0.1
    assert embedder.embed(pictures[:0]).shape == (0, DIM)


@pytest.mark.parametrize("end", [".json", ".pdiparams"])
def test_either_file_of_a_paddle_model(end, models, backbone, pictures):
    stem = models["paddle"]
    close(Embedder(stem.with_name(stem.name + end)).embed(pictures), reference(backbone, pictures))


@pytest.mark.parametrize("described", [True, False], ids=["described", "of an older version"])
def test_a_checkpoint_knows_how_it_was_trained(described, backbone, pictures, tmp_path):
    """BGR and other numbers, from its description or from its config alone."""
    parsed = parse_config(config(to_rgb=False, mean=0.4, std=0.2))
    said = describe_model(DIM, trained_on(parsed))
    more = {"model": said, "thresholds": THRESHOLDS} if described else {}
    embedder = Embedder(saved(tmp_path, backbone, config=parsed.to_dict(), **more))
    assert (embedder.info.colour_order, embedder.info.mean) == ("BGR", (102.0,) * 3)
    expected = reference(backbone, pictures, mean=0.4 * 255, std=0.2 * 255, bgr=True)
    close(embedder.embed(pictures), expected)
    assert yaml.safe_load(embedder.info.config)["Model"]["name"] == "QuickFace_nano"
    if described:
        table = embedder.info.thresholds
        assert (table.set_name, table.flip) == ("lfw", True)
        assert list(table.cosines.items()) == [("1e-2", 0.2), ("1e-3", 0.3)]


def test_files_and_arrays(models, pictures, tmp_path):
    embedder = Embedder(models["onnx"], batch_size=2)
    expected = embedder.embed(pictures)
    paths = []
    for number, picture in enumerate(pictures):
        paths.append(tmp_path / f"{number}.png")
        cv2.imwrite(str(paths[-1]), picture[..., ::-1])
    np.testing.assert_array_equal(embedder.embed_files(paths), expected)
    mixed = [str(paths[0]), pictures[1][..., ::-1], paths[2]]
    found = embedder.embed_files(iter(mixed), colour_order="BGR")
    np.testing.assert_array_equal(found, embedder.embed(pictures[:3]))
    np.testing.assert_array_equal(
        embedder.embed_files(paths, flip=True), embedder.embed(pictures, flip=True)
    )
    assert embedder.embed_files([]).shape == (0, DIM)
    large = cv2.resize(pictures[0], (224, 200))
    with pytest.raises(UserError, match=r"image 0: is 224x200 .* takes 112x112: .*align"):
        embedder.embed_files([large])
    fitted = cv2.resize(large, (112, 112), interpolation=cv2.INTER_AREA)
    np.testing.assert_array_equal(
        embedder.embed_files([large], resize=True), embedder.embed(fitted[None])
    )


# Models of other people: the same network inside another graph.


def third_party(source, path, *, before=(), inputs=None, batch="N", outputs=()):
    """Write `source`'s network to `path` without metadata, with nodes before it and other ends."""
    model = onnx.load(str(source))
    graph = model.graph
    del model.metadata_props[:]
    constants = [item for item in before if isinstance(item, TensorProto)]
    nodes = [item for item in before if not isinstance(item, TensorProto)]
    if nodes:
        for node in graph.node:
            node.input[:] = ["prepared" if name == "data" else name for name in node.input]
        own = list(graph.node)
        del graph.node[:]
        graph.node.extend([*nodes, *own])
        graph.initializer.extend(constants)
    if inputs is not None:
        del graph.input[:]
        graph.input.append(inputs)
    for value in (*graph.input, *graph.output):
        dim = value.type.tensor_type.shape.dim[0]
        dim.Clear()
        if isinstance(batch, int):
            dim.dim_value = batch
        else:
            dim.dim_param = batch
    graph.output.extend(outputs)
    onnx.checker.check_model(model, full_check=True)
    onnx.save(model, str(path))
    return path


def scalar(name, value):
    return numpy_helper.from_array(np.array(value, np.float32), name)


def prepared_inside(sub="Sub", mul="Mul", names=("anything", "at_all")):
    """(x - 127.5) * (1 / 127.5) in front of the network."""
    return [
        scalar("shift", 127.5),
        scalar("factor", 1 / 127.5 if mul == "Mul" else 127.5),
        helper.make_node(sub, ["data", "shift"], ["shifted"], name=names[0]),
        helper.make_node(mul, ["shifted", "factor"], ["prepared"], name=names[1]),
    ]


def test_no_metadata_means_insightfaces_habit(models, backbone, pictures, tmp_path):
    path = third_party(models["onnx"], tmp_path / "other.onnx")
    embedder = Embedder(path)
    close(embedder.embed(pictures), reference(backbone, pictures))
    pixels, order = embedder.info.assumptions
    assert pixels.startswith("mean and std: 127.5 and 127.5, assumed as insightface does")
    assert order.startswith("colour order: RGB, assumed")
    assert embedder.info.alignment_template is None and embedder.info.thresholds is None


def test_the_words_of_others_mean_something_else(models, backbone, pictures, tmp_path):
    path = told(models["onnx"], tmp_path / "o.onnx", mean="0.5", std="[0.5]", color_order="bgr")
    close(Embedder(path).embed(pictures), reference(backbone, pictures))


@pytest.mark.parametrize("batch", [1, 4])
def test_a_fixed_batch_is_filled_up(batch, models, backbone, pictures, tmp_path):
    path = third_party(models["onnx"], tmp_path / "fixed.onnx", batch=batch)
    embedder = Embedder(path, batch_size=64)
    assert embedder.info.batch == embedder.batch_size == batch
    close(embedder.embed(pictures), reference(backbone, pictures))
    assert f"batch: {batch}, fixed by the network" in embedder.info.notes


@pytest.mark.parametrize(
    "front",
    [
        prepared_inside(),
        prepared_inside(mul="Div"),
        prepared_inside(names=("_minusscalar0", "_mulscalar0")),
    ],
    ids=["Sub, Mul", "Sub, Div", "mxnet"],
)
def test_preprocessing_inside_the_graph(front, models, backbone, pictures, tmp_path):
    path = third_party(models["onnx"], tmp_path / "inside.onnx", before=front)
    embedder = Embedder(path)
    assert (embedder.info.mean, embedder.info.std) == ((0.0,) * 3, (1.0,) * 3)
    assert any("its graph begins with (x - " in note for note in embedder.info.notes)
    close(embedder.embed(pictures), reference(backbone, pictures))


def test_a_later_subtraction_is_no_preprocessing(models, tmp_path):
    """A LayerNorm taken apart has Sub and Mul among insightface's first eight nodes."""
    weights = {"w": np.ones((4, 3, 28, 28), np.float32) / 2352}
    nodes = [
        helper.make_node("Conv", ["data", "w"], ["maps"], strides=[28, 28], name="Conv_0"),
        helper.make_node("ReduceMean", ["maps"], ["mean"], axes=[1], name="ReduceMean_0"),
        helper.make_node("Sub", ["maps", "mean"], ["centred"], name="Sub_0"),
        helper.make_node("Mul", ["centred", "centred"], ["square"], name="Mul_0"),
        helper.make_node("Flatten", ["square"], ["embedding"], name="Flatten_0"),
    ]
    made, path = vectors("embedding", "N", 64), tmp_path / "norm.onnx"
    write_model(path, nodes, given=images(), made=made, weights=weights)
    assert Embedder(path).info.mean == (127.5,) * 3


def test_uint8_pixels_with_colours_last(models, backbone, pictures, tmp_path):
    shift, factor, sub, mul = prepared_inside()
    sub.input[0] = "chw"
    front = [
        shift,
        factor,
        helper.make_node("Cast", ["data"], ["floats"], to=TensorProto.FLOAT),
        helper.make_node("Transpose", ["floats"], ["chw"], perm=[0, 3, 1, 2]),
        sub,
        mul,
    ]
    given = images("N", 112, 112, 3, kind=TensorProto.UINT8)
    path = third_party(models["onnx"], tmp_path / "u8.onnx", before=front, inputs=given, batch=4)
    embedder = Embedder(path)
    assert embedder.info.size == (112, 112) and embedder.info.batch == 4
    assert any("its input is uint8" in note for note in embedder.info.notes)
    close(embedder.embed(pictures), reference(backbone, pictures))
    with pytest.raises(UserError, match="takes pixels as uint8 and does the rest itself: leave me"):
        Embedder(path, mean=127.5)


def test_options_come_first(models, backbone, pictures, tmp_path):
    expected = reference(backbone, pictures, mean=[90, 100, 110], std=60, bgr=True)
    options = {"mean": [90, 100, 110], "std": 60, "colour_order": "BGR"}
    for path in (models["onnx"], third_party(models["onnx"], tmp_path / "other.onnx")):
        embedder = Embedder(path, **options)
        close(embedder.embed(pictures), expected)
        assert "mean and std: 90 100 110 and 60, by option" in embedder.info.notes
    assert embedder.info.mean == (90.0, 100.0, 110.0)


def test_other_sizes(tmp_path, pictures):
    """A fully convolutional network takes any; one that says its size takes that, w x h."""

    def pooling(name, height, width):
        nodes = [
            helper.make_node("GlobalAveragePool", ["data"], ["pooled"]),
            helper.make_node("Flatten", ["pooled"], ["embedding"]),
        ]
        given, made = images("N", 3, height, width), vectors("embedding", "N", 3)
        return write_model(tmp_path / name, nodes, given=given, made=made)

    path = pooling("any.onnx", "h", "w")
    assert Embedder(path).info.size == (112, 112)
    assert any(note.startswith("size: 112x112, assumed") for note in Embedder(path).info.notes)
    small = Embedder(path, size=(96, 80), mean=0, std=1)
    pixels = np.random.default_rng(0).integers(0, 256, (2, 80, 96, 3), np.uint8)
    np.testing.assert_allclose(small.embed(pixels), pixels.mean(axis=(1, 2)), rtol=1e-4)
    fixed = pooling("fixed.onnx", 80, 96)
    assert Embedder(fixed).info.size == (96, 80)
    with pytest.raises(UserError, match="fixed.onnx: takes 96x80 only, size is 112x112"):
        Embedder(fixed, size=112)


def test_two_outputs(models, pictures, tmp_path):
    """The one that is [N, d] is taken; of two such, neither."""
    conv = next(n for n in onnx.load(str(models["onnx"])).graph.node if n.op_type == "Conv")
    extra = helper.make_tensor_value_info(conv.output[0], TensorProto.FLOAT, ["N", 24, 28, 28])
    path = third_party(models["onnx"], tmp_path / "two.onnx", outputs=[extra])
    close(Embedder(path).embed(pictures), Embedder(models["onnx"]).embed(pictures))
    model = onnx.load(str(path))
    model.graph.node.append(helper.make_node("Identity", ["embedding"], ["twin"]))
    twin = helper.make_tensor_value_info("twin", TensorProto.FLOAT, ["N", DIM])
    model.graph.output.append(twin)
    onnx.save(model, str(path))
    with pytest.raises(UserError, match=r"has 3 outputs, .*: which is the embedding\? Name it"):
        Embedder(path)


def test_digests_change_with_what_embeddings_depend_on(models, tmp_path):
    digests = [Embedder(path).digest for path in models.values()]
    plain = third_party(models["onnx"], tmp_path / "other.onnx")
    changes = {"colour_order": "BGR"}, {"mean": 127}, {"std": 128}
    digests += [Embedder(plain, **change).digest for change in changes]
    assert len(set(digests)) == len(digests)
    assert Embedder(plain).digest == Embedder(models["onnx"]).digest
    noted = told(plain, tmp_path / "noted.onnx", thresholds=json.dumps(THRESHOLDS))
    assert Embedder(noted).digest == Embedder(plain).digest
    model = onnx.load(str(noted))
    weight = model.graph.initializer[0]
    weight.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(weight) + 1, weight.name))
    onnx.save(model, str(tmp_path / "changed.onnx"))
    assert Embedder(tmp_path / "changed.onnx").digest != Embedder(plain).digest
    onnx.save(model, str(tmp_path / "split.onnx"), save_as_external_data=True, location="w.data")
    before = Embedder(tmp_path / "split.onnx").digest
    weights = bytearray((tmp_path / "w.data").read_bytes())
    weights[-2] ^= 1
    (tmp_path / "w.data").write_bytes(weights)
    assert Embedder(tmp_path / "split.onnx").digest != before


def test_the_image_of_a_nan_is_named(models, pictures, tmp_path, monkeypatch):
    pictures = [*pictures[:3], np.full((112, 112, 3), 7, np.uint8), pictures[3]]
    cv2.imwrite(str(tmp_path / "seven.png"), pictures[3])
    run = Embedder._run

    def nan_for_sevens(self, images, order):
        rows = run(self, images, order)
        rows[(images == 7).all(axis=(1, 2, 3))] = np.nan
        return rows

    monkeypatch.setattr(Embedder, "_run", nan_for_sevens)
    embedder = Embedder(models["onnx"], batch_size=2)
    with pytest.raises(UserError, match="infinity for image 3: "):
        embedder.embed(np.stack(pictures))
    with pytest.raises(UserError, match="infinity for image 3: "):
        embedder.embed_files(pictures)
    with pytest.raises(UserError, match="infinity for [^ ]*/seven.png: "):
        embedder.embed_files([*pictures[:3], tmp_path / "seven.png"])


def test_damaged_metadata(models, tmp_path):
    for key, value in (
        ("mean", "a lot"),
        ("color_order", "GBR"),
        ("alignment_template", "1,2"),
        ("input_size", "112"),
        ("thresholds", '{"far": {"1e-3": 0.5}}'),
    ):
        model = onnx.load(str(models["onnx"]))
        entries = {entry.key: entry.value for entry in model.metadata_props} | {key: value}
        if key == "input_size":
            for dim in model.graph.input[0].type.tensor_type.shape.dim[2:]:
                dim.Clear()
        helper.set_model_props(model, entries)
        onnx.save(model, str(tmp_path / "damaged.onnx"))
        with pytest.raises(UserError, match=r"damaged.onnx: .*(damaged|must be RGB)") as caught:
            Embedder(tmp_path / "damaged.onnx")
        assert "\n" not in str(caught.value)


def write_graph(path, given):
    node = helper.make_node("ReduceMean", ["data"], ["embedding"], axes=[2, 3], keepdims=0)
    if given.type.tensor_type.elem_type != TensorProto.FLOAT:
        node = helper.make_node("Cast", ["data"], ["embedding"], to=TensorProto.FLOAT)
    made = helper.make_tensor_value_info("embedding", TensorProto.FLOAT, None)
    write_model(path, [node], given=given, made=made)


def test_models_that_are_none(models, pictures, tmp_path, monkeypatch):
    (tmp_path / "text.onnx").write_text("not a model")
    (tmp_path / "\udcff.onnx").write_text("not a model")
    (tmp_path / "net.pdparams").write_bytes(b"")
    (tmp_path / "run" / "best_model").mkdir(parents=True)
    (tmp_path / "notes.txt").write_text("")
    (tmp_path / "broken.json").write_text("{}")
    (tmp_path / "broken.pdiparams").write_bytes(b"")
    write_graph(tmp_path / "grey.onnx", images("N", 1, 112, 112))
    write_graph(tmp_path / "flat.onnx", images("N", 37632, kind=TensorProto.DOUBLE))
    write_graph(tmp_path / "words.onnx", images(kind=TensorProto.INT64))
    cases = {
        "missing.onnx": "missing.onnx: no such file",
        "missing": "there is no such model: a model is an .onnx file, a checkpoint folder or",
        "text.onnx": "text.onnx: cannot be loaded: ",
        "\udcff.onnx": r"/\\udcff.onnx: onnxruntime opens no file whose name is not UTF-8",
        "net.pdparams": "weights without their network: make a model of them with plsc-export",
        "net": "weights without their network",
        "run": "this folder is no checkpoint: did you mean .*best_model",
        "notes.txt": "is none of these: a model is",
        "broken": "broken.json: cannot be loaded by Paddle",
        "grey.onnx": "images of 3 colours are needed",
        "flat.onnx": r"must be images \[N, 3, height, width\]",
        "words.onnx": r"is tensor\(int64\) .*, must be float or uint8",
    }
    for name, message in cases.items():
        with pytest.raises(UserError, match=message) as caught:
            Embedder(tmp_path / name)
        assert "\n" not in str(caught.value)
    for options, message in (
        ({"provider": "tpu"}, "provider must be cpu, cuda or ONNX Runtime's name of one, got 'tp"),
        ({"provider": "cuda"}, "provider cuda: .* CPUExecutionProvider only: pip install onnxrun"),
        ({"batch_size": 0}, "batch_size must be at least 1, got 0"),
        ({"std": 0}, "std must not be 0, got 0"),
        ({"mean": [1, 2]}, r"mean must be one number or one for each of 3 colours, got \[1, 2\]"),
        ({"colour_order": "rgb"}, "colour_order must be RGB or BGR, got 'rgb'"),
        ({"size": 0}, "size must be at least 1 pixel, got 0x0"),
    ):
        with pytest.raises(UserError, match=message):
            Embedder(models["onnx"], **options)
    with pytest.raises(UserError, match="provider TensorrtExecutionProvider: Paddle runs this"):
        Embedder(models["checkpoint"], provider="TensorrtExecutionProvider")
    embedder = Embedder(models["onnx"], provider="CPUExecutionProvider")
    for wrong in (pictures[0], pictures.astype(np.float32), pictures[:, :100]):
        with pytest.raises(UserError, match=r"takes images uint8 \[n, 112, 112, 3\], got "):
            embedder.embed(wrong)
    with pytest.raises(UserError, match="takes a list of paths, got the one path 'a.png'"):
        embedder.embed_files("a.png")
    with pytest.raises(UserError, match=r"image 0: must be a path or an array uint8"):
        embedder.embed_files([pictures[0].astype(float)])


def test_missing_packages_are_named_with_the_command(models, tmp_path, monkeypatch):
    there = onnx_network.importlib.util.find_spec
    monkeypatch.setattr(
        onnx_network.importlib.util,
        "find_spec",
        lambda name: None if name == missing else there(name),
    )
    missing = "onnxruntime"
    with pytest.raises(UserError, match="an ONNX model needs onnxruntime: pip install onnxruntime"):
        Embedder(models["onnx"])
    missing = "onnx"
    Embedder(models["onnx"])
    with pytest.raises(UserError, match="needs onnx: pip install onnx"):
        Embedder(third_party(models["onnx"], tmp_path / "other.onnx"))


def test_a_hidden_batch_size_is_told(tmp_path, pictures):
    """A graph that claims any batch and was traced with one image."""
    nodes = [
        helper.make_node("GlobalAveragePool", ["data"], ["pooled"]),
        helper.make_node("Reshape", ["pooled", "shape"], ["embedding"]),
    ]
    made, shape = vectors("embedding", "N", "d"), np.array([1, -1])
    path = tmp_path / "traced.onnx"
    write_model(path, nodes, given=images(), made=made, weights={"shape": shape})
    with pytest.raises(UserError, match=r"gives \[1, 15\] for 5 images, not one embedding for eac"):
        Embedder(path).embed(pictures)
    assert Embedder(path, batch_size=1).embed(pictures).shape == (5, 3)


def test_thresholds_of_anyones_model(models, tmp_path):
    path = told(models["onnx"], tmp_path / "t.onnx", thresholds=json.dumps(THRESHOLDS))
    assert Embedder(path).info.thresholds.cosines["1e-3"] == 0.3
