# What the recipes of the checkpoints have in common; sourced by their reproduce.sh, which set
# $folder. Every step goes on where it was stopped and passes over what is done.
#
#   SCALE=0.001      a thousandth of everything, to try it
#   WORKERS, THREADS simulators, and threads of the training; two each by default
#   COLLECT, TRAIN, EVALUATE   further options of each, such as EVALUATE="--physics stable"

scaled() { # COUNT: of what there shall be COUNT of, two at least
    awk -v scale="${SCALE:-1}" -v count="$1" 'BEGIN { n = int(scale * count); print n < 2 ? 2 : n }'
}

collect() { # NAME EPISODES OPTIONS...
    gato collect --physics stable --workers "${WORKERS:-2}" --out "$folder/datasets/$1" \
        --episodes "$(scaled "$2")" "${@:3}" ${COLLECT:-}
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
        --auxiliary-trigger gripper --held-out 0.04 --threads "${THREADS:-2}" \
        ${TRAIN:-}
}

tune() { # NAME UPDATES CHECKPOINT OPTIONS...
    train "$1" "$2" --preset finetune-control --init-from "$3" --learning-rate 7e-4 --dropout 0.0 \
        "${@:4}"
}

average() { # NAME CHECKPOINT CHECKPOINT OPTIONS...
    gato average --checkpoints "$2" "$3" --out "$folder/$1" "${@:4}"
}

measure() { # CHECKPOINT SUITE EPISODES
    gato evaluate --checkpoint "$1" --suite "$2" --workers "${WORKERS:-2}" \
        --episodes "$(scaled "$3")" --out "$folder/evaluation" ${EVALUATE:-}
}
