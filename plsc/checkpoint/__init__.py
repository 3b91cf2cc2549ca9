"""Checkpoints: folders that appear whole or not at all, with rows that are split over the ranks.

    folder.py         what lies in a checkpoint: write one and read one
    checksums.py      sums in state.json, of itself and of all files, and how they are checked
    saver.py          when and under which name a moment is saved, and which checkpoints are kept
    pointers.py       the links `latest` and `best_model`; lists whole checkpoints, removes others
    sharded_files.py  files of split rows; `SavedRows.pieces` re-cuts them for any number of ranks
    sharded_rows.py   rows in memory -> files and back, piece by piece
    saved_config.py   the config in a checkpoint's state.json

engine/training_state.py puts these together: it saves a training and resumes it.
"""
