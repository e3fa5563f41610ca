# Reads one file, leaves two: the file packed, and a report about its words.
# usage: sh analyse.sh FILE PACKED REPORT NAME SAMPLES
set -eu
LC_ALL=C
export LC_ALL
in=$1 packed=$2 report=$3 name=$4 samples=$5

tr -cs 'A-Za-z0-9_' '\n' < "$in" | tr 'A-Z' 'a-z' | sed '/^$/d' > words
sort words | uniq -c | sort -k1,1nr -k2 > counts
gzip -9nc < "$in" > "$packed"
{
    echo "file:      $name"
    echo "sha256:    $(sha256sum < "$in" | cut -d' ' -f1)"
    echo "bytes:     $(wc -c < "$in") plain, $(wc -c < "$packed") packed"
    # How many different words does a text of this author have? Estimated by drawing words again and again (a bootstrap),
    # with a generator of its own so that every run of the same file draws the same.
    awk -v samples="$samples" '
        function draw() { seed = (seed * 16807) % 2147483647; return seed % n + 1 }
        { word[++n] = $0; if (!($0 in known)) { known[$0] = 1; kinds++ } }
        END {
            if (n == 0) { print "words:     none"; exit }
            seed = 2026 + n
            take = n < 1000 ? n : 1000
            for (s = 1; s <= samples; s++) {
                different = 0
                for (i = 1; i <= take; i++) {
                    w = word[draw()]
                    if (seen[w] != s) { seen[w] = s; different++ }
                }
                sum += different
                squares += different * different
            }
            mean = sum / samples
            spread = squares / samples - mean * mean
            printf "words:     %d, %d different\n", n, kinds
            printf "variety:   %.1f +- %.1f different ones among %d drawn (%d samples)\n", mean, sqrt(spread < 0 ? 0 : spread), take, samples
        }' words
    echo "most used:"
    head -n 8 counts
} > "$report"
