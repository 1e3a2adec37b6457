"""The commands of ``moola labels``, a file each; nothing heavy is imported before it is needed."""
