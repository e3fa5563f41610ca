#!/bin/sh
# The words of many files, counted where the files are sent, added up here: map, then reduce in a pipe.
#
#   filch up --detach
#   examples/word-count.sh FILE...          # the twenty most frequent words of all of them
set -eu
[ $# -gt 0 ] || { echo "usage: $0 FILE..." >&2; exit 2; }

# One task per file; the file travels there, `COUNT WORD` lines come back on stdout.
filch map --name word-count -i {} -- sh -c '
    tr -cs "[:alpha:]" "\n" < "$1" | tr "[:upper:]" "[:lower:]" | grep . | sort | uniq -c || true
' word-count {in} ::: "$@" |
    awk '{ count[$2] += $1 } END { for (word in count) print count[word], word }' |
    sort -k1,1nr -k2 | head -n 20
