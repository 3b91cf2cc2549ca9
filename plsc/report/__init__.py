"""What an evaluation leaves behind: tables on a terminal, JSON, and one page of HTML."""
