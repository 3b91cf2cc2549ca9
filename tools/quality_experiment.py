"""Does the magnitude tell how good a picture is? MagFace against ArcFace on spoilt faces.

    python tools/quality_experiment.py [--seeds 0 1 2] [--folder quality] [--pictures DIR]

For each seed: renders people of whom four pictures in five are spoilt by a known severity, trains
both networks, and on pictures of people never trained on compares magnitude with severity and
rejects by magnitude. Everything is written to FOLDER: figures.json, and the pictures of the first
seed, to DIR if given.
"""

import argparse
import csv
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import cv2
import numpy as np
import quality_figures as figures
import quality_pictures as pictures

from plsc.data.transforms.degrade import KINDS, degrade
from plsc.datatools.drawn_face.render import Identity, View, render_face

ROOT = Path(__file__).resolve().parents[1]
NETWORKS = {name: ROOT / "configs" / f"quality_{name}_cpu.yaml" for name in ("MagFace", "ArcFace")}
MODEL = "QuickFace_nano"
PROCESSES = 2
DEGRADED = 0.8
FMRS = (1e-1, 1e-2, 1e-3)
SEVERITIES = tuple(round(step / 8, 3) for step in range(9))
SERIES_VIEWS = 16
ON_SHEET = 28  # pictures: four full rows


def run(*command: object, quiet: bool = False) -> None:
    """Run `command` with its output shown, or on standard error only."""
    words = [str(word) for word in command]
    print(f"\n$ {' '.join(words[:6])}{' ...' if len(words) > 6 else ''}", flush=True)
    scripts = Path(sys.executable).parent
    environment = {**os.environ, "PATH": f"{scripts}{os.pathsep}{os.environ['PATH']}"}
    done = subprocess.run(words, env=environment, stdout=subprocess.DEVNULL if quiet else None)
    if done.returncode:
        sys.exit(f"quality_experiment: {words[0]} {words[1]} failed with status {done.returncode}")


def render(folder: Path, seed: int, options: argparse.Namespace) -> None:
    """Render the people to train on and those held out."""
    size = ("identities", "images_per_identity", "eval_identities", "pairs")
    numbers = [word for name in size for word in (f"--{name}", getattr(options, name))]
    module = "plsc.data.dataset.tools.render_synthetic_faces"
    place = ["--output_dir", folder / "faces", "--degrade", DEGRADED, "--seed", seed]
    run("python", "-m", module, *place, *numbers)


def train(name: str, folder: Path, seed: int, options: argparse.Namespace) -> None:
    """One network from its config, on this seed's people."""
    if options.keep and model_of(name, folder).exists():
        print(f"\n{model_of(name, folder)}: is kept", flush=True)
        return
    shutil.rmtree(folder / name, ignore_errors=True)
    faces = folder / "faces"
    overrides = {
        "Global.output_dir": folder / name,
        "Global.seed": seed,
        "Model.class_num": options.identities,
    }
    for part, own in (("Train", "train"), ("Eval", "val")):
        overrides[f"DataLoader.{part}.dataset.image_root"] = faces / own
        overrides[f"DataLoader.{part}.dataset.cls_label_path"] = faces / own / "label.txt"
    if options.epochs:
        overrides |= {"Global.epochs": options.epochs, "Global.eval_interval": options.epochs}
    launch = ["python", "-m", "paddle.distributed.launch", f"--nproc_per_node={PROCESSES}"]
    launch += ["--log_level=WARNING", f"--log_dir={folder / name / 'log'}"]
    words = [word for key, value in overrides.items() for word in ("-o", f"{key}={value}")]
    run(*launch, "plsc-train", "-c", os.path.relpath(NETWORKS[name]), *words)


def model_of(name: str, folder: Path) -> Path:
    """Return the checkpoint that `train` leaves."""
    return folder / name / MODEL / "latest"


def magnitudes_of(name: str, folder: Path, images: Path) -> dict[str, float]:
    """Magnitude of each image of a folder, by its path there."""
    table = folder / f"{images.name}_{name}.csv"
    run("plsc-quality", model_of(name, folder), images, "--out", table, "--overwrite", quiet=True)
    with table.open(newline="") as file:
        return {row["path"]: float(row["magnitude"]) for row in csv.DictReader(file)}


def reject(folder: Path, faces: Mapping[str, np.ndarray], count: int) -> list[dict[str, Any]]:
    """Error-versus-reject curves of both networks: by magnitude, known severity and chance."""
    known, pairs = folder / "known_severity.csv", folder / "comparisons.txt"
    with known.open("w", newline="") as file:
        rows = zip(faces["path"], 1 - faces["severity"], strict=True)
        csv.writer(file).writerows((path, f"{value:.4f}") for path, value in rows)
    pairs.write_text(figures.comparisons(faces, count), encoding="utf-8")
    models = [f"{name}={model_of(name, folder)}" for name in NETWORKS]
    images = ["--pairs", pairs, "--image-root", folder / "faces" / "val" / "images"]
    measures = ["--measure", "magnitude", "random", "--csv", f"severity={known}", "--fmr", *FMRS]
    run("plsc-quality", "evr", *models, *images, *measures, "--out", folder / "evr")
    report = json.loads((folder / "evr" / f"{pairs.stem}_evr.json").read_text())
    return report["curves"]


def series(folder: Path, seed: int, person: int) -> dict[str, Any]:
    """Magnitudes of one person never trained on, in views that are spoilt more and more."""
    place = folder / "series"
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir()
    identity = Identity.sample(seed, person)
    views = [View.sample(seed, person, 10**6 + view) for view in range(SERIES_VIEWS)]
    for number, view in enumerate(views):
        image = render_face(identity, view)[0]
        for kind in KINDS:
            for severity in SEVERITIES:
                spoilt = degrade(image, kind, severity, np.random.default_rng([seed, number]))
                name = series_name(kind, severity, number)
                assert cv2.imwrite(str(place / name), spoilt[..., ::-1])
    found: dict[str, Any] = {"person": person, "views": SERIES_VIEWS, "severities": SEVERITIES}
    for network in NETWORKS:
        lengths = magnitudes_of(network, folder, place)
        grid = np.array(
            [
                [
                    [lengths[series_name(kind, s, v)] for v in range(SERIES_VIEWS)]
                    for s in SEVERITIES
                ]
                for kind in KINDS
            ]
        )
        found[network] = {
            "first": dict(zip(KINDS, grid[..., 0].tolist(), strict=True)),
            "mean": dict(zip(KINDS, grid.mean(axis=2).tolist(), strict=True)),
        }
    return found


def series_name(kind: str, severity: float, view: int) -> str:
    """Return the file of one picture of the series."""
    return f"{kind}_{1000 * severity:04.0f}_{view:02d}.png"


def sheet(folder: Path, faces: Mapping[str, np.ndarray], path: Path) -> None:
    """Some held-out pictures from worst to best, as MagFace's magnitude has it."""
    chosen = np.random.default_rng(0).choice(len(faces["path"]), ON_SHEET, replace=False)
    files = [folder / "faces" / "val" / "images" / name for name in faces["path"][chosen]]
    run(
        "plsc-quality",
        model_of("MagFace", folder),
        *files,
        "--sheet",
        path,
        "--overwrite",
        quiet=True,
    )


def experiment(folder: Path, seed: int, options: argparse.Namespace) -> dict[str, Any]:
    """All steps for one seed."""
    began = time.monotonic()
    render(folder, seed, options)
    seconds = {"render": time.monotonic() - began}
    for name in NETWORKS:
        started = time.monotonic()
        train(name, folder, seed, options)
        seconds[f"train {name}"] = time.monotonic() - started
    faces = figures.held_out(folder / "faces")
    result: dict[str, Any] = {"seed": seed, "accuracy": {}, "magnitude": {}, "correlation": {}}
    lengths = {}
    for name in NETWORKS:
        found = magnitudes_of(name, folder, folder / "faces" / "val" / "images")
        lengths[name] = np.array([found[path] for path in faces["path"]])
        result["accuracy"][name] = figures.accuracy_of(folder / name / MODEL / "metrics.jsonl")
        result["magnitude"][name] = figures.magnitude_quantiles(lengths[name])
        result["correlation"][name] = figures.correlations(faces, lengths[name])
    result["curves"] = [
        figures.curve_summary(curve) for curve in reject(folder, faces, options.comparisons)
    ]
    result["series"] = series(folder, seed, int(faces["person"].min()))
    place = folder / "pictures"
    place.mkdir(exist_ok=True)
    sheet(folder, faces, folder / "sheet.png")
    pictures.shrink(folder / "sheet.png", place / "sheet.png")
    pictures.draw_correlation(place / "magnitude_severity.png", faces, lengths, result)
    pictures.draw_curves(place / "error_reject.png", result["curves"], list(NETWORKS))
    pictures.draw_series(place / "series.png", folder / "series", result["series"], list(NETWORKS))
    result["seconds"] = seconds | {"all": time.monotonic() - began}
    return result


def main() -> None:
    """All seeds, the summary and its files."""
    parser = argparse.ArgumentParser(description=str(__doc__).split("\n")[0])
    add = parser.add_argument
    add("--seeds", type=int, nargs="+", default=[0], help="of data and training (%(default)s)")
    add("--folder", type=Path, default=Path("quality"), help="for everything (%(default)s)")
    add(
        "--pictures", type=Path, help="where to put figures.json and the first seed's pictures, too"
    )
    add("--identities", type=int, default=600, help="people to train on (%(default)s)")
    add("--images_per_identity", type=int, default=20, help="pictures of each (%(default)s)")
    add("--eval_identities", type=int, default=200, help="people held out (%(default)s)")
    add("--pairs", type=int, default=8000, help="pictures of these, in pairs (%(default)s)")
    add("--comparisons", type=int, default=24000, help="pairs to reject from (%(default)s)")
    add("--epochs", type=int, help="other than the configs'")
    add("--keep", action="store_true", help="do not train again what is there")
    options = parser.parse_args()
    of_each = 2 * options.pairs // max(1, options.eval_identities)
    most = options.eval_identities * of_each * (of_each - 1) // 2
    if not 2 <= options.comparisons <= most:
        parser.error(f"--comparisons must be from 2 to {most} of {options.pairs} --pairs")
    results = []
    for seed in options.seeds:
        results.append(experiment(options.folder / f"seed_{seed}", seed, options))
        print(f"\n=== seed {seed}\n{figures.text_of(results[-1], list(NETWORKS))}", flush=True)
    (options.folder / "figures.json").write_text(figures.json_of(results), encoding="utf-8")
    if options.pictures:
        options.pictures.mkdir(parents=True, exist_ok=True)
        first = options.folder / f"seed_{options.seeds[0]}" / "pictures"
        for path in (*first.glob("*.png"), options.folder / "figures.json"):
            shutil.copy(path, options.pictures)


if __name__ == "__main__":
    main()
