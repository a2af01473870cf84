#!/usr/bin/env bash
# Everything that needs a GPU, in one call of under nine minutes, without a network:
#   bench/gpu_check.sh [FOLDER]
# installs carried wheels (.whl/), builds the kernels, runs their tests and the pipeline's on the GPU, compute-sanitizer on the
# kernels, and the benchmarks. FOLDER (default: $OUT, or bench/results) gets gpu_check.md with what passed, the tables
# gpu_kernels, gpu_pipeline and gpu_engines as .md and .json, and one log. Each step has a limit; one that fails does not stop the rest.
# Without a GPU gpu_check.md says so: each step "not run".
# PYTHON names the interpreter (python3), ENGINE what runs the networks (torch, or onnxruntime where onnxruntime-gpu is installed).
set -uo pipefail

# One function, so that the whole file is read before anything runs.
main() {
cd "$(dirname "$0")/.."
out=${1:-${OUT:-bench/results}}
mkdir -p "$out"
python=${PYTHON:-python3}
engine=${ENGINE:-torch}
log="$out/gpu_check.log"
table="$out/gpu_check.md"
: >"$log"
started=$SECONDS
total=520  # seconds for everything
failed=0
absent=  # why nothing can be run

export PYTHONUNBUFFERED=1 CUDA_MODULE_LOADING=LAZY
export PYTHONPATH="$PWD:$PWD/kernels:$PWD/engines:$PWD/export:$PWD/tests:$PWD/bench${PYTHONPATH:+:$PYTHONPATH}"
export H2K_CACHE="${H2K_CACHE:-$(mktemp -d)}"
PATH="$PATH:/usr/local/cuda/bin"

printf '# GPU check\n\n| step | result | seconds |\n| --- | --- | ---: |\n' >"$table"

# step NAME SECONDS COMMAND...: run with a limit, tell what became of it.
step() {
  local name=$1 limit=$2 left=$((total - (SECONDS - started))) begin=$SECONDS code
  shift 2
  if [ -n "$absent" ]; then
    printf '| %s | not run | |\n' "$name" >>"$table"
    return
  fi
  if [ "$left" -lt 10 ]; then
    printf '| %s | not run: no time left | |\n' "$name" >>"$table"
    return
  fi
  [ "$limit" -gt "$left" ] && limit=$left
  printf '\n== %s (at most %s s)\n' "$name" "$limit" | tee -a "$log"
  timeout --kill-after=10 "$limit" "$@" >"$out/.step" 2>&1
  code=$?
  cat "$out/.step" >>"$log"
  tail -n 12 "$out/.step"
  local last
  last=$(grep -aE '[0-9]+ (passed|failed|error|skipped)' "$out/.step" | tail -n 1 | tr -d '=|' | sed 's/^ *//;s/ in [0-9.]*s.*//')
  case $code in
    0) printf '| %s | passed %s | %s |\n' "$name" "${last:+($last)}" $((SECONDS - begin)) >>"$table" ;;
    124 | 137) printf '| %s | stopped after %s s | %s |\n' "$name" "$limit" $((SECONDS - begin)) >>"$table"; failed=1 ;;
    *) printf '| %s | FAILED (exit %s) %s | %s |\n' "$name" "$code" "${last:+($last)}" $((SECONDS - begin)) >>"$table"; failed=1 ;;
  esac
  rm -f "$out/.step"
}

if compgen -G ".whl/*.whl" >/dev/null; then
  site=$(mktemp -d)
  step "install carried wheels" 60 "$python" -m pip install -q --no-index --no-deps --no-compile --no-cache-dir --upgrade --target "$site" .whl/*.whl
  export PYTHONPATH="$PYTHONPATH:$site"
fi
absent=$("$python" - <<'PY'
from h2k_kernels.launch import DeviceFailure, Runtime
try:
    Runtime().open()
except DeviceFailure as error:
    print(str(error).partition(";")[0])
PY
)
step "what is here" 60 "$python" - <<'PY'
import subprocess
from importlib.metadata import PackageNotFoundError, version
subprocess.run("nvidia-smi --query-gpu=name,driver_version,memory.total --format=csv,noheader", shell=True)
for name in ("numpy", "opencv-python-headless", "torch", "onnxruntime", "onnxruntime-gpu", "onnx", "pycuda"):
    try:
        print(name, version(name))
    except PackageNotFoundError:
        print(name, "is not installed")
from h2k_kernels.launch import Runtime
runtime = Runtime()
print(runtime.name, runtime.architecture, runtime.memory())
PY
step "build the kernels" 120 "$python" - <<'PY'
import time
from h2k_kernels.launch import Runtime
from h2k_kernels.launch.compile import read_source
runtime = Runtime()
for stem in sorted(path.stem for path in read_source("warp_parts").path.parent.glob("*.cu")):
    start = time.perf_counter()
    runtime.module(stem)
    print(f"{stem}: {runtime.origin(stem)}, {time.perf_counter() - start:.1f} s")
PY
kernel_tests=(tests/test_cuda_copy_window.py tests/test_cuda_fields.py tests/test_cuda_mask_component.py tests/test_cuda_photo_prep.py
  tests/test_cuda_warp_parts.py tests/test_cuda_fuse_parts.py tests/test_cuda_depth_to_points.py tests/test_cuda_depth_to_mesh.py
  tests/test_cuda_clean_depth.py tests/test_cuda_person_colours.py tests/test_cuda_sample_features.py)
pytest=("$python" -m pytest -q -p no:randomly -o "cache_dir=$H2K_CACHE/pytest")
step "kernels against their twins and the vectors" 120 env H2K_KERNELS_ON_GPU=1 "${pytest[@]}" "${kernel_tests[@]}"
step "pipeline against the CPU, graphs, 500 photos" 150 "${pytest[@]}" -m gpu tests/test_gpu_pipeline.py tests/test_gpu_views.py
if [ -n "$absent" ] || command -v compute-sanitizer >/dev/null; then
  sanitizer=(compute-sanitizer --error-exitcode 9 --target-processes all)
  step "compute-sanitizer memcheck" 60 env H2K_KERNELS_ON_GPU=1 "${sanitizer[@]}" --tool memcheck "${pytest[@]}" -x \
    tests/test_cuda_copy_window.py tests/test_cuda_fields.py tests/test_cuda_clean_depth.py tests/test_cuda_person_colours.py \
    tests/test_cuda_warp_parts.py tests/test_cuda_fuse_parts.py tests/test_cuda_depth_to_mesh.py
  step "compute-sanitizer racecheck" 45 env H2K_KERNELS_ON_GPU=1 "${sanitizer[@]}" --tool racecheck "${pytest[@]}" -x \
    tests/test_cuda_photo_prep.py tests/test_cuda_depth_to_mesh.py tests/test_cuda_fuse_parts.py
else
  printf '| compute-sanitizer | not run: not installed | |\n' >>"$table"
fi
step "benchmark of the kernels" 90 "$python" bench/gpu_kernels.py --engine "$engine" -o "$out"
left=$((total - (SECONDS - started)))
step "benchmark of the pipeline" $((left * 3 / 5)) "$python" bench/gpu_pipeline.py --engine "$engine" --seconds $((left * 2 / 5)) -o "$out"
left=$((total - (SECONDS - started)))
step "benchmark of every engine, FP16 against FP32" "$left" "$python" bench/gpu_engines.py --seconds $((left / 3)) -o "$out"

if [ -n "$absent" ]; then
  cat >>"$table" <<EOF

Not run: $absent.

| to be shown on a GPU | wanted | measured |
| --- | ---: | ---: |
| fuse_parts, share of the bandwidth of a copy of the bytes that it must move | 60 % | not run |
| warp_parts, the same | 60 % | not run |
| depth_to_mesh, the same | 40 % | not run |
| photo bytes to mesh arrays, full size, FP16, H200 | 30 ms | not run |
| device memory beyond weights | 2 GiB | not run |
| growth over 500 photos | none | not run |
| the published way in PyTorch FP32 | | not run |
| networks by ONNX Runtime CUDA, PyTorch, TensorRT and TensorRT for RTX, FP16 and FP32, both bundles | | not run |

What is known of the kernels without a GPU: [kernels_static.md](kernels_static.md).
EOF
  rm -f "$log"
  cat "$table"
  exit 2
fi
for part in gpu_kernels gpu_pipeline gpu_engines; do
  [ -s "$out/$part.md" ] && { printf '\n'; cat "$out/$part.md"; } >>"$table"
done
printf '\n%s s in all.\n' $((SECONDS - started)) | tee -a "$table"
cat "$table"
exit $failed
}
main "$@"
