"""Reading, transforming, ordering and batching images.

lists/       text files that name images, classes, pairs or landmarks
records/     MXNet's RecordIO files and their index
sets/        an image and its class by number, wherever they lie; open.py tells kinds apart
transforms/  encoded image -> the network's input
loader/      the order of images (sampler.py), and batches read ahead by processes (batches.py)
dataset/     the data tools at PLSC's old paths
"""
