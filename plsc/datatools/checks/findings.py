"""Kinds of faults of a training set, and those that were found, with their places."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from plsc.datatools.checks.image_sets import ImageSet

MOST_PLACES = 100_000  # of a kind; further ones are counted only
TEXT_PLACES = 20
TEXT_IMAGES = 3


@dataclass(frozen=True, slots=True)
class FindingKind:
    """A kind of finding; a fault makes a set unfit to train on, a warning does not."""

    name: str
    severity: Literal["fault", "warning"]
    meaning: str
    remedy: str


UNREADABLE = FindingKind(
    "unreadable",
    "fault",
    "images that cannot be read or decoded",
    "fetch or make these images again, or remove them; `on_bad: skip` trains without them",
)
WRONG_SIZE = FindingKind(
    "wrong_size",
    "fault",
    "images of another size than the backbone takes",
    "align and crop them (plsc-data align); aligned ones may be resized (plsc-data pack --size)",
)
BLANK = FindingKind(
    "blank",
    "fault",
    "images that are of one colour all over",
    "remove them: they hold no face and still count as their identity's",
)
MISSING_LABELS = FindingKind(
    "missing_labels",
    "fault",
    "class numbers without images, below the largest",
    "number the identities from 0 on without gaps, as plsc-data pack does for a folder of each",
)
LABEL_BEYOND = FindingKind(
    "label_beyond_class_num",
    "fault",
    "images with a class from class_num on",
    "raise Model.class_num above the largest class, or mend the labels",
)
UNUSED_CLASSES = FindingKind(
    "unused_classes",
    "warning",
    "classes of class_num above the largest that has images",
    "lower Model.class_num: their centres take memory and learn nothing",
)
SINGLE_IMAGE = FindingKind(
    "single_image",
    "warning",
    "identities with one image",
    "add images or leave these identities out: one image does not show what a person keeps",
)
DUPLICATE_INSIDE = FindingKind(
    "duplicate_in_identity",
    "warning",
    "pictures that one identity has more than once",
    "keep one of each: the others weigh it more and teach nothing",
)
DUPLICATE_ACROSS = FindingKind(
    "duplicate_across_identities",
    "fault",
    "pictures that several identities have",
    "decide whose they are: merge the identities if they are one person, else remove the wrong one",
)
LEAK = FindingKind(
    "leak",
    "fault",
    "training images that a verification set has, too",
    "remove them, better the whole identity, from the training set: the accuracy is not to be "
    "believed",
)
KINDS = (
    UNREADABLE,
    WRONG_SIZE,
    BLANK,
    MISSING_LABELS,
    LABEL_BEYOND,
    UNUSED_CLASSES,
    SINGLE_IMAGE,
    DUPLICATE_INSIDE,
    DUPLICATE_ACROSS,
    LEAK,
)


@dataclass(frozen=True, slots=True)
class Place:
    """The place of a finding: images, by set and number there, or what `detail` names."""

    images: tuple[tuple[ImageSet, int], ...]
    detail: str

    def text(self) -> str:
        """Return one line."""
        where = " = ".join(images.where(index) for images, index in self.images[:TEXT_IMAGES])
        if len(self.images) > TEXT_IMAGES:
            where += f" and {len(self.images) - TEXT_IMAGES} more"
        if not where or where in self.detail:  # an error of reading says where
            return self.detail
        return f"{where}: {self.detail}" if self.detail else where

    def as_json(self) -> dict[str, Any]:
        """Return the same as an object."""
        return {
            "images": [
                {"set": images.path, "index": index, "where": images.where(index)}
                for images, index in self.images
            ],
            "detail": self.detail,
        }


@dataclass
class Findings:
    """Faults and warnings, by kind.

    Attributes:
        counts: how often, of each kind that was found.
        places: where; the first 100,000 of a kind.
        kinds: all that there can be, in the order of a report.

    """

    counts: dict[FindingKind, int] = field(default_factory=dict)
    places: dict[FindingKind, list[Place]] = field(default_factory=dict)
    kinds: Sequence[FindingKind] = KINDS

    def add(
        self,
        kind: FindingKind,
        images: Sequence[tuple[ImageSet, int]] = (),
        detail: str = "",
        *,
        count: int = 1,
    ) -> None:
        """Note that something was found; `count` if it stands for several."""
        self.counts[kind] = self.counts.get(kind, 0) + count
        places = self.places.setdefault(kind, [])
        if len(places) < MOST_PLACES:
            places.append(Place(tuple(images), detail))

    @property
    def fit(self) -> bool:
        """Tell whether one can train on the set."""
        return not any(kind.severity == "fault" for kind in self.counts)

    def as_json(self) -> list[dict[str, Any]]:
        """Return an object for each kind that was found, faults first."""
        return [
            {
                "kind": kind.name,
                "severity": kind.severity,
                "meaning": kind.meaning,
                "count": self.counts[kind],
                "remedy": kind.remedy,
                "places": [place.as_json() for place in self.places[kind]],
            }
            for kind in self._found()
        ]

    def as_text(self) -> str:
        """Return paragraphs for people, with the first places of each kind."""
        paragraphs = []
        for kind in self._found():
            places = self.places[kind]
            lines = [f"{kind.severity}: {kind.name}: {self.counts[kind]} {kind.meaning}"]
            lines += [f"    {place.text()}" for place in places[:TEXT_PLACES]]
            if len(places) > TEXT_PLACES:
                lines.append("    and others: --report FILE.json lists them")
            paragraphs.append("\n".join([*lines, f"  to do: {kind.remedy}"]))
        found = [kind.severity for kind in self._found()]
        faults, warnings = found.count("fault"), found.count("warning")
        verdict = "fit to train on" if self.fit else "not fit to train on"
        return "\n\n".join(
            [*paragraphs, f"{verdict}: {faults} kinds of fault, {warnings} of warning"]
        )

    def _found(self) -> list[FindingKind]:
        ordered = sorted(self.kinds, key=lambda kind: kind.severity != "fault")
        return [kind for kind in ordered if kind in self.counts]
