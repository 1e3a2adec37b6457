"""The commands of ``moola wandb``, a file each; nothing heavy is imported before it is needed."""
