"""Trackers: copies of a sweep in TensorBoard, MLflow, Weights & Biases, Trackio and Optuna's storage."""
