"""Face detection as a task: RetinaFace, its anchors and loss, and the data sets it learns from."""
