#!/usr/bin/env bash
# Makes a policy the way checkpoints/control was made: demonstrations, a first clone, corrections
# where it strays, training on both, evaluation. About 6 hours on two CPU cores. Every step goes on
# where it was stopped and passes over what is done, so the same command resumes the whole.
#
#   checkpoints/control/reproduce.sh [FOLDER]        default: outputs/reproduce
#   SCALE=0.001 checkpoints/control/reproduce.sh     a thousandth of everything, to try it
#   WORKERS=16 THREADS=8 ...                         simulators, and threads of the training
#   EVALUATE="--physics stable" ...                  further options of the evaluation
set -euo pipefail
folder=${1:-outputs/reproduce}
data=$folder/datasets
first=$folder/runs/first/checkpoints/last
second=$folder/runs/second/checkpoints/last
third=$folder/runs/third/checkpoints/last
fourth=$folder/runs/fourth/checkpoints/last
control=$folder/control

scaled() { # COUNT: of what there shall be COUNT of, two at least
    awk -v scale="${SCALE:-1}" -v count="$1" 'BEGIN { n = int(scale * count); print n < 2 ? 2 : n }'
}

collect() { # NAME EPISODES OPTIONS...
    gato collect --triplets train --physics stable --workers "${WORKERS:-2}" --out "$data/$1" \
        --episodes "$(scaled "$2")" "${@:3}"
}

updates_done() { # CHECKPOINT
    python3 -c 'import json, sys; print(json.load(open(sys.argv[1]))["provenance"]["step"])' \
        "$1/config.json" 2> /dev/null || echo 0
}

train() { # NAME UPDATES OPTIONS...
    local updates resume=()
    updates=$(scaled "$2")
    if [ "$(updates_done "$folder/runs/$1/checkpoints/last")" -ge "$updates" ]; then return; fi
    if [ -e "$folder/runs/$1" ]; then resume=(--resume); fi
    gato train "${@:3}" --output "$folder/runs" --name "$1" --steps "$updates" "${resume[@]}" \
        --batch-size 96 --final-fraction 0.02 --shift 0 --auxiliary 1.0 \
        --auxiliary-trigger gripper --held-out 0.04 --threads "${THREADS:-2}"
}

tune() { # NAME UPDATES CHECKPOINT OPTIONS...
    train "$1" "$2" --preset finetune-control --init-from "$3" --learning-rate 7e-4 --dropout 0.0 \
        "${@:4}"
}

average() { # NAME CHECKPOINT CHECKPOINT
    gato average --checkpoints "$2" "$3" --out "$folder/$1"
}

collect clean 250 --perturb none --seed 1
collect mild 500 --perturb mild --seed 2
train first 5500 --preset control --model control-2m --context-timesteps 1 \
    --action-mode parallel --data "$data/clean" "$data/mild"
collect corrected 400 --perturb none --seed 4 --actor "$first"
tune second 6000 "$first" --data "$data/clean" "$data/mild" "$data/corrected"

# other scenes, one scene under many turns of the gripper, corrections; mirrored half of the time
collect spin 1552 --perturb spin --keep all --max-steps 32 --seed 23
collect mild2 620 --perturb mild --seed 21
collect corrected2 150 --perturb none --seed 22 --actor "$second"
collect kept 48 --perturb none --seed 25 --actor "$second" --physics benchmark --stop-after 400
tune third 8300 "$second" --mirror 0.5 --no-successes-only \
    --data "$data/spin" "$data/mild2" "$data/corrected2" "$data/kept" --weights 0.12 0.53 0.15 0.2
average mean "$second" "$third"

# twice as many scenes
collect mild3 750 --perturb mild --seed 26
collect corrected3 620 --perturb none --seed 28 --actor "$folder/mean"
tune fourth 7200 "$folder/mean" --mirror 0.5 --no-successes-only --data "$data/spin" \
    "$data/mild2" "$data/corrected2" "$data/kept" "$data/mild3" "$data/corrected3"
average control "$folder/mean" "$fourth"
gato evaluate --checkpoint "$control" --suite skill-generalization --workers "${WORKERS:-2}" \
    --episodes "$(scaled 200)" --out "$folder/evaluation" ${EVALUATE:-}
