"""How good a picture of a face is: quality scores, and what rejecting the worst gains."""
