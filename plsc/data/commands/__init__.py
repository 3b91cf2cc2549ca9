"""The subcommands of `plsc-data`, one module each."""
