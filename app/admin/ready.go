package admin

import (
	"context"
	"encoding/json"
	"net/http"
	"sync"
	"time"
)

// checkWithin bounds the answer of /readyz, whatever hangs.
const checkWithin = 900 * time.Millisecond

// Dependency is something outside the process that a role needs.
type Dependency struct {
	// Name is the same for all roles that share it.
	Name string
	// Vital is set when the role can't do its work without.
	Vital bool
	// Check returns why it is of no use at present; nil is something that is always
	// there.
	Check func(ctx context.Context) error
}

// Readiness knows what the roles of a process need. It is safe for concurrent use.
type Readiness struct {
	mu    sync.Mutex
	state string
	roles []roleNeeds
}

type roleNeeds struct {
	name, address string
	needs         []Dependency
}

// The states of a process, of which only serving is ready.
const (
	starting = "starting"
	serving  = "serving"
	stopping = "stopping"
)

// NewReadiness returns that of a process that starts.
func NewReadiness() *Readiness { return &Readiness{state: starting} }

// Add adds a role that has started and where it listens, "" for nowhere.
func (r *Readiness) Add(role, address string, needs []Dependency) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.roles = append(r.roles, roleNeeds{role, address, needs})
}

// Serve says that every role has started.
func (r *Readiness) Serve() { r.set(serving) }

// Stop says that the process drains: nobody shall send it anything new.
func (r *Readiness) Stop() { r.set(stopping) }

func (r *Readiness) set(state string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.state = state
}

// Report is the answer of /readyz.
type Report struct {
	// Ready is set when every role can do its work and the process does not stop.
	Ready bool `json:"ready"`
	// State is starting, serving or stopping.
	State string       `json:"state"`
	Roles []RoleReport `json:"roles"`
}

// RoleReport is how a role of the process is.
type RoleReport struct {
	Role string `json:"role"`
	// Address is where it listens; empty for a worker.
	Address string `json:"address,omitempty"`
	// Ready is set when it has all that is vital to it.
	Ready bool `json:"ready"`
	// Needs are Fine or a fault, by the names of dependencies.
	Needs map[string]string `json:"needs"`
}

// Fine is what a dependency that is there is said to be.
const Fine = "ok"

// look asks every dependency once, all at the same time.
func (r *Readiness) look(ctx context.Context) Report {
	r.mu.Lock()
	state, roles := r.state, r.roles
	r.mu.Unlock()
	checks := map[string]func(context.Context) error{}
	for _, role := range roles {
		for _, d := range role.needs {
			if d.Check != nil {
				checks[d.Name] = d.Check
			}
		}
	}
	found := ask(ctx, checks)
	all := Report{Ready: state == serving, State: state, Roles: []RoleReport{}}
	for _, role := range roles {
		one := RoleReport{Role: role.name, Address: role.address, Ready: true, Needs: map[string]string{}}
		for _, d := range role.needs {
			said, asked := found[d.Name]
			if !asked {
				said = Fine
			}
			one.Needs[d.Name] = said
			one.Ready = one.Ready && (said == Fine || !d.Vital)
		}
		all.Ready = all.Ready && one.Ready
		all.Roles = append(all.Roles, one)
	}
	return all
}

// ask returns what each check says within checkWithin.
func ask(ctx context.Context, checks map[string]func(context.Context) error) map[string]string {
	ctx, cancel := context.WithTimeout(ctx, checkWithin)
	type reply struct{ name, said string }
	replies := make(chan reply, len(checks))
	var asking sync.WaitGroup
	for name, check := range checks {
		asking.Go(func() {
			said := Fine
			if err := check(ctx); err != nil {
				said = err.Error()
			}
			replies <- reply{name, said}
		})
	}
	go func() { asking.Wait(); cancel() }() // checks end with ctx, if a little later
	found := map[string]string{}
	for name := range checks {
		found[name] = "no answer within " + checkWithin.String()
	}
	for range len(checks) {
		select {
		case got := <-replies:
			found[got.name] = got.said
		case <-ctx.Done():
			for len(replies) > 0 {
				got := <-replies
				found[got.name] = got.said
			}
			return found
		}
	}
	return found
}

// ServeHTTP answers 200 when every role can do its work, else 503; either way with
// what each needs and how that is.
func (r *Readiness) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	all := r.look(req.Context())
	status := http.StatusOK
	if !all.Ready {
		status = http.StatusServiceUnavailable
	}
	writeJSON(w, status, all)
}

func writeJSON(w http.ResponseWriter, status int, answer any) {
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	encoder := json.NewEncoder(w)
	encoder.SetIndent("", "  ")
	_ = encoder.Encode(answer) // an error means that the client has gone
}
