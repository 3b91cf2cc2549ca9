"""Learning-rate schedules: pure functions of the optimizer step.

warmup.py  decides the rate of a step: first the warm-up, then the schedule's own decay
decay.py   the decays, one registered class each; a new schedule is one more

engine/trainer.py asks for the rate once a step.
"""
