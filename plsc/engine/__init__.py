"""Training, evaluation and export: what the commands call (run.py).

trainer.py         the loop: `fit` and `train_step`
training.py        `Training`: what the loop trains and what changes it; build.py makes it
training_state.py  a `Training` to a checkpoint and back, on any number of ranks
training_task.py   what the loop asks of a task: loss, split rows, state
task.py            what every command asks of a task; training_task.py is its part in training
update.py          one optimizer step; evaluation.py measures, recorder.py and log.py show
"""
