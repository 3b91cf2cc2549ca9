"""What all tests share: the process environment, golden figures, and gloo worlds of processes."""

import os
import signal
import sys
from pathlib import Path

import numpy as np
import pytest
from commands import stopped
from hypothesis import HealthCheck, settings
from places import ROOT, SHARED_DATA
from small_runs import SMALL_BACKBONE, Run, World, metrics_of

from plsc.nn import environment as runtime

GOLDEN = ROOT / "tests" / "golden"
REAL_FACES = SHARED_DATA / "orl"

settings.register_profile(
    "plsc",
    deadline=None,  # a busy machine is no failure
    suppress_health_check=[HealthCheck.function_scoped_fixture],  # examples write over each other
)
settings.load_profile("plsc")
WORKERS = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
if WORKERS > 1:  # they share the cores, and so do the commands that they start
    os.environ.setdefault("PLSC_NUM_THREADS", str(max(1, runtime.cores() // WORKERS)))
runtime.prepare(local_size=1)  # before any test imports paddle


def pytest_configure(config):
    config.addinivalue_line("markers", "slow: takes minutes; run by make test-slow")
    config.addinivalue_line("markers", "gpu: needs a GPU; holds a GPU kernel equal to the CPU's")


@pytest.fixture
def golden():
    """Folder of the golden figures."""
    return GOLDEN


@pytest.fixture
def real_faces():
    """Folder with the ORL faces as an MXNet RecordIO set; the test is skipped without it."""
    if not (REAL_FACES / "train.rec").exists():
        pytest.skip("the ORL faces (../shared/data/orl) are not here")
    return REAL_FACES


@pytest.fixture
def worlds(tmp_path):
    """Runs scripts of tests/distributed in worlds of gloo processes."""
    return World(tmp_path)


@pytest.fixture(scope="module")
def module_worlds(tmp_path_factory):
    """A new world of processes at each call, for runs that several tests of a module look at."""
    return lambda: World(tmp_path_factory.mktemp("world"))


@pytest.fixture
def read_metrics():
    return metrics_of


@pytest.fixture(scope="session")
def small_backbone():
    """num_features -> the small backbone, whose statistics, scales and biases all matter."""
    import paddle

    from plsc.config.registry import BACKBONES

    def make(num_features: int):
        paddle.seed(0)
        net = BACKBONES.get(SMALL_BACKBONE, "Model.name")(num_features=num_features)
        rng = np.random.default_rng(0)
        for name, tensor in net.state_dict().items():
            if len(tensor.shape) == 1:
                low, high = (0.5, 1.5) if name.endswith(("_variance", "weight")) else (-0.3, 0.3)
                tensor.set_value(rng.uniform(low, high, tensor.shape).astype(np.float32))
        net.eval()
        return net

    return make


@pytest.fixture
def paired(monkeypatch):
    """(our layer, Paddle's, shape) -> both with the same random state, and an input for them."""
    import paddle

    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    monkeypatch.setenv("PLSC_STOCK_CPU", "0")

    def pair(ours, stock, shape: tuple[int, ...]):
        paddle.seed(3)
        for parameter in ours.parameters():
            parameter.set_value(paddle.randn(parameter.shape))
        assert ours.state_dict().keys() == stock.state_dict().keys()
        stock.set_state_dict(ours.state_dict())
        return ours, stock, paddle.randn(shape)

    return pair


@pytest.fixture
def calls_of(monkeypatch):
    """(module, name of a function), ... -> the names of those that were called, in their order."""

    def watch(*functions) -> list[str]:
        calls: list[str] = []
        for module, name in functions:
            run = getattr(module, name)

            def noted(*arguments, run=run, name=name, **options):
                calls.append(name)
                return run(*arguments, **options)

            monkeypatch.setattr(module, name, noted)
        return calls

    return watch


@pytest.fixture(scope="session")
def results():
    """(layer, input) -> output, and gradients of input and parameters, of a fixed function."""
    import paddle

    def run(layer, x) -> dict[str, np.ndarray]:
        x = x.detach()
        x.stop_gradient = False
        out = layer(x * 1)
        weights = paddle.to_tensor(np.random.default_rng(2).normal(size=out.shape).T.copy())
        # a gradient that is not contiguous
        weights = weights.astype(out.dtype).transpose(range(out.ndim)[::-1])
        (out * weights).sum().backward()
        trained = {key: p for key, p in layer.named_parameters() if not p.stop_gradient}
        gradients = {key: parameter.grad.numpy() for key, parameter in trained.items()}
        layer.clear_gradients()
        return {"out": out.numpy(), "x": x.grad.numpy(), **gradients}

    return run


@pytest.fixture(scope="session")
def same():
    """Compares results, to the last bit or to a tolerance."""

    def compare(found, expected, *, rtol=0.0, atol=0.0):
        assert found.keys() == expected.keys()
        for key, value in found.items():
            np.testing.assert_allclose(value, expected[key], rtol=rtol, atol=atol, err_msg=key)

    return compare


@pytest.fixture(scope="session")
def assert_pieces():
    """Checks that pieces of a head are all of `rows`, from class `start` on, each in its place."""

    def check(pieces, rows: np.ndarray, start: int) -> None:
        for first, values in pieces:
            np.testing.assert_array_equal(values, rows[: len(values)])
            assert first == start
            start, rows = start + len(values), rows[len(values) :]
        assert not len(rows)

    return check


@pytest.fixture(scope="session")
def tiny_faces(tmp_path_factory):
    """A folder with 22 noisy pictures of 5 colours (`label.txt`) and 20 pairs (`pairs.txt`)."""
    import cv2

    folder = tmp_path_factory.mktemp("tiny_faces")
    random = np.random.default_rng(5)
    colours = random.integers(40, 216, (5, 3))
    labels = [i % 5 for i in range(22)]
    for i, label in enumerate(labels):
        picture = colours[label] + random.normal(0, 25, (112, 112, 3))
        cv2.imwrite(str(folder / f"{i}.png"), picture.clip(0, 255).astype(np.uint8))
    lines = [f"{i}.png\t{label}\n" for i, label in enumerate(labels)]
    (folder / "label.txt").write_text("".join(lines))
    pairs = [
        (i, (i + 5) % 20 if same else (i + 7) % 20, same) for i in range(10) for same in (1, 0)
    ]
    (folder / "pairs.txt").write_text("".join(f"{a}.png\t{b}.png\t{s}\n" for a, b, s in pairs))
    return folder


@pytest.fixture
def run(tmp_path, tiny_faces):
    return Run(tmp_path, tiny_faces)


@pytest.fixture(scope="session")
def small_checkpoint(tmp_path_factory, tiny_faces):
    """The checkpoint after two steps of the training of `run`: to be read, copied, not changed."""
    run = Run(tmp_path_factory.mktemp("small_checkpoint"), tiny_faces)
    run("train", "Global.max_train_step=2")
    return run.output / "step_2"


@pytest.fixture(scope="module")
def convert_once(tmp_path_factory):
    """Converts each network to ONNX once for each opset: the converter starts a process."""
    from plsc.files import onnx_file

    folder, convert = tmp_path_factory.mktemp("converted"), onnx_file.convert

    def from_before(stem, target, *, opset, **options):
        weights = stem.with_name(stem.name + ".pdiparams")
        kept = folder / f"{opset}-{hash(weights.read_bytes() if weights.exists() else stem)}.onnx"
        if not kept.exists():
            convert(stem, kept, opset=opset, **options)
        target.write_bytes(kept.read_bytes())

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(onnx_file, "convert", from_before)
        yield


@pytest.fixture
def killed_at_image(tmp_path):
    """Runs a command that keeps rows, and kills it while it waits for `image`; `done` are safe."""

    def run(module: str, arguments: list, *, out: str, image: Path, done: int) -> Path:
        content = image.read_bytes()
        image.unlink()
        os.mkfifo(image)  # whoever reads it waits
        code = (
            f"import sys\nfrom plsc.files import row_store\nfrom {module} import main\n"
            "row_store.MARK_SECONDS = 0\nsys.exit(main())"
        )
        marks = tmp_path / f"{out}.partial" / "finished"

        def is_there():
            return marks.exists() and np.count_nonzero(np.fromfile(marks, "<i8")) == done

        line = [sys.executable, "-c", code, *map(str, arguments), "--out", out]
        stopped(line, signal.SIGKILL, when=is_there, cwd=tmp_path)
        assert not (tmp_path / out).exists()
        image.unlink()
        image.write_bytes(content)
        return marks.parent

    return run
