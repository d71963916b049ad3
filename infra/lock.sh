#!/usr/bin/env bash
# Pins every environment anew, with hashes, for every Python and system that the project runs on:
#
#     infra/lock.sh [--upgrade]      without --upgrade, what is pinned already stays
#
# infra/locks/control.txt    API, flows, command line         infra/locks/gpu-cuda.txt   engines on GPUs
# infra/locks/dev.txt        control and what tests need      infra/locks/gpu-cpu.txt    engines on a CPU
# infra/locks/peers.txt      what benchmarks compare with, beyond what gpu-cpu.txt has
set -euo pipefail
cd "$(dirname "$0")/.."

[ -x .venv/bin/uv ] || .venv/bin/python -m pip --quiet --quiet install uv

# uv does not read pip's configuration, where the CPU build of torch is made known.
export UV_FIND_LINKS="${UV_FIND_LINKS:-$(.venv/bin/python -m pip config get global.find-links 2>/dev/null || true)}"

compile() {
  local out="infra/locks/$1.txt"
  shift
  echo "locking $out"
  .venv/bin/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes \
    --no-header --no-emit-index-url --no-emit-find-links --output-file "$out" "$@"
}

compile control pyproject.toml --group build "$@"
compile dev pyproject.toml --group build --group dev --constraints infra/locks/control.txt "$@"
compile gpu-cuda --group gpu "$@"
compile gpu-cpu --group gpu-cpu --constraints infra/locks/torch-cpu.txt \
  --overrides infra/locks/not-on-cpu.txt --no-emit-package torch "$@"

in_gpu=$(sed -n 's/^\([a-z0-9][a-z0-9._-]*\)==.*/--no-emit-package \1/p' infra/locks/gpu-cpu.txt)
# shellcheck disable=SC2086  # words on purpose
compile peers --group peers --constraints infra/locks/gpu-cpu.txt --constraints infra/locks/torch-cpu.txt \
  --overrides infra/locks/not-on-cpu.txt --no-emit-package torch $in_gpu "$@"
