package config

// suggest names the setting that is nearest to an unknown name, as written where
// the unknown one was, if it is near at all.
func suggest(unknown string, written func(name string) string) string {
	var names []string
	for i := range settings {
		names = append(names, settings[i].name)
		if settings[i].secret {
			names = append(names, settings[i].name+fileSuffix)
		}
	}
	best := Nearest(unknown, names)
	if best == "" {
		return "; 'counterfoil config show' lists all"
	}
	return "; did you mean " + written(best) + "?"
}

// Nearest returns the first of the names that are most like an unknown one, or "" where
// none is near.
func Nearest(unknown string, names []string) string {
	best, distance := "", len(unknown)/3+2
	for _, name := range names {
		if d := editDistance(unknown, name); d < distance {
			best, distance = name, d
		}
	}
	return best
}

// editDistance is Levenshtein's: insertions, deletions and substitutions.
func editDistance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := diagonal
			if a[i] != b[j] {
				cost++
			}
			diagonal = row[j+1]
			row[j+1] = min(cost, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}
