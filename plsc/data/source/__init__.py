"""Where encoded images with classes come from: lists, folders, RecordIO files."""
