#!/usr/bin/env bash
# Three replicas on one PostgreSQL database. One is killed in the middle of a run: another runs it again, and no second is
# left out. The argument is the database's URL; without one, `cargo xtask services` starts a server that is private to this
# checkout, and leaves it running for the next time (`cargo xtask services down` ends it).
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

url=${1:-${SCHED_TEST_POSTGRES_URL:-}}
if [ -z "$url" ]; then
    cargo xtask services up postgres
    url=$(sed -n 's/^SCHED_TEST_POSTGRES_URL=//p' "${SCHED_SERVICES_DIR:-target/services}/urls.env")
fi
program=$(cargo build --quiet --package sched-examples --features postgres --bin replica \
    --message-format=json-render-diagnostics | sed -n 's/.*"executable":"\([^"]*\)".*/\1/p' | tail -n 1)

logs=$(mktemp -d)
declare -A replicas # process ids, by name
stop_all() {
    for name in "${!replicas[@]}"; do kill "${replicas[$name]}" 2>/dev/null || true; done
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

# A replica that is in the middle of a run, and the second of that run.
find_busy() {
    for name in "${!replicas[@]}"; do
        if [[ $(tail -n 1 "$logs/$name") =~ ^begins\ ([0-9]+) ]]; then
            victim=$name second=${BASH_REMATCH[1]}
            return
        fi
    done
    return 1
}
seconds_run() { [ "$(cat "$logs"/* | grep -c '^ends')" -ge "$1" ]; }

for name in one two three; do
    "$program" "$url" "$name" >"$logs/$name" &
    replicas[$name]=$!
done
await seconds_run 3
echo "${#replicas[@]} replicas run"

await find_busy
kill -9 "${replicas[$victim]}"
wait "${replicas[$victim]}" 2>/dev/null || true
unset "replicas[$victim]"
if grep -q "^ends $second" "$logs/$victim"; then
    echo "replica $victim was quicker than its end; start this again" >&2
    exit 1
fi
echo "replica $victim was killed in the middle of a run"
await grep -q "^ends $second attempt 2" "$logs"/*
echo "another replica has run it again"
await seconds_run 10

for name in "${!replicas[@]}"; do
    kill "${replicas[$name]}"
    wait "${replicas[$name]}"
    unset "replicas[$name]"
done
echo "the others ended well"

# Every second from the first to the last one was run to its end, once.
cat "$logs"/* | awk '$1 == "ends" { print $2 }' | sort -n | awk '
    NR > 1 && $1 != last + 1 { print "after " last " came " $1; wrong = 1 }
    { last = $1 }
    END { if (wrong) exit 1; print NR " seconds, " NR " runs that ended: none lost, none twice" }'
