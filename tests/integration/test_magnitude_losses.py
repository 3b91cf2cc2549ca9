"""MagFace and AdaFace through plsc-train: what a run says, two ranks as one, exact resume."""

import pytest

MAGFACE = {"MagFace": {"l_a": 2.0, "u_a": 30.0, "l_m": 0.1, "u_m": 0.4, "s": 16.0}}


def lines_of(done, text):
    return [line for line in done.stdout.splitlines() if text in line]


@pytest.mark.parametrize(
    ("lambda_g", "verdict"),
    [(0.2, "WARNING: MagFace: "), (3.0, "at least 0.688776; it is 3")],
)
def test_a_run_says_whether_lambda_g_is_safe_and_logs_both_losses(
    run, read_metrics, lambda_g, verdict
):
    settings = {**MAGFACE["MagFace"], "lambda_g": lambda_g}
    run.config["Loss"]["Train"] = [{"MagFace": {**settings, "weight": 1.0}}]
    done = run("train", "Global.max_train_step=3", "Global.print_batch_step=1")
    (note,) = lines_of(done, "need lambda_g of at least")
    assert verdict in note
    assert ("WARNING" in note) == (lambda_g < 0.688776)
    entries = [e for e in read_metrics(run.output) if e["kind"] == "train"]
    assert len(entries) == 3
    for entry in entries:
        assert entry["loss"] == pytest.approx(entry["loss_id"] + entry["loss_mag"], rel=1e-5)
        assert 0 < entry["magnitude_p5"] <= entry["magnitude_p50"] <= entry["magnitude_p95"]
        share = (min(max(entry["magnitude_p50"], 2), 30) - 2) / 28
        assert entry["margin_p50"] == pytest.approx(0.1 + 0.3 * share, rel=1e-5)
    assert "loss_mag" in lines_of(done, "[Iter: 1/")[0]


def test_features_of_another_length_than_the_range(run):
    """The warning comes after 20 steps, once, with what to set; the run goes on."""
    settings = {**MAGFACE["MagFace"], "l_a": 500.0, "u_a": 900.0, "lambda_g": 1e6}
    run.config["Loss"]["Train"] = [{"MagFace": {**settings, "weight": 1.0}}]
    batch = "DataLoader.Train.sampler.batch_size=2"
    done = run("train", "Global.max_train_step=41", batch, "Global.epochs=9")
    (line,) = lines_of(done, "magnitudes will stay flat")
    assert "100% of those of the last 20 steps are outside l_a 500 to u_a 900" in line
    assert "set l_a " in line


def test_two_ranks_resume_exactly(run):
    """AdaFace's averages over the batches of all ranks are part of the checkpoint."""
    run.config["Loss"]["Train"] = [
        {"MagFace": {**MAGFACE["MagFace"], "weight": 1.0}},
        {"AdaFace": {"t_alpha": 0.3, "s": 16.0, "weight": 0.5}},
    ]
    run("train", "Global.save_unit=step", "Global.save_interval=3", size=2)
    straight = run.losses()
    assert [sorted(kept) for kept in run.state("step_3")["losses"]] == [[], ["mean", "std"]]
    run("train", f"Global.checkpoint={run.output / 'step_3'}", size=2)
    assert len(straight) > 3 and run.losses() == straight


def test_above_a_frozen_backbone_two_ranks_are_as_one(run, small_checkpoint):
    """Nobody asks for the gradient of the features, nor for that of the pull on their lengths."""
    run.config["Loss"]["Train"] = [
        {"MagFace": {**MAGFACE["MagFace"], "weight": 1.0}},
        {"AdaFace": {"s": 16.0, "weight": 0.5}},
    ]
    options = (
        f"Global.pretrained_model={small_checkpoint}",
        "Global.freeze_backbone=True",
        "Global.max_train_step=3",
        "Global.print_batch_step=1",
    )
    losses = []
    for size in (1, 2):
        batch = f"DataLoader.Train.sampler.batch_size={4 // size}"
        run("train", *options, batch, size=size)
        losses.append(run.losses())  # the later run's: their steps have the same numbers
    assert len(losses[0]) == 3 and losses[0] == pytest.approx(losses[1], rel=1e-5)
