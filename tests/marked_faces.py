"""A small set of pictures with marked faces: bright squares on noise, of several sizes."""

from pathlib import Path

import cv2
import numpy as np


def write_marked_faces(folder: Path, count: int, *, size: int = 96) -> Path:
    """Write `images/` and `label.txt` below `folder`; return the latter."""
    (folder / "images").mkdir(parents=True)
    random, lines = np.random.default_rng(7), []
    for index in range(count):
        pixels = random.integers(0, 120, (size, size + 24, 3)).astype(np.uint8)
        lines.append(f"# {index}.png")
        for face in range(1 + index % 2):
            side = int(random.integers(14, 40))
            left, top = int(random.integers(0, size - 40)), int(random.integers(0, size - 40))
            cv2.rectangle(pixels, (left, top), (left + side, top + side), (250, 240, 230), -1)
            spots = [(0.3, 0.35), (0.7, 0.35), (0.5, 0.55), (0.35, 0.75), (0.65, 0.75)]
            places = [(left + x * side, top + y * side) for x, y in spots]
            for x, y in places:
                cv2.circle(pixels, (int(x), int(y)), max(1, side // 12), (20, 20, 20), -1)
            known = " ".join(f"{x:.1f} {y:.1f} 0" for x, y in places)
            lines.append(f"{left} {top} {side} {side} " + (f"{known} 0.9" if face == 0 else ""))
        cv2.imwrite(str(folder / "images" / f"{index}.png"), pixels)
    (folder / "label.txt").write_text("\n".join(line.strip() for line in lines) + "\n")
    return folder / "label.txt"
