#!/bin/bash
# A sweep as a job of a Ray cluster that runs already. What to know: docs/cluster.md.
#   bash job.sh SPEC D [more options of kdsweep run]      start, or resume a sweep; SPEC and D as the cluster sees them
#   ray job logs -f ID | ray job list                     watch; ID is printed at the start
#   ray job stop ID                                       stop, every trial saved
set -eu
spec=${1:?usage: job.sh SPEC D [options of kdsweep run]}
sweep=${2:?usage: job.sh SPEC D [options of kdsweep run]}
shift 2

# ---- fill in, or have in the environment
export RAY_API_SERVER_ADDRESS=${RAY_API_SERVER_ADDRESS:-http://127.0.0.1:8265} # the dashboard; by a tunnel from elsewhere
export RAY_AUTH_MODE=${RAY_AUTH_MODE:-token}                                   # with RAY_AUTH_TOKEN or ~/.ray/auth_token

# The default wait of 3 s would kill the driver while it saves its trials.
exec ray job submit --no-wait --runtime-env-json '{"env_vars": {"RAY_JOB_STOP_WAIT_TIME_S": "60"}}' \
    -- kdsweep run "$spec" --dir "$sweep" --address auto "$@"
