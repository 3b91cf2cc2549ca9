"""The only package that imports paddle.distributed.

world.py          which rank this is of how many; joins the process group
collectives.py    sums, gathers and broadcasts over ranks, with gradients and without
sharding.py       which rows belong to which rank
data_parallel.py  a network with a copy on each rank, and gradients summed over them
joint_work.py     work with files on all ranks, where an error of one ends it for all
recompute.py      less activation memory for a second forward pass in backward
"""
