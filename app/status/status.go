// Package status looks at a deployment that runs: every process that etcd knows, or the
// one of an embedded instance, is asked on its admin port how it is. It asks all at the
// same time, waits for none longer than askWithin, and changes nothing.
//
// What can't be reached is told with its fault, beside what can: a look at a sick
// cluster is what it is for.
package status

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"slices"
	"sync"
	"time"

	"go-micro.dev/v4/registry"

	"backbeat/app/admin"
)

// What an instance registers of itself, beside its version and address.
const (
	// AdminKey is the host:port of its admin port, empty if it has none.
	AdminKey = "admin"
	// HostKey is the name of the machine it runs on.
	HostKey = "host"
)

const (
	// askWithin bounds the wait for a process: /readyz takes 900 ms when something hangs.
	askWithin = 1200 * time.Millisecond
	// mostSaid bounds what is read of an answer, in bytes.
	mostSaid = 8 << 20
)

// Discovery is where instances are found.
type Discovery interface {
	// Check returns why it can't be asked at present.
	Check(ctx context.Context) error
	// ListServices returns the last known instances, or an error if there never were any.
	ListServices(...registry.ListOption) ([]*registry.Service, error)
}

// Report is a look at everything.
type Report struct {
	// Discovery is why the instances are those known last, or none; nil when they are
	// those of now.
	Discovery error
	// Instances are in the order of roles, then of addresses.
	Instances []Instance
	// Queues are as the first process told that knows them.
	Queues []Queue
	// Circuits are the gateways'.
	Circuits []Circuits
}

// Instance is one role of one process.
type Instance struct {
	Role string
	// Address is where it listens, a worker's where its process is.
	Address string
	Version string
	// Started is when its process began; zero if it didn't tell.
	Started time.Time
	// Ready is set when it has all that is vital to it and does not stop.
	Ready bool
	// Fault is why nothing is known of it beyond what it registered; nil for one that
	// answered.
	Fault error
	// Lacks are the faults of what it needs, by name; something may stand in for them.
	Lacks []Lack
	// State is starting, serving or stopping.
	State string
}

// Lack is a dependency that is away.
type Lack struct{ Need, Fault string }

// Queue is how many messages a queue holds in one store, rabbitmq or table.
type Queue struct {
	Name, Store            string
	Waiting, Delayed, Dead int64
}

// Circuits are those of one gateway, by command.
type Circuits struct {
	Address      string
	Open, Closed []string
}

// Roles is the order in which instances are told.
type Roles []string

// Cluster looks at the instances that discovery knows.
func (order Roles) Cluster(ctx context.Context, from Discovery) Report {
	var report Report
	checked := make(chan error, 1)
	go func() {
		ctx, cancel := context.WithTimeout(ctx, askWithin)
		defer cancel()
		checked <- from.Check(ctx)
	}()
	services, err := from.ListServices(registry.ListContext(ctx))
	var found []known
	for _, service := range services {
		for _, node := range service.Nodes {
			found = append(found, known{
				Instance: Instance{Role: service.Name, Address: node.Address, Version: service.Version},
				admin:    node.Metadata[AdminKey], host: node.Metadata[HostKey],
			})
		}
	}
	order.ask(ctx, &report, found)
	report.Discovery = cmp.Or(<-checked, err)
	return report
}

// Process looks at the roles of the one process whose admin port is at address.
func (order Roles) Process(ctx context.Context, address string) Report {
	var report Report
	said := ask(ctx, address)
	if said.fault != nil {
		report.add(known{Instance: Instance{Role: "run", Address: address}}, said)
		return report
	}
	for _, role := range said.ready.Roles {
		report.add(known{Instance: Instance{Role: role.Role, Address: role.Address}}, said)
	}
	report.finish(order)
	return report
}

// known is what is registered of an instance.
type known struct {
	Instance
	admin, host string
}

// unreachable returns why the instance can't be asked from this machine.
func (k known) unreachable() error {
	if k.admin == "" {
		return errors.New("it has no admin port (admin.listen)")
	}
	here, _ := os.Hostname()
	name, _, err := net.SplitHostPort(k.admin)
	if ip := net.ParseIP(name); err == nil && ip.IsLoopback() && k.host != here {
		return fmt.Errorf("its admin port %s is on loopback of %s", k.admin, k.host)
	}
	return err
}

// ask asks each process once and adds what it tells of its instances.
func (order Roles) ask(ctx context.Context, report *Report, found []known) {
	answers := map[string]*answer{}
	var asking sync.WaitGroup
	for _, k := range found {
		if k.unreachable() != nil || answers[k.admin] != nil {
			continue
		}
		said := &answer{}
		answers[k.admin] = said
		asking.Go(func() { *said = ask(ctx, k.admin) })
	}
	asking.Wait()
	for _, k := range found {
		if fault := k.unreachable(); fault != nil {
			report.add(k, answer{fault: fault})
		} else {
			report.add(k, *answers[k.admin])
		}
	}
	report.finish(order)
}

// answer is what a process said.
type answer struct {
	fault error
	ready admin.Report
	measured
	// unmeasured is why its metrics tell nothing.
	unmeasured error
}

// ask asks the process at an admin port.
func ask(ctx context.Context, address string) answer {
	ctx, cancel := context.WithTimeout(ctx, askWithin)
	defer cancel()
	var said answer
	var asking sync.WaitGroup
	asking.Go(func() {
		said.fault = get(ctx, address, "/readyz", func(r io.Reader) error { return json.NewDecoder(r).Decode(&said.ready) })
	})
	asking.Go(func() {
		said.unmeasured = get(ctx, address, "/metrics", func(r io.Reader) (err error) { said.measured, err = measure(r); return err })
	})
	asking.Wait()
	return said
}

// get reads an answer to path. That of /readyz is one whatever its status.
func get(ctx context.Context, address, path string, read func(io.Reader) error) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+address+path, nil)
	if err != nil {
		return err
	}
	request.Close = true // the next question comes in a second, or never
	response, err := http.DefaultClient.Do(request)
	if fault := new(url.Error); errors.As(err, &fault) {
		err = fault.Err // which names the address, but not the path and the method
	}
	if errors.Is(err, context.DeadlineExceeded) {
		err = fmt.Errorf("no answer within %v", askWithin)
	}
	if err != nil {
		return err
	}
	defer response.Body.Close()
	if err := read(io.LimitReader(response.Body, mostSaid)); err != nil {
		return fmt.Errorf("%s: HTTP %d, %w", path, response.StatusCode, err)
	}
	return nil
}

// add notes an instance and what its process said.
func (r *Report) add(k known, said answer) {
	i := k.Instance
	i.Fault = said.fault
	if i.Fault == nil {
		at := slices.IndexFunc(said.ready.Roles, func(one admin.RoleReport) bool { return one.Role == i.Role })
		if at < 0 {
			i.Fault = fmt.Errorf("the process at %s does not have this role", k.admin)
		} else {
			role := said.ready.Roles[at]
			i.State, i.Started, i.Version = said.ready.State, said.started, cmp.Or(said.version, i.Version)
			i.Ready = role.Ready && i.State == "serving"
			for need, fault := range role.Needs {
				if fault != admin.Fine {
					i.Lacks = append(i.Lacks, Lack{need, fault})
				}
			}
			if said.unmeasured != nil {
				i.Lacks = append(i.Lacks, Lack{"metrics", said.unmeasured.Error()})
			}
			slices.SortFunc(i.Lacks, func(a, b Lack) int { return cmp.Compare(a.Need, b.Need) })
		}
	}
	r.Instances = append(r.Instances, i)
	if i.Fault != nil {
		return
	}
	for _, q := range said.queues {
		if !slices.ContainsFunc(r.Queues, func(has Queue) bool { return has.Name == q.Name && has.Store == q.Store }) {
			r.Queues = append(r.Queues, q)
		}
	}
	if open, closed := said.circuits[i.Role][true], said.circuits[i.Role][false]; len(open)+len(closed) > 0 {
		slices.Sort(open)
		slices.Sort(closed)
		r.Circuits = append(r.Circuits, Circuits{Address: i.Address, Open: open, Closed: closed})
	}
}

// finish puts everything in order.
func (r *Report) finish(order Roles) {
	slices.SortStableFunc(r.Instances, func(a, b Instance) int {
		return cmp.Or(
			cmp.Compare(uint(slices.Index(order, a.Role)), uint(slices.Index(order, b.Role))), // -1, a role unknown here, is last
			cmp.Compare(a.Role, b.Role), cmp.Compare(a.Address, b.Address))
	})
	slices.SortFunc(r.Queues, func(a, b Queue) int {
		return cmp.Or(cmp.Compare(a.Name, b.Name), cmp.Compare(a.Store, b.Store))
	})
	slices.SortFunc(r.Circuits, func(a, b Circuits) int { return cmp.Compare(a.Address, b.Address) })
}
