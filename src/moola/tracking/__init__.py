"""Where a run's figures, pictures and files go besides its own folder: W&B, MLflow, TensorBoard, or nowhere."""
