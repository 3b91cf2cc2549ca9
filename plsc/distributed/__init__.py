"""The only package that imports paddle.distributed: world, collectives, sharding, replicas."""
