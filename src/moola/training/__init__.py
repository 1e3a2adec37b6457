"""The one training loop, resume state without pickle, transfer of an encoder and what is fitted on top of it."""
