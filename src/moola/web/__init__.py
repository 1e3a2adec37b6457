"""The server that pages of this machine are behind, and who may talk to it."""
