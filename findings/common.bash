# Sourced by every finding: a temporary directory that goes away, pinned packages in it, a nats-server, one comparison.
# A finding fails (exit 1) when what it sees is not what it says; nothing here touches the product.
set -euo pipefail
unset "${!NATS@}" PYTHONPATH PYTHONHOME NODE_PATH
export TZ=UTC LC_ALL=C.UTF-8 PYTHONDONTWRITEBYTECODE=1 PIP_DISABLE_PIP_VERSION_CHECK=1
temp=$(mktemp -d)
server=""

finish() {
    status=$?
    trap - EXIT
    [ -z "$server" ] || { kill "$server" && wait "$server" || true; } 2>/dev/null
    rm -rf "$temp"
    exit "$status"
}
trap finish EXIT
trap 'exit 130' INT TERM

# pip_install NAME==VERSION ...: into a virtual environment of its own, first on PATH from then on
pip_install() {
    python3 -m venv "$temp/venv"
    "$temp/venv/bin/pip" install -q "$@"
    PATH="$temp/venv/bin:$PATH"
    echo "on: $* ($(python -V))"
}

# npm_install NAME@VERSION ...: where a node program that stands in $temp finds them
npm_install() {
    npm install --silent --no-save --no-audit --no-fund --prefix "$temp" "$@" >/dev/null
    echo "on: $* (node $(node --version))"
}

# start_nats [CONFIGURATION]: nats-server with JetStream on a free port of 127.0.0.1, its address in $NATS_URL
start_nats() {
    local port
    port=$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
    echo "${1:-}" >"$temp/nats.conf"
    nats-server -c "$temp/nats.conf" -a 127.0.0.1 -p "$port" -js -sd "$temp/store" 2>"$temp/nats.log" &
    server=$!
    export NATS_URL="nats://127.0.0.1:$port"
    for _ in {1..100}; do
        ! grep -q "Server is ready" "$temp/nats.log" || return 0
        sleep 0.1
    done
    cat "$temp/nats.log"
    return 1
}

# seen FILE <<EXPECTED: shows what was seen, fails if it is not what was expected
seen() {
    cat "$1"
    diff -u --label expected --label seen - "$1" || { echo "CHANGED: $0 no longer shows what it says"; exit 1; }
    echo "as said"
}
