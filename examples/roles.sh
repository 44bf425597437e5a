#!/usr/bin/env bash
# A front end, a planner and a worker, each a process of its own, on one Redis server. The argument is the server's URL;
# without one, `cargo xtask services` starts a server that is private to this checkout, and leaves it running for the next
# time (`cargo xtask services down` ends it).
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

url=${1:-${SCHED_TEST_REDIS_URL:-}}
if [ -z "$url" ]; then
    cargo xtask services up redis
    url=$(sed -n 's/^SCHED_TEST_REDIS_URL=//p' "${SCHED_SERVICES_DIR:-target/services}/urls.env")
fi
program=$(cargo build --quiet --package sched-examples --bin roles \
    --message-format=json-render-diagnostics | sed -n 's/.*"executable":"\([^"]*\)".*/\1/p' | tail -n 1)

logs=$(mktemp -d)
pids=()
stop_all() {
    for pid in "${pids[@]}"; do kill "$pid" 2>/dev/null || true; done
    wait
    rm -rf "$logs"
}
trap stop_all EXIT

# Waits until a command succeeds, for half a minute at most.
await() {
    for _ in $(seq 600); do
        if "$@"; then return; fi
        sleep 0.05
    done
    echo "not within 30 seconds: $*" >&2
    return 1
}

for role in web planner worker; do
    "$program" "$role" "$url" >"$logs/$role" &
    pids+=($!)
done

await grep -q '^http' "$logs/web"
site=$(head -n 1 "$logs/web")
place=$(curl --silent --show-error --fail --request POST "$site/thumbnails/cat.jpg")
echo "the front end took the order: look at $place"
is_done() { answer=$(curl --silent --show-error --fail "$site$place") && [ "$answer" != "not yet" ]; }
await is_done
echo "it answers: $answer"

await grep -q 'tidied up' "$logs/worker"
echo "the worker runs what the planner plans"

for pid in "${pids[@]}"; do
    kill "$pid"
    wait "$pid"
done
pids=()
echo "all ended well"
