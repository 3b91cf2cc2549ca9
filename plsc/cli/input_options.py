"""What a model may not say of its input. Imports nothing heavy, as evaluation_options does."""

import argparse

PREPARATION = ("mean", "std", "colour_order", "size")


def add_input_options(parser: argparse.ArgumentParser, title: str = "the model's input") -> None:
    """`--mean`, `--std`, `--colour-order`, `--size`, `--plugins`, in a group of their own."""
    add = parser.add_argument_group(title, "needed where the model does not say").add_argument
    add("--mean", type=float, nargs="+", metavar="M", help="one, or one per colour, of 0 to 255")
    add("--std", type=float, nargs="+", metavar="S", help="likewise: (pixel - mean) / std goes in")
    add("--colour-order", "--colour_order", choices=["RGB", "BGR"], help="that goes in")
    add("--size", type=int, help="side in pixels")
    add("--plugins", action="append", metavar="MODULE", help="a module of your own that registers "
        "the backbone of a checkpoint; repeatable")  # fmt: skip
