"""The commands, one file a group. ``linkspan.cli.tree`` knows which file holds which command."""
