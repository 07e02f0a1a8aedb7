#!/bin/sh
# Replaces the running replicas of the compose stack with replicas of another image, without a lost
# request: starts as many new replicas, and when all are healthy stops the old ones, one by one.
#
#     docker build --tag fashion-mnist-service:v2 .
#     TAG=v2 deploy/compose/rolling-upgrade.sh
#     TAG=v1 deploy/compose/rolling-upgrade.sh    # roll back to the previous image
#
# If a new replica does not become healthy, the new ones are removed and the old ones keep running.
# COMPOSE is the command with its -f options, `docker compose` by default; WAIT_SECONDS is 60.
set -eu
cd "$(dirname "$0")/../.."
compose=${COMPOSE:-docker compose}

old=$($compose ps --quiet service)
count=$(echo "$old" | grep -c .) || { echo "the stack is not running" >&2; exit 1; }

$compose up --detach --no-build --no-recreate --no-deps --scale service=$((2 * count)) service
new=$($compose ps --quiet service | grep -vxF "$old")

healthy() {
    for container in $new; do
        [ "$(docker inspect --format '{{.State.Health.Status}}' "$container")" = healthy ] || return 1
    done
}
waited=0
until healthy; do
    waited=$((waited + 1))
    if [ "$waited" -gt "${WAIT_SECONDS:-60}" ]; then
        echo "the new replicas are not healthy after ${WAIT_SECONDS:-60} seconds; the old ones stay" >&2
        for container in $new; do docker rm --force "$container" >/dev/null; done
        exit 1
    fi
    sleep 1
done
sleep 5 # the proxy resolves and checks replicas once a second
for container in $old; do
    docker stop --time 40 "$container" >/dev/null
    docker rm "$container" >/dev/null
done
echo "$count replicas replaced"
