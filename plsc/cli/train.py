"""`plsc-train`: train the model of a config."""

from collections.abc import Sequence

from plsc.cli.run_config import config_parser, output_folder, run_config
from plsc.cli.status import exit_status
from plsc.config.sections import Config
from plsc.distributed import world
from plsc.supervise import Heartbeat
from plsc.supervise.run_claim import RunClaim

DESCRIPTION = "Train the model of a config; one process, or one of several under the launcher."
EXAMPLES = """\
examples:
  plsc-train -c configs/quickstart.yaml
  python -m paddle.distributed.launch --nproc_per_node=2 plsc-train -c X.yaml     (2 processes, CPU)
  python -m paddle.distributed.launch --devices=0,1,2,3 plsc-train -c X.yaml      (4 GPUs)
  plsc-train -c X.yaml -o Global.checkpoint=output/IResNet50/latest               (resume)
  plsc-train -c X.yaml -o Global.checkpoint=auto            (resume if there is what to resume)
  plsc-train -c X.yaml -o Global.device=cpu -o DataLoader.Train.sampler.batch_size=32
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; return the exit status."""
    return exit_status("plsc-train", lambda: _run(argv))


def _run(argv: Sequence[str] | None) -> int:
    parser = config_parser("train", description=DESCRIPTION, examples=EXAMPLES)
    return run_config("train", parser.parse_args(argv), argv, _train)


def _train(config: Config, heartbeat: Heartbeat) -> None:
    from plsc.engine import run

    folder = output_folder(config)
    claim = RunClaim(folder) if world.current().is_main else None  # for all ranks
    run.train(config, folder, heartbeat.note, claim=claim)
