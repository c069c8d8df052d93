#!/usr/bin/env bash
#SBATCH --job-name=grownn-demo-12345678
#SBATCH --output=/home/ada/results/demo/slurm/driver-%j.log
#SBATCH --open-mode=append
#SBATCH --requeue
#SBATCH --signal=B:USR1@300
#SBATCH --time=1-00:00:00
#SBATCH --ntasks=1
#SBATCH --cpus-per-task=1
#SBATCH --mem=4096M

cd /home/ada || exit
set +eu
echo "== $(date -Is): start $((${SLURM_RESTART_COUNT:-0} + 1)) of job $SLURM_JOB_ID, on $(hostname)"
asked=
/shared/venv/bin/python -m grownn_hpo run demo &
driver=$!
# USR1: the walltime is near. TERM: scancel or preemption, which at most sites reach this shell alone.
trap 'asked=walltime; kill -TERM "$driver" 2>/dev/null' USR1
trap 'asked=cancel; kill -TERM "$driver" 2>/dev/null' TERM
wait "$driver"
code=$?
if [ -n "$asked" ]; then
    for ((second = 0; second < 240; second++)); do
        kill -0 "$driver" 2>/dev/null || break
        sleep 1
    done
    kill -KILL "$driver" 2>/dev/null
    wait "$driver"
    code=$?
fi
# Stopped for the walltime, resumable: this job goes back into the queue, and goes on when it starts again.
if [ "$code" -eq 3 ] || [ "$code" -gt 128 ]; then
    while [ "$asked" = walltime ] && ! scontrol requeue "$SLURM_JOB_ID"; do
        sleep 10
    done
fi
echo "== $(date -Is): the driver ended with exit code $code${asked:+, asked to stop: $asked}"
exit "$code"
