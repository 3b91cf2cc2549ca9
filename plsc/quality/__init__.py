"""Judge pictures of faces: quality scores, and what rejecting the worst gains."""
