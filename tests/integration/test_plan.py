"""`tools/benchmark/plan.py` as a command, and what plsc-train says of memory at start."""

import json
from functools import partial

from commands import python
from places import ROOT

CONFIG = ROOT / "configs" / "quickstart.yaml"


planned = partial(python, ROOT / "tools" / "benchmark" / "plan.py", cwd=ROOT)


def test_an_estimate_as_json():
    done = planned(
        *("-c", CONFIG, "-o", "Model.class_num=6000", "--gpus", 2, "--memory", 16, "--json")
    )
    found = json.loads(done.stdout)
    assert found["classes"] == 6000 and found["ranks"] == 2 and found["sampled"] == 1500
    assert found["device"]["head_rows"] == 3000 * 128 * 4
    assert found["device"]["resident"] < found["device"]["peak"] < 16e9
    assert found["largest_class_num"] > 10**6 and found["fits"] is True
    assert found["traffic"]["total"] > 0


def test_a_mistake_is_one_line():
    done = planned("-c", CONFIG, "-o", "Model.name=IResNet51", status=1)
    assert done.stdout == ""
    assert done.stderr.splitlines()[-1].startswith("plan: Model.name: no backbone is called")


def test_training_says_what_memory_it_takes(run):
    done = run("train", "Global.epochs=1", size=2)
    text = (run.output / "train.log").read_text()
    assert text.count("estimate for a rank: about") == 1 and "exchanged in a step" in text
    assert "no estimate" not in text and done.returncode == 0
