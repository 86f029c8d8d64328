"""All that imports Ray.

Ray reads these settings when it is imported, so they are made before any file of this folder imports it.
"""

import os

_SETTINGS = {
    "RAY_AIR_NEW_OUTPUT": "0",
    "RAY_TRAIN_ENABLE_V2_MIGRATION_WARNINGS": "0",
    "RAY_CHDIR_TO_TRIAL_DIR": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "TUNE_WARN_SLOW_EXPERIMENT_CHECKPOINT_SYNC_THRESHOLD_S": "1e9",
    "TUNE_GLOBAL_CHECKPOINT_S": "1e9",
    "TUNE_DISABLE_SIGINT_HANDLER": "1",  # sweeps.attempt.signals handles signals
    "RAY_USAGE_STATS_ENABLED": "0",
}
for _name, _value in _SETTINGS.items():
    os.environ.setdefault(_name, _value)
