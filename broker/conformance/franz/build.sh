#!/usr/bin/env bash
# Builds the tests of franz-go's client, with the race detector: build.sh DIR VERSION. The source is what the Go proxy has; it is copied
# to DIR, as a module in the cache cannot be built with its own go.mod. DIR/kgo.test is the program.
set -euo pipefail
dir=$1 version=$2
source=$(go mod download -json "github.com/twmb/franz-go@v$version" | sed -nE 's/^\t"Dir": "(.*)",?$/\1/p')
rm -rf "$dir"
mkdir -p "$dir"
cp -r "$source/." "$dir"
chmod -R u+w "$dir"
cd "$dir"
CGO_ENABLED=1 go test -c -race -o kgo.test ./pkg/kgo
