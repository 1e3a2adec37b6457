"""Many runs from one command: grids, launchers and searches."""
