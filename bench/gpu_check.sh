#!/usr/bin/env bash
# Everything that needs a GPU, in one call of under nine minutes, without a network:
#   bench/gpu_check.sh [FOLDER]
# installs carried wheels (.whl/), builds the kernels, runs their tests and the pipeline's on the GPU, the benchmarks, and
# compute-sanitizer on the kernels. FOLDER (default: $OUT, or bench/results) gets gpu_check.md and gpu_check.json with what passed
# and what was measured, written anew after each step, the tables gpu_kernels and gpu_pipeline as .md and .json, and one log.
# Each step has a limit; together they are less than nine minutes; one that fails or overruns does not stop the rest.
# Without a GPU the report says so: each step "not run". Every engine on every network is a call of its own: bench/gpu_engines.py.
# PYTHON names the interpreter (python3), ENGINE what runs the networks (torch, or onnxruntime where onnxruntime-gpu is installed).
#
# Needed: Python 3.10 or newer with numpy, opencv-python-headless, pillow, typer, rich, pytest, onnx, onnxruntime, pycuda, and torch
# with CUDA. What the machine lacks is carried: wheels of its Python in .whl/. PyCUDA has none on the index:
#   pip wheel --no-deps -w .whl pycuda     (with that Python, nvcc and g++; pytools, mako, markupsafe, platformdirs, siphash24 beside it)
set -uo pipefail

# One function, so that the whole file is read before anything runs.
main() {
cd "$(dirname "$0")/.."
out=${1:-${OUT:-bench/results}}
mkdir -p "$out"
python=${PYTHON:-python3}
engine=${ENGINE:-torch}
log="$out/gpu_check.log"
steps="$out/steps.tsv"
: >"$log"
: >"$steps"
started=$SECONDS
total=525  # seconds for everything
failed=0
absent=  # why nothing can be run

export PYTHONUNBUFFERED=1 CUDA_MODULE_LOADING=LAZY
export PYTHONPATH="$PWD:$PWD/kernels:$PWD/engines:$PWD/export:$PWD/tests:$PWD/bench${PYTHONPATH:+:$PYTHONPATH}"
export H2K_CACHE="${H2K_CACHE:-$(mktemp -d)}"
export PATH="$PATH:/usr/local/cuda/bin"

# note NAME RESULT SECONDS: a line of the report, which is whole after each step.
note() {
  printf '%s\t%s\t%s\n' "$@" >>"$steps"
  "$python" bench/gpu_targets.py "$out" "$absent" || printf 'the report could not be written\n' >&2
}

# step NAME SECONDS COMMAND...: run with a limit, tell what became of it.
step() {
  local name=$1 limit=$2 left=$((total - (SECONDS - started))) begin=$SECONDS code last
  shift 2
  if [ -n "$absent" ]; then
    note "$name" "not run" ""
    return
  fi
  if [ "$left" -lt 10 ]; then
    note "$name" "not run: no time left" ""
    failed=1
    return
  fi
  [ "$limit" -gt "$left" ] && limit=$left
  printf '\n== %s (at most %s s)\n' "$name" "$limit" | tee -a "$log"
  timeout --kill-after=5 "$limit" "$@" >"$out/.step" 2>&1
  code=$?
  cat "$out/.step" >>"$log"
  tail -n 12 "$out/.step"
  last=$(grep -aE '[0-9]+ (passed|failed|error|skipped)' "$out/.step" | tail -n 1 | tr -d '=|\t' | sed 's/^ *//;s/ in [0-9.]*s.*//')
  rm -f "$out/.step"
  case $code in
    0) note "$name" "passed${last:+ ($last)}" $((SECONDS - begin)) ;;
    124 | 137) note "$name" "stopped after $limit s" $((SECONDS - begin)); failed=1 ;;
    *) note "$name" "FAILED (exit $code)${last:+ ($last)}" $((SECONDS - begin)); failed=1 ;;
  esac
}

# All wheels at once, else each by itself: one for another Python would keep the others out.
install_wheels() {
  local pip=("$python" -m pip install -q --no-index --no-deps --no-compile --no-cache-dir --upgrade --target "$site")
  "${pip[@]}" .whl/*.whl && return
  for wheel in .whl/*.whl; do "${pip[@]}" "$wheel" || printf 'left out: %s\n' "$wheel"; done
}

if compgen -G ".whl/*.whl" >/dev/null; then
  site=$(mktemp -d)
  export python site
  export -f install_wheels
  step "install carried wheels" 45 bash -c install_wheels
  export PYTHONPATH="$PYTHONPATH:$site"
fi
absent=$(timeout --kill-after=5 60 "$python" - <<'PY'
from h2k_kernels.launch import DeviceFailure, Runtime
try:
    Runtime().open()
except DeviceFailure as error:
    print(str(error).partition(";")[0])
PY
)
[ $? -eq 0 ] || [ -n "$absent" ] || absent="the launcher could not be asked for a GPU, see above"
step "what is here" 25 "$python" - <<'PY'
import subprocess
from importlib.metadata import PackageNotFoundError, version
subprocess.run("nvidia-smi --query-gpu=name,driver_version,memory.total --format=csv,noheader", shell=True)
for name in ("numpy", "opencv-python-headless", "torch", "onnxruntime", "onnxruntime-gpu", "onnx", "pycuda", "pytest"):
    try:
        print(name, version(name))
    except PackageNotFoundError:
        print(name, "is not installed")
from h2k_kernels.launch import Runtime
runtime = Runtime()
print(runtime.name, runtime.architecture, runtime.memory())
PY
step "build the kernels" 60 "$python" - <<'PY'
import time
from concurrent.futures import ThreadPoolExecutor
from h2k_kernels.launch import Runtime
from h2k_kernels.launch.compile import compile_kernel
from h2k_kernels.launch.prebuild import stems
start = time.perf_counter()
runtime = Runtime()
architecture = runtime.architecture
with ThreadPoolExecutor() as threads:
    made = dict(zip(stems(), threads.map(lambda stem: compile_kernel(stem, architecture), stems())))
print(f"{time.perf_counter() - start:.1f} s")
for stem, image in made.items():
    runtime.module(stem)
    print(f"{stem}: {image.origin}, loaded: {runtime.origin(stem)}")
PY
pytest=("$python" -m pytest -q -p no:randomly -o "cache_dir=$H2K_CACHE/pytest")
kernel_tests=(tests/test_cuda_copy_window.py tests/test_cuda_fields.py tests/test_cuda_mask_component.py tests/test_cuda_photo_prep.py
  tests/test_cuda_warp_parts.py tests/test_cuda_fuse_parts.py tests/test_cuda_depth_to_points.py tests/test_cuda_depth_to_mesh.py
  tests/test_cuda_clean_depth.py tests/test_cuda_person_colours.py tests/test_cuda_integrate_normals.py
  tests/test_cuda_sample_features.py)
# The limits: 45 + 25 + 60 + 90 + 40 + 95 + 95 + 45 + 30 = 525.
step "kernels against their twins and the vectors" 90 env H2K_KERNELS_ON_GPU=1 "${pytest[@]}" "${kernel_tests[@]}"
step "benchmark of the kernels" 40 "$python" bench/gpu_kernels.py --engine "$engine" -o "$out"
step "pipeline against the CPU, graphs, 500 photos" 95 "${pytest[@]}" -m gpu tests/test_gpu_pipeline.py tests/test_gpu_views.py
step "benchmark of the pipeline" 95 "$python" bench/gpu_pipeline.py --engine "$engine" --seconds 55 -o "$out"
if [ -n "$absent" ] || command -v compute-sanitizer >/dev/null; then
  sanitizer=(compute-sanitizer --error-exitcode 9 --target-processes all)
  step "compute-sanitizer memcheck" 45 env H2K_KERNELS_ON_GPU=1 "${sanitizer[@]}" --tool memcheck "${pytest[@]}" -x \
    tests/test_cuda_copy_window.py tests/test_cuda_fields.py tests/test_cuda_clean_depth.py tests/test_cuda_person_colours.py \
    tests/test_cuda_warp_parts.py tests/test_cuda_fuse_parts.py tests/test_cuda_depth_to_mesh.py
  step "compute-sanitizer racecheck" 30 env H2K_KERNELS_ON_GPU=1 "${sanitizer[@]}" --tool racecheck "${pytest[@]}" -x \
    tests/test_cuda_photo_prep.py tests/test_cuda_depth_to_mesh.py tests/test_cuda_fuse_parts.py tests/test_cuda_integrate_normals.py
else
  note "compute-sanitizer" "not run: not installed" ""
fi
rm -f "$steps"
if [ -n "$absent" ]; then
  rm -f "$log"
  cat "$out/gpu_check.md"
  exit 2
fi
printf '\n%s s in all.\n' $((SECONDS - started)) | tee -a "$out/gpu_check.md"
cat "$out/gpu_check.md"
exit $failed
}
main "$@"
