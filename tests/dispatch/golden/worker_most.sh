#!/usr/bin/env bash

#SBATCH -J grownn-worker-a.b-12345678
#SBATCH -p main
#SBATCH -A proj:sub
#SBATCH -n 1
#SBATCH --cpus-per-task=8
#SBATCH --mem=6452M
#SBATCH -t 2-00:00:00
#SBATCH --output='/home/ada/my 100%% results/%%j/demo/slurm/worker-%j.log'
#SBATCH --no-requeue
#SBATCH --gres=gpu:2
#SBATCH --constraint=icelake
#SBATCH --qos=normal
umask 077
module load python/3.11
export GREETING="it's $USER"
export TMPDIR="/scratch/$SLURM_JOB_ID/of ada"
mkdir -p "$TMPDIR"
'/shared/it'"'"'s a venv/bin/python' -P -m grownn_hpo.dispatch.node tls://DRIVER:PORT --name grownn-NUMBER --nthreads 1 --memory-limit 1.58GiB --death-timeout 60 --local-directory "${TMPDIR:-/tmp}" --nworkers 4 --no-dashboard --interface ib0 --protocol tls:// --tls-ca-file FILE --tls-cert FILE --tls-key FILE
