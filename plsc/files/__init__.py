"""Files: written whole or not at all, mapped, and those of other systems read without running them."""
