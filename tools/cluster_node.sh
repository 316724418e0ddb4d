#!/usr/bin/env bash
# Trains on one of several machines, and starts again after a failure: docs/clusters.md.
#
#   tools/cluster_node.sh MASTER:PORT NODES RANK ARGUMENTS OF main.py...
#
# LAUNCH: more options of Paddle's launcher; ATTEMPTS: starts at most (20); PAUSE: seconds between them (10).
set -u
cd "$(dirname "$0")/.."
if [ $# -lt 4 ]; then
    sed -n 's/^#   tools/usage: tools/p' "$0" >&2
    exit 2
fi
master=$1 nodes=$2 rank=$3
shift 3

child=
trap 'trap "" TERM; [ -z "$child" ] || kill -TERM "$child" 2>/dev/null; wait; exit 15' TERM
for attempt in $(seq "${ATTEMPTS:-20}"); do
    # In the background: bash handles a signal only after a foreground command has ended.
    python -m paddle.distributed.launch --master "$master" --nnodes "$nodes" --rank "$rank" \
        ${LAUNCH:-} main.py "$@" --resume auto &
    child=$!
    wait "$child"
    code=$?
    case $code in 0 | 2 | 15) exit "$code" ;; esac
    echo "attempt $attempt ended with $code" >&2
    sleep "${PAUSE:-10}"
done
exit "$code"
