package main

import (
	"context"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"gorm.io/gorm"
)

// maxLoads is how often in a second one key may be read from the database: a
// gateway holds counts and pages for a quarter of one, and a load that a second
// boundary or a slow answer splits counts twice. On a patient machine more answers are
// slow; a key that nobody shared would be read twenty times.
const maxLoads, patientLoads = 8, 12

// recorded has MariaDB write down every statement, and counts in the end how often
// the key that was read most was read within one second. Without the cache,
// requests at the same time must still share their reads.
func recorded(ctx context.Context, r *run) (judge func() error, err error) {
	db := r.db.WithContext(ctx)
	for _, set := range []string{"log_output = 'TABLE'", "general_log = ON"} {
		if err := db.Exec("SET GLOBAL " + set).Error; err != nil {
			return nil, err
		}
	}
	// Statements prepared before are written down without what they are about.
	var sessions []int64
	if err := db.Raw("SELECT id FROM information_schema.processlist WHERE user = 'backbeat' AND id <> CONNECTION_ID()").Scan(&sessions).Error; err != nil {
		return nil, err
	}
	for _, session := range sessions {
		if err := db.Exec(fmt.Sprint("KILL ", session)).Error; err != nil {
			return nil, err
		}
	}
	return func() error { return r.countReads(db) }, nil
}

func (r *run) countReads(db *gorm.DB) error {
	if err := db.Exec("SET GLOBAL general_log = OFF").Error; err != nil {
		return err
	}
	var statements []struct {
		Second   int64
		Argument string
	}
	read := "SELECT CAST(UNIX_TIMESTAMP(event_time) AS SIGNED) AS second, CONVERT(argument USING utf8mb4) AS argument FROM mysql.general_log WHERE command_type IN ('Query', 'Execute') AND argument LIKE 'SELECT%'"
	if err := db.Raw(read).Scan(&statements).Error; err != nil {
		return err
	}
	loads := map[string]map[int64]int{}
	most, busiest, reads := 0, "", 0
	for _, s := range statements {
		for _, key := range keysRead(s.Argument) {
			if loads[key] == nil {
				loads[key] = map[int64]int{}
			}
			reads++
			loads[key][s.Second]++
			if n := loads[key][s.Second]; n > most {
				most, busiest = n, key
			}
		}
	}
	r.notes = append(r.notes, fmt.Sprintf("%d reads of %d keys in %d statements; at most %d of one in a second (%s)", reads, len(loads), len(statements), most, busiest))
	allowed := maxLoads
	if r.scale.patient {
		allowed = patientLoads
	}
	if most > allowed {
		return fmt.Errorf("%s was read %d times in a second", busiest, most)
	}
	return db.Exec("TRUNCATE TABLE mysql.general_log").Error
}

var (
	list = regexp.MustCompile(`\bIN \(([-0-9, ]+)\)`)
	// own is what a write reads of its own row.
	own = regexp.MustCompile(`FOR UPDATE|LIMIT 1$`)
)

// keysRead is what a statement reads: itself, or its like for each id of its list. Parts
// and lists are padded with repetitions, each key counts once.
func keysRead(statement string) (keys []string) {
	if own.MatchString(statement) || !strings.Contains(statement, " FROM ") {
		return nil
	}
	for part := range strings.SplitSeq(statement, " UNION ALL ") {
		at := list.FindStringSubmatchIndex(part)
		if at == nil {
			keys = append(keys, part)
			continue
		}
		for id := range strings.SplitSeq(part[at[2]:at[3]], ",") {
			keys = append(keys, part[:at[2]]+id+part[at[3]:])
		}
	}
	slices.Sort(keys)
	return slices.Compact(keys)
}
