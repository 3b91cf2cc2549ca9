"""`plsc-export`: write the backbone of a config as an ONNX or Paddle inference model."""

from collections.abc import Sequence

from plsc.cli.run_config import config_parser, output_folder, run_config
from plsc.cli.status import exit_status
from plsc.config.sections import Config
from plsc.supervise import Heartbeat

DESCRIPTION = "Write the backbone as ONNX or Paddle inference model and prove that it is the same."
EXAMPLES = """\
examples:
  plsc-export -c X.yaml -o Global.pretrained_model=output/IResNet50/best_model
  plsc-export -c X.yaml -o Global.pretrained_model=… -o Export.preprocessing=nhwc       (uint8 in)
  plsc-export -c X.yaml -o Global.pretrained_model=… -o Export.fp16=True -o Export.opset=11
  plsc-export -c X.yaml -o Global.pretrained_model=… -o Export.export_type=paddle
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; return the exit status."""
    return exit_status("plsc-export", lambda: _run(argv))


def _run(argv: Sequence[str] | None) -> int:
    parser = config_parser("export", description=DESCRIPTION, examples=EXAMPLES)
    return run_config("export", parser.parse_args(argv), argv, _export)


def _export(config: Config, heartbeat: Heartbeat) -> None:
    from plsc.engine import run

    run.export(config, output_folder(config))
