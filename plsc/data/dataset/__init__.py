"""The data tools at PLSC's old paths; the data sets themselves are in `plsc.data.sets`."""
