"""A run that waits for its data says so once, and another does not."""

SLOW = [{"RandDownUpImage": {"probability": 1.0}}] * 300  # tens of milliseconds an image


def test_a_run_that_waits_for_its_data_says_so_once(run):
    operations = run.config["DataLoader"]["Train"]["dataset"]["transform_ops"]
    operations[1:1] = SLOW
    run("train", "Global.epochs=5", size=2)
    lines = (run.output / "train.log").read_text().splitlines()
    (line,) = [line for line in lines if "data is the limit" in line]
    assert "DataLoader.Train.loader.num_workers from 0 to " in line
    assert "2 training process(es)" in line and "RandDownUpImage" in line
    assert "on rank " in line
    before = [text for text in lines[: lines.index(line)] if "[Iter:" in text]
    assert len(before) == 21  # of one step each; the first does not count


def test_a_run_that_computes_says_nothing(run):
    run("train", "Global.epochs=3")
    lines = (run.output / "train.log").read_text().splitlines()
    assert sum("[Iter:" in line for line in lines) == 33
    assert not [line for line in lines if "data is the limit" in line]
