"""The subcommands of plsc-data, one file each."""
