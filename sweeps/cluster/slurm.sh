#!/bin/bash
# A sweep as a SLURM job: one Ray node per machine, the driver on the first one. What to know: docs/cluster.md.
#   start, or resume a sweep:       sbatch slurm.sh SPEC D [more options of kdsweep run]
#   stop it, with every trial saved:    scancel --batch --signal=TERM JOB
# Warned of the time limit or of a preemption, it saves every trial and queues itself again.

# ---- fill in: what to ask for
#SBATCH --job-name=kdsweep
#SBATCH --nodes=2
#SBATCH --gpus-per-node=4
#SBATCH --cpus-per-task=32
#SBATCH --mem=0
#SBATCH --time=24:00:00
#SBATCH --output=kdsweep-%j.log
# ---- leave as it is
#SBATCH --ntasks-per-node=1
#SBATCH --exclusive
#SBATCH --signal=B:USR1@120
#SBATCH --requeue
#SBATCH --open-mode=append
#SBATCH --no-kill

set -u
spec=${1:?usage: sbatch slurm.sh SPEC D [options of kdsweep run]}
sweep=${2:?usage: sbatch slurm.sh SPEC D [options of kdsweep run]}
shift 2

# ---- fill in: the software and where things lie, under the same path on every machine
source "${KDSWEEP_VENV:-$HOME/kdsweep/.venv}/bin/activate"
export KDSWEEP_DATA=${KDSWEEP_DATA:-$HOME/data}
export KDSWEEP_CACHE=${KDSWEEP_CACHE:-/tmp/kdsweep-cache-$UID} # on a local disk: filled once per machine

# ---- leave as it is
head=$(hostname -I | cut -d ' ' -f 1) # this script runs on the first machine; the others must reach this address
address=$head:$((20000 + SLURM_JOB_ID % 10000))
RAY_AUTH_TOKEN=$(openssl rand -hex 32) # only this job's processes can speak to its Ray
export RAY_AUTH_MODE=token RAY_AUTH_TOKEN
export RAY_USAGE_STATS_ENABLED=0
export RAY_SYMMETRIC_RUN_CLUSTER_WAIT_TIMEOUT=300
export RAY_gcs_rpc_server_reconnect_timeout_s=20 # how long the other machines outlive the first one

# Only the driver may see the signal: sent to all that runs, it would end Ray itself, and the trials with it.
pid_file=$(mktemp)
step=""
leave() {
    echo "SIG$1 at $(date +%T): every trial is saved"
    if kill -s "$1" "$(cat "$pid_file")" 2>/dev/null; then
        for _ in {1..100}; do # the driver stops within 30 s, Ray within a minute
            kill -0 "$step" 2>/dev/null || break
            sleep 1
        done
    elif [[ $1 == TERM ]]; then
        scancel "$SLURM_JOB_ID" # there is no driver yet, and nothing to save
    fi
    if [[ $1 == USR1 ]]; then
        trap '' TERM
        scontrol requeue "$SLURM_JOB_ID" # the same command resumes the sweep
    fi
}
trap 'leave USR1' USR1
trap 'leave TERM' TERM

# shellcheck disable=SC2016 # the inner shell expands it
driver=(bash -c 'echo $$ >"$0"; exec kdsweep run "$@"' "$pid_file" "$spec" --dir "$sweep" --address "$address" "$@")
srun ray stop --force >/dev/null 2>&1 # what a job that was killed may have left on these machines
srun --cpus-per-task="$SLURM_CPUS_PER_TASK" --no-kill --kill-on-bad-exit=0 --output="kdsweep-%j-%n.log" \
    ray symmetric-run --address "$address" --min-nodes "$SLURM_JOB_NUM_NODES" \
    --num-cpus="$SLURM_CPUS_PER_TASK" --num-gpus="${SLURM_GPUS_ON_NODE:-0}" -- "${driver[@]}" &
step=$!
code=0
wait "$step" || code=$?
while kill -0 "$step" 2>/dev/null; do # a signal ended the wait, not the step
    code=0
    wait "$step" || code=$?
done
rm -f "$pid_file"
exit "$code"
