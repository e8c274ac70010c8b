#!/bin/sh
# Makes nt's generated files again from mingw-w64's headers: zstatus.go, zbugcheck.go and the golden
# files. With --check it changes nothing and exits 1, with the differences, if a file is not what
# the headers say; it exits 2 if clang or the headers are missing, and says which.
#
# The committed files come from mingw-w64 10.0.0 and clang 14; newer headers may know more.
set -u
cd "$(dirname "$0")/.." || exit 2

check=
case "${1-}" in
"") ;;
--check) check=-check ;;
*)
	echo "usage: regen.sh [--check]" >&2
	exit 2
	;;
esac

gen=$(mktemp -d) || exit 2
trap 'rm -rf "$gen"' EXIT
go build -o "$gen/gen" ./gen || exit 2
"$gen/gen" $check
