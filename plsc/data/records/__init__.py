"""MXNet's RecordIO files: records, their index, whole sets."""
