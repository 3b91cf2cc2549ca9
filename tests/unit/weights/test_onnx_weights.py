"""ONNX files in networks of ours: whatever an exporter did, the embeddings are the file's."""

import numpy as np
import onnx
import pytest
from filled_nets import embeddings, filled
from onnx import TensorProto, helper, numpy_helper
from onnx_models import optimised, outputs, told, vectors, write_model
from paddle import nn
from refusals import refused
from small_networks import small_face_vit

from plsc.errors import UserError
from plsc.export import convert as export
from plsc.files.onnx_graph import read_graph
from plsc.files.onnx_operations import Operation
from plsc.recognition import export_spec
from plsc.recognition.export_spec import embedding_spec, probe_images
from plsc.recognition.models.iresnet import IResNet18
from plsc.recognition.models.mobilefacenet import MobileFaceNet_base
from plsc.recognition.models.small import QuickFace, QuickFace_nano
from plsc.weights import pretrained
from plsc.weights.onnx_layers import Step, match_steps, steps_of
from plsc.weights.pretrained import find_weights, take_weights

NETS = {
    "QuickFace": lambda **options: QuickFace_nano(16),
    "IResNet18": lambda **options: IResNet18(16, **options),
    "MobileFaceNet": lambda **options: MobileFaceNet_base(16, **options),
    "FaceViT": lambda **options: small_face_vit(64, 2, 16),
}
IMAGES = probe_images(5)


def same(found, expected, *, values=True):
    """Equal but for rounding: direction, and length where it is not divided out."""
    lengths = np.linalg.norm(found, axis=1), np.linalg.norm(expected, axis=1)
    cosines = (found * expected).sum(axis=1) / lengths[0] / lengths[1]
    assert cosines.min() > 0.99999, cosines
    if values:
        assert np.abs(found - expected).max() < 1e-4 * np.abs(expected).max()


def write(net, path, *, preprocessing="none", **options):
    spec = embedding_spec(16, preprocessing=preprocessing)
    return export.export_onnx(net, path, spec, **options)


class Exports:
    """One file of each network and form, made when it is asked for."""

    def __init__(self, folder):
        self.folder, self.made = folder, {}

    def net(self, name):
        return self._of(name, lambda: filled(NETS[name]()))

    def path(self, name, opset=17):
        path = self.folder / f"{name}-{opset}.onnx"
        return self._of(path, lambda: write(self.net(name), path, opset=opset).path)

    def folded(self, name):
        """What ONNX Runtime makes of it: BatchNorms multiplied into the layers before them."""
        path = self.folder / f"{name}-folded.onnx"
        return self._of(path, lambda: optimised(self.path(name), path))

    def _of(self, key, make):
        if key not in self.made:
            self.made[key] = make()
        return self.made[key]


@pytest.fixture(scope="module")
def exports(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(export_spec, "CHECKED_BATCHES", (1,))
        patch.setattr(export, "TIMED_RUNS", 1)
        yield Exports(tmp_path_factory.mktemp("onnx"))


def loaded(path, net):
    """Embeddings of `net` with the file's weights, and what was said of them."""
    weights = take_weights(str(path), net)
    return embeddings(net, IMAGES), weights


@pytest.mark.parametrize(
    ("name", "opset"),
    [("QuickFace", 17), ("IResNet18", 17), ("FaceViT", 17), ("FaceViT", 11)],
)
def test_own_exports_come_back(exports, name, opset):
    """Weight by weight; at opset 11 a LayerNorm is ten nodes."""
    net, fresh = exports.net(name), NETS[name]()
    found, weights = loaded(exports.path(name, opset), fresh)
    same(found, embeddings(net, IMAGES))
    assert not weights.folded_norms and weights.head(0, 3) == (0, None)
    unused = {key for key in net.state_dict() if key == "mask_token"}
    assert [note for note in weights.notes if "left as they begin" in note] == [
        f"not in the graph and left as they begin: {key}" for key in unused
    ]
    for key, tensor in fresh.state_dict().items():
        if key not in unused:
            np.testing.assert_array_equal(tensor.numpy(), net.state_dict()[key].numpy())


@pytest.mark.parametrize("name", NETS)
def test_folded_batch_norms(exports, name):
    path, fresh = exports.folded(name), NETS[name]()
    found, weights = loaded(path, fresh)
    same(found, embeddings(exports.net(name), IMAGES))
    steps = steps_of(fresh)
    behind = [
        step.name
        for step in steps
        if step.kind == "norm"
        and step.input is not None
        and steps[step.input].kind in ("conv", "linear")
    ]
    expected = [norm for norm in behind if (name, norm) != ("IResNet18", "features")]
    assert list(weights.folded_norms) == expected  # with a bias before it, ONNX Runtime leaves it
    assert any(f"{len(expected)} BatchNorms come multiplied" in note for note in weights.notes)


def test_a_bias_of_ours_before_a_folded_batch_norm(exports):
    """As IResNet's last two: the file has one bias where we have two."""

    class Net(QuickFace):
        def __init__(self):
            super().__init__((24, 48, 96), num_features=16)
            self.fc = nn.Linear(4704, 16)

    found, weights = loaded(exports.folded("QuickFace"), Net())
    same(found, embeddings(exports.net("QuickFace"), IMAGES))
    assert "features" in weights.folded_norms


def test_order_of_nodes_does_not_matter(exports):
    """ONNX Runtime writes a shortcut's convolution before the branch beside it."""
    nodes = onnx.load(str(exports.folded("IResNet18"))).graph.node
    kinds = [node.op_type for node in nodes[:5]]
    assert kinds == ["Conv", "PRelu", "Conv", "BatchNormalization", "Conv"]


def test_nhwc_networks_take_the_same(exports):
    net = NETS["MobileFaceNet"](data_format="NHWC")
    found, _ = loaded(exports.folded("MobileFaceNet"), net)
    same(found, embeddings(exports.net("MobileFaceNet"), IMAGES))


def constants_in_nodes(graph):
    for tensor in list(graph.initializer):
        graph.initializer.remove(tensor)
        graph.node.insert(0, helper.make_node("Constant", [], [tensor.name], value=tensor))


def replace(graph, tensor, array):
    tensor.CopyFrom(numpy_helper.from_array(np.ascontiguousarray(array), tensor.name))


def named(graph, name):
    return next(tensor for tensor in graph.initializer if tensor.name == name)


def nodes_of(graph, op_type):
    return [node for node in graph.node if node.op_type == op_type]


def half_weights(graph):
    """Initializers of half precision, widened by a Cast each."""
    casts = []
    for tensor in graph.initializer:
        if tensor.data_type == TensorProto.FLOAT:
            wide = tensor.name
            half = numpy_helper.to_array(tensor).astype(np.float16)
            tensor.CopyFrom(numpy_helper.from_array(half, wide + "_half"))
            casts.append(helper.make_node("Cast", [wide + "_half"], [wide], to=TensorProto.FLOAT))
    for cast in casts:
        graph.node.insert(0, cast)


def gemm(graph):
    """The linear layer as torch writes it: the transposed matrix, a bias, factors."""
    (node,) = nodes_of(graph, "MatMul")
    weight = named(graph, node.input[1])
    replace(graph, weight, numpy_helper.to_array(weight).T / 2)
    bias = np.random.default_rng(0).normal(size=16).astype(np.float32)
    graph.initializer.append(numpy_helper.from_array(bias, "extra_bias"))
    node.op_type = "Gemm"
    node.input.append("extra_bias")
    node.attribute.extend([helper.make_attribute("transB", 1), helper.make_attribute("alpha", 2.0)])
    node.attribute.append(helper.make_attribute("beta", 0.5))


def transposed_matrix(graph):
    (node,) = nodes_of(graph, "MatMul")
    weight = named(graph, node.input[1])
    replace(graph, weight, numpy_helper.to_array(weight).T)
    turn = helper.make_node("Transpose", [weight.name], ["turned"], perm=[1, 0])
    node.input[1] = "turned"
    graph.node.insert(0, turn)


def biases_before_batch_norms(graph):
    random = np.random.default_rng(1)
    for number, node in enumerate(nodes_of(graph, "Conv")):
        channels = named(graph, node.input[1]).dims[0]
        bias = random.normal(size=channels).astype(np.float32)
        graph.initializer.append(numpy_helper.from_array(bias, f"bias_{number}"))
        if number % 2:
            node.input.append(f"bias_{number}")
            continue
        graph.initializer.append(
            numpy_helper.from_array(bias.reshape(1, -1, 1, 1), f"bias4_{number}")
        )
        after = helper.make_node("Add", [f"loose_{number}", f"bias4_{number}"], [node.output[0]])
        graph.node.insert(list(graph.node).index(node) + 1, after)
        node.output[0] = f"loose_{number}"


def other_epsilon(graph):
    for node in nodes_of(graph, "BatchNormalization"):
        kept = [item for item in node.attribute if item.name != "epsilon"]
        del node.attribute[:]
        node.attribute.extend([*kept, helper.make_attribute("epsilon", 0.3)])


def scales_for_batch_norms(graph):
    """y = x · factor + shift, as some converters leave it of a BatchNorm."""
    for number, node in enumerate(nodes_of(graph, "BatchNormalization")[:4]):
        weight, bias, mean, variance = (
            numpy_helper.to_array(named(graph, name)) for name in node.input[1:5]
        )
        factor = weight / np.sqrt(variance + 1e-5)
        for name, values in (("factor", factor), ("shift", bias - mean * factor)):
            array = values.reshape(1, -1, 1, 1).astype(np.float32)
            graph.initializer.append(numpy_helper.from_array(array, f"{name}_{number}"))
        place = list(graph.node).index(node)
        parts = [
            helper.make_node("Mul", [node.input[0], f"factor_{number}"], [f"scaled_{number}"]),
            helper.make_node("Add", [f"shift_{number}", f"scaled_{number}"], [node.output[0]]),
        ]
        graph.node.remove(node)
        for part in reversed(parts):
            graph.node.insert(place, part)


def identities(graph):
    """Nodes that do nothing between the layers."""
    for number, node in enumerate(nodes_of(graph, "BatchNormalization")):
        place = list(graph.node).index(node)
        graph.node.insert(place, helper.make_node("Identity", [node.input[0]], [f"again_{number}"]))
        node.input[0] = f"again_{number}"


GRAPHS = [constants_in_nodes, half_weights, gemm, transposed_matrix, biases_before_batch_norms]
GRAPHS += [other_epsilon, scales_for_batch_norms, identities]


def edited(source, target, change):
    model = onnx.load(str(source))
    change(model.graph)
    onnx.checker.check_model(model, full_check=True)
    onnx.save(model, str(target))
    return target


@pytest.mark.parametrize("change", GRAPHS, ids=lambda change: change.__name__)
def test_ways_to_write_the_same(exports, tmp_path, change):
    path = edited(exports.path("QuickFace"), tmp_path / "net.onnx", change)
    found, weights = loaded(path, NETS["QuickFace"]())
    same(found, outputs(path, IMAGES))
    assert not weights.folded_norms


def normalised_output(graph):
    node = graph.node[-1]
    last, node.output[0] = node.output[0], "raw"
    graph.node.append(helper.make_node("LpNormalization", ["raw"], [last], axis=1, p=2))


def test_a_graph_that_normalises_its_embeddings(exports, tmp_path):
    path = edited(exports.folded("QuickFace"), tmp_path / "net.onnx", normalised_output)
    found, _ = loaded(path, NETS["QuickFace"]())
    same(found, outputs(path, IMAGES), values=False)
    same(found, embeddings(exports.net("QuickFace"), IMAGES))


def prepares(mean, divisor):
    def change(graph):
        first = next(node for node in graph.node if "data" in node.input)
        first.input[0] = "prepared"
        for name, value in (("mean", mean), ("divisor", divisor)):
            array = np.asarray(value, np.float32)
            graph.initializer.append(numpy_helper.from_array(array, name))
        nodes = [helper.make_node("Sub", ["data", "mean"], ["centred"])]
        nodes.append(helper.make_node("Mul", ["divisor", "centred"], ["prepared"]))
        for node in reversed(nodes):
            graph.node.insert(0, node)

    return change


def takes_bytes(graph):
    """uint8 [1, 112, 112, 3], one image at a time, as graphs for phones take it."""
    prepares(127.5, 1 / 127.5)(graph)
    graph.node[0].input[0] = "first"
    graph.node.insert(0, helper.make_node("Transpose", ["wide"], ["first"], perm=[0, 3, 1, 2]))
    graph.node.insert(0, helper.make_node("Cast", ["data"], ["wide"], to=TensorProto.FLOAT))
    kind = helper.make_tensor_type_proto(TensorProto.UINT8, [1, 112, 112, 3])
    graph.input[0].type.CopyFrom(kind)
    graph.output[0].type.tensor_type.shape.dim[0].dim_value = 1


PIXELS = np.rint(IMAGES * 127.5 + 127.5).astype(np.float32)
COLOURS = np.array([0.485, 0.456, 0.406]).reshape(1, 3, 1, 1) * 255


@pytest.mark.parametrize(
    ("mean", "factor", "note"),
    [
        (127.5, 1 / 127.5, None),
        (127.5, 0.0078125, "(pixel - 127.5) / 128"),
        (0.0, 1 / 255, "(pixel - 0) / 255"),
        (COLOURS, np.full((3, 1, 1), 1 / 58), "(pixel - 123.675 116.28 103.53) / 58 58 58"),
    ],
)
def test_pixels_that_the_graph_prepares(exports, tmp_path, mean, factor, note):
    """Weights stay: the layers see what they saw; the note says what transforms have to do."""
    path = edited(exports.folded("QuickFace"), tmp_path / "net.onnx", prepares(mean, factor))
    net = NETS["QuickFace"]()
    _, weights = loaded(path, net)
    same(embeddings(net, (PIXELS - mean) * factor), outputs(path, PIXELS))
    found = [text for text in weights.notes if "prepares pixels" in text]
    assert (note is None and not found) or note in found[0]


@pytest.mark.parametrize("last", [False, True])
def test_colours_that_the_graph_swaps(exports, tmp_path, last):
    """As plsc's own exports with preprocessing do for networks that were trained on BGR."""
    means = np.array([1, 2, 3]).reshape(1, 3, 1, 1)

    def change(graph):
        prepares(means, np.full((3, 1, 1), 1 / 127.5))(graph)
        place = 2 if last else 0
        node = graph.node[place]
        given, node.input[0] = node.input[0], "swapped"
        graph.initializer.append(numpy_helper.from_array(np.array([2, 1, 0]), "bgr"))
        graph.node.insert(place, helper.make_node("Gather", [given, "bgr"], ["swapped"], axis=1))

    path = edited(exports.path("QuickFace"), tmp_path / "net.onnx", change)
    net = NETS["QuickFace"]()
    _, weights = loaded(path, net)
    seen = (PIXELS - means)[:, ::-1] if last else PIXELS[:, ::-1] - means
    same(embeddings(net, seen / 127.5), outputs(path, PIXELS))
    shown = "3 2 1" if last else "1 2 3"
    assert any(f"in BGR order as (pixel - {shown}) / 127.5" in note for note in weights.notes)


@pytest.mark.parametrize("layout", ["nhwc", "nchw"])
def test_own_exports_with_preprocessing(exports, tmp_path, layout):
    net, path = exports.net("QuickFace"), tmp_path / "net.onnx"
    write(net, path, preprocessing=layout, fp16=True)
    fresh = NETS["QuickFace"]()
    weights = take_weights(str(path), fresh)
    assert len(weights.notes) == 1 and "the backbone gives the embeddings" in weights.notes[0]
    for key, tensor in fresh.state_dict().items():
        np.testing.assert_allclose(tensor.numpy(), net.state_dict()[key].numpy(), atol=1e-3)


def test_bytes_in_another_layout(exports, tmp_path):
    path = edited(exports.path("QuickFace"), tmp_path / "net.onnx", takes_bytes)
    net = NETS["QuickFace"]()
    found, weights = loaded(path, net)
    for number, image in enumerate(PIXELS.astype(np.uint8)):
        given = image.transpose(1, 2, 0)[None]
        same(found[number : number + 1], outputs(path, given))
    assert not [text for text in weights.notes if "prepares" in text]


@pytest.mark.parametrize("batch", [1, 3])
def test_a_fixed_batch(exports, tmp_path, batch):
    def fix(graph):
        for value in (graph.input[0], graph.output[0]):
            value.type.tensor_type.shape.dim[0].dim_value = batch

    path = edited(exports.folded("QuickFace"), tmp_path / "net.onnx", fix)
    found, _ = loaded(path, NETS["QuickFace"]())
    same(found[:batch], outputs(path, IMAGES[:batch]))


def test_what_the_file_says_of_its_pixels(exports, tmp_path):
    said = {"color_order": "BGR", "mean": "0", "std": "255"}
    path = told(exports.path("QuickFace"), tmp_path / "net.onnx", **said)
    _, weights = loaded(path, NETS["QuickFace"]())
    assert any("color_order BGR, mean 0, std 255" in note for note in weights.notes)
    _, weights = loaded(exports.path("QuickFace"), NETS["QuickFace"]())
    assert not any("pixels" in note for note in weights.notes)


def untaken(path, net, *words):
    """Return the line that taking the weights is refused with; the network stays as it was."""
    before = {name: tensor.numpy() for name, tensor in net.state_dict().items()}
    net.train()
    text = refused(lambda: take_weights(str(path), net), path, *words)
    assert len(text) < 600 and net.training
    if "fit this Model by kind" not in text:
        for name, tensor in net.state_dict().items():
            np.testing.assert_array_equal(tensor.numpy(), before[name])
    return text


def test_another_network(exports):
    text = untaken(exports.path("IResNet18"), NETS["QuickFace"](), "no conv [24, 3, 7, 7] for stem")
    assert "but conv [64, 3, 3, 3] (Conv.0)" in text
    untaken(exports.folded("QuickFace"), QuickFace_nano(32), "no linear [4704, 32] for fc", "16]")
    untaken(exports.folded("QuickFace"), NETS["MobileFaceNet"](), "for layers.0.layers.0 there")


def test_a_layer_between_others_is_named_where_it_is(exports, tmp_path):
    def change(graph):
        node = nodes_of(graph, "Conv")[4]  # the first of the second stage
        weight = np.zeros((48, 48, 1, 1), np.float32)
        graph.initializer.append(numpy_helper.from_array(weight, "extra"))
        extra = helper.make_node("Conv", [node.input[0], "extra"], ["between"], name="more")
        graph.node.insert(list(graph.node).index(node), extra)
        node.input[0] = "between"

    path = edited(exports.path("QuickFace"), tmp_path / "net.onnx", change)
    text = untaken(path, NETS["QuickFace"](), "no conv [96, 48, 3, 3] for stages.1.down.0 there")
    assert text.endswith("but conv [48, 48, 1, 1] (more)")


def norm(name, before, after):
    return Operation("norm", name, {"weight": np.ones(4)}, 1e-5, before, frozenset(after))


def test_a_batch_norm_takes_the_one_behind_its_convolution():
    """Another one beside it, of the same shape, comes first in the graph."""
    conv = Operation("conv", "conv", {"weight": np.ones((4, 3, 1, 1))}, 0.0, None, frozenset())
    steps = [Step("conv", "conv", nn.Conv2D(3, 4, 1), None)]
    steps += [Step("behind", "norm", nn.BatchNorm2D(4), 0)]
    steps += [Step("beside", "norm", nn.BatchNorm2D(4), None)]
    operations = [norm("beside", None, ()), conv, norm("behind", 1, (1,))]
    match = match_steps(steps, operations, "file")
    assert {steps[n].name: match.taken[n].name for n in match.taken} == {
        "conv": "conv", "behind": "behind", "beside": "beside",
    }  # fmt: skip


def test_a_summand_is_a_bias_only_where_nothing_else_uses_the_layer(tmp_path):
    """x · W goes on without the summand, too."""
    weights = {"W": np.eye(4, dtype=np.float32), "b": np.ones(4, np.float32)}
    nodes = [
        helper.make_node("MatMul", ["x", "W"], ["y"]),
        helper.make_node("Add", ["y", "b"], ["z"]),
    ]
    nodes.append(helper.make_node("Mul", ["y", "z"], ["out"]))
    for kept, kinds in ((nodes, ["linear", "add"]), (nodes[:2], ["linear"])):
        given, made = vectors("x", 1, 4), vectors(kept[-1].output[0], 1, 4)
        path = write_model(tmp_path / "n.onnx", kept, given=given, made=made, weights=weights)
        found = read_graph(str(path)).operations
        assert [operation.kind for operation in found] == kinds


def more_layers(graph):
    node = graph.node[-1]
    last, node.output[0] = node.output[0], "raw"
    eye = numpy_helper.from_array(np.eye(16, dtype=np.float32), "eye")
    graph.initializer.append(eye)
    graph.node.append(helper.make_node("MatMul", ["raw", "eye"], [last], name="more"))


def summand(graph):
    node = graph.node[-1]
    last, node.output[0] = node.output[0], "raw"
    graph.initializer.append(numpy_helper.from_array(np.ones((1, 16), np.float32), "ones"))
    graph.node.append(helper.make_node("Add", ["raw", "ones"], [last], name="more"))


def table(graph):
    """Weights in an operation that plsc knows no layer for."""
    node = graph.node[-1]
    last, node.output[0] = node.output[0], "raw"
    graph.initializer.append(numpy_helper.from_array(np.full(16, 2, np.float32), "powers"))
    graph.node.append(helper.make_node("Pow", ["raw", "powers"], [last], name="more"))


@pytest.mark.parametrize("change", [more_layers, summand, table], ids=lambda item: item.__name__)
def test_what_is_left_over_is_named(exports, tmp_path, change):
    path = edited(exports.path("QuickFace"), tmp_path / "net.onnx", change)
    text = untaken(path, NETS["QuickFace"](), "1 operations of the graph are left over")
    assert "(more)" in text


def other_activation(graph):
    for node in nodes_of(graph, "Relu"):
        node.op_type = "LeakyRelu"
        node.attribute.append(helper.make_attribute("alpha", 0.1))


def test_same_layers_but_another_function(exports, tmp_path):
    """What order and shapes cannot see, the embeddings show."""
    path = edited(exports.path("QuickFace"), tmp_path / "net.onnx", other_activation)
    untaken(path, NETS["QuickFace"](), "its embeddings do not: cosine")


def test_a_bias_without_a_place(exports, tmp_path):
    class Net(QuickFace):
        def __init__(self):
            super().__init__((24, 48, 96), num_features=16)
            self.features = nn.Identity()

    untaken(exports.folded("QuickFace"), Net(), "linear [4704, 16]", "has a bias, fc none")


def test_a_layer_that_no_operation_is_known_for(exports):
    class Net(QuickFace):
        def __init__(self):
            super().__init__((24, 48, 96), num_features=16)
            self.features = nn.GroupNorm(4, 16)

    with pytest.raises(UserError, match="features is a GroupNorm, which plsc cannot read from ONN"):
        take_weights(str(exports.path("QuickFace")), Net())


def test_damaged_files(exports, tmp_path):
    path, data = tmp_path / "net.onnx", exports.path("QuickFace").read_bytes()
    for content in (b"", b"text", data[:-7], data[: len(data) // 2], bytes(1000), data[5000:]):
        path.write_bytes(content)
        untaken(path, NETS["QuickFace"]())


def test_every_damaged_byte_of_the_graph_is_one_line_or_none(exports, tmp_path):
    """Bytes outside the weights, changed one at a time: names, shapes, types, attributes."""
    model = onnx.load(str(exports.path("QuickFace")))
    data = model.SerializeToString()
    random, path = np.random.default_rng(0), tmp_path / "net.onnx"
    net = NETS["QuickFace"]()
    graph_starts = data.index(b"Conv.0") - 200
    for place in random.integers(graph_starts, graph_starts + 3000, 40):
        damaged = bytearray(data)
        damaged[place] ^= 1 << int(random.integers(8))
        path.write_bytes(damaged)
        try:
            take_weights(str(path), net)
        except UserError as error:
            assert "\n" not in str(error)


def test_a_missing_package_is_named_with_the_command(exports, monkeypatch):
    monkeypatch.setattr(pretrained, "ONNX_MODULES", ("onnx", "not_there"))
    with pytest.raises(UserError, match=r"needs not_there: pip install not_there"):
        find_weights(str(exports.path("QuickFace")))
