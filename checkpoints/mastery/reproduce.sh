#!/usr/bin/env bash
# Makes a policy the way checkpoints/mastery was made: demonstrations of the five test triplets,
# fine-tuning, the mean of both networks, evaluation. About two hours on two CPU cores; the
# same command resumes the whole. SCALE, WORKERS, THREADS and EVALUATE: see recipe.sh.
#
#   checkpoints/mastery/reproduce.sh [FOLDER]        default: outputs/reproduce-mastery
#   SCALE=0.001 checkpoints/mastery/reproduce.sh     a thousandth of everything, to try it
set -euo pipefail
folder=${1:-outputs/reproduce-mastery}
here=$(dirname "${BASH_SOURCE[0]}")
data=$folder/datasets
control=$here/../control

. "$here/../recipe.sh"

collect mild 720 --triplets mastery --perturb mild --seed 41
collect corrected 224 --triplets mastery --perturb none --seed 42 --actor "$control"
collect kept 112 --triplets mastery --perturb none --seed 43 --actor "$control" \
    --physics benchmark --stop-after 100
tune tuned 6108 "$control" --mirror 0.5 --data "$data/mild" "$data/corrected" "$data/kept"
average mastery "$control" "$folder/runs/tuned/checkpoints/last"
measure "$folder/mastery" skill-mastery 40
