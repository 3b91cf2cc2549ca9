"""A network -> ONNX or Paddle inference model, and the proof that the file gives the same.

convert.py          writes the files; `compare` proves that each gives the network's outputs
tolerance.py        how near two runs must be to count as equal
probes.py           the images that the proof is run on
spec.py             what an export must know of a task: inputs, outputs, comparison
program.py          the network as a program of Paddle's
float16_weights.py  weights of a finished ONNX file as float16
report.py           the report on a written file

A task says in an `export_spec.py` of its own how its networks are exported; see recognition's.
"""
