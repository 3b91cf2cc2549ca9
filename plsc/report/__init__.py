"""Make reports: matplotlib's figures and pages of HTML, for several commands."""
