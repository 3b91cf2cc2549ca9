"""`plsc-data check` and `inspect` of photographs in which faces are marked."""

import argparse
import json

from plsc.cli.options import workers_of
from plsc.data.lists.image_root import shown
from plsc.data.sets.marked import MarkedImages
from plsc.datatools.checks.config_snippet import as_yaml
from plsc.datatools.checks.findings import Findings
from plsc.datatools.checks.marked_faces import check_marked, summary
from plsc.datatools.checks.set_summary import sample_images
from plsc.errors import UserError
from plsc.files.atomic import write_output

BAR = 50  # characters
OF_CLASSES = ("list_format", "delimiter", "class_num", "plot")  # options of other sets


def refuse_others(options: argparse.Namespace) -> None:
    """Refuse options that are for sets of identities.

    Raises:
        UserError: one is given.

    """
    given = [name for name in OF_CLASSES if getattr(options, name, None) is not None]
    if getattr(options, "val", None):
        given.append("val")
    if given:
        raise UserError(
            f"--{given[0]} is for sets of identities; {options.source} is a list of marked faces: "
            "leave it out"
        )


def check(source: MarkedImages, options: argparse.Namespace) -> int:
    """Say what is wrong with the set; return the exit status, 1 if it is not fit to train on."""
    found = check_marked(source, path=options.source, num_workers=workers_of(options))
    report = {
        "source": options.source,
        "num_images": len(source),
        "num_faces": len(source.faces.sizes),
        "fit": found.fit,
        "findings": found.as_json(),
    }
    if options.report:
        write_output(options.report, json.dumps(report, indent=1) + "\n")
    print(json.dumps(report) if options.json else _checked_text(options.source, source, found))
    return 0 if found.fit else 1


def _checked_text(path: str, source: MarkedImages, found: Findings) -> str:
    head = f"{shown(path)}: {len(source)} images, {len(source.faces.sizes)} marked faces"
    return f"{head}\n\n{found.as_text()}"


def inspect(source: MarkedImages, options: argparse.Namespace) -> int:
    """Say what the set consists of, and what to put in the config; return the exit status."""
    counted = summary(source)
    sample = sample_images(
        source, options.sample or len(source), num_workers=workers_of(options)
    ).as_json()
    place = {"name": "WiderFaceDataset", "label_path": source.faces.path}
    if options.image_root is not None:
        place["image_root"] = options.image_root
    config = {
        "Global": {"task_type": "detection"},
        "DataLoader": {"Train": {"dataset": place}},
    }
    if options.json:
        print(json.dumps({"source": options.source, **counted, "sample": sample, "config": config}))
        return 0
    most = max((row["faces"] for row in counted["sizes"]), default=0)
    rows = [
        f"  {row['from']:>4} to {row['below'] or '':>4}: {row['faces']:>8,} "
        f"{'#' * round(BAR * row['faces'] / max(most, 1))}".rstrip()
        for row in counted["sizes"]
    ]
    per_image = counted["faces_per_image"]
    lines = [
        shown(options.source),
        f"images: {counted['num_images']:,}, {counted['num_images_to_train_on']:,} to train on",
        f"faces:  {counted['num_faces']:,}, {counted['num_faces_with_landmarks']:,} with landmarks"
        + (f"; {counted['num_faces_without_size']:,} more without a size"
           if counted["num_faces_without_size"] else ""),
        f"faces per image: median {per_image['median']:g}, mean {per_image['mean']:.1f}, at most "
        f"{per_image['max']:,}",
        "",
        "faces by their longer side in pixels:",
        *rows,
        "",
        as_yaml(config),
    ]  # fmt: skip
    print("\n".join(lines))
    return 0
