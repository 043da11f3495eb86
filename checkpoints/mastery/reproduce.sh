#!/usr/bin/env bash
# Makes a policy the way checkpoints/mastery was made: twice demonstrations of the five test triplets,
# fine-tuning and the mean of both networks, then evaluation. A little over three hours on two CPU
# cores; the same command resumes the whole. SCALE, WORKERS, THREADS and EVALUATE: see recipe.sh.
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
average first "$control" "$folder/runs/tuned/checkpoints/last"

# once more, with the first mean at the arm, and more of the triplets whose grasps failed
first=$folder/first
collect corrected44 320 --triplets mastery --perturb none --seed 44 --actor "$first"
collect triplet1 240 --triplets rgb_test_triplet1 --perturb none --seed 48 --actor "$first"
collect triplet3 120 --triplets rgb_test_triplet3 --perturb none --seed 49 --actor "$first"
collect beginnings 600 --triplets mastery --perturb none --seed 46 --keep all --max-steps 40
collect mild45 200 --triplets mastery --perturb mild --seed 45
collect kept47 40 --triplets mastery --perturb none --seed 47 --actor "$first" \
    --physics benchmark --stop-after 100
tune second 5533 "$first" --mirror 0.5 --no-successes-only --data "$data/corrected44" \
    "$data/triplet1" "$data/triplet3" "$data/beginnings" "$data/mild45" "$data/kept47"
average mastery "$first" "$folder/runs/second/checkpoints/last" --temperature 1
measure "$folder/mastery" skill-mastery 40
