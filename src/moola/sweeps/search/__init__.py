"""A search over the configuration: Optuna's ask and tell, scored on folds inside the training windows alone."""
