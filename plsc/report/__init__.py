"""What the reports of several commands are made with: matplotlib's figures and pages of HTML."""
