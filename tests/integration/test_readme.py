"""The documents are true: their commands run, and what they name exists.

Commands run in the documents' order, in a folder with tiny data under the names that the documents
use, with a small network in place of IResNet18: all but those that NOT_RUN has a reason for.
"""

import csv
import inspect
import json
import os
import pickle
import re
import shlex
import sys
from contextlib import nullcontext
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest
import yaml
from checkpoints import backbone_of
from commands import ran
from documents import DETECTION, DOCS, PAGES, QUALITY, README, RECIPE, Document, codes, commands
from filled_nets import embeddings
from ijb_release import make_release
from logs import Log
from onnx_models import told
from pickles import Calls
from places import ROOT, configs_of
from refusals import refused
from small_runs import forked
from torch_files import as_torch, write_torch

from plsc.config import yaml_tree
from plsc.config.load import load_config, parse_config
from plsc.config.registry import DATASETS, LOSSES, TRANSFORMS, plugin_of
from plsc.config.schema import check_params
from plsc.engine.build import check_components
from plsc.errors import UserError

DOCUMENTS = [RECIPE, QUALITY, README]  # the first makes what the others take for granted
ALL_TEXT = "".join(page.read_text("utf-8") for page in PAGES)
CONFIGS = configs_of("recognition")
BASELINE = ROOT / "configs" / "IResNet50_MS1MV3_ArcFace_pfc01_1n8c_dp_mp_fp16o1.yaml"
RECORDS = ROOT / "configs" / "IResNet18_ORL_ArcFace_cpu.yaml"
MAGFACE = ROOT / "configs" / "IResNet100_MS1MV2_MagFace_pfc10_1n8c_dp_mp_fp16o1.yaml"
SMALL = "QuickFace_nano"
SCRIPTS = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
ENVIRONMENT = {**os.environ, "PATH": SCRIPTS}

LAUNCH = "python -m paddle.distributed.launch"
GPUS = f"{LAUNCH} --devices=0,1,2,3,4,5,6,7 plsc-train -c configs/IResNet50_MS1MV3_ArcFace"
NODES = "--nnodes=2 --master=10.0.0.1:12538 --devices=0,1,2,3,4,5,6,7 plsc-train -c"
TOOLS = "python -m plsc.data.dataset.tools"
WEIGHTS = "-o Global.pretrained_model=output/IResNet18/best_model"
PUBLIC = "ms1m-retinaface-t1"
THIRD_PARTY = "w600k_r50.onnx"
RELEASE = "IJB_release/IJBC"
PUBLISHED = "magface_epoch_00025.pth"
MAGFACE_ONNX = "magface/IResNet18.onnx"
ONE_IN_TEN = " --fmr 1e-1"  # of 10 impostor pairs
FINETUNE = "plsc-train -c mine.yaml -o Global.pretrained_model"
BRIEFLY = "-o Global.max_train_step=1 -o Global.eval_during_train=False -o Global.output_dir"
# Command -> what is appended to keep it short; all others are run as they are.
SHORTENED = {
    f"{TOOLS}.render_synthetic_faces --output_dir dataset/synthetic --identities 100 "
    "--images_per_identity 10 --eval_identities 40 --pairs 400": (
        " --identities 3 --images_per_identity 2 --eval_identities 2 --pairs 10 --workers 1"
    ),
    "plsc-data pairs faces/test dataset/mine/val.bin --num_pairs 6000": " --num_pairs 20",
    "plsc-train -c mine.yaml -o 'Global.plugins=[my_backbone,my_loss]' -o Model.name=TinyNet "
    """-o "Loss.Train=[{'FlatMargin': {'m': 0.3}}]\"""": (
        " -o Global.max_train_step=1 -o Global.eval_during_train=False"
    ),
    "plsc-train -c mine.yaml -o 'Global.plugins=[my_dataset,my_transform,my_metric]' "
    "-o DataLoader.Train.dataset.name=FirstImages "
    "-o 'DataLoader.Train.dataset.transform_ops="
    "[DecodeImage,RandGammaImage,NormalizeImage,ToCHWImage]' "
    """-o "Metric.Eval=[{'LowestEER': {}}]" -o Global.output_dir=extended""": (
        " -o Global.max_train_step=1"
    ),
    "plsc-doctor": " --seconds 1",
    f"{LAUNCH} --nproc_per_node=2 plsc-doctor": " --seconds 1",
    "plsc-train -c mine.yaml -o Global.checkpoint=output/IResNet18/latest": (
        " -o Global.epochs=2 -o Global.output_dir=resumed"  # files keep agreeing with best_model
    ),
    f"{LAUNCH} --nproc_per_node=2 plsc-train -c mine.yaml": " -o Global.output_dir=two_ranks",
    f"plsc-train -c mine.yaml {WEIGHTS} -o Global.finetune=True": " -o Global.output_dir=finetuned",
    f"{FINETUNE}={THIRD_PARTY} -o Global.finetune=True": f" {BRIEFLY}=from_onnx",
    f"{FINETUNE}=backbone.pth -o Global.finetune=True": f" {BRIEFLY}=from_pth",
    "plsc-train -c magface.yaml -o Global.pretrained_model=output/IResNet18/best_model "
    "-o Global.finetune=True -o Global.head_init=class_means -o Loss.Train.0.MagFace.l_a=1 "
    "-o Loss.Train.0.MagFace.u_a=51 -o Loss.Train.0.MagFace.u_m=1.0 "
    "-o Loss.Train.0.MagFace.lambda_g=5 -o Global.output_dir=magface_finetuned": (
        " -o Global.max_train_step=1 -o Global.eval_during_train=False"
    ),
    f"plsc-export -c configs/{MAGFACE.name} -o Global.pretrained_model={PUBLISHED} "
    "-o Global.device=cpu -o Global.output_dir=published": (
        " -o Model.name=IResNet18 -o Model.num_features=32"
    ),
    f"plsc-quality evr MagFace={MAGFACE_ONNX} ArcFace=output/IResNet18.onnx "
    "--bin dataset/mine/val.bin --out evr": ONE_IN_TEN,
    "plsc-quality evr output/IResNet18.onnx --bin dataset/mine/val.bin --csv score=val.csv "
    "--out evr_score": ONE_IN_TEN,
}
# Command -> why it is not run.
NOT_RUN = {
    "make quickstart": "takes minutes and sets up an environment of its own",
    "make test": "runs this test",
    "make docs": "needs a package index",
    "python3 -m venv .venv && . .venv/bin/activate": "test_packaging makes an environment",
    'pip install -e ".[cpu,onnx,plot]"': "needs a package index; test_packaging installs the wheel",
    f"{GPUS}_pfc10_1n8c_dp_mp_fp16o1.yaml": "needs 8 GPUs; two processes on the CPU are run",
    f"{GPUS}_pfc01_1n8c_dp_mp_fp16o1.yaml": "needs 8 GPUs; two processes on the CPU are run",
    f"{LAUNCH} --devices=0,1,2,3,4,5,6,7 plsc-train -c configs/{MAGFACE.name}": "needs 8 GPUs",
    f"{LAUNCH} {NODES} X.yaml": "needs two machines; test_commands has two launchers on one",
    "python tools/quality_experiment.py --seeds 0 1 2 --pictures docs/images": (
        "takes half an hour; test_quality_experiment runs it on a few people"
    ),
}


NOT_RUN |= {
    command: "needs WIDER FACE; test_detection_commands runs such on a few images"
    for command in DETECTION.commands()
}
ALL_COMMANDS = [command for document in DOCUMENTS for command in document.commands()]
TEXT = "".join(document.text for document in DOCUMENTS)


def test_commands_that_are_shortened_or_not_run_are_in_the_documents():
    assert not set(SHORTENED) & set(NOT_RUN)
    everywhere = {command for page in PAGES for command in Document(page).commands()}
    assert set(SHORTENED) | set(NOT_RUN) <= everywhere == {*ALL_COMMANDS, *DETECTION.commands()}


def write_photos(folder: Path) -> None:
    """Rendered people in larger photos, and landmarks.csv without a header."""
    import cv2

    from plsc.datatools.drawn_face.render import Identity, View, render_face

    lines = []
    for part, people in (("train", "abcde"), ("test", "vwxyz")):
        for name in people:
            (folder / part / name).mkdir(parents=True)
            for number in range(4):
                person = ord(name)
                image, points, _ = render_face(
                    Identity.sample(0, person), View.sample(0, person, number), size=160
                )
                photo = np.full((240, 320, 3), 90, np.uint8)
                photo[40:200, 100:260] = image[..., ::-1]
                path = f"{part}/{name}/{number}.jpg"
                cv2.imwrite(str(folder / path), photo)
                lines.append(",".join([path, *map("{:.1f}".format, (points + [100, 40]).ravel())]))
    (folder / "landmarks.csv").write_text("\n".join(lines) + "\n")


def write_others_weights(folder: Path) -> None:
    """Networks as InsightFace's ONNX file without metadata, arcface_torch's .pth and MagFace's."""
    import paddle

    from plsc.config.registry import BACKBONES
    from plsc.export.convert import export_onnx
    from plsc.recognition.export_spec import embedding_spec

    paddle.seed(1)
    backbone = BACKBONES.get(SMALL, "Model.name")(num_features=32)
    export_onnx(backbone, folder / THIRD_PARTY, embedding_spec(32))
    told(folder / THIRD_PARTY, folder / THIRD_PARTY)
    write_torch(folder / "backbone.pth", as_torch(backbone))
    network = BACKBONES.get("IResNet18", "Model.name")(num_features=32, conv_init="kaiming")
    write_torch(folder / PUBLISHED, as_torch(network, "features.module."))


class Walk:
    """A folder with the documents' data, in which their blocks are run in order."""

    def __init__(self, folder: Path, faces: Path):
        self.folder = folder
        self.done: dict[str, str] = {}
        for name in ("configs", "docs", "tasks", "tools"):
            (folder / name).symlink_to(ROOT / name)
        self._make_data(faces)

    def _make_data(self, faces: Path) -> None:
        import cv2

        from plsc.data.records.recordio import RecordWriter

        rows = [line.split("\t") for line in (faces / "label.txt").read_text().splitlines()]
        pairs = [line.split("\t") for line in (faces / "pairs.txt").read_text().splitlines()]
        write_photos(self.folder / "photos")
        release = make_release(self.folder / RELEASE)
        release.write_search(release.root / "meta", {"G1": [100, 94]}, [97, 91])
        write_others_weights(self.folder)
        records = self.folder / PUBLIC
        records.mkdir()
        pixels = {name: cv2.imread(str(faces / name)) for name, _ in rows}
        encoded, others = (
            {name: cv2.imencode(".jpg", pixels[name], how)[1].tobytes() for name in pixels}
            for how in ([cv2.IMWRITE_JPEG_QUALITY, 95], [cv2.IMWRITE_JPEG_QUALITY, 80])
        )
        with RecordWriter(records / "train.rec") as writer:
            writer.write(0, b"", labels=[len(rows) + 1, len(rows) + 1])
            for key, (name, label) in enumerate(rows, start=1):
                writer.write(key, encoded[name], labels=float(label))
        images = [others[name] for pair in pairs for name in pair[:2]]
        content = pickle.dumps((images, [pair[2] == "1" for pair in pairs]))
        for path in (records / "agedb_30.bin", records / "lfw.bin", self.folder / "lfw.bin"):
            path.write_bytes(content)
        (self.folder / "faces_emore").symlink_to(records)
        (self.folder / "reference").symlink_to("faces/test")
        for name, row in (("a.jpg", 0), ("b.jpg", 1)):
            (self.folder / name).write_bytes(encoded[rows[row][0]])

    def run(self, command: str, *arguments: str) -> str:
        """What the command printed, after it ended well."""
        small = command.replace("IResNet18/", f"{SMALL}/").replace("IResNet18.", f"{SMALL}.")
        if not arguments and small.startswith("plsc-") and not small.startswith("plsc-doctor"):
            return forked(*shlex.split(small), cwd=self.folder).stdout
        start = arguments or ("bash", "-c")
        return ran(*start, small, cwd=self.folder, env=ENVIRONMENT, timeout=120).stdout

    def bash(self, command: str) -> None:
        if command in self.done or command in NOT_RUN:
            return
        self.done[command] = self.run(command + SHORTENED.get(command, ""))
        if command.startswith("cp configs"):
            self._edit(self.folder / "mine.yaml")
        elif command.startswith("cp mine.yaml"):
            self._replace(self.folder / "magface.yaml", QUALITY.blocks("yaml")[0])

    def _edit(self, config: Path) -> None:
        """What the documents tell their reader to enter, and a small network."""
        text = config.read_text()
        for old, new in [
            (r"\./dataset/ORL/orl_test.bin", "dataset/mine/val.bin"),
            (r"\./dataset/ORL", "dataset/mine"),
            ("class_num: 30", "class_num: 5"),
            ("name: IResNet18", f"name: {SMALL}"),
            ("num_features: 512", "num_features: 32"),
            (r"\bepochs: \d+", "epochs: 1"),
            (r"print_batch_step: \d+", "print_batch_step: 1"),
        ]:
            text, count = re.subn(old, new, text)
            assert count, f"{old} is not in {config}"
        config.write_text(text)

    def _replace(self, config: Path, block: str) -> None:
        """What a block replaces, but for the network, which is a small one's."""
        tree, sections = yaml_tree.read(config), yaml.safe_load(block)
        assert set(sections.pop("Model")) == {"name", "feature_scale"}
        for name, section in sections.items():
            tree[name] |= section
        config.write_text(yaml_tree.dump(tree))

    def read(self, document: Document) -> None:
        for language, block in document.fenced("bash|python"):
            if language == "python":
                self.done[block] = self.run(block, sys.executable, "-c")
            for command in commands(block) if language == "bash" else ():
                self.bash(command)


@pytest.fixture(scope="module")
def walk(tmp_path_factory, tiny_faces):
    """All documents, run from top to bottom."""
    pytest.importorskip("onnxruntime")
    walk = Walk(tmp_path_factory.mktemp("documents"), tiny_faces)
    for document in DOCUMENTS:
        walk.read(document)
    return walk


def test_the_documents_run(walk):
    assert set(ALL_COMMANDS) - set(NOT_RUN) <= set(walk.done)
    mine = walk.folder / "dataset" / "mine"
    assert {path.name for path in mine.iterdir()} == {
        *("train.rec", "train.idx", "property", "identities.txt", "val.bin")
    }
    assert (walk.folder / "faces.png").is_file()
    assert "Model.class_num: 5" in walk.done["plsc-data pack faces/train dataset/mine"]
    assert "record" not in walk.done["plsc-data check dataset/mine --val dataset/mine/val.bin"]
    inspected = walk.done["plsc-data inspect dataset/mine"]
    lines = yaml.safe_load(inspected[inspected.index("Model: {class_num: 5}") :])
    dataset = lines["DataLoader"]["Train"]["dataset"]
    assert (dataset["name"], dataset["root"]) == ("FaceRecordDataset", "dataset/mine")
    shown = walk.done[f"plsc-data records {PUBLIC} --limit 3"].splitlines()
    assert len(shown) == 3 and shown[0].startswith("key 0\t")
    summary = (walk.folder / "dataset" / "MS1M_v3" / "README.md").read_text()
    assert "num_image: 22" in summary and "num_classes: 5" in summary
    resumed = walk.done["plsc-train -c mine.yaml -o Global.checkpoint=output/IResNet18/latest"]
    assert "resumed" in resumed and "[Epoch 2/2]" in resumed
    assert (walk.folder / "finetuned" / SMALL / "best_model").is_symlink()
    for suffix in (".onnx", ".json", ".pdiparams", ".yml"):
        assert (walk.folder / "output" / f"{SMALL}{suffix}").is_file()


def said(walk, begins: str) -> str:
    """What the one command that begins so has printed."""
    (text,) = (text for command, text in walk.done.items() if command.startswith(begins))
    return text


def test_others_weights_are_trained_on_and_measured(walk):
    """From either file the same network, whose figures are those of the file itself."""
    started = said(walk, f"{FINETUNE}={THIRD_PARTY}")
    assert "gives the embeddings that the ONNX file gives" in started
    assert "new head for 5 classes" in said(walk, f"{FINETUNE}=backbone.pth")
    first, second = (
        backbone_of(walk.folder / start / SMALL / "latest") for start in ("from_onnx", "from_pth")
    )
    for name, array in first.items():
        np.testing.assert_allclose(array, second[name], atol=1e-5, err_msg=name)
    figures = json.loads((walk.folder / "figures.json").read_text())
    assert [item["set"] for item in figures["sets"]] == ["lfw", "agedb_30"]
    assert any("assumed" in note for note in figures["model"]["notes"])
    assert (walk.folder / "report" / "index.html").stat().st_size > 10000


def test_models_are_used_as_documented(walk):
    compared = said(walk, "plsc-compare")
    table = said(walk, "plsc-eval --model output")
    assert "thresholds measured on val" in compared and "1e-1" in compared
    (row,) = (line for line in compared.splitlines() if line.startswith("1e-1"))
    assert row.split()[1] in table  # the export has the threshold that the checkpoint was given
    assert np.load(walk.folder / "embeddings.npy").shape == (20, 32)
    ijb, script = (walk.folder / name / "IJBC_result" / "IJBC.npy" for name in ("output", "script"))
    np.testing.assert_array_equal(np.load(ijb), np.load(script))
    printed, by_script = said(walk, "plsc-ijb --model-root output"), said(walk, "python tasks")
    assert printed.splitlines()[:5] == by_script.splitlines()[:5]
    figures = json.loads(ijb.with_suffix(".json").read_text())
    assert figures["num_faces_embedded"] == 48 and list(figures["identification"]) == ["G1"]
    assert (ijb.parent / "IJBC_roc.pdf").is_file() and (ijb.parent / "embeddings").is_dir()
    values = said(walk, "import numpy as np\n\nimport plsc\n\nmodels").split("[")[1].strip("]\n")
    assert [float(value) for value in values.split()] == pytest.approx([1, 1], abs=1e-5)


def test_metadata_keys_are_those_of_the_file(walk):
    import onnx

    plain, pixels, calibrated = (
        {item.key for item in onnx.load(str(walk.folder / place / f"{SMALL}.onnx")).metadata_props}
        for place in ("output", "pixels", "magface")
    )
    assert pixels - plain == {"input_type", "embedding_length"}
    assert calibrated - plain == {"quality"}
    documented = RECIPE.names("key", below="# Exported files")
    assert documented == pixels | plain | calibrated


def test_faces_are_scored_as_documented(walk):
    def rows(name: str) -> list[dict[str, str]]:
        with (walk.folder / name).open(newline="") as file:
            return list(csv.DictReader(file))

    files = [f"{name}.csv" for name in ("quality", "scored", "reference")]
    by_model, by_file, reference = map(rows, files)
    assert by_model == by_file == reference and len(reference) == 20  # of the same images
    scores = [float(row["score"]) for row in reference]
    assert min(scores) < 25 < np.median(scores) < 75 < max(scores)
    shown = said(walk, f"plsc-quality {MAGFACE_ONNX} faces/test --sheet")
    assert "by these images: test, 20 images" in shown
    assert "by the model's calibration" in said(walk, f"plsc-quality {MAGFACE_ONNX} dataset")
    assert (walk.folder / "sheet.png").stat().st_size > 10000
    assert QUALITY.names("column") == set(reference[0])
    lengths = [float(row["magnitude"]) for row in rows("published.csv")]
    embeddings = np.load(walk.folder / "published.npy")
    np.testing.assert_allclose(lengths, np.linalg.norm(embeddings, axis=1), rtol=1e-4)
    exported = said(walk, f"plsc-export -c configs/{MAGFACE.name}")
    assert "as transform_ops prepare images" in exported
    assert (walk.folder / "published" / "IResNet18.onnx").is_file()


def test_quality_is_measured_as_documented(walk):
    def curves(folder: str) -> set[tuple[str, str]]:
        figures = json.loads((walk.folder / folder / "val_evr.json").read_text())
        assert (walk.folder / folder / "val_evr.pdf").is_file()
        return {(curve["model"], curve["measure"]) for curve in figures["curves"]}

    measures = {"magnitude", "sharpness", "brightness", "contrast", "random"}
    assert curves("evr") == {(model, m) for model in ("MagFace", "ArcFace") for m in measures}
    assert curves("evr_score") == {(SMALL, measure) for measure in measures | {"score"}}
    ijb = f"plsc-ijb --model-root {MAGFACE_ONNX} --image-path {RELEASE} --target IJBC"
    assert "pooling score" in said(walk, f"{ijb} --result-dir ijb --pooling")
    folder = walk.folder / "ijb" / "IJBC_result"
    scored, plain = (json.loads((folder / f"IJBC{end}.json").read_text()) for end in ("_score", ""))
    assert scored["pooling"] == "score"
    assert (plain["pooling"], plain["flip"], plain["num_faces_embedded"]) == ("magnitude", False, 0)
    for model in (PUBLISHED, MAGFACE_ONNX):
        assert "accuracy by MagFace's protocol" in said(walk, f"plsc-eval --model {model}")


def test_magfaces_run_says_and_logs_what_is_documented(walk):
    trained = walk.done["plsc-train -c magface.yaml"]
    assert QUALITY.quoted("MagFace: ") in trained
    tuned = said(walk, "plsc-train -c magface.yaml -o Global.pretrained_model")
    assert "need lambda_g of at least 0.704271; it is 5" in tuned and "(class_means)" in tuned

    def logged(place: str) -> set[str]:
        lines = (walk.folder / place / SMALL / "metrics.jsonl").read_text().splitlines()
        return set().union(*(x for x in map(json.loads, lines) if x["kind"] == "train"))

    assert logged("magface") - logged("output") == QUALITY.names("field |")


def test_paddles_format_beside_the_checkpoints(walk, monkeypatch):
    """`paddle.jit.load` refuses it there, as documented; Embedder and a copy are fine."""
    import shutil

    import paddle

    import plsc

    monkeypatch.chdir(walk.folder)
    with pytest.raises(ValueError, match="don't know which one"):
        paddle.jit.load(f"output/{SMALL}")
    Path("elsewhere").mkdir()
    for suffix in (".json", ".pdiparams"):
        shutil.copy(f"output/{SMALL}{suffix}", f"elsewhere/{SMALL}{suffix}")
    paddle.jit.load(f"elsewhere/{SMALL}")
    files = ["a.jpg", "b.jpg"]
    first, second = (
        plsc.Embedder(f"output/{name}").embed_files(files) for name in (SMALL, f"{SMALL}.onnx")
    )
    np.testing.assert_allclose(first, second, atol=1e-4)


def test_table_of_figures_has_the_columns_of_plsc_eval(walk):
    printed = said(walk, f"plsc-eval --model {THIRD_PARTY}")
    heads = [line for line in printed.splitlines() if line.startswith(("set  ", "FAR  "))]
    shown = {cell for head in heads for cell in re.split(r"  +", head)} - {"set", "pairs"}
    assert RECIPE.names("figure") == shown


def test_python_block_gives_plscs_embeddings(walk):
    """The cosine that the recipe's two blocks print is that of plsc's own pipeline."""
    from plsc.config.registry import BACKBONES
    from plsc.recognition.datasets.face import FaceIdentificationDataset

    found = [text for block, text in walk.done.items() if block.startswith("import ")]
    printed = re.findall(r"^cosine (\S+)$", "".join(found), re.M)
    assert len(printed) == 2
    listed = walk.folder / "two.txt"
    listed.write_text("a.jpg\t0\nb.jpg\t1\n")
    faces = FaceIdentificationDataset(str(walk.folder), str(listed))
    pixels = np.stack([faces.get(i, np.random.default_rng(0))["images"] for i in range(2)])
    images = faces.normalise(pixels)
    backbone = BACKBONES.get(SMALL, "Model.name")(num_features=32)
    for name, array in backbone_of(walk.folder / "output" / SMALL / "best_model").items():
        backbone.state_dict()[name].set_value(array)
    first, second = embeddings(backbone, images)
    expected = first @ second / np.linalg.norm(first) / np.linalg.norm(second)
    assert [float(cosine) for cosine in printed] == pytest.approx([expected] * 2, abs=1e-4)


def test_log_line_and_metrics_have_the_documented_fields(walk):
    (line,) = (text for text in RECIPE.blocks("text") if text.startswith("[Train][Epoch 1/2]"))
    log = (walk.folder / "output" / SMALL / "train.log").read_text()
    logged = next(found for found in log.splitlines() if "[Train]" in found)
    fields = re.compile(r"(\w+): ")
    assert fields.findall(line.split("]")[-1]) == fields.findall(logged.split("]")[-1])

    written = (walk.folder / "output" / SMALL / "metrics.jsonl").read_text().splitlines()
    entries = [json.loads(entry) for entry in written]
    for kind in ("train", "eval"):
        (keys,) = {frozenset(entry) for entry in entries if entry["kind"] == kind}
        assert RECIPE.names(f'field of `"kind": "{kind}"`') == keys - {"kind"}


def test_yaml_blocks(walk, monkeypatch):
    monkeypatch.chdir(walk.folder)
    found = RECIPE.blocks("yaml")
    assert len(found) == 3
    for block in map(yaml.safe_load, found):
        tree = yaml_tree.read(Path("mine.yaml"))
        if "Model" in block:
            tree["Model"] |= block["Model"]
            head = parse_config(tree).Model.pfc_config
            assert head.sample_ratio == ((0, 0.1), (0.8, 1.0))
            assert (head.storage, head.dtype) == ("file", "bfloat16")
            assert head.interclass_filtering_threshold == 0.4
            continue
        sections = tree["DataLoader"]
        for name, section in block["DataLoader"].items():
            sections[name]["dataset"] = section["dataset"]
        loader = parse_config(tree).DataLoader
        train = loader.Train.dataset.build(DATASETS)
        train.require_classes(5)
        assert len(train) in (20, 22)
        assert train.get(3, np.random.default_rng(0))["images"].shape == (112, 112, 3)
        sets = [component.build(DATASETS) for component in loader.Eval.dataset]
        assert [item.name for item in sets] in (["val"], ["lfw", "agedb_30"])
        assert all(len(item) == 40 and item.issame.sum() == 10 for item in sets)


@pytest.mark.parametrize(
    ("registry", "documents", "head", "column", "elsewhere"),
    [
        (DATASETS, [RECIPE, DETECTION], "`name` of a dataset", 1, {"transform_ops", "on_bad"}),
        (TRANSFORMS, [RECIPE, DETECTION], "transform |", 2, set()),
        (LOSSES, [QUALITY], "loss |", 1, set()),
    ],
    ids=["datasets", "transforms", "losses"],
)
def test_tables_have_all_that_is_registered(registry, documents, head, column, elsewhere):
    """A row for each, with its keys and their defaults as they are in the code."""
    rows = [cells for document in documents for cells in document.table(head)]
    ours = [name for name in registry.names() if plugin_of(registry.get(name, "")) is None]
    assert sorted(codes(cells[0])[0] for cells in rows) == ours
    for (name,), shown in ((codes(cells[0]), codes(cells[column])) for cells in rows):
        parameters = inspect.signature(registry.get(name, "")).parameters
        expected = {
            key: parameter.default
            for key, parameter in parameters.items()
            if key not in elsewhere and parameter.default is not inspect.Parameter.empty
        }
        required = {key for key in parameters if key not in {*expected, *elsewhere}}
        settings = [code.partition(": ") for code in shown]
        assert {key for key, colon, _ in settings if not colon} == required, name
        given = {key: yaml.safe_load(value) for key, colon, value in settings if colon}
        filled = {key: "x" if key != "num_classes" else 1 for key in required}
        checked = check_params(registry.get(name, ""), given | filled, name)
        assert {key: checked[key] for key in given} == expected, name


def test_the_tables_of_commands_have_all():
    from plsc.cli.data.main import build_parser

    of_data = re.findall(r"^    (\w+)", build_parser().format_help(), re.M)
    assert RECIPE.names("`plsc-data`") == set(of_data)
    scripts = re.findall(r'"(plsc-\w+) = ', (ROOT / "setup.py").read_text())
    assert {name for name in README.names("command") if "plsc-" in name} == set(scripts)


quoted = RECIPE.quoted


def test_quoted_messages(tmp_path, monkeypatch):
    """Each error message in the recipe is, to the letter, what the code says."""
    import cv2
    import paddle

    from plsc.distributed import world
    from plsc.engine.non_finite import non_finite_error
    from plsc.recognition.datasets.face import FaceIdentificationDataset
    from plsc.recognition.metrics.registered import LFWAcc
    from plsc.recognition.task import Recognition

    alike = np.ones((40, 8), np.float32)
    assert refused(lambda: LFWAcc()(alike, alike, [True, False] * 10)) == quoted("collapsed")

    monkeypatch.chdir(tmp_path)
    Path("dataset/mine/images").mkdir(parents=True)
    cv2.imwrite("dataset/mine/images/7.jpg", np.zeros((112, 96, 3), np.uint8))
    Path("dataset/mine/label.txt").write_text("images/7.jpg\t29\n" * 8)
    faces = FaceIdentificationDataset("dataset/mine", "dataset/mine/label.txt")
    assert refused(lambda: faces.get(7, np.random.default_rng(0))) == quoted("112x112")

    overrides = ["Model.class_num=20", "DataLoader.Train.dataset.image_root=dataset/mine"]
    overrides += ["DataLoader.Train.dataset.cls_label_path=dataset/mine/label.txt"]
    text = refused(lambda: Recognition().dataset(load_config(CONFIGS[0], overrides)))
    assert text == quoted("class_num is 20")

    monkeypatch.setattr(world, "current", lambda: world.World(host="node1"))
    output = paddle.full([16, 512], float("nan"))
    message = non_finite_error(
        2, "the loss is nan", {"images": paddle.zeros([2]), "output": output}
    )
    assert str(message) == quoted("the loss is nan")


def test_quoted_messages_about_lists_and_folders(tmp_path, monkeypatch):
    from plsc.data.sets.bin_file import read_bin
    from plsc.recognition.datasets.face import FaceIdentificationDataset
    from plsc.recognition.datasets.folder import FaceFolderDataset

    monkeypatch.chdir(tmp_path)
    listed = Path("dataset/mine/label.txt")
    listed.parent.mkdir(parents=True)
    for line, words in [
        ("1.jpg 0", "no delimiter"),
        ("1.jpg\tanna", "label 'anna'"),
        ("../other/1.jpg\t0", "goes up"),
        ("/photos/1.jpg\t0", "image_root: /"),
        ("1.jpg\t0", "no such file"),
    ]:
        listed.write_text(line + "\n")
        text = refused(
            lambda: FaceIdentificationDataset("dataset/mine", str(listed), delimiter="\t")
        )
        assert text == quoted(words)
    for folder in ("anna", "bo"):
        Path("faces/train", folder).mkdir(parents=True)
    for number in range(6):
        Path(f"faces/train/anna/{number}.jpg").touch()
    for root, words in (("faces/train/anna", "holds no folders"), ("faces/train", "no images (")):
        assert refused(lambda root=root: FaceFolderDataset(root)) == quoted(words)

    Path("lfw.bin").write_bytes(pickle.dumps(Calls(os.system, "true")))
    assert refused(lambda: read_bin("lfw.bin")) == quoted("refused")


def test_quoted_messages_about_records(tmp_path, monkeypatch):
    import cv2

    from plsc.data.records.recordio import RecordWriter
    from plsc.engine.progress import Progress
    from plsc.engine.skipped_images import SkipReport
    from plsc.recognition.datasets.records import FaceRecordDataset

    def like(line: str) -> str:
        """`line` with any numbers: the bytes of a JPEG are OpenCV's."""
        return re.sub(r"\d+", "0", line)

    monkeypatch.chdir(tmp_path)
    records = Path("dataset/mine/train.rec")
    records.parent.mkdir(parents=True)
    noise = np.random.default_rng(0).integers(0, 256, (112, 112, 3), dtype=np.uint8)
    image = cv2.imencode(".jpg", noise)[1].tobytes()
    with RecordWriter(records) as writer:
        for key, content in enumerate((image, image[:-40], b"")):
            writer.write(key, content, labels=0)
    faces = FaceRecordDataset("dataset/mine")
    told = []
    for index, words in ((1, "JPEG is cut short"), (2, ": record 2: byte 13192: the record")):
        told.append(refused(lambda index=index: faces.get(index, np.random.default_rng(0))))
        assert like(told[-1]) == like(quoted(words, begins="dataset"))

    log = Log()
    progress = Progress(epochs=2, num_images=300, steps_per_epoch=19, global_batch=16)
    report = SkipReport(log, Path("output/IResNet18"))
    Path("output/IResNet18").mkdir(parents=True)
    progress.next_epoch()
    report({2: told[-1]}, progress)
    (line,) = log.lines
    assert like(line) == like(quoted("skipped 1 of"))

    records.write_bytes(records.read_bytes()[:100])
    assert like(refused(lambda: FaceRecordDataset("dataset/mine"))) == like(quoted("does not fit"))


def test_the_hint_about_data_is_as_quoted(monkeypatch):
    from plsc.engine import data_wait as hint

    monkeypatch.setattr(hint, "cores", lambda: 2)
    log = Log()
    overrides = ["DataLoader.Train.loader.num_workers=0"]
    judge = hint.DataWaitAdvice(log, load_config(BASELINE, overrides))

    class Interval:
        steps, batch_cost, reader_cost = hint.STEPS, 1.0, 0.62

    for _ in range(2):
        judge(Interval)
    assert log.lines == [quoted("data is the limit")]
    assert f"{hint.SHARE:.0%}".replace("%", " %") in RECIPE.text
    assert f"over {hint.STEPS} steps" in RECIPE.text


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page):
    """Pages of the site name no file outside of it, which a reader of the site does not have."""
    text = page.read_text("utf-8")
    links = re.findall(r"\]\(([^)#\s]*)(?:#([^)\s]+))?\)", text)
    for link, place in ((link, place) for link, place in links if not link.startswith("http")):
        target = (page.parent / link).resolve() if link else page
        assert target.exists(), link
        assert page.is_relative_to(DOCS) <= target.is_relative_to(DOCS), link
        if place:
            assert place in {anchor(line) for line in target.read_text("utf-8").splitlines()}, link


def test_all_pages_are_in_the_navigation():
    listed = re.findall(r": ([\w/-]+\.md)$", (ROOT / "mkdocs.yml").read_text(), re.M)
    assert sorted(listed) == sorted(str(p.relative_to(DOCS)) for p in DOCS.rglob("*.md"))


def test_the_reference_is_current(monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "tools")
    stale = [
        path
        for path, text in import_module("reference").pages().items()
        if path.read_text("utf-8") != text
    ]
    assert not stale, "run python tools/reference.py"


def anchor(line: str) -> str:
    """What GitHub calls a heading's place; "" for other lines."""
    if not line.startswith("#"):
        return ""
    return re.sub(r"[^\w -]", "", line.lstrip("# ").lower()).replace(" ", "-")


def test_files_and_configs_that_are_named_exist():
    from plsc.cli import evaluate, export, train

    text = ALL_TEXT + "".join(command.EXAMPLES for command in (train, evaluate, export))
    named = set(re.findall(r"\bconfigs/[\w.]+\.yaml", text))
    named |= set(re.findall(r"(?<![\w/])tools/[\w./]+\.py", text))
    assert named and [name for name in named if not (ROOT / name).exists()] == []


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem[:45])
def test_tables_describe_each_config(path):
    """The row of a config has the backbone, classes, loss and ratio that the file has."""
    model = load_config(path).Model
    loss = load_config(path).Loss.Train[0].loss
    (cells,) = (row for row in RECIPE.table("config") if f"/{path.name}`" in row[0])
    assert cells[1] == model.name
    assert cells[2].endswith(f"({model.class_num:,})")
    margin = "ArcFace" if loss.params.get("m2") else "CosFace"
    kind = margin if loss.name == "MarginLoss" else loss.name
    assert cells[3] == f"{kind}, {model.pfc_config.sample_ratio}"
    published = re.search(
        r"TAR ([\d.]+) % at FAR 1e-4, ([\d.]+) % at 1e-5", path.read_text("utf-8")
    )
    assert cells[5] == (" / ".join(published.groups()) if published else "–")


def test_keys_exist():
    """Every key that a document names is one that the parser knows."""
    text = ALL_TEXT.replace(".*.", ".Train.")
    sections = "Global|FP16|DistributedStrategy|Model|Loss|LRScheduler|Optimizer|DataLoader|Metric"
    keys = set(re.findall(rf"(?<![\w/.<>])(?:{sections}|Export)(?:\.\w+)+", text))
    assert len(keys) > 30
    kinds, unknown = (BASELINE, RECORDS, MAGFACE, *configs_of("detection")[:1]), []
    for key in sorted(keys):
        refusals = []
        for path in kinds:
            try:
                check_components(load_config(path, [f"{key}=?!"]))
            except UserError as error:
                refusals += [str(error)] * ("unknown" in str(error))
        if len(refusals) == len(kinds):
            unknown.append(refusals)
    assert not unknown


def test_values_are_accepted():
    """`Key: value` and `Key=value` in running text, but for those that the text calls errors."""
    refused = {"FP16.level: O2", "Global.use_dali: True"}
    seen = set()
    text = re.sub(r"^ *```.*?^ *```$", "", TEXT, flags=re.DOTALL | re.MULTILINE)
    for code in codes(text.replace(".*.", ".Train.")):
        pattern = r"(?:-o )?([A-Z]\w*(?:\.\w+)+)(?:: |=)(.+)"
        if match := re.fullmatch(pattern, " ".join(code.split())):
            seen.add(": ".join(match.groups()))
    assert refused <= seen and len(seen) > 8
    for setting in seen:
        with pytest.raises(UserError) if setting in refused else nullcontext():
            check_components(with_setting(*setting.split(": ", 1)))


def with_setting(key: str, value: str):
    """A config of PLSC with one key as a YAML file would have it."""
    tree = yaml_tree.read(BASELINE)
    *above, last = key.split(".")
    section = tree
    for name in above:
        section = section[int(name)] if isinstance(section, list) else section[name]
    section[last] = yaml.safe_load(value)
    return parse_config(tree)


def helps(command: str) -> list[tuple[str, list[str]]]:
    """(program, its options) of a command; two of them where the launcher starts one.

    The program is as much as `--help` is asked of: of plsc-data, and evr, its command too.
    """
    words = shlex.split(command)
    if words[:3] == LAUNCH.split():
        script = next(i for i, word in enumerate(words) if i > 2 and not word.startswith("-"))
        return [(LAUNCH, words[3:script]), *helps(shlex.join(words[script:]))]
    size = 3 if words[1:2] == ["-m"] else 2 if words[0] in ("python", "plsc-data") else 1
    size += words[:2] == ["plsc-quality", "evr"]
    return [(shlex.join(words[:size]), words[size:])]


def test_options_are_in_the_help():
    """Of the commands that are not run too."""
    options: dict[str, set[str]] = {}
    for command in ALL_COMMANDS:
        if command.startswith(("python -m", "plsc-")):
            for program, words in helps(command):
                found = {word.partition("=")[0] for word in words if word.startswith("-")}
                options.setdefault(program, set()).update(found)
    assert {"plsc-train", "plsc-eval", "plsc-export", "plsc-doctor", LAUNCH} <= set(options)
    reference = Document(DOCS / "reference" / "commands.md").text  # is current: see above
    sections = dict(re.findall(r"^##+ (plsc-.+)\n((?:(?!^##).*\n)*)", reference, re.M))
    for program, found in options.items():
        text = (
            sections.get(program)
            or ran(*program.split(), "--help", env=ENVIRONMENT, status=None).stdout
        )
        missing = [o for o in found if not re.search(rf"(?<![\w-]){o}\b", text)]
        assert not missing, f"{program} --help does not have {missing}"


def test_make_targets_and_extras_exist():
    targets = set(re.findall(r"\bmake ([a-z-]+)(?=`|\s+#)", TEXT))
    makefile = (ROOT / "Makefile").read_text()
    assert {"quickstart", "test"} <= targets
    assert [name for name in targets if not re.search(rf"^{name}:", makefile, re.MULTILINE)] == []
    extras = {name for found in re.findall(r"\.\[([\w,]+)\]", TEXT) for name in found.split(",")}
    assert [name for name in extras if f'"{name}":' not in (ROOT / "setup.py").read_text()] == []
