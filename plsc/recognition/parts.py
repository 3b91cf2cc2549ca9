"""Components of a config -> backbone and losses; a plug-in's are held to what a run needs."""

from paddle import nn

from plsc.config.component import Component
from plsc.config.registry import BACKBONES, LOSSES
from plsc.errors import UserError
from plsc.recognition.losses.margin import Margin
from plsc.recognition.sections import LossTerm


def build_network(component: Component) -> nn.Layer:
    """Return the backbone, a layer with `num_features`.

    Raises:
        UnknownPart: there is none of that name.
        UserError: a parameter is wrong, or a plug-in's backbone is no such layer.

    """
    backbone = component.build(BACKBONES)
    where, kind = f"{component.key}.name", type(backbone).__name__
    if not isinstance(backbone, nn.Layer):
        raise UserError(
            f"{where}: a backbone must be a paddle.nn.Layer, got a {kind}"
            f"{component.origin(BACKBONES)}"
        )
    if not isinstance(getattr(backbone, "num_features", None), int):
        raise UserError(
            f"{where}: {kind} does not tell its embedding's size: set self.num_features in its "
            f"__init__{component.origin(BACKBONES)}"
        )
    return backbone


def build_loss(term: LossTerm) -> Margin:
    """Return the margin of an entry of `Loss.Train`.

    Raises:
        UnknownPart: there is none of that name.
        UserError: a parameter is wrong, or a plug-in's loss is no margin.

    """
    loss = term.loss.build(LOSSES)
    if not isinstance(loss, Margin):
        raise UserError(
            f"{term.loss.key}: a loss must be a plsc.recognition.losses.margin.Margin, got a "
            f"{type(loss).__name__}{term.loss.origin(LOSSES)}"
        )
    return loss
