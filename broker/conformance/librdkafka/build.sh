#!/usr/bin/env bash
# Builds librdkafka and its test runner in a folder: build.sh DIR VERSION. The sources are those that come with Confluent's package
# for Node, which is what registries carry; VERSION is librdkafka's.
set -euo pipefail
dir=${1:?usage: build.sh DIR VERSION} version=${2:?usage: build.sh DIR VERSION}
case $version in
2.15.1) package=@confluentinc/kafka-javascript@1.10.1 ;;
*)
  echo "build.sh: name the package that comes with librdkafka $version" >&2
  exit 2
  ;;
esac

for need in npm make g++; do
  command -v "$need" >/dev/null || {
    echo "build.sh: install $need" >&2
    exit 1
  }
done
headers=()
for header in zlib openssl/ssl zstd curl/curl; do
  echo "#include <$header.h>" | cpp >/dev/null 2>&1 || headers+=("$header.h")
done
if [ ${#headers[@]} -gt 0 ]; then
  echo "build.sh: install the headers ${headers[*]} (Debian: zlib1g-dev libssl-dev libzstd-dev libcurl4-openssl-dev)" >&2
  exit 1
fi

rm -rf "$dir"
mkdir -p "$dir"
cd "$dir"
tarball=$(npm pack --silent "$package")
tar -xzf "$tarball" --strip-components=2 package/deps/librdkafka
rm "$tarball"
cd librdkafka
{
  ./configure --disable-gssapi
  make -j"$(nproc)" libs
  make -j"$(nproc)" -C tests build
} >"$dir/build.log" 2>&1 || {
  tail -n 20 "$dir/build.log" >&2
  exit 1
}
