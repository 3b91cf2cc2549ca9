"""Sets of images, wherever they lie: lists, folders, RecordIO, .bin files, pairs."""
