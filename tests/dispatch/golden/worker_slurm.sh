#!/usr/bin/env bash

#SBATCH -J grownn-worker-demo-12345678
#SBATCH -n 1
#SBATCH --cpus-per-task=1
#SBATCH --mem=4096M
#SBATCH -t 04:00:00
#SBATCH --output=/home/ada/results/demo/slurm/worker-%j.log
#SBATCH --no-requeue
umask 077
/shared/venv/bin/python -P -m grownn_hpo.dispatch.node tls://DRIVER:PORT --name grownn-NUMBER --nthreads 1 --memory-limit 4.00GiB --death-timeout 60 --local-directory "${TMPDIR:-/tmp}" --nworkers 1 --no-dashboard --protocol tls:// --tls-ca-file FILE --tls-cert FILE --tls-key FILE
