"""`plsc-data inspect`: what a set consists of, and what to put in the config."""

import argparse
import json

from plsc.cli.data import marked as of_marked
from plsc.cli.options import add_data_workers, add_shared, add_source, source_of, workers_of
from plsc.data.lists.image_root import shown
from plsc.data.sets.labels import labels_of
from plsc.data.sets.marked import open_marked
from plsc.datatools.checks.config_snippet import as_yaml, config_of
from plsc.datatools.checks.histogram_picture import draw_histogram, require_picture
from plsc.datatools.checks.set_summary import (
    FEW,
    Identities,
    SampledImages,
    histogram_text,
    sample_images,
)
from plsc.errors import UserError
from plsc.files.atomic import require_writable

DEFAULT_SAMPLE = 1000
LISTED = 5  # images that cannot be used
HELP = "images, identities, images per identity, sizes; class_num for the config"
DESCRIPTION = f"""Count images, identities and images per identity; look at formats, sizes and bytes
of {DEFAULT_SAMPLE} images from all over the set; print the lines of a config that train on it.
Whether each image is sound is for `plsc-data check` to say. Where the records alone know their
classes (.rec), all are read. Of photographs with marked faces: images, faces, and their sizes."""
EXAMPLES = """examples:
  plsc-data inspect faces/train.rec
  plsc-data inspect people/ --plot images_per_identity.png
  plsc-data inspect label.txt --image_root images/ --sample 0 --json"""


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the subcommand's options."""
    add_source(parser)
    add_shared(parser, "json")
    parser.add_argument(
        "--plot",
        metavar="FILE.png",
        help="draw the histogram (.png, .svg, .pdf); needs pip install matplotlib",
    )
    parser.add_argument(
        "--sample",
        type=int,
        default=DEFAULT_SAMPLE,
        metavar="N",
        help="images to decode for formats and sizes (%(default)s; 0 for all)",
    )
    add_data_workers(parser)


def run(options: argparse.Namespace) -> int:
    """Run the subcommand and return its exit status."""
    if options.sample < 0:
        raise UserError(f"--sample must be at least 0, got {options.sample}")
    if options.plot:
        require_picture(options.plot)
        require_writable(options.plot)
    if (marked := open_marked(options.source, options.image_root)) is not None:
        of_marked.refuse_others(options)
        return of_marked.inspect(marked, options)
    source, workers = source_of(options), workers_of(options)
    identities = Identities(labels_of(source, num_workers=workers), source.num_classes)
    if not len(identities.counts):
        raise UserError(f"{options.source}: no image has a class: see plsc-data check")
    sample = sample_images(source, options.sample or len(source), num_workers=workers)
    class_num = identities.class_num
    config = config_of(source, options.source, options.image_root, class_num=class_num)
    if options.plot:
        counted = f"{len(source):,} images of {len(identities.counts):,} identities"
        title = f"{shown(options.source)}: {counted}"
        draw_histogram(identities.histogram(), options.plot, title=title)
    if options.json:
        report = {"source": options.source, "num_images": len(source), **identities.as_json()}
        print(json.dumps({**report, "sample": sample.as_json(), "config": config}))
    else:
        text = _text(identities, sample, len(source))
        print(f"{shown(options.source)}\n{text}\n\n{as_yaml(config)}")
    return 0


def _text(identities: Identities, sample: SampledImages, num_images: int) -> str:
    counts = identities.counts
    lines = [f"images:     {num_images:,}", f"identities: {len(counts):,}"]
    if missing := identities.class_num - len(counts):
        lines.append(f"classes below {identities.class_num:,} without images: {missing:,}")
    if identities.num_unknown:
        lines.append(f"images of unknown class: {identities.num_unknown:,} (see plsc-data check)")
    few = [f"{(counts < limit).sum():,} have fewer than {limit}" for limit in FEW]
    looked_at = sample.as_json()
    lines += [
        f"Model.class_num: {identities.class_num}",
        "",
        f"images per identity: {counts.min():,} to {counts.max():,}, "
        f"median {identities.median:g}, mean {counts.mean():.1f}",
        f"  {(counts == 1).sum():,} identities have one, " + ", ".join(few),
        histogram_text(identities.histogram()),
        "",
        f"of {sample.num_images:,} images:",
        f"  formats: {_listed(looked_at['formats'])}",
        f"  sizes:   {_listed(looked_at['sizes'])}",
        f"  bytes:   {looked_at['mean_bytes']:,} each on average, "
        f"about {looked_at['mean_bytes'] * num_images / 1e6:,.1f} MB in all",
    ]
    if sample.bad:
        lines.append(f"  {len(sample.bad):,} cannot be used (plsc-data check finds all such):")
        lines += [f"    {reason}" for reason in sample.bad[:LISTED]]
    return "\n".join(lines)


def _listed(numbers: dict[str, int]) -> str:
    shown = [f"{number:,} {name}" for name, number in list(numbers.items())[:LISTED]]
    return ", ".join(shown) + (", ..." if len(numbers) > LISTED else "") if shown else "none"
