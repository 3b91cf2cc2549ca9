"""A model's figures on verification sets: tables on a terminal, JSON, and one page of HTML."""
