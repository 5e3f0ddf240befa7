#!/bin/sh
# Build a release of the current commit: dist/dream-runner-VERSION.tar.gz, the wheel and SHA256SUMS.
# The same commit gives the same bytes.
#
# usage: scripts/release.sh [DIRECTORY]   (default: dist)
set -eu
cd "$(dirname -- "$0")/.."

python=${PYTHON:-python3}
version=$(sed -n 's/^VERSION=//p' install.sh)
name=dream-runner-$version
mkdir -p -- "${1:-dist}"
target=$(cd "${1:-dist}" && pwd)
SOURCE_DATE_EPOCH=$(git log -1 --format=%ct)
export SOURCE_DATE_EPOCH

work=$(mktemp -d)
trap 'rm -rf -- "$work"' EXIT

# Everything for an install and the documentation, but not the tests.
git -c tar.umask=0022 archive --format=tar --prefix="$name/" HEAD -- \
    CHANGELOG.md LICENSE README.md ansible.cfg docs dream_runner install.sh library playbooks \
    pyproject.toml requirements.lock roles scripts/dream-runner >"$work/$name.tar"
gzip -n -9 <"$work/$name.tar" >"$target/$name.tar.gz"

tar -xf "$work/$name.tar" -C "$work"
"$python" -m pip wheel --quiet --no-input --disable-pip-version-check --no-deps \
    --no-build-isolation --no-index --wheel-dir "$work" "$work/$name"
mv -f -- "$work"/dream_runner-"$version"-*.whl "$target"

cd "$target"
sha256sum "$name.tar.gz" dream_runner-"$version"-*.whl >SHA256SUMS
cat SHA256SUMS
