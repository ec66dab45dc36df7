package live

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"backbeat/app/etcd"
	"backbeat/config"
)

const (
	// version is of the form of what lies in etcd.
	version = "v1"
	// mostKept bounds the history of one key.
	mostKept = 100
)

// Change is one change of one key, as it lies in etcd.
type Change struct {
	// Revision counts the changes of a key from 1.
	Revision int64 `json:"revision"`
	// At is the clock of who made the change.
	At time.Time `json:"at"`
	By string    `json:"by"`
	// Old and New are values as text; nil is what each process's own file says.
	Old *string `json:"old"`
	New *string `json:"new"`
}

// Store is where operators of a cluster set live keys: the latest change of a key at
// <prefix>/config/v1/values/<key>, the last hundred at …/history/<key>/<revision>,
// both written at once.
type Store struct {
	client  *clientv3.Client
	values  string // ends with a slash, as does
	history string
	base    *config.Config
	now     func() time.Time
}

// NewStore returns the store under the prefix. Base is what holds where nothing is
// set; the client is closed by its owner.
func NewStore(client *clientv3.Client, prefix string, base *config.Config, now func() time.Time) *Store {
	root := path.Join("/", prefix, "config", version)
	return &Store{client: client, values: root + "/values/", history: root + "/history/", base: base, now: now}
}

// Held is what the store holds.
type Held struct {
	// Config is what is in force in a process that starts now, with the same file and
	// variables.
	Config *config.Config
	// Changes are the latest of each key that somebody set.
	Changes map[string]Change
	// Refused says what is wrong with those that processes ignore.
	Refused map[string]error

	sound    map[string]string
	revision int64 // of etcd
}

// Read returns what is set.
func (s *Store) Read(ctx context.Context) (*Held, error) {
	ctx, cancel := context.WithTimeout(ctx, etcd.AskWithin)
	defer cancel()
	found, err := s.client.Get(ctx, s.values, clientv3.WithPrefix())
	if err != nil {
		return nil, fmt.Errorf("reading what is set in etcd: %w", err)
	}
	h := &Held{revision: found.Header.Revision}
	h.Changes, h.Refused = s.decode(found)
	sound, refused := settle(s.base, nil, h.Changes)
	maps.Copy(h.Refused, refused)
	h.sound = sound
	h.Config, err = s.base.With(sound)
	return h, err
}

// decode returns the changes that etcd holds, and what is none.
func (s *Store) decode(found *clientv3.GetResponse) (changes map[string]Change, faults map[string]error) {
	changes, faults = map[string]Change{}, map[string]error{}
	for _, kv := range found.Kvs {
		key := strings.TrimPrefix(string(kv.Key), s.values)
		var c Change
		if err := json.Unmarshal(kv.Value, &c); err != nil || c.Revision <= 0 {
			// Not what it is: somebody may have put a secret there.
			faults[key] = fmt.Errorf("%s: what etcd holds is no change that `backbeat config set` made", key)
			continue
		}
		changes[key] = c
	}
	return changes, faults
}

// settle returns the values of good with as many of the changes as are sound on
// base, and why the others are not. What is sound with all of good stays so.
func settle(base *config.Config, good map[string]string, changes map[string]Change) (map[string]string, map[string]error) {
	for {
		refused, before := map[string]error{}, good
		for _, key := range slices.Sorted(maps.Keys(changes)) {
			trial := with(good, key, changes[key].New)
			if maps.Equal(trial, good) {
				continue
			}
			if _, err := base.With(trial); err != nil {
				refused[key] = err
				continue
			}
			good = trial
		}
		// One key may be sound only after another has changed.
		if len(refused) == 0 || maps.Equal(good, before) {
			return good, refused
		}
	}
}

// with returns values with another value for the key, none for nil.
func with(values map[string]string, key string, value *string) map[string]string {
	changed := map[string]string{}
	maps.Copy(changed, values)
	delete(changed, key)
	if value != nil {
		changed[key] = *value
	}
	return changed
}

// errLost is the fault of a key whose last change is gone from etcd.
var errLost = errors.New("etcd has lost it; set it again")

// ErrConflict is what Set fails with when somebody else has changed the key.
var ErrConflict = errors.New("somebody else changed it")

// AnyRevision lets Set change a key whatever its latest change was.
const AnyRevision = -1

// Set gives a key a value, nil for what the file says, in the name of by. It returns
// the latest change of the key, and whether that is this one: a key that has the value
// already is left as it is. It stores nothing and fails when the value is unsound
// beside the others, and with ErrConflict when the latest change is not the one whose
// revision is given (0 for none), or another operator makes one at the same time. When
// etcd does not answer, what was asked may have happened.
func (s *Store) Set(ctx context.Context, key string, value *string, by string, revision int64) (latest Change, changed bool, err error) {
	for {
		held, err := s.Read(ctx)
		if err != nil {
			return Change{}, false, err
		}
		latest = held.Changes[key]
		if revision != AnyRevision && latest.Revision != revision {
			return Change{}, false, fmt.Errorf("%s: %w: the latest change is revision %d by %s", key, ErrConflict, latest.Revision, cmp.Or(latest.By, "nobody"))
		}
		trial, err := s.base.With(with(held.sound, key, value))
		if err != nil {
			return Change{}, false, err
		}
		setting, err := trial.Setting(key)
		if err != nil {
			return Change{}, false, err
		}
		if value != nil {
			value = &setting.Value // as it is always written
		}
		if _, nonsense := held.Refused[key]; !nonsense && same(latest.New, value) {
			return latest, false, nil
		}
		change, done, err := s.write(ctx, key, latest, value, by, held.revision)
		if done || err != nil {
			return change, done, err
		}
		revision = latest.Revision // somebody was quicker; if with this key, they win
	}
}

func same(a, b *string) bool { return a == b || a != nil && b != nil && *a == *b }

// write stores a change unless something was changed since etcd's revision.
func (s *Store) write(ctx context.Context, key string, latest Change, value *string, by string, since int64) (Change, bool, error) {
	past, err := s.past(ctx, key, 1)
	if err != nil {
		return Change{}, false, err
	}
	change := Change{Revision: latest.Revision + 1, At: s.now().UTC(), By: by, Old: latest.New, New: value}
	if len(past) > 0 { // goes on where what is set was lost
		change.Revision = max(change.Revision, past[0].Revision+1)
	}
	record, err := json.Marshal(change)
	if err != nil {
		return Change{}, false, fmt.Errorf("%s: %w", key, err)
	}
	ctx, cancel := context.WithTimeout(ctx, etcd.AskWithin)
	defer cancel()
	answer, err := s.client.Txn(ctx).
		If(clientv3.Compare(clientv3.ModRevision(s.values), "<", since+1).WithPrefix()).
		Then(
			clientv3.OpPut(s.values+key, string(record)),
			clientv3.OpPut(s.entry(key, change.Revision), string(record)),
			clientv3.OpDelete(s.entry(key, 0), clientv3.WithRange(s.entry(key, max(0, change.Revision-mostKept+1)))),
		).Commit()
	if err != nil {
		return Change{}, false, fmt.Errorf("%s: storing it (see `backbeat config history %s` whether it was): %w", key, key, err)
	}
	return change, answer.Succeeded, nil
}

func (s *Store) entry(key string, revision int64) string {
	return fmt.Sprintf("%s%s/%019d", s.history, key, revision)
}

// History returns the last hundred changes of a key, the latest first.
func (s *Store) History(ctx context.Context, key string) ([]Change, error) {
	return s.past(ctx, key, mostKept)
}

// past returns the latest changes of a key, as many as most.
func (s *Store) past(ctx context.Context, key string, most int64) ([]Change, error) {
	ctx, cancel := context.WithTimeout(ctx, etcd.AskWithin)
	defer cancel()
	found, err := s.client.Get(ctx, s.history+key+"/", clientv3.WithPrefix(), clientv3.WithSort(clientv3.SortByKey, clientv3.SortDescend), clientv3.WithLimit(most))
	if err != nil {
		return nil, fmt.Errorf("reading the history of %s: %w", key, err)
	}
	var all []Change
	for _, kv := range found.Kvs {
		var c Change
		if err := json.Unmarshal(kv.Value, &c); err != nil {
			return nil, fmt.Errorf("%s is no change: %w", kv.Key, err)
		}
		all = append(all, c)
	}
	return all, nil
}

// Rollback gives a key the value that a change gave it, as a change of its own in the
// manner of Set. To revision 0 is back to what the file says, to AnyRevision back
// before the latest.
func (s *Store) Rollback(ctx context.Context, key string, to int64, by string) (latest Change, changed bool, err error) {
	if _, err := s.base.Setting(key); err != nil {
		return Change{}, false, err
	}
	held, err := s.Read(ctx)
	if err != nil {
		return Change{}, false, err
	}
	past, err := s.History(ctx, key)
	if err != nil {
		return Change{}, false, err
	}
	if len(past) == 0 {
		return Change{}, false, fmt.Errorf("%s: nobody has changed it", key)
	}
	now := held.Changes[key].Revision
	switch to {
	case 0:
		return s.Set(ctx, key, nil, by, now)
	case AnyRevision:
		return s.Set(ctx, key, past[0].Old, by, now)
	}
	for _, c := range past {
		if c.Revision == to {
			return s.Set(ctx, key, c.New, by, now)
		}
	}
	return Change{}, false, fmt.Errorf("%s: there is no revision %d; the history has %d to %d", key, to, past[len(past)-1].Revision, past[0].Revision)
}
