#!/usr/bin/env bash
# Makes a policy the way checkpoints/control was made: demonstrations, a first clone, corrections
# where it strays, training on both, evaluation. About 6 hours on two CPU cores. Every step goes on
# where it was stopped and passes over what is done, so the same command resumes the whole.
#
#   checkpoints/control/reproduce.sh [FOLDER]        default: outputs/reproduce
#   SCALE=0.001 checkpoints/control/reproduce.sh     a thousandth of everything, to try it
#
# WORKERS, THREADS and EVALUATE: see recipe.sh.
set -euo pipefail
folder=${1:-outputs/reproduce}
here=$(dirname "${BASH_SOURCE[0]}")
data=$folder/datasets
first=$folder/runs/first/checkpoints/last
second=$folder/runs/second/checkpoints/last
third=$folder/runs/third/checkpoints/last
fourth=$folder/runs/fourth/checkpoints/last
control=$folder/control

. "$here/../recipe.sh"

collect clean 250 --triplets train --perturb none --seed 1
collect mild 500 --triplets train --perturb mild --seed 2
train first 5500 --preset control --model control-2m --context-timesteps 1 \
    --action-mode parallel --data "$data/clean" "$data/mild"
collect corrected 400 --triplets train --perturb none --seed 4 --actor "$first"
tune second 6000 "$first" --data "$data/clean" "$data/mild" "$data/corrected"

# other scenes, one scene under many turns of the gripper, corrections; mirrored half of the time
collect spin 1552 --triplets train --perturb spin --keep all --max-steps 32 --seed 23
collect mild2 620 --triplets train --perturb mild --seed 21
collect corrected2 150 --triplets train --perturb none --seed 22 --actor "$second"
collect kept 48 --triplets train --perturb none --seed 25 --actor "$second" \
    --physics benchmark --stop-after 400
tune third 8300 "$second" --mirror 0.5 --no-successes-only \
    --data "$data/spin" "$data/mild2" "$data/corrected2" "$data/kept" --weights 0.12 0.53 0.15 0.2
average mean "$second" "$third"

# twice as many scenes
collect mild3 750 --triplets train --perturb mild --seed 26
collect corrected3 620 --triplets train --perturb none --seed 28 --actor "$folder/mean"
tune fourth 7200 "$folder/mean" --mirror 0.5 --no-successes-only --data "$data/spin" \
    "$data/mild2" "$data/corrected2" "$data/kept" "$data/mild3" "$data/corrected3"
average control "$folder/mean" "$fourth" --temperature 1
measure "$control" skill-generalization 200
