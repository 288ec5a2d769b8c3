// Package spelling finds the word that somebody may have meant who wrote one that nobody knows.
package spelling

import "strings"

// Nearest is the known word with the fewest edits from word, or nothing if none is near.
func Nearest(word string, known []string) string {
	best, bestEdits := "", min(3, len(word)/2+1)
	for _, k := range known {
		if n := edits(strings.ToLower(word), strings.ToLower(k)); n < bestEdits {
			best, bestEdits = k, n
		}
	}
	return best
}

// edits is the Damerau-Levenshtein distance (optimal string alignment) of a and b.
func edits(a, b string) int {
	before, last := make([]int, len(b)+1), make([]int, len(b)+1)
	for j := range last {
		last[j] = j
	}
	for i := 1; i <= len(a); i++ {
		row := make([]int, len(b)+1)
		row[0] = i
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			row[j] = min(last[j]+1, row[j-1]+1, last[j-1]+cost)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				row[j] = min(row[j], before[j-2]+1)
			}
		}
		before, last = last, row
	}
	return last[len(b)]
}
