"""What plsc-data does: sets of face images made, checked, taken apart; and faces drawn from numbers."""
